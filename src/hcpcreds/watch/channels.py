"""What the watcher's thread waits on: a pipe by which others wake it, the mount table, and inotify.

Other code may close any of these at any time, or use up the descriptors of the process. Whatever is missing
is reopened; until then, the watcher looks for work every second.
"""

import contextlib
import os
import selectors
from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

from hcpcreds.watch.descriptors import Descriptor
from hcpcreds.watch.directories import DirectoryWatches

U = TypeVar("U")


class Ready(NamedTuple):
    """What ended a wait. Both are false if somebody woke the thread, or the time was up."""

    mounts: bool = False
    inotify: bool = False


class Channels(Generic[U]):
    """The descriptors of one watcher.

    Only the watcher's thread waits, reads and opens. `open_pipe`, `wake` and `close` are called under the
    watcher's lock, so that nobody writes to a descriptor while it is being closed.
    """

    def __init__(self) -> None:
        self.directories: DirectoryWatches[U] | None = None
        """Opened by the watcher when the first file is watched."""
        self._pipe: tuple[Descriptor, Descriptor] | None = None
        self._mounts: Descriptor | None = None

    @property
    def has_pipe(self) -> bool:
        """Whether `wake` can end a wait."""
        return self._pipe is not None

    def open_pipe(self) -> None:
        """Open the pipe if it is missing, or if other code has closed an end of it."""
        if self._pipe is not None and all(end.is_ours() for end in self._pipe):
            return
        for end in self._pipe or ():
            end.close()
        self._pipe = _open_pipe()

    def wake(self) -> None:
        """End the wait of the watcher's thread."""
        # Both ends: writing where nobody reads can end a process (SIGPIPE). Closing the pipe woke the thread
        # already, and a full one does so too.
        if self._pipe is not None and all(end.is_ours() for end in self._pipe):
            with contextlib.suppress(OSError):
                os.write(self._pipe[1].number, b"\0")

    def replace_mounts(self) -> bool:
        """Open the mount table if it is missing; returns whether other code had closed it."""
        was_closed = self._mounts is not None and not self._mounts.is_ours()
        if was_closed or self._mounts is None:
            self._mounts = _open_mounts()
        return was_closed

    def drop_closed_inotify(self) -> bool:
        """Forget inotify if other code has closed it; returns whether that was so."""
        was_closed = self.directories is not None and not self.directories.inotify.descriptor.is_ours()
        if was_closed:
            self.directories = None
        return was_closed

    def wait(self, seconds: float) -> Ready:
        """Wait until something happens, or until the time is up.

        Raises:
            OSError, ValueError: There is nothing to wait with, or a descriptor was closed just before.
        """
        inotify = self.directories.inotify.descriptor if self.directories is not None else None
        with _open_selector() as selector:
            if self._pipe is not None:
                selector.register(self._pipe[0].number, selectors.EVENT_READ)
            if inotify is not None:
                selector.register(inotify.number, selectors.EVENT_READ)
            if self._mounts is not None:
                # Always readable and never writable. A change shows as an error, which wakes a wait to write.
                selector.register(self._mounts.number, selectors.EVENT_WRITE)
            ready = {key.fd for key, _ in selector.select(seconds)}
        if self._pipe is not None and self._pipe[0].number in ready and self._pipe[0].is_ours():
            with contextlib.suppress(BlockingIOError):
                os.read(self._pipe[0].number, 4096)
        return Ready(
            mounts=self._mounts is not None and self._mounts.number in ready,
            inotify=inotify is not None and inotify.number in ready,
        )

    def close(self) -> None:
        """Close everything."""
        for descriptor in self._list_open():
            descriptor.close()
        self._pipe = self._mounts = self.directories = None

    def _list_open(self) -> Iterator[Descriptor]:
        yield from self._pipe or ()
        if self._mounts is not None:
            yield self._mounts
        if self.directories is not None:
            yield self.directories.inotify.descriptor


def _open_selector() -> selectors.BaseSelector:
    # poll needs no descriptor of its own, unlike epoll. Under eventlet or gevent the default selector is
    # theirs, as their threads are, and only that one lets these run.
    if selectors.DefaultSelector is getattr(selectors, "EpollSelector", None):
        return getattr(selectors, "PollSelector", selectors.DefaultSelector)()
    return selectors.DefaultSelector()


def _open_pipe() -> tuple[Descriptor, Descriptor] | None:
    # None when the process is out of descriptors: the thread then looks every second for work.
    try:
        ends = os.pipe()
    except OSError:
        return None
    for end in ends:
        os.set_blocking(end, False)
    return Descriptor(ends[0]), Descriptor(ends[1])


def _open_mounts() -> Descriptor | None:
    # A mount over a directory triggers no event in it, but changes the mount table: proc(5).
    try:
        return Descriptor(os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return None
