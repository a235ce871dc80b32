"""Ten thousand sources in one process: prints time and memory as JSON.

Run by `benchmarks.credential`, which gives it a folder (and removes it) and, on standard input, a JSON list of
two credential files: the one to begin with, and a later one.
"""

import gc
import json
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Final

from benchmarks.volumes import FILE_NAME, Writer, write
from hcpcreds.credential.registry import open_source
from hcpcreds.credential.source import CredentialSource
from hcpcreds.credential_file.content import MANAGED_IDENTITY

SOURCES: Final = 10_000
ROTATED: Final = 1_000


def main() -> None:
    """Open, count, rotate, and print."""
    first, later = (content.encode() for content in json.load(sys.stdin))
    volumes = [Path(sys.argv[1]) / str(number) for number in range(SOURCES)]
    for volume in volumes:
        write(volume, first)
    warm = _open(volumes[0])  # the first one loads modules, which is not the cost of each
    _wait_until_watching([warm])
    gc.collect()
    memory = _resident_bytes()
    started = time.perf_counter()
    sources = [warm, *(_open(volume) for volume in volumes[1:])]
    _wait_until_watching(sources)
    opened = time.perf_counter() - started
    gc.collect()
    report = {
        "sources": SOURCES,
        "rotated": ROTATED,
        "opening_seconds": opened,
        "kib_each": (_resident_bytes() - memory) / SOURCES / 1024,
        "inotify": _count_inotify(),
        "threads": threading.active_count(),
    }
    writer = Writer()
    rotated = sources[:: SOURCES // ROTATED]
    swapping, swapped = writer.rotate_at_once([Path(source.path).parent for source in rotated], later)
    while any(source.snapshot is None or source.snapshot.generation == 1 for source in rotated):
        time.sleep(0.001)
    report["visible_seconds"] = time.time() - swapping
    report["swapping_seconds"] = swapped - swapping
    writer.close()
    print(json.dumps(report))


def _open(volume: Path) -> CredentialSource:
    source, _ = open_source(
        volume / FILE_NAME,
        MANAGED_IDENTITY,
        backstop=timedelta(hours=6),
        poll=False,
        read=True,
        clock=time.time,
    )
    return source


def _wait_until_watching(sources: list[CredentialSource]) -> None:
    """Wait until the kernel has the watches of each source: on its volume, and on the directory of its data."""
    while _count_watches() < 2 * len(sources):
        time.sleep(0.01)


def _count_watches() -> int:
    return sum(
        line.startswith("inotify ")
        for info in Path("/proc/self/fdinfo").iterdir()
        for line in _read_lines(info)
    )


def _count_inotify() -> int:
    return sum(
        "inotify" in str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()
    )


def _read_lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []  # the descriptor of the listing itself is already closed


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


if __name__ == "__main__":
    main()
