"""Faults of the file system: which credential is in use, what the status says, what was logged."""

import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.credential.files import (
    CLIENT,
    TENANT,
    Clock,
    Issued,
    issue,
    later,
    render_file,
    wait_for_generation,
)
from tests.support.volume import Mount
from tests.support.waiting import wait_until

from hcpcreds.credential import Status, UserAssignedIdentityCredential
from hcpcreds.credential_file.file import MAX_FILE_BYTES
from hcpcreds.errors import HcpCredsError, InputError, MountFormatError

FIRST = issue()
SECOND = later(FIRST)
OTHER_CLIENT = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"


@pytest.fixture
def open_credential() -> Iterator[Callable[..., UserAssignedIdentityCredential]]:
    opened: list[UserAssignedIdentityCredential] = []

    def open_one(path: str | Path, **options: Any) -> UserAssignedIdentityCredential:
        opened.append(UserAssignedIdentityCredential(path, **options))
        return opened[-1]

    yield open_one
    for credential in opened:
        credential.close()


Open = Callable[..., UserAssignedIdentityCredential]


def count_reports(caplog: pytest.LogCaptureFixture, message: str) -> int:
    return sum(message in record.getMessage() for record in caplog.records)


def is_used(credential: UserAssignedIdentityCredential, issued: Issued) -> bool:
    return credential.status().thumbprint == issued.thumbprint


# How a file changes


def swap(mount: Mount, content: bytes) -> None:
    mount.swap(content)


def rename_over(mount: Mount, content: bytes) -> None:
    new = mount.directory / "new"
    new.write_bytes(content)
    new.rename(mount.path)


def link_over(mount: Mount, content: bytes) -> None:
    kept = mount.directory / "kept"
    kept.unlink(missing_ok=True)
    kept.write_bytes(content)
    mount.path.unlink(missing_ok=True)
    mount.path.hardlink_to(kept)


def write_in_place(mount: Mount, content: bytes) -> None:
    mount.path.write_bytes(content)


def replace_the_directory(mount: Mount, content: bytes) -> None:
    new = Mount(mount.directory.parent / "new", mount.name)
    new.swap(content)
    mount.directory.rename(mount.directory.parent / f"old-{os.urandom(4).hex()}")
    new.directory.rename(mount.directory)


@pytest.mark.parametrize("change", [swap, rename_over, link_over, write_in_place, replace_the_directory])
def test_new_credential_is_accepted_when_the_file_changes_in_any_way(
    mount: Mount, open_credential: Open, change: Any
):
    mount.swap(render_file(FIRST))
    credential = open_credential(mount.path)
    issued = FIRST
    for generation in range(2, 5):
        issued = later(issued)
        change(mount, render_file(issued))
        wait_for_generation(credential, generation)
        assert is_used(credential, issued)
    status = credential.status()
    assert (status.watch_mode, status.last_error, status.client_id, status.tenant_id) == (
        "watching",
        None,
        CLIENT,
        TENANT,
    )


def test_in_place_write_is_noticed_when_it_follows_a_swap(mount: Mount, open_credential: Open):
    mount.swap(render_file(FIRST))
    credential = open_credential(mount.path)
    mount.swap(render_file(SECOND))
    wait_for_generation(credential, 2)
    write_in_place(mount, render_file(later(SECOND)))
    wait_for_generation(credential, 3)


def test_credential_is_accepted_when_its_mount_appears_after_the_start(tmp_path: Path, open_credential: Open):
    mount = Mount(tmp_path / "not" / "there" / "yet")
    credential = open_credential(mount.path)
    assert "does not exist" in str(credential.status().last_error)
    mount.swap(render_file(FIRST))
    wait_for_generation(credential, 1)
    assert credential.status().last_error is None


@pytest.mark.parametrize("form", ["relative", "symlink to the file", "symlink to the directory", "dots"])
def test_rotation_is_noticed_when_the_path_has_links_or_dots(
    tmp_path: Path, mount: Mount, open_credential: Open, monkeypatch: pytest.MonkeyPatch, form: str
):
    mount.swap(render_file(FIRST))
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "file").symlink_to(f"../certs/{mount.name}")
    (tmp_path / "app" / "certs").symlink_to(mount.directory)
    monkeypatch.chdir(tmp_path)
    path = {
        "relative": f"certs/{mount.name}",
        "symlink to the file": tmp_path / "app" / "file",
        "symlink to the directory": tmp_path / "app" / "certs" / mount.name,
        "dots": f"{tmp_path}/app/../certs/./{mount.name}",
    }[form]
    credential = open_credential(path)
    mount.swap(render_file(SECOND))
    wait_for_generation(credential, 2)


def test_rotation_is_noticed_when_a_symlink_in_the_path_changes(tmp_path: Path, open_credential: Open):
    old, new = Mount(tmp_path / "v1"), Mount(tmp_path / "v2")
    old.swap(render_file(FIRST))
    new.swap(render_file(SECOND))
    (tmp_path / "current").symlink_to("v1")
    credential = open_credential(tmp_path / "current" / "secret")
    (tmp_path / "next").symlink_to("v2")
    (tmp_path / "next").rename(tmp_path / "current")
    wait_for_generation(credential, 2)
    new.swap(render_file(later(SECOND)))
    wait_for_generation(credential, 3)


# What may replace a valid file


def remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def put_directory(path: Path) -> None:
    remove(path)
    path.mkdir()


def put_pipe(path: Path) -> None:
    remove(path)
    os.mkfifo(path)


def put_dangling_symlink(path: Path) -> None:
    remove(path)
    path.symlink_to("nowhere")


def put_symlink_loop(path: Path) -> None:
    remove(path)
    path.symlink_to(path.name)


def put_giant(path: Path) -> None:
    path.write_bytes(b" " * (MAX_FILE_BYTES + 1))


def put_truncated(path: Path) -> None:
    path.write_bytes(render_file(SECOND)[:500])


@pytest.mark.parametrize(
    ("put", "message"),
    [
        (remove, "does not exist"),
        (put_directory, "not a regular file"),
        (put_pipe, "not a regular file"),
        (put_dangling_symlink, "dangling symlink"),
        (put_symlink_loop, "symbolic links"),
        (put_giant, "larger than 1048576 bytes"),
        (put_truncated, "expected a JSON object"),
    ],
)
def test_last_valid_credential_is_used_when_the_file_is_damaged(
    mount: Mount, open_credential: Open, caplog: pytest.LogCaptureFixture, put: Any, message: str
):
    mount.directory.mkdir()
    write_in_place(mount, render_file(FIRST))
    credential = open_credential(mount.path)
    put(mount.path)
    wait_until(lambda: message in str(credential.status().last_error))
    assert is_used(credential, FIRST)
    assert credential.status().generation == 1
    wait_until(lambda: count_reports(caplog, message))  # a moment after the status changes
    if mount.path.is_dir():
        mount.path.rmdir()
    remove(mount.path)
    write_in_place(mount, render_file(FIRST))
    wait_until(lambda: credential.status().last_error is None)
    assert credential.status().generation == 1, "the same credential again is no event"
    write_in_place(mount, render_file(SECOND))
    wait_for_generation(credential, 2)
    assert count_reports(caplog, message) == 1, "reported once"


@contextmanager
def as_nobody() -> Iterator[None]:
    """Become another user, because root may open any file."""
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if was_root:
            os.seteuid(0)


def test_last_valid_credential_is_used_when_permission_is_denied(mount: Mount, open_credential: Open):
    mount.swap(render_file(FIRST))
    credential = open_credential(mount.path, backstop=timedelta(seconds=0.2))
    mount.directory.chmod(0)
    with as_nobody():
        wait_until(lambda: "Permission denied" in str(credential.status().last_error))
        assert is_used(credential, FIRST)
    mount.directory.chmod(0o755)
    wait_until(lambda: credential.status().last_error is None)
    mount.swap(render_file(SECOND))
    wait_for_generation(credential, 2)


def test_last_valid_credential_is_used_when_the_directory_vanishes_and_returns(
    mount: Mount, open_credential: Open
):
    mount.swap(render_file(FIRST))
    credential = open_credential(mount.path)
    away = mount.directory.rename(mount.directory.parent / "away")
    wait_until(lambda: "does not exist" in str(credential.status().last_error))
    assert is_used(credential, FIRST)
    away.rename(mount.directory)
    wait_until(lambda: credential.status().last_error is None)
    mount.swap(render_file(SECOND))
    wait_for_generation(credential, 2)


def test_last_valid_credential_is_used_when_the_disk_is_full(
    mount: Mount, open_credential: Open, caplog: pytest.LogCaptureFixture
):
    mount.swap(render_file(FIRST))
    credential = open_credential(mount.path)
    half = mount.directory / "..2026_11_23_10_15_43.0"
    half.mkdir()
    (half / mount.name).write_bytes(render_file(SECOND)[:700])
    (mount.directory / "..data_tmp").symlink_to(half.name)
    (mount.directory / "..data_tmp").unlink()
    write_in_place(Mount(mount.directory, "beside"), b"something else")
    mount.swap(render_file(SECOND))
    wait_for_generation(credential, 2)
    assert not caplog.records or all(record.levelname == "INFO" for record in caplog.records)


# Which credentials are accepted


def change_and_wait(
    mount: Mount, credential: UserAssignedIdentityCredential, content: bytes, message: str
) -> Status:
    mount.swap(content)
    wait_until(lambda: message in str(credential.status().last_error))
    return credential.status()


def at(time: datetime) -> Issued:
    return issue(not_before=time.replace(microsecond=0))


@pytest.mark.parametrize("minutes", [0, -5])
def test_credential_is_ignored_when_it_is_not_later(
    mount: Mount, open_credential: Open, caplog: pytest.LogCaptureFixture, minutes: int
):
    mount.swap(render_file(FIRST))
    credential = open_credential(mount.path)
    status = change_and_wait(mount, credential, render_file(later(FIRST, minutes=minutes)), "not later")
    assert is_used(credential, FIRST)
    assert (status.generation, status.rejected) == (1, 1)
    wait_until(lambda: "not later" in caplog.text)


def test_earlier_credential_is_accepted_when_the_current_one_has_expired(
    mount: Mount, open_credential: Open, clock: Clock
):
    current = issue(not_before=FIRST.not_before, days=1)
    earlier = later(FIRST, minutes=-5)
    mount.swap(render_file(current))
    credential = open_credential(mount.path, clock=clock)
    change_and_wait(mount, credential, render_file(earlier), "not later")
    clock.ahead = 2 * 86400
    mount.swap(render_file(earlier))
    wait_until(lambda: is_used(credential, earlier))


@pytest.mark.parametrize(
    "change",
    [{"client_id": OTHER_CLIENT}, {"tenant_id": OTHER_CLIENT}],
)
def test_credential_is_rejected_when_it_belongs_to_another_identity(
    mount: Mount, open_credential: Open, change: dict[str, str]
):
    mount.swap(render_file(FIRST))
    credential = open_credential(mount.path)
    status = change_and_wait(mount, credential, render_file(SECOND, **change), "now holds identity")
    assert is_used(credential, FIRST)
    assert status.client_id == CLIENT
    mount.swap(render_file(later(SECOND)))
    wait_for_generation(credential, 2)


@pytest.mark.parametrize(
    ("times", "is_accepted"),
    [
        ({"not_before": "0001-01-01T00:00:00Z", "not_after": "9999-12-31T23:59:59Z"}, True),
        ({"not_before": "9999-12-31T23:59:58Z", "not_after": "9999-12-31T23:59:59Z"}, False),
        ({"not_before": "0001-01-01T00:00:00Z", "not_after": "0001-01-01T00:00:01Z"}, False),
    ],
)
def test_credential_is_checked_when_its_times_are_the_first_or_last_of_the_calendar(
    mount: Mount, open_credential: Open, times: dict[str, str], *, is_accepted: bool
):
    mount.swap(render_file(FIRST, **times))
    credential = open_credential(mount.path)
    assert is_used(credential, FIRST) is is_accepted
    with pytest.raises(HcpCredsError):
        credential.get_token("https://vault.azure.net/.default", tenant_id="t")
    mount.swap(render_file(later(SECOND)))
    wait_for_generation(credential, 2 if is_accepted else 1)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("https://login.example/", "https://evil.example/x"),
        ("https://login.microsoftonline.com/", "https://evil.example/"),
        ("https://login.microsoftonline.com/", "https://login.microsoftonline.com.evil.example/"),
        ("https://login.microsoftonline.com/", "https://login.microsoftonline.us/"),
        ("https://evil.example/", "https://login.microsoftonline.com/"),
    ],
)
def test_credential_is_rejected_when_it_names_another_authority(
    mount: Mount, open_credential: Open, before: str, after: str
):
    mount.swap(render_file(FIRST, authentication_endpoint=before))
    credential = open_credential(mount.path)
    led_away = render_file(SECOND, authentication_endpoint=after)
    change_and_wait(mount, credential, led_away, "now names the authority")
    assert is_used(credential, FIRST)
    mount.swap(render_file(later(SECOND), authentication_endpoint=before))
    wait_for_generation(credential, 2)


def test_hint_names_the_next_step_when_a_credential_is_not_accepted(mount: Mount, open_credential: Open):
    mount.swap(render_file(FIRST))
    credential = open_credential(mount.path)
    ahead = issue(not_before=datetime.now(UTC) + timedelta(days=1))
    for content, hint in (
        (render_file(SECOND, client_id=OTHER_CLIENT), "Restart the process if the identity was replaced"),
        (
            render_file(SECOND, authentication_endpoint="https://evil.example/"),
            "Restart the process if the authority was replaced",
        ),
        (
            render_file(issue(not_before=FIRST.not_before - timedelta(days=1))),
            "accepted if the current one fails",
        ),
        (render_file(ahead), "It will be accepted at that time"),
    ):
        change_and_wait(mount, credential, content, hint)


def test_credential_stays_rejected_when_the_current_one_expires_but_the_authority_differs(
    mount: Mount, open_credential: Open
):
    clock = Clock()
    mount.swap(render_file(FIRST))
    credential = open_credential(mount.path, clock=clock)
    led_away = render_file(SECOND, authentication_endpoint="https://evil.example/")
    change_and_wait(mount, credential, led_away, "now names the authority")
    clock.ahead = timedelta(days=89, hours=23).total_seconds()  # the first has expired, the second has not
    with pytest.raises(HcpCredsError):
        credential.get_token("https://vault.azure.net/.default")
    assert is_used(credential, FIRST)


@pytest.mark.parametrize(
    ("before", "after", "options"),
    [
        ("https://login.microsoftonline.com/", "https://westus2.login.microsoft.com/", {}),
        ("https://westus2.login.microsoft.com/", "https://eastus.login.microsoft.com/", {}),
        ("https://login.example:1/", "https://LOGIN.example:2/", {}),
        ("https://login.example/", "https://other.example/", {"authority": "https://mine.example/"}),
    ],
)
def test_credential_is_accepted_when_its_authority_is_the_same_or_not_used(
    mount: Mount, open_credential: Open, before: str, after: str, options: dict[str, str]
):
    mount.swap(render_file(FIRST, authentication_endpoint=before))
    credential = open_credential(mount.path, **options)
    mount.swap(render_file(SECOND, authentication_endpoint=after))
    wait_for_generation(credential, 2)


def test_credential_is_rejected_when_its_key_is_unusable(mount: Mount, open_credential: Open):
    short = issue(key=rsa.generate_private_key(65537, 1024), not_before=SECOND.not_before)  # noqa: S505 (that is the point)
    mount.swap(render_file(FIRST))
    credential = open_credential(mount.path)
    change_and_wait(mount, credential, render_file(short), "RSA with 1024 bits; expected 2048 to 8192")
    assert is_used(credential, FIRST)


def test_credential_is_rejected_when_it_has_already_expired(mount: Mount, open_credential: Open):
    mount.swap(render_file(FIRST))
    credential = open_credential(mount.path)
    expired = issue(not_before=FIRST.not_before + timedelta(minutes=1), days=0.01)
    change_and_wait(mount, credential, render_file(expired), "expired at")
    assert is_used(credential, FIRST)


def test_credential_is_accepted_at_its_time_when_that_lies_ahead(mount: Mount, open_credential: Open):
    mount.swap(render_file(FIRST))
    credential = open_credential(mount.path)
    ahead = at(datetime.now(UTC) + timedelta(minutes=5, seconds=2))
    change_and_wait(mount, credential, render_file(ahead), "is not valid before")
    assert is_used(credential, FIRST)
    wait_for_generation(credential, 2)
    assert is_used(credential, ahead)


def test_credential_is_accepted_when_the_clock_jumps_to_its_time(
    mount: Mount, open_credential: Open, clock: Clock
):
    mount.swap(render_file(FIRST))
    credential = open_credential(mount.path, clock=clock)
    ahead = at(clock.now() + timedelta(days=1))
    change_and_wait(mount, credential, render_file(ahead), "is not valid before")
    clock.ahead = 86400
    mount.swap(render_file(ahead))
    wait_for_generation(credential, 2)
    clock.ahead = -86400
    mount.swap(render_file(later(ahead)))
    wait_until(lambda: "is not valid before" in str(credential.status().last_error))
    assert is_used(credential, ahead), "a clock that is set back changes nothing"
    clock.ahead = 86400
    mount.swap(render_file(later(ahead)))
    wait_for_generation(credential, 3)


@pytest.mark.parametrize("key", ["not_before", "not_after"])
def test_credential_is_accepted_with_a_warning_when_a_time_is_missing(
    mount: Mount, open_credential: Open, caplog: pytest.LogCaptureFixture, key: str
):
    mount.swap(render_file(FIRST))
    credential = open_credential(mount.path)
    mount.swap(render_file(SECOND, **{key: ...}))
    wait_for_generation(credential, 2)
    wait_until(lambda: f"{key} is missing" in caplog.text)
    assert credential.status().not_before == SECOND.not_before


def test_invalid_content_is_reported_once_when_it_stays(
    mount: Mount, open_credential: Open, caplog: pytest.LogCaptureFixture
):
    mount.swap(render_file(FIRST))
    credential = open_credential(mount.path, poll=True)
    change_and_wait(mount, credential, b"bad", "expected a JSON object")
    mount.swap(b"bad")
    mount.swap(b"bad")
    mount.swap(render_file(SECOND))
    wait_for_generation(credential, 2)
    assert count_reports(caplog, "expected a JSON object") == 1
    assert credential.status().rejected == 1


def test_last_credential_is_used_when_many_swaps_follow_each_other(mount: Mount, open_credential: Open):
    mount.swap(render_file(FIRST))
    credential = open_credential(mount.path)
    issued = FIRST
    for _ in range(150):
        issued = later(issued, minutes=0.1)
        mount.swap(render_file(issued))
    wait_until(lambda: is_used(credential, issued))
    assert credential.status().last_error is None


# How the file is watched


def test_file_is_read_every_second_when_polling_is_requested(mount: Mount, open_credential: Open):
    mount.swap(render_file(FIRST))
    credential = open_credential(mount.path, poll=True)
    wait_until(lambda: credential.status().watch_mode == "polling")
    mount.swap(render_file(SECOND))
    wait_for_generation(credential, 2)


def test_backstop_finds_the_change_when_no_event_reports_it(mount: Mount, open_credential: Open):
    first, second = render_file(FIRST), render_file(SECOND)
    size = max(len(first), len(second))
    mount.swap(first.ljust(size))
    credential = open_credential(mount.path, backstop=timedelta(seconds=0.3))
    with mount.path.open("r+b") as file, mmap.mmap(file.fileno(), size) as memory:
        memory[:] = second.ljust(size)  # inotify does not report writes through a mapping
        wait_for_generation(credential, 2)


def test_source_is_shared_when_several_credentials_open_the_same_path(mount: Mount, open_credential: Open):
    mount.swap(render_file(FIRST))
    one, other = open_credential(mount.path), open_credential(str(mount.path))
    mount.swap(render_file(SECOND))
    wait_for_generation(one, 2)
    assert one.status() == other.status()
    one.close()
    mount.swap(render_file(later(SECOND)))
    wait_for_generation(other, 3)


def test_file_is_refused_when_it_belongs_to_another_cloud(tmp_path: Path):
    path = tmp_path / "secret"
    path.write_bytes(render_file(issue(), authentication_endpoint="https://westus2.login.microsoft.com/"))
    problem = r"westus2\.login\.microsoft\.com, which is not one of AzureChinaCloud"
    with (
        UserAssignedIdentityCredential(path, cloud="AzureChinaCloud") as credential,
        pytest.raises(MountFormatError, match=problem),
    ):
        credential.get_token("https://management.azure.com/.default")


def test_clock_is_refused_when_other_users_have_another(tmp_path: Path):
    path = tmp_path / "secret"
    with UserAssignedIdentityCredential(path), pytest.raises(InputError, match=r"clock: .* another clock"):
        UserAssignedIdentityCredential(path, clock=lambda: 0.0)
    UserAssignedIdentityCredential(path, clock=lambda: 0.0).close()
