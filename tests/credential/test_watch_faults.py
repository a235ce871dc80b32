"""A credential whose watch cannot work as usual; the watch itself is tested in tests/watch."""

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.credential.files import issue, later, render_file, wait_for_generation
from tests.support.volume import Mount
from tests.support.waiting import no_new_threads, wait_until

import hcpcreds.aio
from hcpcreds.credential import Status, UserAssignedIdentityCredential
from hcpcreds.errors import InputError, TokenUnavailableError

FIRST = issue()
SECOND = later(FIRST)
THIRD = later(SECOND)


def no_watcher() -> bool:
    return "hcpcreds-watcher" not in {thread.name for thread in threading.enumerate()}


Open = Callable[..., UserAssignedIdentityCredential]


@pytest.fixture
def open_credential() -> Iterator[Open]:
    """Create credentials in a process that watches nothing yet, and close them."""
    gc.collect()
    wait_until(no_watcher)
    with ExitStack() as stack:
        yield lambda path, **options: stack.enter_context(UserAssignedIdentityCredential(path, **options))


def has_inotify() -> bool:
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return any("inotify" in str(link.readlink()) for link in links)


# Threads


def test_reloads_begin_when_a_thread_can_be_started_again(mount: Mount, open_credential: Open):
    mount.swap(render_file(FIRST))
    with no_new_threads():
        credential = open_credential(mount.path)
        assert credential.status().watch_mode == "stopped"
        assert credential.status().generation == 1, "it was read here and now"
    mount.swap(render_file(SECOND))
    wait_for_generation(credential, 2)
    wait_until(lambda: credential.status().watch_mode == "watching")


def test_file_is_read_for_each_request_when_no_thread_can_be_started(mount: Mount, open_credential: Open):
    with no_new_threads():
        credential = open_credential(mount.path, authority="https://127.0.0.1:1", retry_total=0)
        mount.swap(render_file(FIRST))
        with pytest.raises(TokenUnavailableError):
            credential.get_token("scope")
        assert credential.status().generation == 1


@pytest.mark.usefixtures("open_credential")
def test_asyncio_credential_does_not_wait_when_no_thread_can_be_started(mount: Mount):
    mount.swap(render_file(FIRST))

    async def use() -> Status:
        async with hcpcreds.aio.UserAssignedIdentityCredential(
            mount.path, authority="https://127.0.0.1:1", retry_total=0
        ) as credential:
            with pytest.raises(TokenUnavailableError):
                await asyncio.wait_for(credential.get_token("scope"), 8)
            return credential.status()

    with no_new_threads():
        assert asyncio.run(use()).generation == 1


def test_reloads_continue_when_on_reload_exits(mount: Mount, caplog: pytest.LogCaptureFixture):
    called = threading.Event()

    def on_reload(_: Status) -> None:
        called.set()
        raise SystemExit(1)

    mount.swap(render_file(FIRST))
    with UserAssignedIdentityCredential(mount.path, on_reload=on_reload) as credential:
        wait_until(has_inotify)
        mount.swap(render_file(SECOND))
        assert called.wait(8)
        mount.swap(render_file(THIRD))
        wait_for_generation(credential, 3)
        assert "SystemExit" in caplog.text


KINDS = [UserAssignedIdentityCredential, hcpcreds.aio.UserAssignedIdentityCredential]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ["/x\0y", "", "/mnt/\ud800", b"a\0b"], ids=repr)
def test_path_is_refused_at_once_when_no_file_can_have_it(kind: type, path: str | bytes):
    with pytest.raises(InputError, match="path: "):
        kind(path)


@pytest.mark.parametrize("kind", KINDS)
def test_relative_path_is_refused_when_the_working_directory_is_gone(
    kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(
        InputError, match="certs/ingress is relative, and the working directory does not exist"
    ):
        kind("certs/ingress")


def test_absolute_path_is_watched_when_the_working_directory_is_gone(
    mount: Mount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    mount.swap(render_file(FIRST))
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with UserAssignedIdentityCredential(mount.path) as credential:
        mount.swap(render_file(SECOND))
        wait_for_generation(credential, 2)


def test_rotation_is_noticed_at_once_when_hundreds_are_being_opened(
    mount: Mount, tmp_path: Path, open_credential: Open
):
    held, release = threading.Event(), threading.Event()
    opened: list[hcpcreds.aio.UserAssignedIdentityCredential] = []
    read_before: list[int] = []

    def on_reload(status: Status) -> None:
        if status.generation == 2:
            held.set()
            assert release.wait(60)
        else:
            read_before.append(sum(each.status().generation == 1 for each in opened))

    mount.swap(render_file(FIRST))
    credential = open_credential(mount.path, on_reload=on_reload)
    wait_until(has_inotify)
    mount.swap(render_file(SECOND))
    assert held.wait(8)
    (tmp_path / "new").write_bytes(render_file(FIRST))
    for number in range(300):
        (tmp_path / str(number)).symlink_to("new")
        opened.append(hcpcreds.aio.UserAssignedIdentityCredential(tmp_path / str(number)))
    mount.swap(render_file(THIRD))
    release.set()
    wait_for_generation(credential, 3)
    wait_until(lambda: all(each.status().generation == 1 for each in opened))
    assert read_before
    assert read_before[0] < 100
    for each in opened:
        asyncio.run(each.close())
