"""When a file is read although no change was noticed, on a clock that the test sets."""

import inspect
import mmap
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from tests.credential.files import Clock, issue, later, render_file
from tests.support.waiting import wait_until

import hcpcreds.aio
import hcpcreds.credential
from hcpcreds.credential.source import DEFAULT_BACKSTOP, CredentialSource
from hcpcreds.credential_file.content import MANAGED_IDENTITY
from hcpcreds.watch import Watcher

FIRST = issue()
SECOND = later(FIRST)
HOURS = 3600.0
T = TypeVar("T")
SIZE = max(len(render_file(FIRST)), len(render_file(SECOND)))


class Seconds:
    """A monotonic clock that stands still."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.asked = 0

    def __call__(self) -> float:
        self.asked += 1
        return self.now


class Watch:
    """A watcher with its own clock, and a source that it watches."""

    def __init__(self, path: Path) -> None:
        self.seconds = Seconds()
        self.clock = Clock()
        self.watcher = Watcher(monotonic=self.seconds)
        self.source = CredentialSource(
            str(path),
            MANAGED_IDENTITY,
            backstop=DEFAULT_BACKSTOP,
            clock=self.clock,
            watcher=self.watcher,
        )

    def begin(self, *, poll: bool = False) -> None:
        self.source.start_watching(poll=poll)
        self.settle()

    def settle(self) -> None:
        """Wait until the thread is idle: it runs posted calls, reads the clock, reads files."""
        asked = self.do(lambda: self.seconds.asked)
        wait_until(lambda: self.seconds.asked > asked)
        self.do(lambda: None)

    def do(self, work: Callable[[], T]) -> T:
        """Call a function on the watcher's thread, and wait for it."""
        result: Future[T] = Future()
        self.watcher.post(lambda: result.set_result(work()))
        return result.result(8)

    def get_generation_after(self, seconds: float) -> int:
        self.seconds.now += seconds
        self.settle()
        return self.source.status().generation

    def end(self) -> None:
        self.source.stop_watching()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "secret"


@pytest.fixture
def watch(path: Path) -> Iterator[Watch]:
    watch = Watch(path)
    yield watch
    watch.end()


@contextmanager
def mapped(path: Path, content: bytes) -> Iterator[Callable[[bytes], None]]:
    """Write a file through a mapping, which inotify does not report."""
    path.write_bytes(content.ljust(SIZE))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), SIZE) as memory:

        def write(content: bytes) -> None:
            memory[:] = content.ljust(SIZE)

        yield write


def test_file_is_read_after_six_hours_when_no_change_is_noticed(path: Path, watch: Watch):
    with mapped(path, render_file(FIRST)) as write:
        watch.begin()
        write(render_file(SECOND))
        assert watch.get_generation_after(6 * HOURS - 1) == 1
        assert watch.get_generation_after(2) == 2
        write(render_file(FIRST))
        watch.get_generation_after(6 * HOURS - 3)
        assert watch.source.status().last_error is None
        watch.get_generation_after(4)
        assert "not later" in str(watch.source.status().last_error)


def test_file_is_read_every_second_when_it_could_not_be_read(path: Path, watch: Watch, tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(render_file(FIRST))
    unused = 700
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(unused)
    path.symlink_to(f"/proc/self/fd/{unused}")  # events there wake nobody
    watch.begin()
    assert watch.source.status().last_error is not None
    descriptor = os.open(elsewhere, os.O_RDONLY)
    os.dup2(descriptor, unused)
    try:
        assert watch.get_generation_after(0.9) == 0
        assert watch.get_generation_after(0.2) == 1
    finally:
        os.close(descriptor)
        os.close(unused)


def test_file_is_read_every_minute_when_its_credential_is_not_valid_yet(path: Path, watch: Watch):
    ahead = issue(not_before=FIRST.not_before + timedelta(days=2))
    path.write_bytes(render_file(ahead))
    watch.begin()
    watch.clock.ahead = 2 * 86400.0
    assert watch.get_generation_after(59) == 0
    assert watch.get_generation_after(2) == 1


def test_future_credential_is_accepted_when_its_time_comes(path: Path, watch: Watch):
    ahead = issue(not_before=watch.clock.now().replace(microsecond=0) + timedelta(minutes=5, seconds=40))
    path.write_bytes(render_file(ahead))
    watch.begin()
    watch.clock.ahead = 45.0
    assert watch.get_generation_after(35) == 0
    assert watch.get_generation_after(6) == 1


@pytest.mark.parametrize(
    "kind",
    [hcpcreds.credential.UserAssignedIdentityCredential, hcpcreds.aio.UserAssignedIdentityCredential],
)
def test_backstop_is_six_hours_when_none_is_given(kind: Callable[..., object]):
    assert inspect.signature(kind).parameters["backstop"].default == timedelta(hours=6)
