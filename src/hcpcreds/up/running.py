"""How other commands on this machine find a running `hcpcreds up`.

A run announces itself with a file in its temporary directory, and holds a lock on the file for as long as it
runs: unlike a process id, a lock is never reused by another process, and means the same in every container.
"""

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from hcpcreds.errors import InputError

DIRECTORY_PREFIX: Final = "hcpcreds-up-"
_NAME: Final = "running.json"
_MAX_BYTES: Final = 1 << 20


class RunningComponent(msgspec.Struct, frozen=True, kw_only=True):
    """Where a component's credential file is."""

    component: str
    workload: str
    file: str
    """Path in the container."""
    path: str
    """Path on this machine."""


class RunningVault(msgspec.Struct, frozen=True, kw_only=True):
    """The vault of the credentials, and what renewing them needs."""

    vault_url: str
    data_plane_audience: str
    data_plane_host: str
    credential_file: str


class RunningChain(msgspec.Struct, frozen=True, kw_only=True):
    """What other commands need to know of a run."""

    started_at: float
    """Unix time."""
    cloud: str
    authority: str
    ca_file: str
    components: list[RunningComponent]
    vault: RunningVault

    def find_file(self, name: str) -> str:
        """Find a credential file on this machine.

        Args:
            name: A component, its workload, the file's path in the container, or a path on this machine.

        Raises:
            InputError: There is no such component; the message lists those that exist.
        """
        for each in self.components:
            if name in (each.component, each.workload, each.file):
                return each.path
        if os.path.lexists(name):
            return name
        known = ", ".join(each.component for each in self.components)
        raise InputError(
            "FILE", [f"{name}: neither a file nor a component of the running chain; expected one of {known}"]
        )


@contextlib.contextmanager
def announce(chain: RunningChain, folder: Path) -> Iterator[None]:
    """Within the context, let other commands of this user find a run.

    Args:
        chain: The run.
        folder: Its temporary directory, whose name begins with `DIRECTORY_PREFIX`.
    """
    file = folder / _NAME
    draft = file.with_suffix(".new")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as opened:  # noqa: PTH123 (a descriptor)
        # It is locked and complete before it can be found.
        fcntl.flock(opened, fcntl.LOCK_EX)
        opened.write(msgspec.json.encode(chain))
        opened.flush()
        draft.rename(file)
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


def find_running_chain() -> RunningChain:
    """Find the newest run of this user, and remove what killed runs left behind: files with keys.

    Raises:
        InputError: No run was found.
    """
    place = Path(tempfile.gettempdir())
    found = [_read(file) for file in place.glob(f"{DIRECTORY_PREFIX}*/{_NAME}")]
    running = [chain for chain in found if chain is not None]
    if not running:
        raise InputError(
            "--local",
            [f"no `hcpcreds up` is running (looked in {place})"],
            hint="Start one in another terminal, and wait for its step 6/6.",
        )
    return max(running, key=lambda chain: chain.started_at)


def _read(file: Path) -> RunningChain | None:
    try:
        # Others can write to this directory: do not wait for a FIFO, and do not follow a symlink.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(file, flags), "rb") as opened:  # noqa: PTH123 (a descriptor)
            if not _is_own(opened.fileno(), file.parent):
                return None
            try:
                fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return msgspec.json.decode(opened.read(_MAX_BYTES), type=RunningChain)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    shutil.rmtree(file.parent, ignore_errors=True)
    return None


def _is_own(descriptor: int, folder: Path) -> bool:
    # Everybody can write to the temporary directory, and this file names the authority to trust.
    file, directory = os.fstat(descriptor), folder.lstat()
    return (
        file.st_uid == directory.st_uid == os.getuid()
        and stat.S_ISREG(file.st_mode)
        and stat.S_ISDIR(directory.st_mode)
        and not directory.st_mode & 0o077
    )
