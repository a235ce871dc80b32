"""Mounted credentials for the benchmarks, written as the CSI driver writes them, from another process.

Run as `python -m benchmarks.volumes`: reads one command a line, answers one line each.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from hcpcreds.local.node.atomic_writer import DATA_LINK, NEW_DATA_LINK, PayloadFile, write_payload

FILE_NAME: Final = "credential"


def write(volume: Path, content: bytes) -> float:
    """Mount or rotate one volume, and return the time of the swap."""
    volume.mkdir(exist_ok=True)
    swapped_at = write_payload(volume, {FILE_NAME: PayloadFile(content)}, now=lambda: datetime.now(UTC))
    assert swapped_at is not None
    return swapped_at.timestamp()


def rotate_at_once(volumes: Sequence[Path], content: bytes) -> tuple[float, float]:
    """Prepare all volumes, then swap all in a row; return the times of the first and the last swap."""
    for volume in volumes:
        new = volume / "..rotated"
        new.mkdir()
        (new / FILE_NAME).write_bytes(content)
        (volume / NEW_DATA_LINK).symlink_to(new.name)
    first = time.time()
    for volume in volumes:
        (volume / NEW_DATA_LINK).rename(volume / DATA_LINK)
    return first, time.time()


class Writer:
    """A process that writes, so that writing takes no time of the measured process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.volumes"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def write(self, volume: Path, content: bytes) -> float:
        """Run `write` in the process."""
        return float(self._ask("write", str(volume), content.decode()))

    def rotate_at_once(self, volumes: Sequence[Path], content: bytes) -> tuple[float, float]:
        """Run `rotate_at_once` in the process."""
        first, last = self._ask("rotate_at_once", [str(volume) for volume in volumes], content.decode())
        return first, last

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _ask(self, *command: object) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def _serve() -> None:
    for line in sys.stdin:
        command, where, content = json.loads(line)
        if command == "write":
            answer: object = write(Path(where), content.encode())
        else:
            answer = rotate_at_once([Path(volume) for volume in where], content.encode())
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve()
