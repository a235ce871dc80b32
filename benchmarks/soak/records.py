"""What the calls of the component under test have come to."""

import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from hcpcreds.errors import HcpCredsError

_MOMENT: Final = 7
"""Seconds before a token expires in which it need not be returned any more."""
_JUST_NOW: Final = 1.0
"""Seconds between which a call may have looked for a token in memory and failed: the process may stand still."""
_STEPS: Final = 8
"""Buckets of durations for each factor of two."""


class Record:
    """The results of one caller; each has its own, so that none waits for another."""

    def __init__(self, kind: str, log: int) -> None:
        self.kind = kind
        self._log = log
        self.began: float | None = None
        """Start of the call in progress."""
        self.durations: dict[str, list[int]] = {}
        """By kind: a call that finds no token in memory needs a new one, whatever its caller usually does."""

    @contextmanager
    def call(self, last: "Last | None" = None) -> Iterator[None]:
        """Time a call, and keep the reason of a failure.

        Args:
            last: The last token that there was for the same; once it has expired, a new one is asked for.
        """
        kind = "new" if last is not None and last.is_over() else self.kind
        began = self.began = time.monotonic()
        try:
            yield
        except Exception as error:  # noqa: BLE001 (a foreign one is what the run looks for)
            kind = "new" if last is not None and not last.could_serve() else self.kind
            is_ours = isinstance(error, HcpCredsError)
            self.fail(f"{type(error).__name__}: {error}", began, is_ours=is_ours, kind=kind)
        finally:
            self.began = None
            self.count(kind, time.monotonic() - began)

    def count(self, kind: str, seconds: float) -> None:
        """Count a call."""
        durations = self.durations.setdefault(kind, [0] * (40 * _STEPS))
        durations[int(math.log2(1 + seconds * 1e9) * _STEPS)] += 1

    def fail(self, why: str, began: float, *, is_ours: bool = True, kind: str | None = None) -> None:
        """Write a failure to the file: kept in memory, it would count as growth."""
        failure = {"kind": kind or self.kind, "began": began, "ended": time.monotonic()}
        line = json.dumps({**failure, "is_ours": is_ours, "why": why[:400]})
        os.write(self._log, line.encode() + b"\n")


class Last:
    """The last token of a credential for a scope."""

    def __init__(self) -> None:
        self._until = 0.0
        self._since = 0.0

    def keep(self, expires_on: int) -> None:
        """Record a token."""
        if self.is_over():
            self._since = time.monotonic()
        self._until = max(self._until, expires_on - _MOMENT)

    def is_over(self) -> bool:
        """Whether no usable token is left."""
        return time.time() > self._until

    def could_serve(self) -> bool:
        """Whether a call that fails now should have returned it: it is usable, and did not come just now."""
        return not self.is_over() and time.monotonic() > self._since + _JUST_NOW


def percentile(durations: list[int], percent: float) -> float:
    """Find the seconds that so many percent do not exceed: the end of a bucket, so up to a tenth too long."""
    wanted, seen = sum(durations) * percent / 100, 0
    for number, count in enumerate(durations):
        seen += count
        if count and seen >= wanted:
            return float(2 ** ((number + 1) / _STEPS)) / 1e9
    return 0.0
