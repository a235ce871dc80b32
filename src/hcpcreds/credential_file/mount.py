"""The layout of a credential file on disk, which decides whether a rotation reaches it.

Sources: kubernetes-sigs/secrets-store-csi-driver v1.6, pkg/util/fileutil (the atomic writer); proc(5).
"""

import contextlib
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, NamedTuple

MOUNTINFO: Final = Path("/proc/self/mountinfo")

Layout = Literal["atomic", "plain", "linked", "mounted file"]
"""The driver's volume (symlinks that are swapped), an ordinary file, another symlink, or a file that is
itself a mount point (a `subPath`)."""

_DATA_LINK: Final = "..data"
_DATA_DIRECTORY: Final = re.compile(r"\.\.\d{4}(_\d\d){5}\..+")
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


class Problem(NamedTuple):
    """A problem of the file."""

    text: str
    hint: str | None = None
    """The next step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """The layout of a credential file on disk."""

    layout: Layout
    data_directory: str | None
    """Name of the volume's directory that holds the current files; only if the layout is atomic."""
    swapped_at: datetime | None
    """When that directory became the current one."""
    mode: int | None
    """Permission bits; None when they cannot be read."""
    size: int | None
    """In bytes."""
    problems: tuple[Problem, ...]


def read_mount(path: str, *, mountinfo: Path = MOUNTINFO) -> Mount:
    """Read the layout of a file on disk; the file need not exist.

    Args:
        path: The credential file.
        mountinfo: The kernel's table of this process's mounts.
    """
    file = Path(path)
    # Like the kernel: symlinks are not resolved, because `..` is the parent of their target. If the working
    # directory is gone, a relative path leads nowhere and stays unchanged.
    with contextlib.suppress(OSError):
        file = file.absolute()
    problems: list[Problem] = []
    layout: Layout = "plain"
    data_directory = swapped_at = mode = size = target = None
    data_link = _find_data_link(file)
    if data_link is not None:
        layout = "atomic"
        data_directory, swapped_at = _read_data_link(data_link, problems)
    elif (target := _read_link(file)) is not None:
        layout = "linked"
    elif (root := _find_mount_root(file, mountinfo)) is not None:
        layout = "mounted file"
        problems.append(_describe_mounted_file(root))
    if _DATA_DIRECTORY.fullmatch(file.parent.name):
        problems.append(
            Problem(
                f"the path leads through {file.parent.name}, which the next rotation removes",
                "Use the file's path in the volume, without the directory that begins with '..'.",
            )
        )
    try:
        status = file.stat()
    except OSError:
        if layout == "linked":
            problems.append(Problem(f"the symlink leads to {target}, which does not exist"))
    else:
        mode, size = status.st_mode & 0o7777, status.st_size
        if mode & 0o002:
            problems.append(
                Problem(f"its mode is {mode:04o}: any user may change it", "The driver's default is 0644.")
            )
    return Mount(
        layout=layout,
        data_directory=data_directory,
        swapped_at=swapped_at,
        mode=mode,
        size=size,
        problems=tuple(problems),
    )


def _find_data_link(file: Path) -> Path | None:
    """Find the volume's `..data`: the file, or a directory above it, is a symlink that leads through it."""
    for each in (file, *file.parents):
        if each.name == _DATA_LINK:
            return each
        target = _read_link(each)
        if target is not None and target.parts[:1] == (_DATA_LINK,):
            return each.parent / _DATA_LINK
    return None


def _read_link(file: Path) -> Path | None:
    try:
        return file.readlink()
    except OSError:
        return None


def _read_data_link(link: Path, problems: list[Problem]) -> tuple[str | None, datetime | None]:
    try:
        # Each swap creates a new symlink and renames it to this name.
        swapped_at = datetime.fromtimestamp(link.lstat().st_mtime, UTC)
        directory = str(link.readlink())
    except OSError:
        problems.append(
            Problem(
                f"there is no symlink {link}: the driver has not written this volume yet",
                "See the pod's events, and the logs of the driver and its provider.",
            )
        )
        return None, None
    if not os.path.isdir(link):  # noqa: PTH112 (pathlib raises if a directory cannot be searched)
        problems.append(
            Problem(
                f"{link} leads to {directory}, which does not exist",
                "Restart the pod, so that the driver mounts the volume again.",
            )
        )
    return directory, swapped_at


def _find_mount_root(file: Path, mountinfo: Path) -> str | None:
    """Return which part of its file system is mounted at the file itself, if any."""
    try:
        lines = mountinfo.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        # Not Path.resolve, which raises RuntimeError for a loop of symlinks.
        point = os.path.join(os.path.realpath(file.parent), file.name)  # noqa: PTH118 (as above)
    except OSError:
        return None
    root = None
    for line in lines:
        fields = line.split(" ")
        if len(fields) > 4 and _unescape(fields[4]) == point:  # noqa: PLR2004 (the mount point is the fifth field)
            root = _unescape(fields[3])
    return root


def _unescape(field: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), field)


def _describe_mounted_file(root: str) -> Problem:
    text = "the file itself is a mount point, as with subPath: no rotation ever reaches it"
    if root.endswith("//deleted"):
        text += "; the volume has been rotated since then"
    return Problem(text, "Mount the whole volume, without subPath.")
