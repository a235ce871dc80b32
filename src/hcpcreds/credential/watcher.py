# ruff: noqa: PTH115, PTH118, PTH120 (paths are walked at every event; Path objects cost more than the walk)
"""One thread and one inotify instance for every file that this process watches.

What is watched are directories, not files: the CSI driver never writes to a mounted file, it swaps a symlink
beside it (kubernetes-sigs/secrets-store-csi-driver, pkg/util/fileutil/atomic_writer.go). Every directory
entry that decides what a path means is watched: each symlink on the way, each parent, and the file itself.

The thread alone owns the watches. Others hand it work through `post`, which is safe even in a finalizer.
"""

import contextlib
import errno
import logging
import math
import os
import select
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from hcpcreds.credential.status import WatchMode
from hcpcreds.errors import locate
from hcpcreds.fork_locks import first_use

if TYPE_CHECKING:
    from inotify_simple import INotify

POLL_SECONDS: Final = 1.0
_MAX_WALKS: Final = 10
_MAX_SYMLINKS: Final = 40  # Linux's own limit, path_resolution(7)

# linux/inotify.h
_CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE = 0x8, 0x40, 0x80, 0x100
_DELETE, _DELETE_SELF, _MOVE_SELF = 0x200, 0x400, 0x800
_UNMOUNT, _OVERFLOW, _IGNORED, _ONLYDIR = 0x2000, 0x4000, 0x8000, 0x1000000
_SELF = _DELETE_SELF | _MOVE_SELF | _UNMOUNT | _IGNORED
_MASK = _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF | _ONLYDIR

_log = logging.getLogger("hcpcreds.credential")


class Watched(Protocol):
    """Something made from a file."""

    @property
    def path(self) -> str:
        """Absolute path of the file."""

    watch_mode: WatchMode
    """Written by the watcher."""

    def reload(self) -> None:
        """Read the file again, which may have changed. Never raises."""

    def get_delay(self) -> float:
        """Seconds after which to reload in any case."""


class _Entry:
    __slots__ = ("due", "entries", "item", "poll")

    def __init__(self, item: Watched, *, poll: bool) -> None:
        self.item = item
        self.poll = poll
        self.entries: list[tuple[int, str]] = []
        """Watch descriptor and name of each directory entry that the path depends on."""
        self.due = 0.0


class _Directory:
    __slots__ = ("names", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.names: dict[str, set[_Entry]] = {}


class Watcher:
    """Calls `reload` on items when their files change.

    The thread starts with the first item and ends after the last one.
    """

    def __init__(self) -> None:
        # Re-entrant, because a finalizer may post while its own thread is in here.
        self._lock = threading.RLock()
        self._inbox: deque[Callable[[], None]] = deque()
        self._items: dict[Watched, _Entry] = {}
        self._thread: threading.Thread | None = None
        self._wake: tuple[int, int] | None = None
        self._mounts: int | None = None
        self._next_due = math.inf
        self._directories: dict[int, _Directory] = {}
        self._inotify: INotify | None = None
        self._told: set[str] = set()

    def add(self, item: Watched, *, poll: bool) -> None:
        """Watch an item's file from now on; `poll` reads it every second instead."""
        self.post(lambda: self._add(item, poll=poll))

    def remove(self, item: Watched) -> None:
        """Watch an item's file no longer. Only from the watcher's thread, that is from something posted."""
        entry = self._items.pop(item, None)
        if entry is not None:
            self._set_entries(entry, [])

    def post(self, work: Callable[[], None]) -> None:
        """Have the watcher's thread call something soon. Never blocks."""
        self._inbox.append(work)
        with self._lock:
            if self._thread is None:
                self._wake = _open_pipe()
                self._thread = threading.Thread(target=self._run, name="hcpcreds-watcher", daemon=True)
                self._thread.start()
            elif self._wake is not None:
                # A full pipe wakes it as well.
                with contextlib.suppress(BlockingIOError):
                    os.write(self._wake[1], b"\0")

    def prepare_fork(self) -> None:
        """Hold still while the process forks, so that the child finds nothing half done."""
        self._lock.acquire()

    def go_on_after_fork(self) -> None:
        """Go on in the parent."""
        self._lock.release()

    def reset_after_fork(self) -> None:
        """Start again in a forked child, which has the parent's descriptors and none of its threads."""
        items = list(self._items.values())
        self._lock = threading.RLock()
        if self._thread is not None:
            self._close()
        self._items = {}
        for entry in items:
            self.add(entry.item, poll=entry.poll)

    def _run(self) -> None:
        self._mounts = _open_mounts()
        while True:
            while self._inbox:
                self._call(self._inbox.popleft())
            self._reload_due()
            if self._inbox:
                continue
            with self._lock:
                if not self._items and not self._inbox:
                    self._close()
                    return
            self._check(self._wait())

    def _wait(self) -> list[_Entry]:
        """Wait for something to do; tell whose files may have changed."""
        poller = select.poll()
        if self._wake is not None:
            poller.register(self._wake[0], select.POLLIN)
        if self._mounts is not None:
            poller.register(self._mounts, select.POLLPRI | select.POLLERR)
        if self._inotify is not None:
            poller.register(self._inotify.fileno(), select.POLLIN)
        touched: list[_Entry] = []
        for fd, _ in poller.poll(self._get_timeout()):
            if self._wake is not None and fd == self._wake[0]:
                os.read(fd, 4096)
            elif fd == self._mounts:
                touched = list(self._items.values())
            else:
                touched = touched or self._read_events()
        return touched

    def _close(self) -> None:
        for fd in (*(self._wake or ()), self._mounts):
            if fd is not None:
                os.close(fd)
        if self._inotify is not None:
            self._inotify.close()
        self._wake = self._mounts = self._thread = self._inotify = None
        self._directories.clear()
        self._next_due = math.inf
        self._told.clear()

    def _call(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 (one bad file must not stop all others)
            _log.error("the watcher failed, and goes on: %s", locate(error))

    def _add(self, item: Watched, *, poll: bool) -> None:
        entry = self._items.get(item)
        if entry is None:
            entry = self._items[item] = _Entry(item, poll=poll)
        entry.poll = entry.poll or poll
        self._check([entry])

    # Timers

    def _get_timeout(self) -> float | None:
        seconds = self._next_due - time.monotonic()
        if self._wake is None:
            seconds = min(seconds, POLL_SECONDS)
        return None if seconds == math.inf else max(0.0, seconds * 1000)

    def _set_timer(self, entry: _Entry) -> None:
        delay = entry.item.get_delay()
        if entry.item.watch_mode == "polling":
            delay = min(delay, POLL_SECONDS)
        entry.due = time.monotonic() + delay
        self._next_due = min(self._next_due, entry.due)

    def _reload_due(self) -> None:
        now = time.monotonic()
        if now < self._next_due:
            return
        due = [entry for entry in self._items.values() if entry.due <= now]
        self._next_due = min(
            (entry.due for entry in self._items.values() if entry.due > now), default=math.inf
        )
        self._check(due)

    def _check(self, entries: list[_Entry]) -> None:
        for entry in entries:
            self._call(entry.item.reload)
        for entry in entries:
            if self._items.get(entry.item) is not entry:
                continue
            # What changed before a directory was watched has told nobody: read again, walk the path again,
            # until the walk finds only what is watched already. In a storm the events go on telling.
            for _ in range(_MAX_WALKS):
                if not self._watch(entry):
                    break
                self._call(entry.item.reload)
            self._set_timer(entry)

    # inotify

    def _get_inotify(self) -> "INotify":
        if self._inotify is None:
            self._inotify = _open_inotify()
        return self._inotify

    def _watch(self, entry: _Entry) -> bool:
        """Watch what the entry's path depends on now; tell whether that has changed."""
        if entry.poll:
            entry.item.watch_mode = "polling"
            return False
        try:
            found = self._add_watches(entry.item.path)
        except OSError as error:
            self._tell(
                f"cannot watch files ({os.strerror(error.errno or 0)}); reads them every {POLL_SECONDS} s"
            )
            entry.item.watch_mode = "polling"
            return False
        entry.item.watch_mode = "watching"
        if found == entry.entries:
            return False
        self._set_entries(entry, found)
        return True

    def _add_watches(self, path: str) -> list[tuple[int, str]]:
        found: list[tuple[int, str]] = []
        places = resolve_entries(path)
        for directory, name in places:
            try:
                descriptor = self._get_inotify().add_watch(directory, _MASK)
            except OSError as error:
                vanished = error.errno in (errno.ENOENT, errno.ENOTDIR)
                # A parent that may be passed but not listed cannot be watched; it hardly ever changes.
                if vanished or (error.errno == errno.EACCES and (directory, name) != places[-1]):
                    continue
                self._drop_unused(found)
                raise
            self._directories.setdefault(descriptor, _Directory(directory))
            found.append((descriptor, name))
        return found

    def _set_entries(self, entry: _Entry, found: list[tuple[int, str]]) -> None:
        for descriptor, name in found:
            self._directories[descriptor].names.setdefault(name, set()).add(entry)
        for descriptor, name in set(entry.entries) - set(found):
            directory = self._directories.get(descriptor)
            if directory is not None and name in directory.names:
                directory.names[name].discard(entry)
                if not directory.names[name]:
                    del directory.names[name]
        self._drop_unused(entry.entries)
        entry.entries = found

    def _drop_unused(self, entries: list[tuple[int, str]]) -> None:
        for descriptor, _ in entries:
            directory = self._directories.get(descriptor)
            if directory is not None and not directory.names:
                del self._directories[descriptor]
                # The watch is gone already when its directory is.
                with contextlib.suppress(OSError):
                    self._get_inotify().rm_watch(descriptor)

    def _read_events(self) -> list[_Entry]:
        touched: dict[_Entry, None] = {}
        for descriptor, mask, _, name in self._get_inotify().read(timeout=0):
            if mask & _OVERFLOW:
                return list(self._items.values())
            directory = self._directories.get(descriptor)
            if directory is None:
                continue
            if mask & _SELF:
                for users in directory.names.values():
                    touched.update(dict.fromkeys(users))
                if mask & _IGNORED:
                    del self._directories[descriptor]
            elif name in directory.names and not (mask & _CREATE and _is_being_written(directory.path, name)):
                touched.update(dict.fromkeys(directory.names[name]))
        return list(touched)

    def _tell(self, reason: str) -> None:
        if reason not in self._told:
            self._told.add(reason)
            _log.warning("hcpcreds %s", reason)


def resolve_entries(path: str) -> list[tuple[str, str]]:
    """Walk a path as the kernel does.

    Returns:
        The (directory, name) of every step, as far as it goes; the directories are free of symlinks.
    """
    steps: list[tuple[str, str]] = []
    here = "/"
    names = path.split("/")[::-1]
    links = 0
    while names and links < _MAX_SYMLINKS:
        name = names.pop()
        if name in ("", "."):
            continue
        if name == "..":
            here = os.path.dirname(here)
            continue
        steps.append((here, name))
        step = os.path.join(here, name)
        try:
            target = os.readlink(step)
        except OSError as error:
            if error.errno != errno.EINVAL:
                break
            here = step
            continue
        links += 1
        if target.startswith("/"):
            here = "/"
        names.extend(target.split("/")[::-1])
    return steps


def _is_being_written(directory: str, name: str) -> bool:
    # A new regular file is empty still; its writer's close() will tell.
    try:
        found = os.lstat(os.path.join(directory, name))
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


def _open_pipe() -> tuple[int, int] | None:
    # Out of descriptors, the thread looks every second whether there is something to do.
    try:
        pipe = os.pipe()
    except OSError:
        return None
    os.set_blocking(pipe[1], False)
    return pipe


def _open_mounts() -> int | None:
    # Something mounted over a directory touches none of its entries. The mount table tells: proc(5).
    try:
        return os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def _open_inotify() -> "INotify":
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, "no inotify here")
    with first_use:
        from inotify_simple import INotify  # noqa: PLC0415

        return INotify()
