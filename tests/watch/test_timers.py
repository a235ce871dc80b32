"""When a file is read although no event says that it has changed, on a clock that the test sets."""

import mmap
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from tests.support.waiting import wait_until
from tests.watch.readers import HOUR, Reader

from hcpcreds.watch import Watcher

T = TypeVar("T")


class Seconds:
    """A monotonic clock, which stands."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.asked = 0

    def __call__(self) -> float:
        self.asked += 1
        return self.now


class Timed:
    """A watcher on a clock of its own, and a reader."""

    def __init__(self, path: Path) -> None:
        self.seconds = Seconds()
        self.watcher = Watcher(monotonic=self.seconds)
        self.reader = Reader(path, watcher=self.watcher)
        self.settle()

    def settle(self) -> None:
        """Wait until the thread has done what is due: it does what was posted, asks for the time, reads."""
        asked = self.do(lambda: self.seconds.asked)
        wait_until(lambda: self.seconds.asked > asked)
        self.do(lambda: None)

    def do(self, work: Callable[[], T]) -> T:
        result: Future[T] = Future()
        self.watcher.post(lambda: result.set_result(work()))
        return result.result(8)

    def read_after(self, seconds: float) -> bytes | None:
        self.seconds.now += seconds
        self.settle()
        return self.reader.content


@contextmanager
def mapped(path: Path, content: bytes) -> Iterator[Callable[[bytes], None]]:
    """Write a file; a later write through its mapping makes no event."""
    path.write_bytes(content)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), len(content)) as memory:

        def write(content: bytes) -> None:
            memory[:] = content

        yield write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_bytes(b"1")
    return path


@pytest.fixture
def timed(path: Path) -> Iterator[Timed]:
    timed = Timed(path)
    yield timed
    timed.reader.handle.close()


def test_file_is_read_after_its_delay_when_no_event_says_that_it_has_changed(path: Path, timed: Timed):
    with mapped(path, b"1") as write:
        timed.settle()
        write(b"2")
        assert timed.read_after(HOUR - 1) == b"1"
        timed.reader.delay = 60.0
        assert timed.read_after(2) == b"2"
        write(b"3")
        assert timed.read_after(59) == b"2"
        assert timed.read_after(2) == b"3"


def test_file_is_read_each_second_when_polling_is_asked_for(path: Path, timed: Timed):
    with mapped(path, b"1") as write:
        timed.reader.handle.check_soon(poll=True)
        timed.settle()
        assert timed.reader.handle.mode == "polling"
        write(b"2")
        assert timed.read_after(0.9) == b"1"
        assert timed.read_after(0.2) == b"2"


def test_polling_goes_on_when_somebody_else_asks_for_no_polling(path: Path, timed: Timed):
    with mapped(path, b"1") as write:
        timed.reader.handle.check_soon(poll=True)
        timed.reader.handle.check_soon()
        timed.settle()
        write(b"2")
        assert timed.read_after(1.1) == b"2"


def test_file_is_read_sooner_when_it_wants_to_be_while_it_is_polled(path: Path, timed: Timed):
    with mapped(path, b"1") as write:
        timed.reader.delay = 0.5
        timed.reader.handle.check_soon(poll=True)
        timed.settle()
        write(b"2")
        assert timed.read_after(0.6) == b"2"
