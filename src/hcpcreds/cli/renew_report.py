"""How `hcpcreds renew` says what it does: a progress bar and summaries, or one line of JSON for each walk."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from typing_extensions import override

from hcpcreds.credential_file.inspection import render_relative
from hcpcreds.renewal.outcomes import Observer, Outcome, Result, Walk
from hcpcreds.text import make_lines_printable, make_printable
from hcpcreds.vault.secret import StoredCredential


class RenewalReport(Observer):
    """Says on standard error what goes wrong, and on standard output what each walk did."""

    def __init__(self, output: str) -> None:
        self._output = output

    @override
    def settled(self, vault_url: str, outcome: Outcome) -> None:
        if outcome.result is Result.FAILED:
            self._say(_describe_failure(outcome))
        elif outcome.reason is not None:
            self._say(f"{outcome.name}: {outcome.reason}")

    @override
    def walk_finished(self, walk: Walk) -> None:
        if walk.problem is not None:
            self._say(f"{_get_host(walk.vault_url)}: the walk is not complete: {walk.problem}")
        text = json.dumps(build_document(walk)) if self._output == "json" else render_summary(walk)
        click.echo(text)

    def stopping(self) -> None:
        """A signal came."""
        self._say("stopping: what is under way is finished first; once more stops at once")

    def left(self, vault_url: str) -> None:
        """A vault is another replica's."""
        self._say(f"{_get_host(vault_url)}: another replica holds its Lease, and walks over it")

    def _say(self, text: str) -> None:
        click.echo(make_lines_printable(text), err=True)


class ProgressReport(RenewalReport):
    """The same, with a bar for each vault while it is walked over."""

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
        """Show the bars."""
        with self._progress:
            yield

    @override
    def walk_started(self, vault_url: str) -> None:
        self._bars[vault_url] = self._progress.add_task(_get_host(vault_url), total=0, listed=0)

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
    """Make the report for what standard error is: a terminal gets bars."""
    if not sys.stderr.isatty():
        yield RenewalReport(output)
        return
    report = ProgressReport(output)
    with report.running():
        yield report


def build_document(walk: Walk) -> dict[str, Any]:
    """Build the document of one walk: the keys are always the same, times are ISO 8601 in UTC."""
    return {
        "event": "walk",
        "vault": walk.vault_url,
        "started_at": _render_time(walk.started_at),
        "finished_at": _render_time(walk.finished_at),
        "complete": walk.complete,
        "problem": walk.problem,
        "credentials": len(walk.credentials),
        "results": {result.value: walk.count(result) for result in Result},
        "outcomes": [
            {
                "secret": outcome.name,
                "result": outcome.result.value,
                "expires_on": _render_time(outcome.expires_on),
                "cannot_renew_after": _render_time(outcome.cannot_renew_after),
                "seconds_until_expiry": _seconds_until(outcome.expires_on, walk.finished_at),
                "reason": outcome.reason,
            }
            for outcome in walk.outcomes
        ],
    }


def render_summary(walk: Walk) -> str:
    """Render what a person reads after a walk."""
    took = (walk.finished_at - walk.started_at) / timedelta(seconds=1)
    counts = ", ".join(f"{number} {result.value}" for result in Result if (number := walk.count(result)))
    end = "" if walk.complete else ", NOT COMPLETE"
    number = len(walk.credentials)
    lines = [f"{_get_host(walk.vault_url)}: {number} credentials, {counts or 'none due'}, {took:.1f} s{end}"]
    lines += [
        f"  due: {make_printable(outcome.name)}, {_render_time_left(outcome, walk.finished_at)}"
        for outcome in walk.outcomes
        if outcome.result is Result.DUE
    ]
    soonest = min((each.expires_on for each in walk.credentials.values() if each.expires_on), default=None)
    if soonest is not None:
        lines.append(f"  the next to expire does so {render_relative(soonest, walk.finished_at)}")
    return "\n".join(lines)


def _describe_failure(outcome: Outcome) -> str:
    return f"{outcome.name}: not renewed, {_render_time_left(outcome, datetime.now(UTC))}: {outcome.reason}"


def _render_time_left(outcome: Outcome, now: datetime) -> str:
    expiry, renewable = outcome.expires_on, outcome.cannot_renew_after
    if expiry is None:
        return "expires nobody knows when"
    verb = "expires" if expiry > now else "expired"
    text = f"{verb} {render_relative(expiry, now)}"
    if renewable is not None and renewable <= now:
        text += ", and can no longer be renewed"
    return text


def _get_host(vault_url: str) -> str:
    return urlsplit(vault_url).netloc


def _render_time(time: datetime | None) -> str | None:
    return None if time is None else f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _seconds_until(time: datetime | None, now: datetime) -> float | None:
    return None if time is None else round((time - now).total_seconds())
