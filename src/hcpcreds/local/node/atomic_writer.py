"""How a node changes every file of a mounted volume at once: Kubernetes' atomic writer.

Source: kubernetes-sigs/secrets-store-csi-driver v1.6, pkg/util/fileutil (its copy of kubelet's writer).
It differs in three ways. After a kill in the middle, a `..data_tmp` left behind is replaced (the driver fails
on it), and other remains, which hold old keys, are removed at the next change. A data directory that could
not be filled is removed. And the time of the swap is returned.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Final

from hcpcreds.errors import InputError

DATA_LINK: Final = "..data"
NEW_DATA_LINK: Final = "..data_tmp"
MAX_NAME_BYTES: Final = 255
MAX_PATH_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class PayloadFile:
    """Content and mode of one file of a payload."""

    content: bytes = field(repr=False)
    mode: int = 0o644


def write_payload(
    volume: Path, payload: Mapping[str, PayloadFile], *, now: Callable[[], datetime]
) -> datetime | None:
    """Replace the content of a volume in one atomic step.

    Args:
        volume: Directory of the volume, which must exist; only one writer at a time may write to it.
        payload: The new files by their path in the volume.
        now: Clock giving an aware UTC time.

    Returns:
        The time of the swap (just before the rename that makes it visible), or None if the volume already had
        this content and nothing was written.

    Raises:
        InputError: A path is absolute, contains or begins with `..`, or is too long; nothing was written.
        OSError: The volume could not be written; readers still see the previous content.
    """
    problems = [problem for path in payload for problem in _find_path_problems(path)]
    if problems:
        raise InputError("payload", problems)
    _remove_plain_files(volume, payload)
    old = _read_data_link(volume)
    if old and not _holds_more(volume / old, payload) and not _differs(volume / old, payload):
        return None

    new = Path(tempfile.mkdtemp(prefix=f"{now():..%Y_%m_%d_%H_%M_%S.}", dir=volume))
    try:
        new.chmod(0o755)
        _write_files(new, payload)
        _link_visible_names(volume, payload)
        (volume / NEW_DATA_LINK).unlink(missing_ok=True)
        (volume / NEW_DATA_LINK).symlink_to(new.name)
        swapped_at = now()
        (volume / NEW_DATA_LINK).rename(volume / DATA_LINK)
    except OSError:
        shutil.rmtree(new, ignore_errors=True)
        raise
    _remove_old(volume, payload, new.name)
    return swapped_at


def _find_path_problems(path: str) -> list[str]:
    if not path:
        return ["a path is empty"]
    if "\0" in path:
        return [f"{path!r}: must not contain a null character"]
    problems = []
    parts = path.split("/")
    if path.startswith("/"):
        problems.append(f"{path}: must be relative")
    elif str(PurePosixPath(path)) != path:
        problems.append(f"{path}: must be in its shortest form, {PurePosixPath(path)}")
    if ".." in parts:
        problems.append(f"{path}: must not contain '..'")
    elif path.startswith(".."):
        problems.append(f"{path}: must not start with '..', which the writer reserves for itself")
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        problems.append(f"{path[:80]}...: longer than {MAX_PATH_BYTES} bytes")
    if any(len(os.fsencode(part)) > MAX_NAME_BYTES for part in parts):
        problems.append(f"{path[:80]}...: a name in it is longer than {MAX_NAME_BYTES} bytes")
    return problems


def _visible_names(payload: Mapping[str, PayloadFile]) -> set[str]:
    return {path.split("/", 1)[0] for path in payload}


def _remove_plain_files(volume: Path, payload: Mapping[str, PayloadFile]) -> None:
    """Remove whatever has the name of a payload's file or directory and is not a symlink."""
    for name in _visible_names(payload):
        visible = volume / name
        if visible.is_symlink():
            continue
        if visible.is_dir():
            shutil.rmtree(visible)
        else:
            visible.unlink(missing_ok=True)


def _read_data_link(volume: Path) -> str | None:
    try:
        return (volume / DATA_LINK).readlink().name
    except FileNotFoundError:
        return None


def _holds_more(old: Path, payload: Mapping[str, PayloadFile]) -> bool:
    wanted = set(payload)
    for path in payload:
        wanted.update(str(parent) for parent in PurePosixPath(path).parents)
    return any(path.relative_to(old).as_posix() not in wanted for path in old.rglob("*"))


def _differs(old: Path, payload: Mapping[str, PayloadFile]) -> bool:
    for path, file in payload.items():
        try:
            if (old / path).read_bytes() != file.content:
                return True
        except FileNotFoundError:
            return True
    return False


def _remove_old(volume: Path, payload: Mapping[str, PayloadFile], new: str) -> None:
    """Remove the links to files that no longer exist, and every data directory but the new one."""
    visible = _visible_names(payload)
    for entry in volume.iterdir():
        if entry.is_symlink():
            if entry.readlink().parts[0] == DATA_LINK and entry.name not in visible:
                entry.unlink()
        elif entry.name.startswith("..") and entry.name != new and entry.is_dir():
            shutil.rmtree(entry)


def _write_files(directory: Path, payload: Mapping[str, PayloadFile]) -> None:
    for path, file in payload.items():
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        # Only the owner may open it before its mode is set, whatever the umask.
        target.touch(mode=0o600)
        target.write_bytes(file.content)
        target.chmod(file.mode)


def _link_visible_names(volume: Path, payload: Mapping[str, PayloadFile]) -> None:
    for name in _visible_names(payload):
        if not (volume / name).is_symlink():
            (volume / name).symlink_to(f"{DATA_LINK}/{name}")
