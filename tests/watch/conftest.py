"""A volume with one file, and the process's watcher, which has nothing to do before and after each test."""

import gc
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.volume import Mount
from tests.support.waiting import wait_until
from tests.watch.readers import Reader


def has_no_watcher() -> bool:
    return "hcpcreds-watcher" not in {thread.name for thread in threading.enumerate()}


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    return Mount(tmp_path / "certs")


@pytest.fixture
def folder(tmp_path: Path, mount: Mount) -> Path:
    """A volume whose file holds 1, and files named 2 and 3 that hold their names, to be renamed over it."""
    mount.swap(b"1")
    for name in ("2", "3"):
        (tmp_path / name).write_text(name)
    return tmp_path


Read = Callable[..., Reader]


@pytest.fixture
def read() -> Iterator[Read]:
    """Makes readers in a process that watches nothing yet, and closes them."""
    gc.collect()
    wait_until(has_no_watcher)
    readers: list[Reader] = []

    def make(path: Path | str, **options: Any) -> Reader:
        readers.append(Reader(path, **options))
        return readers[-1]

    yield make
    for reader in readers:
        reader.handle.close()
    wait_until(has_no_watcher)
