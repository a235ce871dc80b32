"""One thread and one inotify instance for every file that this process watches.

The thread alone owns the watches and their descriptors. Others hand it work through `post`, which is safe
even in a finalizer. Whatever befalls the thread or a descriptor, the files go on being read: what other code
has closed is opened anew, what cannot be watched is read every second, and a thread that has ended is started
again by `keep_running`.
"""

import contextlib
import errno
import logging
import math
import os
import selectors
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Final, Literal, Protocol

from hcpcreds.errors import locate
from hcpcreds.watch.descriptors import Descriptor
from hcpcreds.watch.inotify import Inotify, load_libc
from hcpcreds.watch.watches import Watches

POLL_SECONDS: Final = 1.0
_MAX_WAIT_SECONDS: Final = 60.0
"""So long at most until a closed descriptor is noticed that nothing has told of."""
_MAX_WORK: Final = 16
"""So much is done for files that nothing has happened to before changes of others are looked for again."""
_LIMITS: Final = {
    errno.ENOSPC: "fs.inotify.max_user_watches",
    errno.EMFILE: "fs.inotify.max_user_instances, or RLIMIT_NOFILE",
}

_log = logging.getLogger("hcpcreds.credential")


WatchMode = Literal["watching", "polling", "stopped"]
"""How changes of a file are noticed: at once; by reading it every second; not at all, until the next use
starts the watcher's thread again."""


class Watched(Protocol):
    """Something made from a file."""

    @property
    def path(self) -> str:
        """Absolute path of the file."""

    watch_mode: WatchMode
    """Written by the watcher."""

    def reload(self) -> None:
        """Read the file again, which may have changed. Never raises."""

    def get_delay(self) -> float:
        """Seconds after which to reload in any case."""


class _Entry:
    __slots__ = ("due", "item", "poll")

    def __init__(self, item: Watched) -> None:
        self.item = item
        self.poll = False
        self.due = math.inf


class Watcher:
    """Calls `reload` on items when their files change.

    The thread starts with the first item and ends after the last one.

    Args:
        clock: Monotonic seconds; for tests.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Re-entrant, because a finalizer may post while its own thread is in here.
        self._lock = threading.RLock()
        self._inbox: deque[Callable[[], object]] = deque()
        self._items: dict[Watched, _Entry] = {}
        self._thread: threading.Thread | None = None
        self._next_due = math.inf
        self._told: set[str] = set()
        self._wake: tuple[Descriptor, Descriptor] | None = None
        self._mounts: Descriptor | None = None
        self._watches: Watches[_Entry] | None = None
        self._has_missed = True
        """Whether something may have happened to any file, of which nothing was told."""
        self._unwalked: OrderedDict[_Entry, None] = OrderedDict()
        """Whose path has to be walked, to watch what it depends on now."""

    def add(self, item: Watched, *, poll: bool) -> None:
        """Watch an item's file from now on; `poll` reads it every second instead."""
        with self._lock:
            entry = self._items.setdefault(item, _Entry(item))
            entry.poll = entry.poll or poll
        self.post(lambda: self._check([entry]))

    def remove(self, item: Watched) -> None:
        """Watch an item's file no longer. Only from the watcher's thread, that is from something posted."""
        with self._lock:
            entry = self._items.pop(item, None)
        if entry is not None and self._watches is not None:
            self._watches.forget(entry)

    def post(self, work: Callable[[], object]) -> None:
        """Have the watcher's thread call something soon; never blocks.

        Where no thread can be started, the work waits for the one that the next use starts.
        """
        self._inbox.append(work)
        if not self.keep_running():
            return
        with self._lock:
            # Both ends: writing where nobody reads can end a process (SIGPIPE). A pipe that other code has
            # closed has woken the thread by that, and a full one does so too.
            if self._wake is not None and all(end.is_ours() for end in self._wake):
                with contextlib.suppress(OSError):
                    os.write(self._wake[1].number, b"\0")

    def keep_running(self) -> bool:
        """Start the thread if it should run and does not: there was none to be had, or it has ended.

        Returns:
            Whether it runs, or has nothing to do.
        """
        with self._lock:
            # One that has no number yet is being started, perhaps further down this very stack.
            if self._thread is not None and (self._thread.is_alive() or self._thread.ident is None):
                return True
            if not self._items and not self._inbox:
                return True
            thread = self._thread = threading.Thread(target=self._run, name="hcpcreds-watcher", daemon=True)
        try:
            thread.start()  # not under the lock: it waits for the thread, which may collect and so post
        except (RuntimeError, MemoryError) as error:  # "can't start new thread": a limit of the pod, say
            for entry in self._get_entries():
                entry.item.watch_mode = "stopped"
            self._tell(f"cannot watch files: {error}; the next use of a credential tries again")
        finally:
            with self._lock:
                if self._thread is thread and not thread.is_alive():
                    self._thread = None
        return self._thread is not None

    def prepare_fork(self) -> None:
        """Hold still while the process forks, so that the child finds nothing half done."""
        self._lock.acquire()

    def go_on_after_fork(self) -> None:
        """Go on in the parent."""
        self._lock.release()

    def reset_after_fork(self) -> None:
        """Start again in a forked child, which has the parent's descriptors and none of its threads."""
        self._lock = threading.RLock()
        self._thread = None
        self._close()
        self.keep_running()

    # The thread

    def _run(self) -> None:
        me = threading.current_thread()
        try:
            while self._thread is me:
                try:
                    self._step()
                except Exception as error:  # noqa: BLE001 (whatever it is, the files go on being read)
                    self._tell(f"cannot watch files ({locate(error)}); reads them every {POLL_SECONDS} s")
                    with self._lock:
                        self._close()
                    for entry in self._get_entries():
                        entry.item.watch_mode = "polling"
                    time.sleep(POLL_SECONDS)
        finally:
            with self._lock:
                if self._thread is me:
                    self._thread = None
                    self._close()
                    for item in self._items:
                        item.watch_mode = "stopped"

    def _step(self) -> None:
        """Do what there is to do, and wait for more."""
        self._open_what_is_missing()
        for _ in range(min(len(self._inbox), _MAX_WORK)):
            self._call(self._inbox.popleft())
        self._reload_due()
        for _ in range(min(len(self._unwalked), _MAX_WORK)):
            self._walk(self._unwalked.popitem(last=False)[0])
        with self._lock:
            if not self._items and not self._inbox:
                self._thread = None
                self._close()
                self._told.clear()
                return
        self._check(self._wait())

    def _open_what_is_missing(self) -> None:
        with self._lock:
            if self._wake is None or not all(end.is_ours() for end in self._wake):
                _close_all(self._wake or ())
                self._wake = _open_pipe()
        if self._mounts is not None and not self._mounts.is_ours():
            self._mounts = None
            self._has_missed = True
        if self._mounts is None:
            self._mounts = _open_mounts()
        if self._watches is not None and not self._watches.inotify.descriptor.is_ours():
            _log.warning("other code has closed the descriptors that watch files; they are opened anew")
            self._watches = None
            self._has_missed = True
        if self._has_missed:
            self._has_missed = False
            self._check(self._get_entries())

    def _wait(self) -> list[_Entry]:
        """Wait for something to do; tell whose files may have changed."""
        inotify = self._watches.inotify.descriptor if self._watches is not None else None
        timeout = self._get_timeout()
        try:
            with _open_selector() as selector:
                if self._wake is not None:
                    selector.register(self._wake[0].number, selectors.EVENT_READ)
                if inotify is not None:
                    selector.register(inotify.number, selectors.EVENT_READ)
                if self._mounts is not None:
                    # Always readable, never writable; but an error, which is what a change shows as, wakes
                    # whoever waits to write.
                    selector.register(self._mounts.number, selectors.EVENT_WRITE)
                ready = {key.fd for key, _ in selector.select(timeout)}
        except (OSError, ValueError) as error:
            # Closed since the look above; or there is no selector to be had, and all is read each second.
            self._tell(f"cannot wait for changes ({error}); looks every {POLL_SECONDS} s")
            time.sleep(POLL_SECONDS)
            return self._get_entries()
        if self._wake is not None and self._wake[0].number in ready and self._wake[0].is_ours():
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake[0].number, 4096)
        if self._mounts is not None and self._mounts.number in ready:
            return self._get_entries()
        if inotify is not None and inotify.number in ready:
            return self._read_events()
        return []

    def _close(self) -> None:
        descriptors = [*(self._wake or ()), self._mounts]
        if self._watches is not None:
            descriptors.append(self._watches.inotify.descriptor)
        _close_all(each for each in descriptors if each is not None)
        self._wake = self._mounts = self._watches = None
        self._unwalked.clear()
        self._next_due = math.inf
        self._has_missed = True

    def _get_entries(self) -> list[_Entry]:
        with self._lock:
            return list(self._items.values())

    def _call(self, work: Callable[[], object]) -> None:
        try:
            work()
        except (Exception, SystemExit) as error:  # noqa: BLE001 (one bad file must not stop all others)
            _log.error("the watcher failed, and goes on: %s", locate(error))

    # Timers

    def _get_timeout(self) -> float:
        if self._inbox or self._unwalked:
            return 0.0
        longest = _MAX_WAIT_SECONDS if self._wake is not None else POLL_SECONDS
        return max(0.0, min(self._next_due - self._clock(), longest))

    def _set_timer(self, entry: _Entry, delay: float) -> None:
        entry.due = self._clock() + delay
        self._next_due = min(self._next_due, entry.due)

    def _reload_due(self) -> None:
        now = self._clock()
        if now < self._next_due:
            return
        entries = self._get_entries()
        self._next_due = min((entry.due for entry in entries if entry.due > now), default=math.inf)
        self._check([entry for entry in entries if entry.due <= now])

    def _check(self, entries: list[_Entry]) -> None:
        """Reload what may have changed; the paths are walked later, for that takes longer and may wait."""
        for entry in entries:
            entry.due = math.inf
            self._call(entry.item.reload)
            self._unwalked[entry] = None

    def _walk(self, entry: _Entry) -> None:
        if self._items.get(entry.item) is not entry:
            return
        if self._watch(entry):
            self._call(entry.item.reload)
        delay = entry.item.get_delay()
        self._set_timer(entry, min(delay, POLL_SECONDS) if entry.item.watch_mode == "polling" else delay)

    # inotify

    def _watch(self, entry: _Entry) -> bool:
        """Watch what the entry's path depends on now; tell whether that has changed."""
        if entry.poll:
            entry.item.watch_mode = "polling"
            return False
        try:
            has_changed = self._get_watches().watch(entry, entry.item.path)
        except OSError as error:
            entry.item.watch_mode = "polling"
            if error.errno != errno.EBADF:  # what other code has closed is told of where it is opened anew
                limit = f"; see {_LIMITS[error.errno]}" if error.errno in _LIMITS else ""
                reason = f"{os.strerror(error.errno or 0)}{limit}"
                self._tell(f"cannot watch files ({reason}); reads them every {POLL_SECONDS} s")
            return False
        entry.item.watch_mode = "watching"
        return has_changed

    def _get_watches(self) -> Watches[_Entry]:
        if self._watches is None:
            libc = load_libc()  # takes a lock that a fork takes before the one here
            with self._lock:
                self._watches = Watches(Inotify(libc))
        return self._watches

    def _read_events(self) -> list[_Entry]:
        try:
            touched, begun = self._get_watches().read()
        except OSError:
            return []  # other code has closed it since; the next step opens it anew
        for entry in begun:
            if entry.due > self._clock() + POLL_SECONDS:
                self._set_timer(entry, POLL_SECONDS)
        return touched

    def _tell(self, reason: str) -> None:
        if reason not in self._told:
            self._told.add(reason)
            _log.warning("hcpcreds %s", reason)


def _open_selector() -> selectors.BaseSelector:
    # poll needs no descriptor of its own, unlike epoll. Where eventlet or gevent have put in a default of
    # theirs, threads are theirs too, and only that one lets others run.
    if selectors.DefaultSelector is getattr(selectors, "EpollSelector", None):
        return getattr(selectors, "PollSelector", selectors.DefaultSelector)()
    return selectors.DefaultSelector()


def _open_pipe() -> tuple[Descriptor, Descriptor] | None:
    # Out of descriptors, the thread looks every second whether there is something to do.
    try:
        ends = os.pipe()
    except OSError:
        return None
    for end in ends:
        os.set_blocking(end, False)
    return Descriptor(ends[0]), Descriptor(ends[1])


def _open_mounts() -> Descriptor | None:
    # Something mounted over a directory touches none of its entries. The mount table tells: proc(5).
    try:
        return Descriptor(os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return None


def _close_all(descriptors: Iterable[Descriptor]) -> None:
    for descriptor in descriptors:
        descriptor.close()
