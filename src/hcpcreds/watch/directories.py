"""The directories that inotify watches, and whose paths depend on which of their entries.

Directories are watched rather than files: the CSI driver never writes to a mounted file, it swaps a symlink
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
from hcpcreds.watch.paths import resolve_entries

_MAX_WALKS: Final = 10
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
"""Number of the watch, and name, of each directory entry that a path depends on."""


class _Directory(Generic[U]):
    __slots__ = ("names", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.names: dict[str, set[U]] = {}


class DirectoryWatches(Generic[U]):
    """The directories that one inotify instance watches for the paths of many users."""

    def __init__(self, inotify: Inotify) -> None:
        self.inotify = inotify
        self._directories: dict[int, _Directory[U]] = {}
        self._users: dict[U, _Entries] = {}

    def watch(self, user: U, path: str) -> bool:
        """Watch every entry that a user's path depends on now.

        Returns:
            Whether these entries have changed, so that a change of the file may have gone unnoticed.

        Raises:
            OSError: A directory cannot be watched.
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
            # A change before its directory was watched triggered no event. In a storm, later ones will.
            if resolve_entries(path) == steps:
                break
        return has_changed

    def forget(self, user: U) -> None:
        """Stop watching for a user."""
        self._drop(user, self._users.pop(user, ()))

    def read(self) -> tuple[list[U], list[U]]:
        """Read the events so far; never blocks.

        Returns:
            The users whose path may lead to something else now; and those whose file is new and most likely
            still being written. The writer's close() triggers another event, unless the file was written
            elsewhere and linked here.

        Raises:
            OSError: The instance cannot be read.
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
                # A parent that may be entered but not listed cannot be watched; it hardly ever changes.
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


def _is_being_written(directory: str, name: str) -> bool:
    try:
        found = os.lstat(f"{directory}/{name}")
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1
