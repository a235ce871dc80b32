"""What happens to the watcher: descriptors closed by others, no threads, no poll, limits, mounts.

Files go on being read whatever it is, the watch's mode says how, and others' descriptors stay as they are.
"""

import ctypes
import os
import threading
from pathlib import Path

import pytest
from tests.support.processes import run_python
from tests.support.volume import Mount
from tests.support.waiting import no_new_threads, wait_until
from tests.watch.conftest import Read
from tests.watch.readers import HOUR, OPEN, PRELUDE, Reader

from hcpcreds.watch import post, watch
from hcpcreds.watch.descriptors import Descriptor
from hcpcreds.watch.inotify import Inotify, load_libc

# Descriptors


def test_reads_go_on_and_others_data_stays_when_all_descriptors_are_closed(folder: Path):
    printed = run_python(
        PRELUDE
        + OPEN
        + """
os.closerange(3, 256)
pipes = [os.pipe() for _ in range(8)]
for read, write in pipes:
    os.write(write, b"the daemon's own")
counters = [os.eventfd(5, os.EFD_NONBLOCK) for _ in range(8)]
follows(reader, "2")
print({os.read(read, 100) for read, _ in pipes}, {os.eventfd_read(fd) for fd in counters})
wait_until(lambda: watches(reader))
follows(reader, "3")
reader.handle.close()
wait_until(lambda: threading.active_count() == 1)
print({os.write(write, b"still open") for _, write in pipes}, [os.eventfd_write(fd, 1) for fd in counters][0])
""",
        folder,
    ).splitlines()
    assert printed == ['{b"the daemon\'s own"} {5}', "{10} None"]


@pytest.mark.parametrize("which", ["pipe:", "inotify", "mountinfo"])
def test_reads_go_on_when_one_descriptor_is_closed_and_its_number_used_again(folder: Path, which: str):
    printed = run_python(
        PRELUDE
        + OPEN
        + """
numbers = list_descriptors(sys.argv[2])
read, write = os.pipe()
os.write(write, b"mine")
os.dup2(read, numbers[0])
follows(reader, "2")
other = Reader(f"{folder}/certs/other")
os.link(path, f"{folder}/certs/other")
wait_until(lambda: other.content == "2")
follows(reader, "3")
print(os.read(read, 100))
""",
        folder,
        which,
    )
    assert printed == "b'mine'"


def test_reads_go_on_when_the_process_becomes_a_daemon(folder: Path):
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
follows(reader, "2")
wait_until(lambda: reader.handle.mode == "watching")
follows(reader, "3")
with open(f"{folder}/new", "w") as report:
    report.write(f"{reader.content} {os.read(own[0], 9)}")
os.rename(f"{folder}/new", f"{folder}/report")
""",
        folder,
    )
    wait_until((folder / "report").exists, seconds=15)
    assert (folder / "report").read_text() == "3 b'own'"


def test_timers_go_on_when_all_descriptors_were_closed(folder: Path):
    printed = run_python(
        PRELUDE
        + """
import mmap
reader = Reader(path, delay=0.3)
wait_until(lambda: reader.content == "1" and watches(reader))
os.closerange(3, 256)
with open(path, "r+b") as file, mmap.mmap(file.fileno(), 1) as memory:
    memory[:] = b"2"
    wait_until(lambda: reader.content == "2")
""",
        folder,
    )
    assert printed == ""


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


# Threads


def test_watch_says_stopped_and_reads_begin_when_a_thread_can_be_started_again(
    mount: Mount, read: Read, caplog: pytest.LogCaptureFixture
):
    mount.swap(b"first")
    with no_new_threads():
        reader = read(mount.path)
        assert reader.handle.mode == "stopped"
        assert "cannot watch files: can't start new thread; the next use retries" in caplog.text
        assert reader.content is None
    reader.handle.check_soon()
    wait_until(lambda: reader.content == b"first")
    wait_until(lambda: reader.handle.mode == "watching")


class ThreadDied(BaseException):
    pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_watcher_is_started_again_when_its_thread_has_ended(mount: Mount, read: Read):
    mount.swap(b"first")
    reader = read(mount.path)
    wait_until(lambda: reader.content)
    (thread,) = (each for each in threading.enumerate() if each.name == "hcpcreds-watcher")
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident or 0), ctypes.py_object(ThreadDied)
    )
    (mount.directory / "something").touch()  # wakes it
    thread.join(8)
    assert reader.handle.mode == "stopped"
    mount.swap(b"second")
    reader.handle.check_soon()
    wait_until(lambda: reader.content == b"second")
    mount.swap(b"third")
    wait_until(lambda: reader.content == b"third")
    wait_until(lambda: reader.handle.mode == "watching")


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
def test_change_is_noticed_when_python_has_less(folder: Path, less: str):
    printed = run_python(
        f"import select, sys\n{less}\n"
        + PRELUDE
        + """
reader = Reader(path)
wait_until(lambda: reader.content == "1")
follows(reader, "2")
follows(reader, "3")
print(reader.handle.mode)
""",
        folder,
    )
    assert printed == ("polling" if "ctypes" in less else "watching")


def test_files_are_read_every_second_when_nothing_can_be_waited_for(folder: Path):
    run_python(
        PRELUDE
        + """
import resource, selectors
# The numbers of new descriptors are beyond what select() takes.
selectors.DefaultSelector = selectors.SelectSelector
held = [os.open("/dev/null", os.O_RDONLY)]
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
while held[-1] < 1100:
    held.append(os.open("/dev/null", os.O_RDONLY))
reader = Reader(path)
wait_until(lambda: reader.content == "1")
follows(reader, "2")
""",
        folder,
    )


def test_files_are_read_every_second_when_descriptors_run_out(folder: Path):
    printed = run_python(
        PRELUDE
        + """
import ctypes, logging, resource
from hcpcreds.watch import watch
logging.basicConfig(stream=sys.stdout, format="%(message)s", level="WARNING")
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
held = []
try:
    while True:
        held.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    os.close(held.pop())
reader = Reader(path)
wait_until(lambda: reader.handle.mode == "polling")
for descriptor in held:
    os.close(descriptor)
wait_until(lambda: reader.handle.mode == "watching")
assert reader.content == "1"
follows(reader, "2")
""",
        folder,
    )
    assert printed.endswith("RLIMIT_NOFILE); reads them every 1.0 s")


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
reader = Reader(path)
wait_until(lambda: reader.handle.mode == "polling")
follows(reader, "2")
print(reader.handle.mode)
with open("/proc/sys/user/max_inotify_watches", "w") as limit:
    limit.write("100")
wait_until(lambda: reader.handle.mode == "watching")
follows(reader, "3")
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
"""
        + OPEN
        + """
if libc.mount(b"none", f"{folder}/certs".encode(), b"tmpfs", 0, None):
    print("may not")
    sys.exit()
wait_until(lambda: reader.content is None)
with open(path, "w") as file:
    file.write("2")
wait_until(lambda: reader.content == "2")
assert not libc.umount2(f"{folder}/certs".encode(), 2)  # MNT_DETACH
wait_until(lambda: reader.content == "1")
follows(reader, "3")
print(reader.handle.mode)
""",
        folder,
    )
    if printed == "may not":
        pytest.skip("mounting takes privileges")
    assert printed == "watching"


def test_hundreds_share_one_instance_and_one_thread_when_each_has_a_directory(folder: Path):
    printed = run_python(
        PRELUDE
        + """
readers = []
for number in range(300):
    os.mkdir(f"{folder}/d{number}")
    with open(f"{folder}/d{number}/secret", "w") as file:
        file.write("1")
    readers.append(Reader(f"{folder}/d{number}/secret"))
wait_until(lambda: all(reader.content for reader in readers))
print(len(list_descriptors("inotify")), threading.active_count())
""",
        folder,
    )
    assert printed == "1 2"


def test_directories_are_not_watched_any_more_when_their_files_are_not(folder: Path):
    run_python(
        PRELUDE
        + OPEN
        + """
def count():
    with open(f"/proc/self/fdinfo/{list_descriptors('inotify')[0]}") as info:
        return sum(line.startswith("inotify ") for line in info)
follows(reader, "2")  # until then the first walk over its path may be under way
before = count()
others = []
for number in range(20):
    os.mkdir(f"{folder}/d{number}")
    others.append(Reader(f"{folder}/d{number}/secret"))
wait_until(lambda: count() >= before + 20)
for other in others:
    other.handle.close()
wait_until(lambda: count() <= before)
follows(reader, "3")
""",
        folder,
    )


def test_change_is_noticed_at_once_when_hundreds_begin_to_be_watched(
    mount: Mount, tmp_path: Path, read: Read
):
    others: list[Reader] = []
    read_before: dict[bytes, int] = {}
    held, release = threading.Event(), threading.Event()

    def note() -> float:
        read_before.setdefault(mount.path.read_bytes(), sum(other.content is not None for other in others))
        return HOUR

    def hold() -> None:
        held.set()
        assert release.wait(60)

    mount.swap(b"first")
    handle = watch(str(mount.path), note)
    wait_until(lambda: read_before and handle.mode == "watching")
    called = threading.Event()
    post(called.set)
    assert called.wait(8)
    (tmp_path / "new").write_bytes(b"new")
    post(hold)
    assert held.wait(8)
    for number in range(300):
        (tmp_path / str(number)).symlink_to("new")
        others.append(read(tmp_path / str(number)))
    mount.swap(b"second")
    release.set()
    wait_until(lambda: b"second" in read_before and all(other.content for other in others))
    assert read_before[b"second"] < 100
    handle.close()


# Forks


def test_reads_go_on_in_both_when_the_process_forks(folder: Path):
    printed = run_python(
        PRELUDE
        + OPEN
        + """
pid = os.fork()
if pid == 0:
    follows(reader, "2")
    reader.handle.close()
    wait_until(lambda: threading.active_count() == 1)
    os._exit(0)
print(os.waitpid(pid, 0)[1], threading.active_count())
wait_until(lambda: reader.content == "2")
follows(reader, "3")
""",
        folder,
    )
    assert printed == "0 2"


def test_children_have_watchers_of_their_own_when_threads_open_and_close_meanwhile(folder: Path):
    printed = run_python(
        PRELUDE
        + """
stop = threading.Event()
latest = [Reader(path)]
def churn(thread):
    number = 0
    while not stop.is_set():
        number += 1
        place = f"{folder}/{thread}-{number}"
        with open(place, "w") as file:
            file.write("1")
        latest.append(Reader(place))
        wait_until(lambda: latest[-1].content)
        if len(latest) > 20:
            latest.pop(0).handle.close()
for number in "ab":
    threading.Thread(target=churn, args=(number,), daemon=True).start()
wait_until(lambda: len(latest) > 3)
statuses = []
for _ in range(15):
    time.sleep(0.01)
    pid = os.fork()
    if pid == 0:
        try:
            for reader in list(latest)[-3:]:
                with open(reader.path, "w") as file:
                    file.write("2")
                wait_until(lambda: reader.content == "2")
        except BaseException:
            os._exit(1)
        os._exit(0)
    statuses.append(os.waitpid(pid, 0)[1])
stop.set()
print(set(statuses))
""",
        folder,
    )
    assert printed == "{0}"
