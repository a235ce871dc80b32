"""What befalls the watcher: descriptors closed by others, no threads, no poll, full queues, limits, mounts.

Whatever it is, files go on being read, `status()` says how, and what belongs to others stays untouched.
"""

import asyncio
import ctypes
import gc
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.credential.files import (
    Mount,
    issue,
    later,
    no_new_threads,
    render_file,
    wait_for_generation,
    wait_until,
)
from tests.support.processes import run_python

import hcpcreds.aio
from hcpcreds.credential import Status, UserAssignedIdentityCredential
from hcpcreds.errors import InputError, TokenUnavailableError
from hcpcreds.watch.descriptors import Descriptor
from hcpcreds.watch.inotify import Inotify, load_libc
from hcpcreds.watch.watcher import Watcher, WatchMode
from hcpcreds.watch.watches import resolve_entries

FIRST = issue()
SECOND = later(FIRST)
THIRD = later(SECOND)

# What the code in other processes begins with: waits, rotates, and has a credential.
PRELUDE = """
import os, sys, time
folder = sys.argv[1]
path = f"{folder}/certs/secret"
def wait_until(true):
    while not true():
        time.sleep(0.005)
def rotate(number):
    os.rename(f"{folder}/{number}", path)
def follows(credential, number):
    rotate(number)
    wait_until(lambda: credential.status().generation == number)
    return credential.status()
"""
OPEN = """
from hcpcreds.credential import UserAssignedIdentityCredential
credential = UserAssignedIdentityCredential(path)
def watches():
    return credential.status().watch_mode == "watching" and any(
        "inotify" in os.readlink(f"/proc/self/fd/{fd}")
        for fd in os.listdir("/proc/self/fd") if os.path.islink(f"/proc/self/fd/{fd}"))
wait_until(watches)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A mounted credential, and two later ones in files named 2 and 3, to be renamed over it."""
    Mount(tmp_path / "certs").swap(render_file(FIRST))
    (tmp_path / "2").write_bytes(render_file(SECOND))
    (tmp_path / "3").write_bytes(render_file(THIRD))
    return tmp_path


def no_watcher() -> bool:
    return "hcpcreds-watcher" not in {thread.name for thread in threading.enumerate()}


Open = Callable[..., UserAssignedIdentityCredential]


@pytest.fixture
def open_credential() -> Iterator[Open]:
    """Opens credentials in a process that watches nothing yet, and closes them."""
    gc.collect()
    wait_until(no_watcher)
    with ExitStack() as stack:
        yield lambda path, **options: stack.enter_context(UserAssignedIdentityCredential(path, **options))


def has_inotify() -> bool:
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return any("inotify" in str(link.readlink()) for link in links)


# Descriptors


def test_reloads_go_on_and_others_data_stays_when_all_descriptors_are_closed(folder: Path):
    printed = run_python(
        PRELUDE
        + OPEN
        + """
import ctypes
os.closerange(3, 256)
pipes = [os.pipe() for _ in range(8)]
for read, write in pipes:
    os.write(write, b"the daemon's own")
counters = [os.eventfd(5, os.EFD_NONBLOCK) for _ in range(8)]
status = follows(credential, 2)
print(status.watch_mode, status.last_error)
print({os.read(read, 100) for read, _ in pipes}, {os.eventfd_read(fd) for fd in counters})
wait_until(watches)
status = follows(credential, 3)
credential.close()
import threading
wait_until(lambda: threading.active_count() == 1)
print({os.write(write, b"still open") for _, write in pipes}, [os.eventfd_write(fd, 1) for fd in counters][0])
""",
        folder,
    ).splitlines()
    assert printed[1] == '{b"the daemon\'s own"} {5}'
    assert printed[2] == "{10} None"


@pytest.mark.parametrize("which", ["pipe:", "inotify", "mountinfo"])
def test_reloads_go_on_when_one_descriptor_is_closed_and_its_number_used_again(folder: Path, which: str):
    printed = run_python(
        PRELUDE
        + OPEN
        + """
which = sys.argv[2]
numbers = [int(fd) for fd in os.listdir("/proc/self/fd")
           if os.path.islink(f"/proc/self/fd/{fd}") and which in os.readlink(f"/proc/self/fd/{fd}")]
numbers = [fd for fd in numbers if fd > 2]
read, write = os.pipe()
os.write(write, b"mine")
for number in numbers[:1]:
    os.dup2(read, number)
follows(credential, 2)
other = UserAssignedIdentityCredential(f"{folder}/certs/other")
os.link(path, f"{folder}/certs/other")
wait_until(lambda: other.status().generation == 1)
follows(credential, 3)
print(len(numbers) > 0, os.read(read, 100))
""",
        folder,
        which,
    )
    assert printed == "True b'mine'"


def test_reloads_go_on_when_the_process_becomes_a_daemon(folder: Path):
    run_python(
        PRELUDE
        + OPEN
        + """
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
os.closerange(0, 256)
for number in range(3):
    os.open("/dev/null", os.O_RDWR)
own = os.pipe()
os.write(own[1], b"own")
status = follows(credential, 2)
wait_until(lambda: credential.status().watch_mode == "watching")
status = follows(credential, 3)
with open(f"{folder}/new", "w") as report:
    report.write(f"{status.generation} {status.last_error} {os.read(own[0], 9)}")
os.rename(f"{folder}/new", f"{folder}/report")
""",
        folder,
    )
    wait_until((folder / "report").exists, seconds=15)
    assert (folder / "report").read_text() == "3 None b'own'"


def test_descriptor_is_not_ours_when_another_of_its_kind_has_its_number():
    ours = Inotify(load_libc()).descriptor
    assert ours.is_ours()
    os.close(ours.number)
    assert not ours.is_ours()
    other = ctypes.CDLL(None).inotify_init1(os.O_CLOEXEC)
    if other != ours.number:
        os.dup2(other, ours.number)
        os.close(other)
    assert not ours.is_ours()
    ours.close()
    os.close(ours.number)  # which raises if it is closed already


def test_descriptor_is_closed_once_when_it_is_closed_twice():
    read, write = os.pipe()
    descriptor = Descriptor(read)
    descriptor.close()
    os.dup2(write, read)
    descriptor.close()
    os.close(read)
    os.close(write)


def test_backstop_goes_on_when_all_descriptors_were_closed(folder: Path):
    printed = run_python(
        PRELUDE
        + """
from datetime import timedelta
from hcpcreds.credential import UserAssignedIdentityCredential
import mmap
path = f"{folder}/plain"
os.rename(f"{folder}/2", path)
with open(f"{folder}/3", "rb") as file:
    later = file.read()
credential = UserAssignedIdentityCredential(path, backstop=timedelta(seconds=0.3))
wait_until(lambda: len(os.listdir("/proc/self/fd")) > 5)
os.closerange(3, 256)
size = os.path.getsize(path)
assert len(later) <= size + 8
with open(path, "r+b") as file:
    file.truncate(len(later))
    with mmap.mmap(file.fileno(), len(later)) as memory:
        memory[:] = later
        wait_until(lambda: credential.status().generation == 2)
""",
        folder,
    )
    assert printed == ""


# Threads


def test_status_says_stopped_and_reloads_begin_when_a_thread_can_be_had_again(
    mount: Mount, open_credential: Open
):
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
def test_asyncio_credential_waits_for_no_thread_when_none_can_be_started(mount: Mount):
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


class ThreadDied(BaseException):
    pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_watcher_is_started_again_when_its_thread_has_ended(mount: Mount, open_credential: Open):
    mount.swap(render_file(FIRST))
    credential = open_credential(mount.path)
    wait_until(has_inotify)
    (thread,) = (each for each in threading.enumerate() if each.name == "hcpcreds-watcher")
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident or 0), ctypes.py_object(ThreadDied)
    )
    (mount.directory / "something").touch()  # wakes it
    thread.join(8)
    assert credential.status().watch_mode == "stopped"
    mount.swap(render_file(SECOND))
    wait_for_generation(credential, 2)
    wait_until(lambda: credential.status().watch_mode == "watching")


def test_reloads_go_on_when_on_reload_exits(mount: Mount, caplog: pytest.LogCaptureFixture):
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


class Faulty:
    """Something watched that fails once, where the watcher does not expect it."""

    watch_mode: WatchMode = "watching"

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.reloads: list[WatchMode] = []
        self.has_failed = False

    def reload(self) -> None:
        self.reloads.append(self.watch_mode)

    def get_delay(self) -> float:
        if not self.has_failed:
            self.has_failed = True
            raise ZeroDivisionError
        return 3600.0


def test_all_files_are_read_again_when_the_watcher_meets_what_nobody_foresaw(
    mount: Mount, caplog: pytest.LogCaptureFixture
):
    mount.swap(render_file(FIRST))
    watcher, faulty = Watcher(), Faulty(mount.path)
    watcher.add(faulty, poll=False)
    wait_until(lambda: "polling" in faulty.reloads)
    wait_until(lambda: faulty.watch_mode == "watching")
    assert "cannot watch files (ZeroDivisionError in hcpcreds.watch.watcher" in caplog.text
    reloads = len(faulty.reloads)
    mount.swap(render_file(SECOND))
    wait_until(lambda: len(faulty.reloads) > reloads)
    watcher.post(lambda: watcher.remove(faulty))


# What is missing in the process


@pytest.mark.parametrize(
    "less",
    [
        "del select.poll",
        "del select.poll, select.epoll",
        "sys.modules['_ctypes'] = None",
        """import selectors
del selectors.PollSelector, selectors.EpollSelector
selectors.DefaultSelector = selectors.SelectSelector""",
    ],
)
def test_rotation_is_noticed_when_python_has_less(folder: Path, less: str):
    printed = run_python(
        PRELUDE
        + f"import select, sys\n{less}\n"
        + """
from hcpcreds.credential import UserAssignedIdentityCredential
credential = UserAssignedIdentityCredential(path)
follows(credential, 2)
print(follows(credential, 3).watch_mode)
""",
        folder,
    )
    assert printed == ("polling" if "ctypes" in less else "watching")


def test_files_are_read_every_second_when_nothing_can_be_waited_for(folder: Path):
    printed = run_python(
        PRELUDE
        + """
import resource, selectors
from hcpcreds.credential import UserAssignedIdentityCredential
# The numbers of new descriptors are beyond what select() takes.
selectors.DefaultSelector = selectors.SelectSelector
held = [os.open("/dev/null", os.O_RDONLY)]
os.dup2(held[0], 5)
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
while held[-1] < 1100:
    held.append(os.open("/dev/null", os.O_RDONLY))
credential = UserAssignedIdentityCredential(path)
print(follows(credential, 2).last_error)
""",
        folder,
    )
    assert printed == "None"


def in_namespaces(flags: int) -> str:
    """Code that has the process live in new namespaces: CLONE_NEWNS 0x20000, CLONE_NEWUSER 0x10000000."""
    return f"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare({flags}):
    print("may not")
    sys.exit()
"""


def test_files_are_read_every_second_when_there_are_too_many_watches(folder: Path):
    printed = run_python(
        PRELUDE
        + in_namespaces(0x10000000)
        + """
try:
    with open("/proc/sys/user/max_inotify_watches", "w") as limit:
        limit.write("1")
except OSError:
    print("may not")
    sys.exit()
import logging
logging.basicConfig(stream=sys.stdout, format="%(message)s", level="WARNING")
from hcpcreds.credential import UserAssignedIdentityCredential
credential = UserAssignedIdentityCredential(path)
print(follows(credential, 2).watch_mode)
with open("/proc/sys/user/max_inotify_watches", "w") as limit:
    limit.write("100")
wait_until(lambda: credential.status().watch_mode == "watching")
follows(credential, 3)
""",
        folder,
    ).splitlines()
    if printed == ["may not"]:
        pytest.skip("no user namespaces here")
    warning, mode = printed
    assert warning.endswith(
        "(No space left on device; see fs.inotify.max_user_watches); reads them every 1.0 s"
    )
    assert mode == "polling"


def test_file_is_read_again_when_something_is_mounted_over_it_and_unmounted(folder: Path):
    printed = run_python(
        PRELUDE
        + in_namespaces(0x20000)
        + """
libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None)  # MS_REC | MS_PRIVATE
if libc.mount(b"none", f"{folder}/certs".encode(), b"tmpfs", 0, None):
    print("may not")
    sys.exit()
with open(path, "wb") as file, open(f"{folder}/2", "rb") as second:
    file.write(second.read())
libc.umount2(f"{folder}/certs".encode(), 2)
"""
        + OPEN
        + """
assert not libc.mount(b"none", f"{folder}/certs".encode(), b"tmpfs", 0, None)
wait_until(lambda: "does not exist" in str(credential.status().last_error))
os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
with open(path, "wb") as file, open(f"{folder}/2", "rb") as second:
    file.write(second.read())
wait_until(lambda: credential.status().generation == 2)
assert not libc.umount2(f"{folder}/certs".encode(), 2)  # MNT_DETACH
wait_until(lambda: "not later" in str(credential.status().last_error))
follows(credential, 3)
print(credential.status().watch_mode)
""",
        folder,
    )
    if printed == "may not":
        pytest.skip("mounting takes privileges")
    assert printed == "watching"


# Events


def test_rotation_is_noticed_when_the_queue_of_events_overflows(mount: Mount):
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    held, release = threading.Event(), threading.Event()

    def on_reload(status: Status) -> None:
        if status.generation == 2:
            held.set()
            assert release.wait(60)

    mount.swap(render_file(FIRST))
    with UserAssignedIdentityCredential(mount.path, on_reload=on_reload) as credential:
        wait_until(has_inotify)
        mount.swap(render_file(SECOND))
        assert held.wait(8)
        one, other = mount.directory / "one", mount.directory / "other"
        one.touch()
        for _ in range(limit // 4 + 1):
            one.rename(other)
            other.rename(one)
        mount.swap(render_file(THIRD))
        release.set()
        wait_for_generation(credential, 3)
        mount.swap(render_file(later(THIRD)))
        wait_for_generation(credential, 4)


def link_from_nowhere(path: Path, content: bytes) -> None:
    """Write a file that has no name, and then give it one."""
    try:
        descriptor = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY)
    except OSError:
        pytest.skip("this file system has no O_TMPFILE")
    os.write(descriptor, content)
    descriptors = os.open("/proc/self/fd", os.O_RDONLY)
    os.link(str(descriptor), path, src_dir_fd=descriptors, follow_symlinks=True)
    os.close(descriptors)
    os.close(descriptor)


def link_and_unlink(path: Path, content: bytes) -> None:
    beside = path.with_name("beside")
    beside.write_bytes(content)
    path.hardlink_to(beside)
    beside.unlink()


@pytest.mark.parametrize("link", [link_from_nowhere, link_and_unlink])
def test_file_is_noticed_when_it_was_written_before_it_was_linked(
    mount: Mount, link: Callable[[Path, bytes], None]
):
    mount.directory.mkdir()
    with UserAssignedIdentityCredential(mount.path) as credential:
        wait_until(has_inotify)
        link(mount.path, render_file(FIRST))
        wait_for_generation(credential, 1)
        mount.path.unlink()
        wait_until(lambda: credential.status().last_error)
        link(mount.path, render_file(SECOND))
        wait_for_generation(credential, 2)


# Paths


def test_steps_are_the_same_when_a_path_has_empty_and_dotted_ones(tmp_path: Path):
    (tmp_path / "a").mkdir()
    assert resolve_entries(f"{tmp_path}/.//a/./b/") == resolve_entries(f"{tmp_path}/a/b")


def test_parent_is_the_kernels_when_a_path_goes_through_a_symlink(tmp_path: Path):
    ours, theirs = Mount(tmp_path / "volumes" / "a" / "certs"), Mount(tmp_path / "certs")
    ours.swap(render_file(FIRST))
    theirs.swap(render_file(FIRST, client_id="aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"))
    (tmp_path / "volumes" / "a" / "b").mkdir()
    (tmp_path / "link").symlink_to("volumes/a/b")
    with UserAssignedIdentityCredential(f"{tmp_path}/link/../certs/secret") as credential:
        assert credential.status().client_id != "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
        ours.swap(render_file(SECOND))
        wait_for_generation(credential, 2)


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
        InputError, match=r"certs/ingress is relative, and the working directory is not there.*absolute path"
    ):
        kind("certs/ingress")


def test_absolute_path_is_followed_when_the_working_directory_is_gone(
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


# Forks


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_children_have_watchers_of_their_own_when_threads_open_and_close_meanwhile(folder: Path):
    printed = run_python(
        PRELUDE
        + """
import shutil, threading
from hcpcreds.credential import UserAssignedIdentityCredential
first = open(path, "rb").read()
later = open(f"{folder}/2", "rb").read()
stop = threading.Event()
latest = [UserAssignedIdentityCredential(path)]
def churn(thread):
    number = 0
    while not stop.is_set():
        number += 1
        place = f"{folder}/{thread}-{number}"
        with open(place, "wb") as file:
            file.write(first)
        latest.append(UserAssignedIdentityCredential(place))
        if len(latest) > 20:
            latest.pop(0).close()
threads = [threading.Thread(target=churn, args=(number,), daemon=True) for number in "ab"]
for thread in threads:
    thread.start()
statuses = []
for _ in range(15):
    time.sleep(0.01)
    pid = os.fork()
    if pid == 0:
        for credential in list(latest)[-3:]:
            with open(credential.status().path, "wb") as file:
                file.write(later)
            deadline = time.monotonic() + 8
            while credential.status().generation < 2 and time.monotonic() < deadline:
                time.sleep(0.005)
            if credential.status().generation < 2:
                os._exit(1)
        os._exit(0)
    statuses.append(os.waitpid(pid, 0)[1])
stop.set()
print(set(statuses))
""",
        folder,
    )
    assert printed == "{0}"
