"""The sources of this process: one for each path."""

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
    """Return the process's shared source for a path, and a function that releases it.

    Args:
        path: The credential file, which need not exist.
        backstop: Longest time between two reads; the shortest value of all users counts.
        poll: Whether to read the file every second instead of watching it; one user is enough.
        read: Whether to read the file before returning if the source has no credential yet; otherwise the
            watcher's thread reads it.
        clock: Unix time.
        uses_authority: Whether the user sends its requests to the authority in the file.
        listener: Returns the function to call after a reload, or None when its owner no longer exists.

    Returns:
        The source, and the function to call once to release it. The last release stops the watch.

    Raises:
        InputError: No file can have this path, or other users passed another clock.
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
    # Released on the watcher's thread: a finalizer may run anywhere, even where the lock is held.
    return source, functools.partial(_request_release, source)


def _request_release(source: CredentialSource) -> None:
    source.left.append(None)
    source.post(functools.partial(_release, source))


def _release(source: CredentialSource) -> None:
    with _lock:
        source.left.popleft()
        source.users -= 1
        if source.users > 0:
            return
        del _sources[source.path]
    source.stop_watching()


def _prepare_fork() -> None:
    # Before the watcher's lock, because these hooks run in reverse order of registration. `first_use` comes
    # first: a thread that holds it may collect a credential, which acquires one of the others.
    first_use.acquire()
    signing.acquire()
    _lock.acquire()


def _resume_after_fork() -> None:
    _lock.release()
    signing.release()
    first_use.release()


def _reset_after_fork() -> None:
    first_use.release()
    signing.release()
    _lock.release()
    for source in _sources.values():
        source.reset_after_fork()


os.register_at_fork(
    before=_prepare_fork, after_in_parent=_resume_after_fork, after_in_child=_reset_after_fork
)
