"""One source for each path in this process, and one watcher for all sources."""

import functools
import os
import threading
from collections.abc import Callable
from datetime import timedelta

from hcpcreds.credential.source import CredentialSource, Listener
from hcpcreds.errors import InputError
from hcpcreds.fork_locks import first_use, signing
from hcpcreds.text import make_safe
from hcpcreds.watch.watcher import Watcher

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
    path = _make_absolute(path)
    with _lock:
        source = _sources.get(path)
        is_new = source is None
        if source is None:
            source = CredentialSource(
                path, backstop=backstop, clock=clock, post=_watcher.post, keep_watched=_watcher.keep_running
            )
        source.join(clock=clock, uses_authority=uses_authority, listener=listener)
        _sources[path] = source
        source.users += 1
        source.backstop = min(source.backstop, backstop)
    if read and source.snapshot is None:
        source.reload(deliver=_watcher.post)
    if is_new or poll:
        _watcher.add(source, poll=poll)
    # Given back by the watcher's thread: a finalizer may run anywhere, even where the lock is held.
    return source, functools.partial(_leave, source)


def _make_absolute(path: str | os.PathLike[str]) -> str:
    """Make a path absolute, and leave it as it is besides.

    What `..` means is the kernel's to say: in `link/../file` it is the parent of where the link leads.
    """
    text = os.fsdecode(path)
    try:
        name = os.fsencode(text)
    except UnicodeEncodeError:
        raise InputError("path", ["has characters that no file name can have here"]) from None
    if not name or b"\0" in name:
        raise InputError("path", ["expected the path of a file, without NUL characters"])
    if text.startswith("/"):
        return text
    try:
        return os.path.join(os.getcwd(), text)  # noqa: PTH109, PTH118 (pathlib would tidy the path)
    except OSError as error:
        raise InputError(
            "path",
            [f"{make_safe(text)} is relative, and the working directory is not there: {error.strerror}"],
            hint="Name the file by its absolute path.",
        ) from None


def _leave(source: CredentialSource) -> None:
    source.left.append(None)
    _watcher.post(functools.partial(_give_back, source))


def _give_back(source: CredentialSource) -> None:
    with _lock:
        source.left.popleft()
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
