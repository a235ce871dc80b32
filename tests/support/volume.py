"""A mounted volume whose content is replaced as a whole."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path


class Mount:
    """A directory that is written as the kubelet and the CSI driver write one: `..data` is swapped.

    Args:
        directory: It need not be there yet.
        name: The name of the one file of `swap`.
    """

    def __init__(self, directory: Path, name: str = "secret") -> None:
        self.directory = directory
        self.name = name
        self.path = directory / name
        self._count = 0

    def swap(self, content: bytes) -> None:
        """Replace the volume's only file."""
        self.swap_all({self.name: content})

    def swap_all(self, contents: Mapping[str, bytes]) -> None:
        """Replace the content of every file, by name, at once."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._count += 1
        current = self.directory / "..data"
        before = current.readlink() if current.is_symlink() else None
        new = f"..2026_11_23_10_15_42.{os.getpid()}.{self._count}"
        (self.directory / new).mkdir()
        for name, content in contents.items():
            (self.directory / new / name).write_bytes(content)
            if not (self.directory / name).is_symlink():
                (self.directory / name).symlink_to(f"..data/{name}")
        (self.directory / "..data_tmp").symlink_to(new)
        (self.directory / "..data_tmp").rename(current)
        if before is not None:
            shutil.rmtree(self.directory / before)
