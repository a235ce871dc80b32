# ruff: noqa: PTH109, PTH115, PTH118, PTH120 (paths stay as they were given, and are resolved at every event)
"""Paths as the kernel reads them: nothing is normalized that could change the file they name."""

import errno
import os
from typing import Final

from hcpcreds.errors import InputError
from hcpcreds.text import make_safe

_MAX_SYMLINKS: Final = 40  # Linux's own limit, path_resolution(7)


def make_absolute(path: str | os.PathLike[str]) -> str:
    """Make a path absolute, and change nothing else.

    The kernel decides what `..` means: in `link/../file` it is the parent of the link's target.

    Raises:
        InputError: No file can have this path, or it is relative to a working directory that is gone.
    """
    text = os.fsdecode(path)
    try:
        name = os.fsencode(text)
    except UnicodeEncodeError:
        raise InputError("path", ["contains characters that are not allowed in file names here"]) from None
    if not name or b"\0" in name:
        raise InputError("path", ["expected the path of a file, without NUL characters"])
    if text.startswith("/"):
        return text
    try:
        return os.path.join(os.getcwd(), text)
    except OSError as error:
        raise InputError(
            "path",
            [f"{make_safe(text)} is relative, and the working directory does not exist: {error.strerror}"],
            hint="Name the file by its absolute path.",
        ) from None


def resolve_entries(path: str) -> list[tuple[str, str]]:
    """Walk an absolute path as the kernel does.

    Returns:
        The (directory, name) of every step, as far as the path exists; the directories are free of symlinks.
    """
    steps: list[tuple[str, str]] = []
    here = "/"
    names = path.split("/")[::-1]
    links = 0
    while names and links < _MAX_SYMLINKS:
        name = names.pop()
        if name in ("", "."):
            continue
        if name == "..":
            here = os.path.dirname(here)
            continue
        steps.append((here, name))
        step = os.path.join(here, name)
        try:
            target = os.readlink(step)
        except OSError as error:
            if error.errno != errno.EINVAL:
                break
            here = step
            continue
        links += 1
        if target.startswith("/"):
            here = "/"
        names.extend(target.split("/")[::-1])
    return steps
