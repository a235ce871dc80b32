"""inotify(7), through the C library."""

# ruff: noqa: PLC0415 (ctypes is imported when the first file is watched)

import errno
import os
import struct
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from hcpcreds.fork_locks import first_use
from hcpcreds.watch.descriptors import Descriptor

# linux/inotify.h
CLOSE_WRITE: Final = 0x8
MOVED_FROM: Final = 0x40
MOVED_TO: Final = 0x80
CREATE: Final = 0x100
DELETE: Final = 0x200
DELETE_SELF: Final = 0x400
MOVE_SELF: Final = 0x800
UNMOUNT: Final = 0x2000
OVERFLOW: Final = 0x4000
IGNORED: Final = 0x8000
ONLYDIR: Final = 0x1000000

_HEADER: Final = struct.Struct("iIII")
_READ_BYTES: Final = 1 << 16


class Event(NamedTuple):
    """A change in a directory, or of the directory itself."""

    watch: int
    mask: int
    name: str
    """Name of the entry; empty for a change of the directory itself."""


class Inotify:
    """One inotify instance. Its calls raise OSError with EBADF when other code has closed its descriptor.

    Args:
        libc: From `load_libc`.

    Raises:
        OSError: A limit of the process or the user is reached.
    """

    def __init__(self, libc: Any) -> None:  # noqa: ANN401 (ctypes' own)
        self._libc = libc
        self.descriptor = Descriptor(self._check(self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)))

    def add_watch(self, directory: str, mask: int) -> int:
        """Watch a directory; returns the number of the watch, the same for the same directory.

        Raises:
            OSError: It cannot be watched.
        """
        return self._check(
            self._libc.inotify_add_watch(self._get_number(), os.fsencode(directory), mask), directory
        )

    def remove_watch(self, watch: int) -> None:
        """Stop watching a directory.

        Raises:
            OSError: It is not watched.
        """
        self._check(self._libc.inotify_rm_watch(self._get_number(), watch))

    def read(self) -> Iterator[Event]:
        """Read the events that fit into one read; never blocks.

        Raises:
            OSError: The instance cannot be read.
        """
        try:
            data = os.read(self._get_number(), _READ_BYTES)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            watch, mask, _, length = _HEADER.unpack_from(data, at)
            at += _HEADER.size
            yield Event(watch, mask, os.fsdecode(data[at : at + length].rstrip(b"\0")))
            at += length

    def _get_number(self) -> int:
        if not self.descriptor.is_ours():
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self.descriptor.number

    def _check(self, result: int, directory: str | None = None) -> int:
        if result == -1:
            import ctypes

            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), directory)
        return result


def load_libc() -> Any:  # noqa: ANN401 (whatever functions it has)
    """Load the C library that this process runs with.

    Raises:
        OSError: It has no inotify, or Python has no ctypes.
    """
    with first_use:
        try:
            import ctypes

            libc = ctypes.CDLL(None, use_errno=True)
            libc.inotify_add_watch.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)
        except (ImportError, OSError, AttributeError):
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from None
    return libc
