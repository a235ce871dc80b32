# ruff: noqa: PTH115, PTH120 (paths are walked at every event; Path objects cost more than the walk)
"""Which directories are watched, and who wants to know of which of their entries.

What is watched are directories, not files: the CSI driver never writes to a mounted file, it swaps a symlink
beside it (kubernetes-sigs/secrets-store-csi-driver, pkg/util/fileutil/atomic_writer.go). Every directory
entry that decides what a path means is watched: each symlink on the way, each parent, and the file itself.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterable
from typing import Final, Generic, TypeVar

from hcpcreds.watch import inotify as events
from hcpcreds.watch.inotify import Inotify

_MAX_WALKS: Final = 10
_MAX_SYMLINKS: Final = 40  # Linux's own limit, path_resolution(7)
_SELF: Final = events.DELETE_SELF | events.MOVE_SELF | events.UNMOUNT | events.IGNORED
_MASK: Final = (
    events.CLOSE_WRITE
    | events.MOVED_FROM
    | events.MOVED_TO
    | events.CREATE
    | events.DELETE
    | events.DELETE_SELF
    | events.MOVE_SELF
    | events.ONLYDIR
)

U = TypeVar("U")
_Entries = tuple[tuple[int, str], ...]
"""Watch and name of each directory entry that a path depends on."""


class _Directory(Generic[U]):
    __slots__ = ("names", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.names: dict[str, set[U]] = {}


class Watches(Generic[U]):
    """The watches of one inotify instance, on the paths of many users."""

    def __init__(self, inotify: Inotify) -> None:
        self.inotify = inotify
        self._directories: dict[int, _Directory[U]] = {}
        self._users: dict[U, _Entries] = {}

    def watch(self, user: U, path: str) -> bool:
        """Watch all that a user's path depends on now.

        Returns:
            Whether that has changed, and so may have been missed.

        Raises:
            OSError: It cannot be watched.
        """
        has_changed = False
        for _ in range(_MAX_WALKS):
            steps = resolve_entries(path)
            found = self._add(steps)
            before = self._users.get(user, ())
            if found == before:
                break
            for watch, name in found:
                self._directories[watch].names.setdefault(name, set()).add(user)
            self._users[user] = found
            self._drop(user, set(before) - set(found))
            has_changed = True
            # What changed before its directory was watched has told nobody. In a storm the events go on.
            if resolve_entries(path) == steps:
                break
        return has_changed

    def forget(self, user: U) -> None:
        """Watch nothing for a user any more."""
        self._drop(user, self._users.pop(user, ()))

    def read(self) -> tuple[list[U], list[U]]:
        """Read what has happened.

        Returns:
            Whose paths may mean something else now; and whose file is new, and most likely still being
            written: its writer's close() will tell, unless it was written elsewhere and linked here.

        Raises:
            OSError: It cannot be read.
        """
        touched: dict[U, None] = {}
        begun: dict[U, None] = {}
        for watch, mask, name in self.inotify.read():
            if mask & events.OVERFLOW:
                return list(self._users), []
            directory = self._directories.get(watch)
            if directory is None:
                continue
            if mask & _SELF:
                for users in directory.names.values():
                    touched.update(dict.fromkeys(users))
                if mask & events.IGNORED:
                    del self._directories[watch]
            elif name in directory.names:
                is_begun = mask & events.CREATE and _is_being_written(directory.path, name)
                (begun if is_begun else touched).update(dict.fromkeys(directory.names[name]))
        return list(touched), list(begun)

    def _add(self, steps: list[tuple[str, str]]) -> _Entries:
        found: list[tuple[int, str]] = []
        added: dict[str, int] = {}
        for directory, name in steps:
            try:
                watch = added.get(directory) or self.inotify.add_watch(directory, _MASK)
            except OSError as error:
                vanished = error.errno in (errno.ENOENT, errno.ENOTDIR)
                # A parent that may be passed but not listed cannot be watched; it hardly ever changes.
                if vanished or (error.errno == errno.EACCES and (directory, name) != steps[-1]):
                    continue
                self._remove_unused(watch for watch, _ in found)
                raise
            if watch not in self._directories:
                self._directories[watch] = _Directory(directory)
            added[directory] = watch
            found.append((watch, name))
        return tuple(found)

    def _drop(self, user: U, entries: Iterable[tuple[int, str]]) -> None:
        for watch, name in entries:
            directory = self._directories.get(watch)
            if directory is not None and name in directory.names:
                directory.names[name].discard(user)
                if not directory.names[name]:
                    del directory.names[name]
        self._remove_unused(watch for watch, _ in entries)

    def _remove_unused(self, watches: Iterable[int]) -> None:
        for watch in watches:
            directory = self._directories.get(watch)
            if directory is not None and not directory.names:
                del self._directories[watch]
                # The watch is gone already when its directory is.
                with contextlib.suppress(OSError):
                    self.inotify.remove_watch(watch)


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
        step = f"{here}/{name}" if here != "/" else f"/{name}"
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
    try:
        found = os.lstat(f"{directory}/{name}")
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1
