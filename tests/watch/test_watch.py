"""A file that changes in any way is read again, until its watch is closed."""

import gc
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.volume import Mount
from tests.support.waiting import wait_until
from tests.watch.conftest import Read, has_no_watcher
from tests.watch.readers import HOUR, Reader

from hcpcreds.watch import Watcher, post


def swap(mount: Mount, content: bytes) -> None:
    mount.swap(content)


def rename_over(mount: Mount, content: bytes) -> None:
    new = mount.directory / "new"
    new.write_bytes(content)
    new.rename(mount.path)


def write_in_place(mount: Mount, content: bytes) -> None:
    mount.path.write_bytes(content)


def replace_the_directory(mount: Mount, content: bytes) -> None:
    new = Mount(mount.directory.parent / "new", mount.name)
    new.swap(content)
    mount.directory.rename(mount.directory.parent / f"old-{os.urandom(4).hex()}")
    new.directory.rename(mount.directory)


def link_and_unlink(mount: Mount, content: bytes) -> None:
    beside = mount.directory / "beside"
    beside.write_bytes(content)
    mount.path.unlink(missing_ok=True)
    mount.path.hardlink_to(beside)
    beside.unlink()


def link_from_nowhere(mount: Mount, content: bytes) -> None:
    """Write a file that has no name, and then give it one."""
    try:
        descriptor = os.open(mount.directory, os.O_TMPFILE | os.O_WRONLY)
    except OSError:
        pytest.skip("this file system has no O_TMPFILE")
    os.write(descriptor, content)
    mount.path.unlink(missing_ok=True)
    descriptors = os.open("/proc/self/fd", os.O_RDONLY)
    os.link(str(descriptor), mount.path, src_dir_fd=descriptors, follow_symlinks=True)
    os.close(descriptors)
    os.close(descriptor)


@pytest.mark.parametrize(
    "change",
    [swap, rename_over, write_in_place, replace_the_directory, link_and_unlink, link_from_nowhere],
)
def test_file_is_read_again_when_it_changes_in_any_way(
    mount: Mount, read: Read, change: Callable[[Mount, bytes], None]
):
    mount.swap(b"first")
    reader = read(mount.path)
    for content in (b"second", b"third", b"fourth"):
        wait_until(lambda: reader.handle.mode == "watching")
        change(mount, content)
        wait_until(lambda content=content: reader.content == content)  # type: ignore[misc]


def test_file_is_read_when_it_and_its_directories_appear_later(tmp_path: Path, read: Read):
    mount = Mount(tmp_path / "not" / "there" / "yet")
    reader = read(mount.path)
    wait_until(lambda: reader.calls)
    assert reader.content is None
    mount.swap(b"first")
    wait_until(lambda: reader.content == b"first")


def test_file_is_read_again_when_the_watcher_was_held_up_and_events_overflowed(mount: Mount, read: Read):
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    held, release = threading.Event(), threading.Event()
    mount.swap(b"first")
    reader = read(mount.path)
    wait_until(lambda: reader.content)

    def hold() -> None:
        held.set()
        assert release.wait(60)

    post(hold)
    assert held.wait(8)
    one, other = mount.directory / "one", mount.directory / "other"
    one.touch()
    for _ in range(limit // 4 + 1):
        one.rename(other)
        other.rename(one)
    mount.swap(b"second")
    release.set()
    wait_until(lambda: reader.content == b"second")
    mount.swap(b"third")
    wait_until(lambda: reader.content == b"third")


def test_file_is_not_read_any_more_when_its_watch_is_closed(tmp_path: Path, mount: Mount, read: Read):
    mount.swap(b"first")
    other = read(tmp_path / "other")
    reader = read(mount.path)
    wait_until(lambda: reader.content)
    reader.handle.close()
    reader.handle.check_soon()
    called = threading.Event()
    post(called.set)
    assert called.wait(8)
    calls = reader.calls
    mount.swap(b"second")
    (tmp_path / "other").write_bytes(b"")
    wait_until(lambda: other.content == b"")
    assert reader.calls == calls
    reader.handle.close()


def test_thread_ends_when_the_last_watch_is_closed(mount: Mount):
    readers = [Reader(mount.path), Reader(mount.path)]
    wait_until(lambda: not has_no_watcher())
    for reader in readers:
        reader.handle.close()
    wait_until(has_no_watcher)


def test_watches_of_one_file_are_independent(mount: Mount, read: Read):
    mount.swap(b"first")
    one, other = read(mount.path), read(mount.path)
    wait_until(lambda: one.content and other.content)
    one.handle.close()
    mount.swap(b"second")
    wait_until(lambda: other.content == b"second")


def test_others_are_read_when_one_that_is_watched_fails(
    mount: Mount, read: Read, caplog: pytest.LogCaptureFixture
):
    def fail() -> float:
        raise SystemExit("no secret in here")

    watcher = Watcher()
    failing = watcher.watch(str(mount.path), fail)
    reader = read(mount.path, watcher=watcher)
    mount.swap(b"first")
    wait_until(lambda: reader.content == b"first")
    wait_until(lambda: "the watcher failed, but continues: SystemExit in hcpcreds.watch" in caplog.text)
    assert "secret" not in caplog.text
    failing.close()


def test_watch_is_closed_when_a_finalizer_does_it(mount: Mount):
    class Owner:
        def __init__(self) -> None:
            self.cycle = self
            self.handle = Reader(mount.path).handle

        def __del__(self) -> None:
            self.handle.close()

    Owner()
    wait_until(lambda: not has_no_watcher())
    gc.collect()
    wait_until(has_no_watcher)


def test_every_file_is_read_again_when_the_watcher_meets_what_nobody_foresaw(
    mount: Mount, caplog: pytest.LogCaptureFixture
):
    mount.swap(b"first")
    watcher = Watcher()
    reader = Reader(mount.path, watcher=watcher, delay=None)
    wait_until(lambda: reader.handle.mode == "polling")
    assert "cannot watch files (TypeError in hcpcreds.watch.watcher" in caplog.text
    reader.delay = HOUR
    wait_until(lambda: reader.handle.mode == "watching")
    mount.swap(b"second")
    wait_until(lambda: reader.content == b"second")
    reader.handle.close()
