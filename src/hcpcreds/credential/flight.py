"""A request for a token that is under way, for threads."""

import contextlib
import os
import threading
from collections import deque

from hcpcreds.credential.base import Outcome


class Flight:
    """One request under way, for all who wait for the same token.

    No lock is held here by one who waits: an exception may hit it between any two lines.
    """

    __slots__ = ("_begun", "_process", "_waiting", "deadline", "is_patient", "outcome")

    def __init__(self, deadline: float, *, is_patient: bool) -> None:
        self.deadline = deadline
        """Monotonic time from which on nobody waits for it."""
        self.is_patient = is_patient
        """Whether failures are tried again; a refresh behind a caller that has a token still is not."""
        self.outcome: Outcome | None = None
        self._process = os.getpid()
        self._begun = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()

    @property
    def is_of_parent(self) -> bool:
        """Whether this process was forked since, and so the thread that is at it does not run here."""
        return self._process != os.getpid()

    @property
    def has_begun(self) -> bool:
        """Whether a thread is at it."""
        return self._begun.locked()

    def begin(self) -> bool:
        """Whether the caller is the first, and so the one to send."""
        return self._begun.acquire(blocking=False)

    def make_patient(self, deadline: float) -> None:
        """Have it try again, for somebody waits for it; before it has begun."""
        self.is_patient, self.deadline = True, deadline

    def wait(self, seconds: float) -> Outcome | None:
        """Wait until it has ended, or until the time is over; then there is no outcome."""
        mine = threading.Lock()
        mine.acquire()  # `end` releases it, so that taking it again waits for that
        self._waiting.append(mine)
        if self.outcome is None:
            mine.acquire(timeout=max(seconds, 0.0))
        return self.outcome

    def end(self, outcome: Outcome) -> None:
        """Tell all who wait; the first outcome stays."""
        if self.outcome is None:
            self.outcome = outcome
        with contextlib.suppress(IndexError):
            while True:
                self._waiting.popleft().release()
