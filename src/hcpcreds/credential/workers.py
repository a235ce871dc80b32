"""A few daemon threads for refreshing tokens in the background; none while there is nothing to do."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

_MAX_WORKERS: Final = 4
_IDLE_SECONDS: Final = 1.0

_log = logging.getLogger("hcpcreds.credential")


class Workers:
    """Calls what it is given, in its threads.

    When all threads are held up, by an authority that hangs, the rest waits; so only work that somebody else
    can take over belongs here. (concurrent.futures has no daemon threads: a hung authority would hold up the
    exit.)
    """

    def __init__(self) -> None:
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Start with no threads and nothing to do."""
        self._condition = threading.Condition()
        self._waiting: deque[Callable[[], None]] = deque()
        self._threads = 0
        self._idle = 0

    def submit(self, work: Callable[[], None]) -> None:
        """Have a thread call something soon."""
        with self._condition:
            self._waiting.append(work)
            if self._idle:
                self._condition.notify()
            elif self._threads < _MAX_WORKERS:
                self._threads += 1
                threading.Thread(target=self._run, name="hcpcreds-refresh", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._idle += 1
                self._condition.wait_for(lambda: self._waiting, timeout=_IDLE_SECONDS)
                self._idle -= 1
                if not self._waiting:
                    self._threads -= 1
                    return
                work = self._waiting.popleft()
            try:
                work()
            except Exception:  # noqa: BLE001 (one failure must not stop all later refreshes)
                _log.exception("a background refresh failed, and the next call asks again")
            del work
