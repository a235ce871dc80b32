"""The reports of `hcpcreds inspect`: text for people, a document for programs."""

import base64
import itertools
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import click

from hcpcreds.credential import Status
from hcpcreds.credential_file.inspection import CertificateDetails, Inspection, render_relative
from hcpcreds.credential_file.mount import Mount
from hcpcreds.text import make_printable

_BAR_WIDTH: Final = 72
_TIMES: Final = (
    ("B", "not before", "not_before"),
    ("R", "renew after", "renew_after"),
    ("E", "not after", "not_after"),
    ("X", "cannot renew after", "cannot_renew_after"),
)
"""Mark in the bar, name in the text, and the field, in order of time."""
_SEGMENTS: Final = {"B": "━", "R": "─", "E": "┄"}
"""How the bar continues after a mark."""
_THUMBPRINT_LETTERS: Final = 12

Rows = list[tuple[str, str]]


def build_document(inspection: Inspection) -> dict[str, Any]:
    """Build the document of one file: the keys are always the same, times are ISO 8601 in UTC."""
    times = {field: getattr(inspection, field) for _, _, field in _TIMES}
    now, mount = inspection.inspected_at, inspection.mount
    return {
        "path": inspection.path,
        "kind": inspection.kind,
        "status": inspection.status,
        "inspected_at": render_iso(now),
        "problems": [{"problem": each.text, "hint": each.hint} for each in inspection.problems],
        "identity": {
            "client_id": inspection.client_id,
            "object_id": inspection.object_id,
            "resource_id": inspection.resource_id,
            "tenant_id": inspection.tenant_id,
            "authority": inspection.authority,
        },
        "validity": {
            **{field: render_iso(at) for field, at in times.items()},
            "seconds_until_renew_after": _seconds_until(inspection.renew_after, now),
            "seconds_until_not_after": _seconds_until(inspection.not_after, now),
        },
        "certificates": [
            {
                "subject": each.subject,
                "issuer": each.issuer,
                "serial_number": each.serial_number,
                "sha256": each.sha256.hex(),
                "x5t#S256": _base64url(each.sha256),
                "sha1": each.sha1.hex(),
                "x5t": _base64url(each.sha1),
                "key_type": each.key_type,
                "key_bits": each.key_bits,
                "not_before": render_iso(each.not_before),
                "not_after": render_iso(each.not_after),
            }
            for each in inspection.certificates
        ],
        "mount": {
            "layout": mount.layout,
            "data_directory": mount.data_directory,
            "swapped_at": render_iso(mount.swapped_at),
            "mode": None if mount.mode is None else f"{mount.mode:04o}",
            "size_bytes": mount.size,
            "encoding": inspection.encoding,
        },
    }


def render_reports(path: str, inspections: Sequence[Inspection]) -> str:
    """Render the text for files; a file that is not a credential file gets one line."""
    if len(inspections) == 1:
        return render_report(inspections[0])
    if all(each.is_readable and each.kind is None for each in inspections):
        return click.style(
            f"{make_printable(path)}: none of its {len(inspections)} files is a credential file", fg="red"
        )
    return "\n\n".join(
        render_report(each) if each.kind or not each.is_readable else _render_line(each)
        for each in inspections
    )


def _render_line(inspection: Inspection) -> str:
    problems = "; ".join(each.text for each in inspection.problems)
    return f"{click.style(make_printable(inspection.path), bold=True)}: {make_printable(problems)}"


def render_report(inspection: Inspection) -> str:
    """Render the text for a file, in colour, which `click.echo` removes for anything but a terminal."""
    now = inspection.inspected_at
    lines = [click.style(make_printable(inspection.path), bold=True), *_render_problems(inspection)]
    if inspection.is_readable and inspection.kind is None:
        return "\n".join(lines)
    if inspection.is_readable:
        if inspection.kind == "managed identity":
            lines += _render_section("identity", _identity_rows(inspection))
        lines += _render_section("certificate", _certificate_rows(inspection.certificates))
        lines += _render_section("validity", _validity_rows(inspection))
        lines += [f"  {line}" if line else "" for line in render_bar(inspection)]
    lines += _render_section("mount", _mount_rows(inspection.mount, now))
    return "\n".join(lines)


def render_bar(inspection: Inspection) -> list[str]:
    """Render the lifetime of a credential as a bar, with a mark for each row of its validity and for now."""
    marks = [(mark, at) for mark, _, field in _TIMES if (at := getattr(inspection, field)) is not None]
    times = [at for _, at in marks]
    if len(times) < 2 or times != sorted(times) or times[0] == times[-1]:  # noqa: PLR2004 (a bar has two ends)
        return []

    def place(at: datetime) -> int:
        part: float = (at - times[0]) / (times[-1] - times[0])
        return round(min(1.0, max(0.0, part)) * (_BAR_WIDTH - 1))

    bar = [" "] * _BAR_WIDTH
    for (mark, start), (_, end) in itertools.pairwise(marks):
        for at in range(place(start), place(end)):
            bar[at] = _SEGMENTS[mark]
    for mark, at in marks:
        bar[place(at)] = mark
    return ["", "".join(bar), f"{' ' * place(inspection.inspected_at)}▲ now"]


def render_change(status: Status, *, at: datetime) -> str:
    """Render a change of a credential as one line."""
    if status.last_error is not None:
        serves = f"; generation {status.generation} stays in use" if status.generation else ""
        what = f"refused: {' '.join(status.last_error.split())}{serves}"
    else:
        assert status.thumbprint is not None  # noqa: S101 (without an error there is a credential)
        assert status.not_after is not None  # noqa: S101 (as above)
        what = (
            f"generation {status.generation}: certificate {status.thumbprint[:_THUMBPRINT_LETTERS]}, valid "
            f"until {status.not_after:%Y-%m-%d %H:%M} ({render_relative(status.not_after, at)})"
        )
    return f"{at:%H:%M:%S} {make_printable(status.path)}: {make_printable(what)}"


def render_iso(at: datetime | None) -> str | None:
    """Render a time in UTC as ISO 8601, to the second."""
    return None if at is None else f"{at:%Y-%m-%dT%H:%M:%SZ}"


def render_time(at: datetime, now: datetime) -> str:
    """Render a time in UTC, and the time until or since then."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC  {render_relative(at, now)}"


def render_rows(rows: Rows) -> list[str]:
    """Render names and values in two columns, printable, as both may be foreign text."""
    rows = [(make_printable(name), make_printable(text)) for name, text in rows]
    width = max((len(name) for name, _ in rows), default=0)
    return [f"  {name:{width}}  {text}" for name, text in rows]


def _render_section(heading: str, rows: Rows) -> list[str]:
    return ["", click.style(heading, bold=True), *render_rows(rows)]


def _render_problems(inspection: Inspection) -> list[str]:
    if not inspection.problems:
        return [click.style("nothing is wrong", fg="green")]
    lines = []
    for problem in inspection.problems:
        lines.append(click.style(f"wrong: {make_printable(problem.text)}", fg="red"))
        if problem.hint is not None:
            lines.append(f"       {make_printable(problem.hint)}")
    return lines


def _identity_rows(inspection: Inspection) -> Rows:
    rows = [
        ("client id", inspection.client_id or "-"),
        ("object id", inspection.object_id),
        ("resource id", inspection.resource_id),
        ("tenant", inspection.tenant_id or "-"),
        ("authority", inspection.authority or "-"),
    ]
    return [(name, text) for name, text in rows if text is not None]


def _certificate_rows(certificates: tuple[CertificateDetails, ...]) -> Rows:
    if not certificates:
        return [("subject", "-")]
    own, *issuers = certificates
    bits = f", {own.key_bits} bits" if own.key_bits else ""
    rows = [
        ("subject", own.subject),
        ("issuer", "itself" if own.issuer == own.subject else own.issuer),
        ("serial", own.serial_number),
        ("SHA-256", own.sha256.hex()),
        ("x5t#S256", _base64url(own.sha256)),
        ("SHA-1", own.sha1.hex()),
        ("x5t", _base64url(own.sha1)),
        ("key", f"{own.key_type}{bits}"),
    ]
    if issuers:
        rows.append(("chain", " ← ".join(each.subject for each in certificates)))
    return rows


def _validity_rows(inspection: Inspection) -> Rows:
    rows = []
    for mark, name, field in _TIMES:
        at = getattr(inspection, field)
        rows.append((f"{mark} {name}", "-" if at is None else render_time(at, inspection.inspected_at)))
    return rows


def _mount_rows(mount: Mount, now: datetime) -> Rows:
    layout = {
        "atomic": "the driver's: rotations reach it",
        "plain": "an ordinary file",
        "linked": "a symlink that is not the driver's",
        "mounted file": "a mount point itself (subPath): no rotation reaches it",
    }[mount.layout]
    rows = [("layout", layout)]
    if mount.data_directory is not None:
        rows.append(("..data", mount.data_directory))
    if mount.swapped_at is not None:
        rows.append(("swapped", render_time(mount.swapped_at, now)))
    if mount.mode is not None:
        rows.append(("file", f"mode {mount.mode:04o}, {mount.size} bytes"))
    return rows


def _seconds_until(at: datetime | None, now: datetime) -> int | None:
    return None if at is None else int((at - now).total_seconds())


def _base64url(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
