"""The output of `hcpcreds rollout`: a table for people, a line of JSON for programs."""

import json
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any, Final

import click

from hcpcreds.cli.inspect_report import render_iso
from hcpcreds.cluster.rollout.facts import StoredSecret, Version
from hcpcreds.cluster.rollout.following import Report
from hcpcreds.cluster.rollout.judgement import Row, State, find_unused, shorten
from hcpcreds.errors import HcpCredsError
from hcpcreds.text import make_lines_printable, make_printable, show_id

_COLORS: Final = {
    State.NEW: "green",
    State.OLD: "red",
    State.REFUSED: "red",
    State.DRAINING: "yellow",
    State.WAITING: "yellow",
    State.UNKNOWN: "yellow",
}
_HEADINGS: Final = ("secret", "pod", "vault", "mounted", "in use", "state")


class RolloutReport:
    """Prints each report that differs from the one before.

    Args:
        output: `text` or `json`.
    """

    def __init__(self, output: str) -> None:
        self._output = output
        self._shown: object = None

    def show(self, report: Report, at: datetime) -> None:
        """Show a report, unless nothing has changed."""
        if (report.rows, report.missing) == self._shown:
            return
        self._shown = report.rows, report.missing
        if self._output == "json":
            click.echo(json.dumps(build_document(report, at)))
        else:
            click.echo(render_report(report))

    def show_problem(self, error: HcpCredsError) -> None:
        """Report a failure that may pass."""
        click.echo(make_lines_printable(f"{error} (trying again)"), err=True)

    def stopping(self) -> None:
        """Report that a signal was received."""
        click.echo("Stopping: the rollout is not done, as far as was seen.", err=True)


def build_document(report: Report, at: datetime) -> dict[str, Any]:
    """Build the JSON document of a report. Its keys are always the same; times are ISO 8601 in UTC."""
    return {
        "event": "rollout",
        "at": render_iso(at),
        "done": report.is_done,
        "not_mounted": report.missing,
        "problems": [
            {"vault": each.vault, "secret": each.name, "problem": each.obstacle}
            for each in report.facts.secrets.values()
            if each.obstacle is not None
        ],
        "rows": [_build_row(row) for row in report.rows],
        "no_longer_used": [
            {"vault": secret.vault, "secret": secret.name, **_build_version(version)}
            for secret, version in _list_unused(report)
        ],
    }


def _build_row(row: Row) -> dict[str, Any]:
    return {
        "vault": row.vault,
        "secret": row.secret,
        "client_id": None if row.client_id is None else show_id(row.client_id),
        "namespace": row.namespace,
        "pod": row.pod,
        "newest": None if row.newest is None else _build_version(row.newest),
        "mounted": {"version": row.mounted_version, "thumbprint": row.mounted},
        "in_use": list(row.in_use),
        "state": row.state.value,
        "reason": row.reason,
        "hint": row.hint,
    }


def _build_version(version: Version) -> dict[str, Any]:
    return {
        "version": version.version,
        "thumbprint": version.thumbprint,
        "created_on": render_iso(version.created_on),
        "not_after": render_iso(version.not_after),
    }


def _list_unused(report: Report) -> Iterator[tuple[StoredSecret, Version]]:
    """List the certificates that no pod uses any more, each once."""
    if report.missing:
        return
    seen = set()
    for secret in report.facts.secrets.values():
        for version in find_unused(secret, report.rows):
            key = secret.vault, secret.name, version.thumbprint
            if key not in seen:
                seen.add(key)
                yield secret, version


def render_report(report: Report) -> str:
    """Render the text of a report, in colour, which `click.echo` removes for anything but a terminal."""
    cells = [_HEADINGS, *(_list_cells(row) for row in report.rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    lines = []
    for row, texts in zip([None, *report.rows], cells, strict=True):
        padded = [text.ljust(width) for text, width in zip(texts, widths, strict=True)]
        if row is None:
            lines.append(click.style("  ".join(padded).rstrip(), bold=True))
            continue
        padded[-1] = click.style(texts[-1], fg=_COLORS[row.state])
        lines.append("  ".join(padded))
        if not row.is_done:
            lines.append(f"    {make_printable(row.reason)}")
            lines += [f"    {make_printable(row.hint)}"] if row.hint else []
    return "\n".join([*lines, *_render_end(report), ""])


def _list_cells(row: Row) -> tuple[str, ...]:
    newest = row.newest.thumbprint if row.newest else None
    mounted = row.mounted or row.mounted_version  # of a version that the vault does not list
    return (
        make_printable(row.secret or "?"),
        make_printable(f"{row.namespace}/{row.pod}"),
        _show(newest),
        _show(mounted),
        ",".join(map(shorten, row.in_use)) or "?",
        row.state.value,
    )


def _show(thumbprint: str | None) -> str:
    return "?" if thumbprint is None else make_printable(shorten(thumbprint))


def _render_end(report: Report) -> Iterator[str]:
    done = sum(row.is_done for row in report.rows)
    yield ""
    for name in report.missing:
        yield f"{name}: no pod that mounts it was found, which proves nothing. Is the namespace right?"
    for secret in report.facts.secrets.values():
        if secret.obstacle is not None:
            yield make_printable(f"{secret.name}: {secret.obstacle}")
    if not report.rows:
        yield "No pod mounts a secret of these vaults here."
        return
    yield f"{done} of {len(report.rows)} use only the newest certificate."
    if not report.is_done:
        return
    unused = list(_list_unused(report))
    for secret, version in unused:
        yield (
            f"{secret.name}: no pod uses the earlier certificate {version.thumbprint} any more "
            f"(version {make_printable(version.version)})."
        )
    if unused:
        yield "It may be revoked, unless it is used elsewhere: in another cluster or namespace, or outside."
    left = list(_list_left(report, {version.thumbprint for _, version in unused}))
    if left:
        yield (
            "Nothing is known of these earlier versions, which are disabled or not credentials, or whose "
            f"certificate another secret has, too: {', '.join(left)}."
        )
    elif not unused:
        yield "The vault holds no other certificate that has not expired: there is nothing to revoke."


def _list_left(report: Report, named: Collection[str | None]) -> Iterator[str]:
    """List the earlier versions with other certificates than the newest one's, and than those named."""
    for secret in report.facts.secrets.values():
        newest = secret.newest.thumbprint if secret.newest else None
        for version in secret.earlier:
            if version.thumbprint is None or version.thumbprint not in {newest, *named}:
                yield f"{secret.name} {make_printable(version.version)}"
