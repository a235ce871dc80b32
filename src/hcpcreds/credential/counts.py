"""Counts of a credential's token requests, for metrics."""

from bisect import bisect_left
from collections import Counter
from typing import Final

from hcpcreds.credential.authority import Failure, Token

BOUNDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the buckets of `TokenCounts.seconds`."""


class TokenCounts:
    """Counts that one credential keeps for as long as it lives; read them from any thread.

    Changed without a lock, as everything in a credential's token cache: of two threads at once, one may be
    lost.
    """

    def __init__(self) -> None:
        self.hits = 0
        """Tokens that callers got from memory."""
        self.results: Counter[str] = Counter()
        """Requests to the authority: `granted`, `refused`, `unavailable`."""
        self.buckets = [0] * (len(BOUNDS) + 1)
        """How many of them took how long; the last bucket holds the slowest."""
        self.seconds = 0.0
        """How long they took together."""

    def add(self, result: Token | Failure | None, seconds: float) -> None:
        """Count a request.

        Args:
            result: How it ended; None if nobody waited for its end.
            seconds: How long it took.
        """
        name = "granted" if isinstance(result, Token) else "unavailable"
        if isinstance(result, Failure) and result.refused:
            name = "refused"
        self.results[name] += 1
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds
