import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from hcpcreds.errors import InputError
from hcpcreds.up.running import (
    RunningChain,
    RunningComponent,
    RunningVault,
    announce,
    find_running_chain,
)


@pytest.fixture(autouse=True)
def _own_temporary_directory(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def make_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="hcpcreds-up-"))


VAULT = RunningVault(
    vault_url="https://127.0.0.1:1",
    data_plane_audience="https://identity.azure.net",
    data_plane_host="127.0.0.1",
    credential_file="/own",
)


def make_chain(started_at: float = 0, path: str = "/node/ingress") -> RunningChain:
    component = RunningComponent(component="ingress-operator", workload="w", file="/mnt/certs/i", path=path)
    return RunningChain(
        started_at=started_at,
        cloud="AzurePublicCloud",
        authority="https://127.0.0.1/",
        ca_file="/ca",
        components=[component],
        vault=VAULT,
    )


def test_newest_running_chain_is_found_while_it_runs():
    folders = [make_folder() for _ in range(3)]
    with ExitStack() as stack:
        for started_at, folder in zip((2, 3, 1), folders, strict=True):
            stack.enter_context(announce(make_chain(started_at), folder))
        assert find_running_chain() == make_chain(3)
        assert find_running_chain() == make_chain(3)
    with pytest.raises(InputError, match="no `hcpcreds up` is running"):
        find_running_chain()
    assert all(list(folder.iterdir()) == [] for folder in folders)


def leave_behind(folder: Path) -> None:
    """What a killed run leaves: its file, which nobody holds a lock on any more."""
    with announce(make_chain(), folder):
        left = (folder / "running.json").read_bytes()
    (folder / "running.json").write_bytes(left)
    (folder / "keys").mkdir()


def test_files_of_a_killed_run_are_ignored_and_removed():
    leave_behind(folder := make_folder())
    with announce(make_chain(5), make_folder()):
        assert find_running_chain().started_at == 5
    assert not folder.exists()


def test_directory_that_others_may_enter_is_neither_trusted_nor_removed():
    leave_behind(folder := make_folder())
    folder.chmod(0o755)
    with announce(make_chain(), other := make_folder()):
        other.chmod(0o777)
        with pytest.raises(InputError, match="no `hcpcreds up` is running"):
            find_running_chain()
    assert folder.exists()


def make_fifo(file: Path) -> None:
    os.mkfifo(file, 0o600)


def make_link(file: Path) -> None:
    with announce(make_chain(), folder := make_folder()):
        (folder / "running.json").rename(folder / "elsewhere")
    file.symlink_to(folder / "elsewhere")


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "make", [make_fifo, make_link, Path.mkdir, lambda file: file.symlink_to("/dev/zero")]
)
def test_pipe_or_link_is_neither_waited_for_nor_trusted(make):
    make(make_folder() / "running.json")
    with pytest.raises(InputError, match="no `hcpcreds up` is running"):
        find_running_chain()
    with announce(make_chain(5), make_folder()):
        assert find_running_chain().started_at == 5


@pytest.mark.parametrize("content", [b"[" * 100_000, b'"\xff"', b"{}", b" " * (2 << 20)])
def test_announcement_that_cannot_be_read_is_passed_over(content):
    with announce(make_chain(), folder := make_folder()):
        (folder / "running.json").write_bytes(content)
        with pytest.raises(InputError, match="no `hcpcreds up` is running"):
            find_running_chain()


def test_file_is_found_by_every_name_of_its_component_and_by_its_own(tmp_path):
    chain = make_chain()
    for name in ("ingress-operator", "w", "/mnt/certs/i"):
        assert chain.find_file(name) == "/node/ingress"
    (tmp_path / "mine").touch()
    assert chain.find_file(str(tmp_path / "mine")) == str(tmp_path / "mine")
    with pytest.raises(InputError, match=r"ingress: neither a file nor a component.*one of ingress-operator"):
        chain.find_file("ingress")
