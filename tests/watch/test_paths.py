"""Paths: what is refused, and which file the kernel means."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.volume import Mount
from tests.support.waiting import wait_until
from tests.watch.conftest import Read

from hcpcreds.errors import InputError
from hcpcreds.watch import make_absolute
from hcpcreds.watch.paths import resolve_entries


@pytest.mark.parametrize("path", ["/x\0y", "", "/mnt/\ud800", b"a\0b"], ids=repr)
def test_path_is_refused_when_no_file_can_have_it(path: str):
    with pytest.raises(InputError, match="path: "):
        make_absolute(path)


def test_path_is_refused_when_it_is_relative_and_the_working_directory_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(
        InputError,
        match=r"certs/ingress is relative, and the working directory does not exist.*absolute path",
    ):
        make_absolute("certs/ingress")
    assert make_absolute(tmp_path / "x") == f"{tmp_path}/x"


def test_path_keeps_its_dots_when_it_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert make_absolute("link/../file") == f"{tmp_path}/link/../file"


def test_steps_are_the_same_when_a_path_has_empty_and_dotted_ones(tmp_path: Path):
    (tmp_path / "a").mkdir()
    assert resolve_entries(f"{tmp_path}/.//a/./b/") == resolve_entries(f"{tmp_path}/a/b")


def test_parent_is_the_kernels_when_a_path_goes_through_a_symlink(tmp_path: Path, read: Read):
    ours, theirs = Mount(tmp_path / "volumes" / "a" / "certs"), Mount(tmp_path / "certs")
    ours.swap(b"ours")
    theirs.swap(b"theirs")
    (tmp_path / "volumes" / "a" / "b").mkdir()
    (tmp_path / "link").symlink_to("volumes/a/b")
    reader = read(f"{tmp_path}/link/../certs/secret")
    wait_until(lambda: reader.content == b"ours")
    ours.swap(b"ours too")
    wait_until(lambda: reader.content == b"ours too")


@given(steps=st.lists(st.sampled_from(["a", "b", "up", "round", "..", "."]), max_size=8))
def test_walk_ends_where_the_kernel_does_when_a_path_has_links(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
):
    root = tmp_path_factory.getbasetemp() / "walk"
    if not root.exists():
        (root / "a" / "b").mkdir(parents=True)
        (root / "a" / "b" / "up").symlink_to("../..")
        (root / "a" / "round").symlink_to("round")
        (root / "b").symlink_to("a/b")
    path = os.path.join(root, *steps)  # noqa: PTH118 (pathlib would drop the dots)
    found = Path(path).exists()
    directory, name = resolve_entries(path)[-1]
    if found:
        assert Path(directory, name).samefile(path) or steps[-1:] in (["."], [".."])
