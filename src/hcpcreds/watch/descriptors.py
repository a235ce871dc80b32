"""File descriptors that are known by what they are, and not by their numbers alone.

What turns a process into a daemon closes every descriptor, also those of others, and the kernel gives their
numbers to whoever opens something next. Who goes by the number then reads, writes or closes another's file.
"""

import contextlib
import fcntl
import os
import signal
from typing import Final

_MARK: Final = signal.SIGURG
"""Never sent, for that takes O_ASYNC and an owner (fcntl(2)); and ignored by default if it ever were."""


class Descriptor:
    """One that this process opened and nobody else should touch; yet somebody may have closed it."""

    __slots__ = ("_identity", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        # All inotify instances, eventfds and epolls share one inode, so what is ours bears a mark besides.
        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(number, fcntl.F_SETSIG, _MARK)
        self._identity = _identify(number)

    def is_ours(self) -> bool:
        """Whether the number still means what was opened."""
        return self._identity is not None and _identify(self.number) == self._identity

    def close(self) -> None:
        """Close it, unless somebody has; what has its number now stays open."""
        if self.is_ours():
            os.close(self.number)
        self._identity = None


def _identify(number: int) -> tuple[int, int, int] | None:
    try:
        found = os.fstat(number)
    except OSError:
        return None
    try:
        mark = fcntl.fcntl(number, fcntl.F_GETSIG)
    except (OSError, AttributeError):
        mark = 0
    return found.st_dev, found.st_ino, mark
