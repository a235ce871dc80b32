"""`hcpcreds inspect`: explains a credential file, and never shows its secret."""

import json
import logging
import queue
import sys
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hcpcreds.cli.options import output_option

if TYPE_CHECKING:
    from hcpcreds.credential import Status
    from hcpcreds.credential_file.content import FileFormat

    ShowChange = Callable[[Status, datetime], None]

_POLL_SECONDS: Final = 0.5
"""How often `--watch` looks for a change that is not a reload: a file that was refused."""
_SHOWN_CHANGES: Final = 5


@click.command(
    "inspect",
    epilog="""\b
    Examples:
      hcpcreds inspect /mnt/certs
      hcpcreds inspect --watch /mnt/certs/ingress
      hcpcreds inspect --local ingress-operator
    """,
)
@click.argument("file", metavar="FILE|DIRECTORY")
@click.option(
    "--password-file",
    type=click.Path(exists=True, dir_okay=False),
    help="File with the password of the private key.",
)
@click.option("--watch", is_flag=True, help="Follow rotations until Ctrl-C, as a component does.")
@click.option("--local", is_flag=True, help="FILE is a component of the running `hcpcreds up`.")
@output_option("json is one document; with --watch, one for each change.")
def command(file: str, output: str, *, password_file: str | None, watch: bool, local: bool) -> None:
    """Explain a credential file, or each file of a mount: identity, certificate, validity, what is wrong.

    The secret is never shown. The exit status is 0 when nothing is wrong, 1 when something is, and 2 when a
    file cannot be read.
    """
    from hcpcreds.credential_file.inspection import find_credential_files, inspect_credential_file

    if local:
        from hcpcreds.up.running import find_running_chain

        file = find_running_chain().find_file(file)
    if watch:
        _watch(file, output, password_file)
        return
    from hcpcreds.credential_file.service_principal import read_password_file

    password = None if password_file is None else read_password_file(password_file)
    now = datetime.now(UTC)
    inspections = [
        inspect_credential_file(each, now=now, password=password) for each in find_credential_files(file)
    ]
    from hcpcreds.cli.inspect_report import build_document, render_reports

    if output == "json":
        files = [build_document(each) for each in inspections]
        click.echo(
            json.dumps({"ok": all(each["status"] == "fine" for each in files), "files": files}, indent=2)
        )
    else:
        click.echo(render_reports(file, inspections))
    found = {each.status for each in inspections}
    sys.exit(2 if "unreadable" in found else 1 if "wrong" in found else 0)


class _Watch:
    """Shows each change of some credentials once, in order."""

    def __init__(
        self, files: list[str], stack: ExitStack, show: "ShowChange", *, password_file: str | None
    ) -> None:
        from hcpcreds.credential.credential import SyncCredential

        self._reloads: queue.SimpleQueue[Status] = queue.SimpleQueue()
        self._show = show
        self._shown: dict[str, tuple[int, str | None]] = {}
        self._credentials = [
            stack.enter_context(
                SyncCredential(file, _find_format(file, password_file), on_reload=self._reloads.put)
            )
            for file in files
        ]

    def run(self) -> None:
        """Show changes until interrupted."""
        while True:
            for credential in self._credentials:
                self._show_if_new(credential.status())
            try:
                self._show_if_new(self._reloads.get(timeout=_POLL_SECONDS))
            except queue.Empty:
                continue

    def _show_if_new(self, status: "Status") -> None:
        generation, error = self._shown.get(status.path, (0, None))
        # A reload may be in the status before it is in the queue.
        is_new = status.generation > generation or (
            status.generation == generation and status.last_error != error
        )
        if is_new:
            self._shown[status.path] = (status.generation, status.last_error)
            self._show(status, datetime.now(UTC))


def _find_format(file: str, password_file: str | None) -> "FileFormat":
    """Find the format of a file; one that does not exist yet is that of a managed identity."""
    from hcpcreds.credential_file.content import MANAGED_IDENTITY
    from hcpcreds.credential_file.inspection import inspect_credential_file
    from hcpcreds.credential_file.service_principal import make_unknown
    from hcpcreds.watch import make_absolute

    kind = inspect_credential_file(file, now=datetime.now(UTC)).kind
    if password_file is None and kind != "certificate":
        return MANAGED_IDENTITY
    return make_unknown(password_file=None if password_file is None else make_absolute(password_file))


def _watch(file: str, output: str, password_file: str | None) -> None:
    from hcpcreds.credential_file.inspection import find_credential_files

    # Problems are shown here, and need not be logged too.
    logging.getLogger("hcpcreds").addHandler(logging.NullHandler())
    # A file that does not exist yet is waited for.
    files = find_credential_files(file) if Path(file).is_dir() else [file]
    try:
        with ExitStack() as stack:
            show: ShowChange
            if output == "json":
                show = _print_document
            elif sys.stdout.isatty():
                show = _show_live(files, stack, password_file)
            else:
                show = _print_line
            _Watch(files, stack, show, password_file=password_file).run()
    except KeyboardInterrupt:
        return


def _print_line(status: "Status", at: datetime) -> None:
    from hcpcreds.cli.inspect_report import render_change

    click.echo(render_change(status, at=at))


def _print_document(status: "Status", at: datetime) -> None:
    import msgspec

    from hcpcreds.cli.inspect_report import render_iso

    click.echo(json.dumps({"at": render_iso(at), **msgspec.to_builtins(status)}))


def _show_live(files: list[str], stack: ExitStack, password_file: str | None) -> "ShowChange":
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from hcpcreds.cli.inspect_report import render_change, render_report
    from hcpcreds.credential_file.inspection import inspect_credential_file
    from hcpcreds.credential_file.service_principal import read_password_file

    changes: deque[str] = deque(maxlen=_SHOWN_CHANGES)

    def render() -> Text:
        now = datetime.now(UTC)
        password = None if password_file is None else read_password_file(password_file)
        reports = [render_report(inspect_credential_file(file, now=now, password=password)) for file in files]
        return Text.from_ansi("\n\n".join(["\n".join(changes), *reports]))

    def show(status: "Status", at: datetime) -> None:
        changes.append(render_change(status, at=at))
        live.refresh()

    live = stack.enter_context(
        Live(console=Console(highlight=False), get_renderable=render, screen=True, refresh_per_second=1)
    )
    return show
