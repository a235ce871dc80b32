"""One source for each path in this process."""

import functools
import os
import threading
from collections.abc import Callable
from datetime import timedelta

from hcpcreds.credential.source import CredentialSource, Listener
from hcpcreds.fork_locks import first_use, signing
from hcpcreds.watch import make_absolute
from hcpcreds.watch.shared import shared_watcher

_sources: dict[str, CredentialSource] = {}
_lock = threading.Lock()


def open_source(  # noqa: PLR0913 (all keywords)
    path: str | os.PathLike[str],
    *,
    backstop: timedelta,
    poll: bool,
    read: bool,
    clock: Callable[[], float],
    uses_authority: bool = False,
    listener: Callable[[], Listener | None] | None = None,
) -> tuple[CredentialSource, Callable[[], object]]:
    """Get the process's one source for a path, which several share.

    Args:
        path: The credential file, which need not exist.
        backstop: How often to read it at least; the shortest that anybody asked for counts.
        poll: Whether to read it every second instead of watching it; if anybody asked for that.
        read: Whether to read it here and now if there is nothing from it yet; else the watcher's thread does.
        clock: Unix time.
        uses_authority: Whether the file's own authority is asked.
        listener: Returns who wants to hear of reloads, and None when it has gone.

    Returns:
        The source, and what to call once to give it back; the last one given back is watched no longer.

    Raises:
        InputError: There can be no file of this path; or others judge it by another clock.
    """
    path = make_absolute(path)
    with _lock:
        source = _sources.get(path)
        is_new = source is None
        if source is None:
            source = CredentialSource(path, backstop=backstop, clock=clock, watcher=shared_watcher)
        source.join(clock=clock, uses_authority=uses_authority, listener=listener)
        _sources[path] = source
        source.users += 1
        source.backstop = min(source.backstop, backstop)
    if read and source.snapshot is None:
        source.reload(deliver=source.post)
    if is_new or poll:
        source.start_watching(poll=poll)
    # Given back by the watcher's thread: a finalizer may run anywhere, even where the lock is held.
    return source, functools.partial(_leave, source)


def _leave(source: CredentialSource) -> None:
    source.left.append(None)
    source.post(functools.partial(_give_back, source))


def _give_back(source: CredentialSource) -> None:
    with _lock:
        source.left.popleft()
        source.users -= 1
        if source.users > 0:
            return
        del _sources[source.path]
    source.stop_watching()


def _prepare_fork() -> None:
    # Before the watcher's lock, for these hooks run in the opposite order of their registration. And
    # `first_use` first: a thread that holds it may collect a credential, which takes one of the others.
    first_use.acquire()
    signing.acquire()
    _lock.acquire()


def _go_on_after_fork() -> None:
    _lock.release()
    signing.release()
    first_use.release()


def _reset_after_fork() -> None:
    first_use.release()
    signing.release()
    _lock.release()
    for source in _sources.values():
        source.reset_after_fork()


os.register_at_fork(before=_prepare_fork, after_in_parent=_go_on_after_fork, after_in_child=_reset_after_fork)
