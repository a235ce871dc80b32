"""Where what tests make once for all runs is kept, outside of the clone."""

import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def open_cache(name: str, files: Sequence[Path]) -> Iterator[Path]:
    """Open the directory of what is made of some files; other processes of the tests wait meanwhile.

    Args:
        name: Begins the directory's name.
        files: Another content of one of them means another directory.
    """
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = caches / "hcpcreds-tests" / f"{name}-{digest[:16]}"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield directory
