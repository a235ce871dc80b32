"""Files that others read while they are replaced."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_DRAFT: Final = ".tmp"


def replace_file(path: Path, content: bytes, *, mode: int, group: int | None = None) -> None:
    """Put a whole new file in the place of another: readers see the one or the other, and never a part.

    Args:
        path: The file, whose directory must exist. A symlink there is replaced, and not followed.
        content: What it is to hold.
        mode: Its permissions.
        group: Its group; None leaves the one that the directory gives.

    Raises:
        OSError: It cannot be written. What was there before is there still.

    Blocks on the file system, without syncing it: such files are in memory.
    """
    with _write_draft(path, content, mode=mode, group=group) as draft:
        draft.rename(path)


def create_file(path: Path, content: bytes, *, mode: int) -> None:
    """Put a whole new file where there is none; see `replace_file`.

    Raises:
        FileExistsError: There is one, perhaps of another process that was faster.
        OSError: It cannot be written.
    """
    with _write_draft(path, content, mode=mode) as draft:
        path.hardlink_to(draft)


@contextmanager
def _write_draft(path: Path, content: bytes, *, mode: int, group: int | None = None) -> Iterator[Path]:
    """Write a file beside another, which is removed at the end of the context if it is there still."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}{_DRAFT}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(draft, flags, 0o600), "wb") as file:  # noqa: PTH123 (a descriptor)
            file.write(content)
            if group is not None:
                os.fchown(file.fileno(), -1, group)
            os.fchmod(file.fileno(), mode)
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def remove_drafts(path: Path) -> None:
    """Remove what a process that was killed in `replace_file` left behind.

    Raises:
        OSError: They cannot be removed.
    """
    for draft in path.parent.glob(f".{path.name}.*{_DRAFT}"):
        draft.unlink(missing_ok=True)
