"""The sources of this process: one for each path and the format in which it is read."""

import functools
import os
import threading
from collections.abc import Callable
from datetime import timedelta

from hcpcreds.credential.source import CredentialSource, Listener
from hcpcreds.credential_file.content import FileFormat
from hcpcreds.fork_locks import first_use, openssl
from hcpcreds.watch import make_absolute
from hcpcreds.watch.shared import shared_watcher

_sources: dict[tuple[str, FileFormat], CredentialSource] = {}
_lock = threading.Lock()


def open_source(  # noqa: PLR0913 (all keywords)
    path: str | os.PathLike[str],
    file_format: FileFormat,
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
        file_format: How it is read; equal ones share the source.
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
    key = path, file_format
    with _lock:
        source = _sources.get(key)
        is_new = source is None
        if source is None:
            source = CredentialSource(
                path, file_format, backstop=backstop, clock=clock, watcher=shared_watcher
            )
        source.join(clock=clock, uses_authority=uses_authority, listener=listener)
        _sources[key] = source
        source.users += 1
        source.backstop = min(source.backstop, backstop)
    if read and source.snapshot is None:
        source.reload(deliver=source.post)
    if is_new or poll:
        source.start_watching(poll=poll)
    # Released on the watcher's thread: a finalizer may run anywhere, even where the lock is held.
    return source, functools.partial(_request_release, source, key)


def _request_release(source: CredentialSource, key: tuple[str, FileFormat]) -> None:
    source.left.append(None)
    source.post(functools.partial(_release, source, key))


def _release(source: CredentialSource, key: tuple[str, FileFormat]) -> None:
    with _lock:
        source.left.popleft()
        source.users -= 1
        if source.users > 0:
            return
        del _sources[key]
    source.stop_watching()


def _prepare_fork() -> None:
    # Before the watcher's lock, because these hooks run in reverse order of registration. `first_use` comes
    # first: a thread that holds it may collect a credential, which acquires one of the others.
    first_use.acquire()
    openssl.acquire()
    _lock.acquire()


def _resume_after_fork() -> None:
    _lock.release()
    openssl.release()
    first_use.release()


def _reset_after_fork() -> None:
    first_use.release()
    openssl.release()
    _lock.release()
    for source in _sources.values():
        source.reset_after_fork()


os.register_at_fork(
    before=_prepare_fork, after_in_parent=_resume_after_fork, after_in_child=_reset_after_fork
)
