"""File descriptors that are recognized by what they refer to, and not by their number alone.

Code that makes a process a daemon closes every descriptor, and the kernel reuses the numbers for whatever is
opened next. Code that trusts a number then reads, writes or closes a file that belongs to somebody else.
"""

import contextlib
import fcntl
import os
import signal
from typing import Final

_MARK: Final = signal.SIGURG
"""A harmless one: it is sent only with O_ASYNC and an owner (fcntl(2)), and ignored by default."""


class Descriptor:
    """A descriptor that this process opened, and that other code may have closed since."""

    __slots__ = ("_identity", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        # All inotify instances, eventfds and epolls share one inode, so ours carry a mark as well.
        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(number, fcntl.F_SETSIG, _MARK)
        self._identity = _identify(number)

    def is_ours(self) -> bool:
        """Whether the number still refers to what was opened."""
        return self._identity is not None and _identify(self.number) == self._identity

    def close(self) -> None:
        """Close it, unless somebody has; whatever has its number now stays open."""
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
