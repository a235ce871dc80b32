"""A token request in progress, shared between threads."""

import contextlib
import os
import threading
from collections import deque

from hcpcreds.credential.base import Outcome


class Flight:
    """A token request in progress, for all callers that wait for the same token.

    A waiting caller holds no lock of the flight: an exception may hit it between any two lines.
    """

    __slots__ = ("_begun", "_process", "_waiting", "deadline", "is_patient", "outcome")

    def __init__(self, deadline: float, *, is_patient: bool) -> None:
        self.deadline = deadline
        """Monotonic time at which callers stop waiting."""
        self.is_patient = is_patient
        """Whether failures are retried. A background refresh does not retry: its caller still has a token."""
        self.outcome: Outcome | None = None
        self._process = os.getpid()
        self._begun = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()

    @property
    def is_of_parent(self) -> bool:
        """Whether the request was started before this process was forked; its thread does not run here."""
        return self._process != os.getpid()

    @property
    def has_begun(self) -> bool:
        """Whether a thread has taken the request."""
        return self._begun.locked()

    def begin(self) -> bool:
        """Take the request; return whether the caller is the first, which has to send it."""
        return self._begun.acquire(blocking=False)

    def make_patient(self, deadline: float) -> None:
        """Retry failures, because a caller waits for the request. Call it before the request has begun."""
        self.is_patient, self.deadline = True, deadline

    def wait(self, seconds: float) -> Outcome | None:
        """Wait for the outcome; None if there is none after so many seconds."""
        mine = threading.Lock()
        mine.acquire()  # `end` releases it: acquiring it again waits for that
        self._waiting.append(mine)
        if self.outcome is None:
            mine.acquire(timeout=max(seconds, 0.0))
        return self.outcome

    def end(self, outcome: Outcome) -> None:
        """Set the outcome unless there is one already, and wake all waiting callers."""
        if self.outcome is None:
            self.outcome = outcome
        with contextlib.suppress(IndexError):
            while True:
                self._waiting.popleft().release()
