"""Daemon threads for work that must not block a caller or an event loop; they end when there is none."""

import contextlib
import functools
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Final, TypeVar

from hcpcreds.errors import locate

_MAX_WAITING: Final = 1_000
_IDLE_SECONDS: Final = 1.0

_log = logging.getLogger("hcpcreds.workers")

T = TypeVar("T")
_Work = Callable[[], object]
_Mailbox = SimpleQueue[_Work | None]


class Workers:
    """A small pool of daemon threads. Create one per process for each kind of work.

    When every thread is blocked (by an authority that hangs, say), the rest of the work waits: put work with
    different dependencies into different pools. The threads of concurrent.futures are not daemons, and a hung
    authority would delay the exit of the process.

    Args:
        name: Name of the threads.
        threads: Maximum number of threads.
    """

    def __init__(self, name: str, *, threads: int = 4) -> None:
        self._name = name
        self._max_threads = threads
        self.reset_after_fork()
        os.register_at_fork(after_in_child=self.reset_after_fork)

    def reset_after_fork(self) -> None:
        """Start again without threads and without work."""
        self._state = _State(self._max_threads)

    def submit(self, work: _Work) -> bool:
        """Queue a callable for a thread.

        Returns:
            Whether a thread will call it. False if no thread can be started, or if a thousand callables
            wait already; it is then never called. Does not raise when there are no threads.
        """
        state = self._state
        if state.hand_over(work) or (not state.permits.empty() and self._start(work)):
            return True
        if state.permits.qsize() == self._max_threads or len(state.waiting) >= _MAX_WAITING:
            return False
        state.waiting.append(work)
        state.hand_over(None)  # to a thread that has become idle meanwhile
        return True

    def call(self, work: Callable[[], T]) -> "Future[T]":
        """Call something on a thread, or on the caller's if none can be started.

        Returns:
            A future; asyncio code wraps it with `asyncio.wrap_future`. Unlike `asyncio.to_thread`, this does
            not wait for other work in the event loop's default executor.
        """
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 (the future raises it)
                future.set_exception(error)

        if not self.submit(run):
            run()
        return future

    def _start(self, work: _Work) -> bool:
        run = functools.partial(_run, self._state, work)
        try:
            threading.Thread(target=run, name=self._name, daemon=True).start()
        except (RuntimeError, MemoryError):  # "can't start new thread": a limit of the pod, say
            return False
        return True


class _State:
    """The state that the threads share.

    There is no lock: each step is a single operation of a deque or a queue. An exception may hit the caller
    between any two lines (a signal, a killed greenlet), and a lock left behind would stop all work.
    """

    def __init__(self, threads: int) -> None:
        self.waiting: deque[_Work] = deque()
        """Work for which no thread was free."""
        self.idle: deque[_Mailbox] = deque()
        """Mailboxes of idle threads. A caller that takes one from here must put something into it."""
        self.permits: SimpleQueue[None] = SimpleQueue()
        """One for each further thread that may run."""
        for _ in range(threads):
            self.permits.put(None)

    def hand_over(self, work: _Work | None) -> bool:
        """Give work to an idle thread, if there is one; None makes it look for work itself."""
        try:
            self.idle.pop().put(work)
        except IndexError:
            return False
        return True

    def take_permit(self) -> bool:
        """Whether one more thread may run; if so, it counts as running."""
        try:
            self.permits.get_nowait()
        except Empty:
            return False
        return True

    def get(self, mailbox: _Mailbox) -> _Work | None:
        """Wait for work on an idle thread; None if none has come for a while."""
        while True:
            try:
                return self.waiting.popleft()
            except IndexError:
                self.idle.append(mailbox)
            if self.waiting and self._leave(mailbox):
                continue  # it came just before others could see that this thread is idle
            try:
                work = mailbox.get(timeout=_IDLE_SECONDS)
            except Empty:
                if self._leave(mailbox):
                    return None
                # Somebody is about to put work into it, unless an exception has hit them first.
                with contextlib.suppress(Empty):
                    return mailbox.get(timeout=_IDLE_SECONDS)
                return None
            if work is not None:
                return work

    def _leave(self, mailbox: _Mailbox) -> bool:
        try:
            self.idle.remove(mailbox)
        except ValueError:
            return False
        return True


def _run(state: _State, work: _Work) -> None:
    mailbox: _Mailbox = SimpleQueue()
    mine: _Work | None = work
    del work
    while state.take_permit():
        while mine is not None:
            _call(mine)
            mine = None  # frees what it refers to before this thread waits
            mine = state.get(mailbox)
        state.permits.put(None)
        try:
            mine = state.waiting.popleft()  # it came just after this thread had given up
        except IndexError:
            return
    if mine is not None:
        # Several threads were started at once for the last permit.
        state.waiting.append(mine)
        state.hand_over(None)


def _call(work: _Work) -> None:
    try:
        work()
    except Exception as error:  # noqa: BLE001 (one failure must not stop all later work)
        _log.error("work in the background failed: %s", locate(error))
