"""The atomic writer, judged by what a reader of the volume sees."""

import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcpcreds.errors import InputError
from hcpcreds.local.node.atomic_writer import PayloadFile, write_payload

NOW = datetime(2026, 11, 23, 10, 15, 42, tzinfo=UTC)

# Names with no directory among them: a name that turns from a file into a directory is the writer's limit.
NAMES = st.sampled_from(["cpo-cert", "ingress", ".hidden", "k8s/labels", "k8s/annotations", "deep/er/file"])
PAYLOADS = st.dictionaries(NAMES, st.sampled_from([b"", b"one", b"two", b"\x00" * 5000]), min_size=1)


def write(volume: Path, contents: dict[str, bytes], now: datetime = NOW) -> datetime | None:
    return write_payload(
        volume, {path: PayloadFile(content) for path, content in contents.items()}, now=lambda: now
    )


def read_visible(volume: Path) -> dict[str, bytes]:
    """Everything that a container can find without looking at names that begin with `..`."""
    found: dict[str, bytes] = {}
    for entry in volume.iterdir():
        if not entry.name.startswith(".."):
            files = [entry, *entry.rglob("*")]
            found |= {str(file.relative_to(volume)): file.read_bytes() for file in files if file.is_file()}
    return found


@given(payloads=st.lists(PAYLOADS, min_size=1, max_size=6))
def test_write_payload_leaves_exactly_the_payload_after_any_sequence(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[dict[str, bytes]]
):
    volume = tmp_path_factory.mktemp("volume")
    before: dict[str, bytes] = {}
    for payload in payloads:
        swapped_at = write(volume, payload)
        assert (swapped_at is None) == (payload == before)
        assert read_visible(volume) == payload
        before = payload

    assert (volume / "..data").is_symlink()
    hidden = {entry.name for entry in volume.iterdir() if entry.name.startswith("..")}
    assert hidden == {"..data", (volume / "..data").readlink().name}


@given(payload=PAYLOADS)
def test_write_payload_writes_nothing_when_content_is_equal(
    tmp_path_factory: pytest.TempPathFactory, payload: dict[str, bytes]
):
    volume = tmp_path_factory.mktemp("volume")
    write(volume, payload)
    before = [(entry.name, os.lstat(entry).st_mtime_ns) for entry in sorted(volume.rglob("*"))]

    assert write(volume, payload, NOW + timedelta(days=1)) is None

    assert [(entry.name, os.lstat(entry).st_mtime_ns) for entry in sorted(volume.rglob("*"))] == before


def read_both(volume: Path) -> list[bytes]:
    """Read two files of one state: `..data` is followed once, as when a reader opens the directory once."""
    descriptor = os.open(volume / "..data", os.O_RDONLY)
    try:
        contents = []
        for name in ("first", "second"):
            with os.fdopen(os.open(name, os.O_RDONLY, dir_fd=descriptor), "rb") as stream:
                contents.append(stream.read())
        return contents
    finally:
        os.close(descriptor)


@pytest.mark.unmeasured
def test_write_payload_never_shows_a_mixed_state_when_readers_race_it(tmp_path: Path):
    stop = threading.Event()
    wrong: list[Any] = []
    reads = 0

    def read_on() -> None:
        nonlocal reads
        while not stop.is_set():
            try:
                first, second = read_both(tmp_path)
            except FileNotFoundError:
                continue  # the old directory went away under us: nothing was seen
            reads += 1
            if first != second or first != first[:4] * 20_000:
                wrong.append((first[:4], len(first), second[:4], len(second)))

    content = b"0000" * 20_000
    write(tmp_path, {"first": content, "second": content})
    readers = [threading.Thread(target=read_on) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(200):
        content = f"{number:04}".encode() * 20_000
        write(tmp_path, {"first": content, "second": content})
    stop.set()
    for reader in readers:
        reader.join()
    assert reads
    assert wrong == []


def test_write_payload_swaps_a_link_to_a_dated_directory_as_the_driver_does(tmp_path: Path):
    at = write(tmp_path, {"cpo-cert": b"one"})

    assert at == NOW
    assert (tmp_path / "cpo-cert").readlink() == Path("..data/cpo-cert")
    data = (tmp_path / "..data").readlink()
    assert data.name.startswith("..2026_11_23_10_15_42.")
    assert (tmp_path / data).stat().st_mode & 0o777 == 0o755
    assert not (tmp_path / "..data_tmp").is_symlink()
    link_inode = os.lstat(tmp_path / "cpo-cert").st_ino

    write(tmp_path, {"cpo-cert": b"two"})

    assert (tmp_path / "cpo-cert").read_bytes() == b"two"
    assert os.lstat(tmp_path / "cpo-cert").st_ino == link_inode
    assert not (tmp_path / data).exists()


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o444, 0o777])
def test_write_payload_gives_files_their_mode_whatever_the_umask(tmp_path: Path, mode: int):
    before = os.umask(0o077)
    try:
        write_payload(tmp_path, {"file": PayloadFile(b"content", mode)}, now=lambda: NOW)
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "..", "../up", "a/../b", "..data", "..hidden", "a//b", "./a", "a/", "a\0b",
     "x" * 256, "é" * 128, "/".join(["x" * 200] * 21)],
)  # fmt: skip
def test_write_payload_refuses_a_path_that_leaves_the_volume_or_its_limits(tmp_path: Path, path: str):
    with pytest.raises(InputError):
        write(tmp_path, {"good": b"content", path: b"content"})
    assert list(tmp_path.iterdir()) == []


def test_write_payload_names_every_bad_path_at_once(tmp_path: Path):
    with pytest.raises(InputError) as caught:
        write(tmp_path, {"/absolute": b"", "../up": b"", "fine": b""})
    assert "/absolute" in str(caught.value)
    assert "../up" in str(caught.value)
    assert "fine" not in str(caught.value)


def test_write_payload_keeps_the_previous_content_when_it_cannot_write(tmp_path: Path):
    write(tmp_path, {"a": b"old"})
    with pytest.raises(OSError, match="a"):
        write(tmp_path, {"b": b"new", "b/c": b"a file is no directory"})
    assert read_visible(tmp_path)["a"] == b"old"
    directories = [entry for entry in tmp_path.iterdir() if entry.is_dir() and not entry.is_symlink()]
    assert [entry.name for entry in directories] == [(tmp_path / "..data").readlink().name]


def test_write_payload_works_when_an_earlier_writer_was_killed_before_its_swap(tmp_path: Path):
    write(tmp_path, {"file": b"old"})
    (tmp_path / "..data_tmp").symlink_to("..2026_11_23_10_15_42.gone")
    write(tmp_path, {"file": b"new"})
    assert (tmp_path / "file").read_bytes() == b"new"
    assert not (tmp_path / "..data_tmp").is_symlink()


def test_write_payload_shows_complete_content_and_leaves_no_old_key_when_writers_are_killed(tmp_path: Path):
    program = """if True:
        import itertools, sys
        from datetime import UTC, datetime
        from pathlib import Path
        from hcpcreds.local.node.atomic_writer import PayloadFile, write_payload
        for number in itertools.count():
            content = str(number).encode()
            payload = {"a": PayloadFile(content), "b": PayloadFile(content)}
            write_payload(Path(sys.argv[1]), payload, now=lambda: datetime.now(UTC))
            print(flush=True)
    """
    for kill_after in range(1, 16):
        with subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            for _ in range(kill_after):
                process.stdout.readline()
            process.kill()
        seen = read_visible(tmp_path)
        assert set(seen) == {"a", "b"}
        assert seen["a"] == seen["b"]
    (tmp_path / "gone").symlink_to("..data/gone")  # as a writer leaves it that is killed just after its swap
    write(tmp_path, {"a": b"new", "b": b"new"})
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        (tmp_path / "..data").readlink().name,
        "..data",
        "a",
        "b",
    ]


def test_write_payload_replaces_plain_files_when_something_else_wrote_the_volume(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"plain")
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory" / "inside").write_bytes(b"plain")
    write(tmp_path, {"file": b"new", "directory": b"new"})
    assert read_visible(tmp_path) == {"file": b"new", "directory": b"new"}


def test_payload_file_hides_its_content_when_shown():
    assert "sentinel" not in repr(PayloadFile(b"sentinel"))
