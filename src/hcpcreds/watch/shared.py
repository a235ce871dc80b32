"""The watcher that the whole process shares, and its handling of forks."""

import os
from collections.abc import Callable
from typing import Final

from hcpcreds.fork_locks import becomes_another_program, first_use
from hcpcreds.watch.watcher import Watch, Watcher

shared_watcher: Final = Watcher()


def watch(path: str, on_change: Callable[[], float], *, poll: bool = False) -> Watch:
    """Watch a file with the process's one watcher; see `Watcher.watch`."""
    return shared_watcher.watch(path, on_change, poll=poll)


def post(work: Callable[[], object]) -> None:
    """Queue a callable on the watcher's thread; see `Watcher.post`."""
    shared_watcher.post(work)


def keep_running() -> bool:
    """Start the watcher's thread again if it has ended; see `Watcher.keep_running`."""
    return shared_watcher.keep_running()


def _prepare_fork() -> None:
    # In this order: a thread that holds `first_use` may collect something that posts, which takes the other.
    first_use.acquire()
    shared_watcher.lock.acquire()


def _continue_in_parent() -> None:
    shared_watcher.lock.release()
    first_use.release()


def _restart_in_child() -> None:
    first_use.release()
    if not becomes_another_program():
        shared_watcher.restart_in_child()


os.register_at_fork(
    before=_prepare_fork, after_in_parent=_continue_in_parent, after_in_child=_restart_in_child
)
