"""How a credential file lies on its disk, and so whether a rotation reaches it.

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
"""The driver's (symlinks that are swapped), an ordinary file, somebody else's symlink, a file that is itself
a mount point (a `subPath`)."""

_DATA_LINK: Final = "..data"
_DATA_DIRECTORY: Final = re.compile(r"\.\.\d{4}(_\d\d){5}\..+")
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


class Problem(NamedTuple):
    """Something that is wrong."""

    text: str
    hint: str | None = None
    """The next step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """How a credential file lies on its disk."""

    layout: Layout
    data_directory: str | None
    """Which directory holds the files now, by its name in the volume; only where the layout is atomic."""
    swapped_at: datetime | None
    """When that directory became the current one."""
    mode: int | None
    """Permission bits; None when they cannot be read."""
    size: int | None
    """In bytes."""
    problems: tuple[Problem, ...]


def read_mount(path: str, *, mountinfo: Path = MOUNTINFO) -> Mount:
    """Read how a file lies on its disk; that it is not there is one of the answers.

    Args:
        path: The credential file.
        mountinfo: The kernel's table of this process's mounts.
    """
    file = Path(path)
    # As the kernel walks: the symlinks stay, and `..` is the parent of where one leads. Without a working
    # directory a relative path leads nowhere, and stays as it is.
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
                f"the path leads through {file.parent.name}, which goes away at the next rotation",
                "Name the file by its path in the volume, without the directory that begins with '..'.",
            )
        )
    try:
        status = file.stat()
    except OSError:
        if layout == "linked":
            problems.append(Problem(f"the symlink leads to {target}, which is not there"))
    else:
        mode, size = status.st_mode & 0o7777, status.st_size
        if mode & 0o002:
            problems.append(
                Problem(f"its mode is {mode:04o}: anybody may change it", "0644 is the driver's default.")
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
    """Find the volume's `..data`: the symlink that leads through it is the file, or a directory above it."""
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
        # The symlink is made new for each swap, and renamed into its place.
        swapped_at = datetime.fromtimestamp(link.lstat().st_mtime, UTC)
        directory = str(link.readlink())
    except OSError:
        problems.append(
            Problem(
                f"there is no symlink {link}: the driver has not written this volume yet",
                "See the pod's events, and the driver's and its provider's logs.",
            )
        )
        return None, None
    if not os.path.isdir(link):  # noqa: PTH112 (pathlib's raises where a directory may not be looked into)
        problems.append(
            Problem(
                f"{link} leads to {directory}, which is not there",
                "Restart the pod, so that the driver mounts the volume anew.",
            )
        )
    return directory, swapped_at


def _find_mount_root(file: Path, mountinfo: Path) -> str | None:
    """Find what of its file system is mounted at the file itself."""
    try:
        lines = mountinfo.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        # Path.resolve raises RuntimeError for a loop.
        point = os.path.join(os.path.realpath(file.parent), file.name)  # noqa: PTH118 (as above)
    except OSError:
        return None
    root = None
    for line in lines:
        fields = line.split(" ")
        if len(fields) > 4 and _unescape(fields[4]) == point:  # noqa: PLR2004 (the mount point is the fifth)
            root = _unescape(fields[3])
    return root


def _unescape(field: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), field)


def _describe_mounted_file(root: str) -> Problem:
    text = "the file itself is a mount point, as a subPath makes it: no rotation ever reaches it"
    if root.endswith("//deleted"):
        text += "; the volume has been rotated since"
    return Problem(text, "Mount the whole volume, without subPath.")
