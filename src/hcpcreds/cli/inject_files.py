"""The files that `hcpcreds inject` reads, shows and writes."""

import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from difflib import unified_diff
from io import StringIO
from pathlib import Path
from typing import Final

import click

from hcpcreds.cli.source import STANDARD_INPUT, find_files, make_error, open_file_or_stdin
from hcpcreds.errors import InputError
from hcpcreds.manifests.inject import InjectOptions
from hcpcreds.manifests.inject.plan import Plan, Planner
from hcpcreds.manifests.inject.stream import InjectedStream, read_stream
from hcpcreds.text import make_printable

_COLORS: Final = {"+": "green", "-": "red", "@": "cyan"}


def read_streams(files: Sequence[str], options: InjectOptions, *, edit: bool) -> list[InjectedStream]:
    """Read files, directories and standard input, and plan the changes.

    Of a directory, files that hold no Kubernetes object are left out.

    Raises:
        InputError: Something cannot be read or changed; lists every problem.
    """
    planner = Planner(options)
    problems: list[str] = []
    streams: list[InjectedStream] = []
    for name in files:
        is_directory = name != "-" and Path(name).is_dir()
        for file in find_files(name, problems.append) if is_directory else [name]:
            try:
                with open_file_or_stdin(file) as (source, where):
                    stream = read_stream(source, planner, where=where, edit=edit)
            except InputError as error:
                problems += [f"{error.where}: {problem}" for problem in error.problems]
                continue
            if stream.has_objects or not is_directory:
                streams.append(stream)
    if problems:
        raise make_error(problems)
    planner.finish()
    return streams


def report_plans(streams: Sequence[InjectedStream]) -> list[Plan]:
    """Say on standard error how many changes each workload gets, and which only look like a component's.

    Returns:
        The plans of workloads that are a component's.

    Raises:
        InputError: There is none.
    """
    for stream in streams:
        prefix = f"{make_printable(stream.where)}: " if len(streams) > 1 else ""
        for plan in stream.plans:
            click.echo(f"{prefix}{plan.workload.title}: {_describe(plan)}", err=True)
    known = [plan for stream in streams for plan in stream.plans if plan.suspect is None]
    unreadable = [f"{stream.where}: {problem}" for stream in streams for problem in stream.problems]
    if not known and unreadable:
        raise make_error(unreadable)
    if not known:
        where = streams[0].where if len(streams) == 1 else "files"
        hint = (
            "Name its component, or label the workload with hcpcreds.io/component; "
            "for a program of your own, name the class that it mounts, its volume and its secret."
        )
        options = ["component", "secret_provider_class", "volume_name", "credentials_secret_name"]
        raise InputError(where, ["no workload in it is a component's"], hint=hint, options=options)
    for problem in unreadable:
        click.echo(make_printable(f"passed through: {problem}"), err=True)
    return known


def _describe(plan: Plan) -> str:
    if plan.suspect is None:
        remark = f"; {plan.remark}" if plan.remark else ""
        return f"{len(plan.changes) or 'nothing'} to change{remark}"
    return f"left alone; its name is not a component's, but that of its container {plan.suspect} is"


def render_yaml(streams: Sequence[InjectedStream]) -> bytes:
    """Render streams as one, each with its changes."""
    if len(streams) == 1:
        return streams[0].encode(streams[0].after)
    rendered = []
    for stream in streams:
        text = stream.after.removeprefix("\ufeff")
        begins = "" if text.startswith("---") else "---\n"
        ends = "" if text.endswith("\n") else "\n"
        rendered.append(f"{begins}{text}{ends}")
    return "".join(rendered).encode("utf-8", "surrogateescape")


def write_streams(streams: Sequence[InjectedStream]) -> None:
    """Write the files that change, each at once or not at all; its mode and owner stay, and a link stays one.

    Raises:
        OSError: A file cannot be written. Those before it have been.
    """
    for stream in streams:
        if stream.after != stream.before:
            _replace(Path(stream.where).resolve(), stream.encode(stream.after))
            click.echo(f"{make_printable(stream.where)}: written", err=True)


def _replace(file: Path, content: bytes) -> None:
    status = file.stat()
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name[:100]}.")
    new = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as written:
            written.write(content)
            os.fchmod(descriptor, status.st_mode)
            with suppress(PermissionError):  # only root may give a file away
                os.fchown(descriptor, status.st_uid, status.st_gid)
        new.replace(file)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def render_diffs(streams: Sequence[InjectedStream]) -> bytes:
    """Render unified diffs that `patch` takes; on a terminal coloured, and printable."""
    return b"".join(stream.encode(_render_diff(stream)) for stream in streams)


def _render_diff(stream: InjectedStream) -> str:
    name = "stdin" if stream.where == STANDARD_INPUT else make_printable(stream.where.lstrip("/"))
    before, after = (list(StringIO(text, newline="\n")) for text in (stream.before, stream.after))
    is_seen = sys.stdout.isatty()
    has_color = is_seen and not os.environ.get("NO_COLOR")
    rendered = []
    for line in unified_diff(before, after, f"a/{name}", f"b/{name}"):
        color = _COLORS.get(line[0]) if has_color else None
        text = make_printable(line.rstrip("\r\n").expandtabs()) if is_seen else line.removesuffix("\n")
        rendered.append(click.style(text, fg=color) if color else text)
        if not line.endswith("\n"):
            rendered.append("\\ No newline at end of file")
    return "".join(f"{line}\n" for line in rendered)
