"""The output of `hcpcreds renew`: progress bars and summaries, or one line of JSON for each walk."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from typing_extensions import override

from hcpcreds.cli.inspect_report import render_iso
from hcpcreds.credential_file.inspection import render_relative
from hcpcreds.renewal.outcomes import Observer, Outcome, Result, Walk
from hcpcreds.text import make_lines_printable, make_printable
from hcpcreds.vault.naming import get_host
from hcpcreds.vault.secret import StoredCredential


class RenewalReport(Observer):
    """Reports failures on standard error, and the result of each walk on standard output."""

    def __init__(self, output: str) -> None:
        self._output = output

    @override
    def settled(self, vault_url: str, outcome: Outcome) -> None:
        if outcome.result is Result.FAILED:
            self._say(_describe_failure(outcome))
        elif outcome.reason is not None:
            self._say(f"{outcome.credential.name}: {outcome.reason}")

    @override
    def walk_finished(self, walk: Walk) -> None:
        if walk.problem is not None:
            self._say(f"{get_host(walk.vault_url)}: the walk is incomplete: {walk.problem}")
        text = json.dumps(build_document(walk)) if self._output == "json" else render_summary(walk)
        click.echo(text)

    def stopping(self) -> None:
        """Report that a signal was received."""
        self._say("Stopping after the renewals in progress. Press Ctrl-C again to stop immediately.")

    def skipped(self, vault_url: str) -> None:
        """Report a vault that another replica walks over."""
        self._say(f"{get_host(vault_url)}: skipped, another replica holds its Lease")

    def replaced(self, walk: Walk) -> None:
        """Report that secrets have a new certificate, and when to revoke the earlier one."""
        names = " ".join(outcome.credential.name for outcome in walk.outcomes)
        self._say(
            "The earlier certificate is still valid, and may be in use. See when no pod uses it any more, "
            f"and revoke it then: hcpcreds rollout --watch --all-namespaces --vault {walk.vault_url} {names}"
        )

    def _say(self, text: str) -> None:
        click.echo(make_lines_printable(text), err=True)


class ProgressReport(RenewalReport):
    """The same, with a progress bar for each walk."""

    def __init__(self, output: str) -> None:
        super().__init__(output)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("due, of {task.fields[listed]}"),
            TimeElapsedColumn(),
            console=Console(stderr=True, highlight=False, markup=False),
            transient=True,
            redirect_stdout=sys.stdout.isatty(),
        )
        self._bars: dict[str, TaskID] = {}

    @contextmanager
    def running(self) -> Iterator[None]:
        """Show the bars until the context is left."""
        with self._progress:
            yield

    @override
    def walk_started(self, vault_url: str) -> None:
        self._bars[vault_url] = self._progress.add_task(get_host(vault_url), total=0, listed=0)

    @override
    def listed(self, vault_url: str, credential: StoredCredential, *, due: bool) -> None:
        bar = self._bars[vault_url]
        task = self._progress.tasks[self._progress.task_ids.index(bar)]
        self._progress.update(bar, listed=task.fields["listed"] + 1, total=(task.total or 0) + due)

    @override
    def settled(self, vault_url: str, outcome: Outcome) -> None:
        self._progress.advance(self._bars[vault_url])
        super().settled(vault_url, outcome)

    @override
    def walk_finished(self, walk: Walk) -> None:
        self._progress.remove_task(self._bars.pop(walk.vault_url))
        super().walk_finished(walk)

    @override
    def _say(self, text: str) -> None:
        self._progress.console.print(make_lines_printable(text), soft_wrap=True)


@contextmanager
def make_report(output: str) -> Iterator[RenewalReport]:
    """Make the report; progress bars are for terminals only."""
    if not sys.stderr.isatty():
        yield RenewalReport(output)
        return
    report = ProgressReport(output)
    with report.running():
        yield report


def build_document(walk: Walk) -> dict[str, Any]:
    """Build the JSON document of a walk. Its keys are always the same; times are ISO 8601 in UTC."""
    return {
        "event": "walk",
        "vault": walk.vault_url,
        "started_at": render_iso(walk.started_at),
        "finished_at": render_iso(walk.finished_at),
        "complete": walk.complete,
        "problem": walk.problem,
        "credentials": len(walk.credentials),
        "results": {result.value: walk.count(result) for result in Result},
        "outcomes": [_build_outcome(outcome, walk.finished_at) for outcome in walk.outcomes],
    }


def _build_outcome(outcome: Outcome, now: datetime) -> dict[str, Any]:
    expiry, renewable = outcome.credential.expires_on, outcome.credential.cannot_renew_after
    return {
        "secret": outcome.credential.name,
        "result": outcome.result.value,
        "expires_on": render_iso(expiry),
        "cannot_renew_after": render_iso(renewable),
        "seconds_until_expiry": None if expiry is None else round((expiry - now).total_seconds()),
        "reason": outcome.reason,
    }


def render_summary(walk: Walk) -> str:
    """Render the summary of a walk."""
    took = (walk.finished_at - walk.started_at) / timedelta(seconds=1)
    counts = ", ".join(f"{number} {result.value}" for result in Result if (number := walk.count(result)))
    end = "" if walk.complete else ", INCOMPLETE"
    number = len(walk.credentials)
    noun = "credential" if number == 1 else "credentials"
    lines = [f"{get_host(walk.vault_url)}: {number} {noun}, {counts or 'none due'}, {took:.1f} s{end}"]
    due = [outcome.credential for outcome in walk.outcomes if outcome.result is Result.DUE]
    lines += [f"  due: {make_printable(each.name)}, {_render_expiry(each, walk.finished_at)}" for each in due]
    soonest = min((each.expires_on for each in walk.credentials.values() if each.expires_on), default=None)
    if soonest is not None:
        lines.append(f"  next expiry {render_relative(soonest, walk.finished_at)}")
    return "\n".join(lines)


def _describe_failure(outcome: Outcome) -> str:
    credential = outcome.credential
    expiry = _render_expiry(credential, datetime.now(UTC))
    return f"{credential.name}: not renewed, {expiry}: {outcome.reason}"


def _render_expiry(credential: StoredCredential, now: datetime) -> str:
    expiry, renewable = credential.expires_on, credential.cannot_renew_after
    if expiry is None:
        return "expiry unknown"
    verb = "expires" if expiry > now else "expired"
    text = f"{verb} {render_relative(expiry, now)}"
    if renewable is not None and renewable <= now:
        text += ", and can no longer be renewed"
    return text
