"""A directory in memory for an assertion, which is not left behind for long when its process is killed."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from hcpcreds.errors import InputError

_SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 (a directory with a name of its own is made in it)
_PREFIX: Final = "hcpcreds-exec-"


@contextmanager
def open_directory() -> Iterator[Path]:
    """Make a directory for the length of a context, and remove those that killed processes left behind.

    A process locks its directory for as long as it runs: unlike a process id, a lock means the same in every
    container that shares the memory.

    Raises:
        InputError: It cannot be made.
    """
    place = Path(_SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else tempfile.gettempdir())
    try:
        for left in place.glob(f"{_PREFIX}*"):
            _remove_abandoned(left)
        directory, descriptor = _make(place)
    except OSError as error:
        problem = f"a directory for the assertion cannot be made: {error.strerror}"
        raise InputError(str(place), [problem]) from None
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(descriptor)


def _make(place: Path) -> tuple[Path, int]:
    """Make a locked directory; answers it and the descriptor that holds the lock."""
    while True:
        directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
        with suppress(FileNotFoundError):
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if directory.exists():  # another process may have taken it for one that was left behind
                return directory, descriptor
            os.close(descriptor)


def _remove_abandoned(directory: Path) -> None:
    """Remove a directory of this user that no process holds locked."""
    with suppress(OSError):  # another user's, or gone
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if os.fstat(descriptor).st_uid == os.getuid():
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(directory, ignore_errors=True)
        finally:
            os.close(descriptor)
