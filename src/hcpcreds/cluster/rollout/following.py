"""Follows a rollout until every pod uses the newest certificate."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from hcpcreds.cluster.rollout.facts import Facts
from hcpcreds.cluster.rollout.judgement import Row, judge_rollout
from hcpcreds.errors import HcpCredsError
from hcpcreds.renewal.attempts import pause


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A rollout at one moment."""

    facts: Facts
    rows: list[Row]
    missing: list[str]
    """The secrets that were asked about, and that no pod mounts."""

    @property
    def is_done(self) -> bool:
        """Whether every pod uses the newest certificate only. Without any pod it is not: nothing was seen."""
        return bool(self.rows) and not self.missing and all(row.is_done for row in self.rows)


def build_report(facts: Facts, secrets: Collection[str]) -> Report:
    """Build the report of what was read.

    Args:
        facts: What was read.
        secrets: The names of the secrets that were asked about, in lower case; empty means all.
    """
    rows = judge_rollout(facts)
    found = {row.secret.lower() for row in rows}
    return Report(facts=facts, rows=rows, missing=sorted(set(secrets) - found))


async def follow(  # noqa: PLR0913 (each by its name)
    read: Callable[[], Awaitable[Report]],
    show: Callable[[Report], None],
    *,
    stop: asyncio.Event,
    interval: float,
    within: float | None,
    on_problem: Callable[[HcpCredsError], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[float, asyncio.Event], Awaitable[None]] = pause,
) -> bool:
    """Read again and again until the rollout is done, the time is up, or it is stopped.

    Args:
        read: Reads it once.
        show: Called with each report.
        stop: Ends it.
        interval: Seconds from the end of one reading to the next.
        within: Seconds after which it ends; None means never.
        on_problem: Called with a failure that may pass; it goes on.
        clock: A monotonic clock, in seconds.
        wait: Waits so many seconds of it, or until an event is set.

    Returns:
        Whether it is done.

    Raises:
        HcpCredsError: A failure that does not pass by itself.
    """
    until = None if within is None else clock() + within
    while not stop.is_set():
        try:
            report = await read()
        except HcpCredsError as error:
            if not error.retryable:
                raise
            on_problem(error)
        else:
            show(report)
            if report.is_done:
                return True
        left = interval if until is None else min(interval, until - clock())
        if left <= 0:
            return False
        await wait(left, stop)
    return False
