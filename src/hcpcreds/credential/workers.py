"""Daemon threads for what must not hold up a caller or an event loop; none while there is nothing to do."""

import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

from hcpcreds.errors import locate

_MAX_THREADS: Final = 4
_MAX_WAITING: Final = 1_000
_IDLE_SECONDS: Final = 1.0

_log = logging.getLogger("hcpcreds.credential")

T = TypeVar("T")


class Workers:
    """Calls what it is given, in its threads. One for each kind of work, made once for the process.

    When all threads are held up, by an authority that hangs, the rest waits; so only work that somebody else
    can take over belongs beside such work. (concurrent.futures has no daemon threads: a hung authority would
    hold up the exit.)
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.reset_after_fork()
        os.register_at_fork(after_in_child=self.reset_after_fork)

    def reset_after_fork(self) -> None:
        """Start with no threads and nothing to do."""
        self._condition = threading.Condition()
        self._waiting: deque[Callable[[], object]] = deque()
        self._threads: list[threading.Thread] = []
        self._idle = 0

    def submit(self, work: Callable[[], object]) -> bool:
        """Have a thread call something soon.

        Returns:
            Whether one will. False when no thread can be started, or when a thousand others wait already:
            nobody calls it then. Never raises for want of a thread.
        """
        with self._condition:
            if len(self._waiting) >= _MAX_WAITING:
                return False
            self._waiting.append(work)
            if len(self._waiting) <= self._idle:
                self._condition.notify()
                return True
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            if len(self._threads) < _MAX_THREADS:
                thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                try:
                    thread.start()
                except (RuntimeError, MemoryError):  # "can't start new thread": a limit of the pod, say
                    if not self._threads:
                        self._waiting.pop()
                        return False
                else:
                    self._threads.append(thread)
            return True

    def call(self, work: Callable[[], T]) -> "Future[T]":
        """Call something in a thread, or at once and here when no thread can be started.

        Returns:
            Its result to come; in asyncio code for `asyncio.wrap_future`. Unlike `asyncio.to_thread`, this
            waits for nobody else's work in the event loop's default executor.
        """
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 (it is raised where the result is waited for)
                future.set_exception(error)

        if not self.submit(run):
            run()
        return future

    def _run(self) -> None:
        while True:
            with self._condition:
                self._idle += 1
                try:
                    self._condition.wait_for(lambda: self._waiting, timeout=_IDLE_SECONDS)
                finally:
                    self._idle -= 1
                if not self._waiting:
                    # It still lives for a moment, and would be counted by whoever submits now.
                    me = threading.current_thread()
                    self._threads = [thread for thread in self._threads if thread is not me]
                    return
                work = self._waiting.popleft()
            try:
                work()
            except Exception as error:  # noqa: BLE001 (one failure must not stop all later work)
                _log.error("work in the background failed: %s", locate(error))
            del work
