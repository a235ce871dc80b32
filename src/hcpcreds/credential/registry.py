"""One source for each path in this process, and one watcher for all sources."""

import functools
import os
import threading
from collections.abc import Callable
from datetime import timedelta

from hcpcreds.credential.source import CredentialSource, Listener
from hcpcreds.credential.watcher import Watcher
from hcpcreds.fork_locks import first_use, signing

_watcher = Watcher()
_sources: dict[str, CredentialSource] = {}
_lock = threading.Lock()


def open_source(  # noqa: PLR0913 (all keywords)
    path: str | os.PathLike[str],
    *,
    backstop: timedelta,
    poll: bool,
    read: bool,
    clock: Callable[[], float],
    listener: Listener | None,
) -> tuple[CredentialSource, Callable[[], None]]:
    """Get the process's one source for a path, which several share.

    Args:
        path: The credential file, which need not exist.
        backstop: How often to read it at least; the shortest that anybody asked for counts.
        poll: Whether to read it every second instead of watching it; if anybody asked for that.
        read: Whether to read it here and now if there is nothing from it yet; else the watcher's thread does.
        clock: Unix time.
        listener: Whom to tell of reloads, for as long as it lives.

    Returns:
        The source, and what to call once to give it back; the last one given back is watched no longer.
    """
    path = os.path.abspath(path)  # noqa: PTH100 (the symlinks on the way stay, for they are watched)
    with _lock:
        source = _sources.get(path)
        is_new = source is None
        if source is None:
            source = CredentialSource(path, backstop=backstop, clock=clock, post=_watcher.post)
            _sources[path] = source
        source.users += 1
        source.backstop = min(source.backstop, backstop)
    if listener is not None:
        source.add_listener(listener)
    if read and source.snapshot is None:
        source.reload(deliver=_watcher.post)
    if is_new or poll:
        _watcher.add(source, poll=poll)
    # Given back by the watcher's thread: a finalizer may run anywhere, even where the lock is held.
    return source, functools.partial(_watcher.post, functools.partial(_give_back, source))


def _give_back(source: CredentialSource) -> None:
    with _lock:
        source.users -= 1
        if source.users > 0:
            return
        del _sources[source.path]
    _watcher.remove(source)


def _prepare_fork() -> None:
    # This one first: whoever holds it may collect a credential, and so want the watcher's.
    first_use.acquire()
    signing.acquire()
    _lock.acquire()
    _watcher.prepare_fork()


def _go_on_after_fork() -> None:
    _watcher.go_on_after_fork()
    _lock.release()
    signing.release()
    first_use.release()


def _reset_after_fork() -> None:
    first_use.release()
    signing.release()
    _lock.release()
    for source in _sources.values():
        source.reset_after_fork()
    _watcher.reset_after_fork()


os.register_at_fork(before=_prepare_fork, after_in_parent=_go_on_after_fork, after_in_child=_reset_after_fork)
