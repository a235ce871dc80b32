"""One thread and one inotify instance for every file that this process watches.

Only the thread touches the watches and their descriptors. Others queue work with `Watcher.post`, which is
safe even in a finalizer. Files are still read whatever happens to the thread or its descriptors: a
descriptor that other code has closed is reopened, a file that cannot be watched is read every second, and
`Watcher.keep_running` replaces a thread that has ended.
"""

import errno
import logging
import math
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final, Literal

from hcpcreds.errors import locate
from hcpcreds.watch.channels import Channels
from hcpcreds.watch.directories import DirectoryWatches
from hcpcreds.watch.inotify import Inotify, load_libc

POLL_SECONDS: Final = 1.0
_MAX_WAIT_SECONDS: Final = 60.0
"""The longest wait, so that a descriptor that was closed unnoticed is reopened."""
_MAX_WORK: Final = 16
"""Maximum number of queued callables, and of walks, between two checks for changes."""
_RETRY_SECONDS: Final = 60.0
"""Delay before `on_change` is called again if it has only raised so far."""
_LIMITS: Final = {
    errno.ENOSPC: "fs.inotify.max_user_watches",
    errno.EMFILE: "fs.inotify.max_user_instances, or RLIMIT_NOFILE",
}

_log = logging.getLogger("hcpcreds.watch")

WatchMode = Literal["watching", "polling", "stopped"]
"""How changes of a file are noticed: at once; by reading it every second; not at all, until the next use
starts the watcher's thread again."""


class Watch:
    """A file that is watched until `close`, as returned by `Watcher.watch`."""

    __slots__ = ("_on_change", "_watcher", "delay", "due", "mode", "path", "poll")

    def __init__(self, watcher: "Watcher", path: str, on_change: Callable[[], float]) -> None:
        self._watcher = watcher
        self.path = path
        self._on_change = on_change
        self.mode: WatchMode = "watching"
        """How changes are noticed at the moment."""
        self.poll = False
        self.delay = _RETRY_SECONDS
        self.due = math.inf

    def check_soon(self, *, poll: bool = False) -> None:
        """Call `on_change` soon; with `poll`, also every second from now on."""
        self.poll = self.poll or poll
        self._watcher.post(lambda: self._watcher.check(self))

    def call_on_change(self) -> None:
        """Call `on_change`. Only on the watcher's thread."""
        self.delay = self._on_change()

    def close(self) -> None:
        """Stop watching; safe anywhere, also in a finalizer. A call in progress is not interrupted."""
        self._watcher.post(lambda: self._watcher.remove(self))


class Watcher:
    """Calls `on_change` when a file may have changed.

    The thread starts with the first file and ends after the last one.

    Args:
        monotonic: Clock in seconds; for tests.
    """

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        # Re-entrant, because a finalizer may post while its own thread is in here.
        self.lock = threading.RLock()
        """Held while the process forks, so that the child does not inherit a half-finished change."""
        self._inbox: deque[Callable[[], object]] = deque()
        self._watches: dict[Watch, None] = {}
        self._thread: threading.Thread | None = None
        self._next_due = math.inf
        self._warned: set[str] = set()
        self._channels: Channels[Watch] = Channels()
        self._may_have_missed = True
        """Whether any file may have changed without an event."""
        self._unwalked: OrderedDict[Watch, None] = OrderedDict()
        """Watches whose path has to be walked, because the directories on it may have changed."""

    def watch(self, path: str, on_change: Callable[[], float], *, poll: bool = False) -> Watch:
        """Start watching a file.

        Args:
            path: An absolute path (`make_absolute`), whose file need not exist yet.
            on_change: Called on the watcher's thread: once soon, then whenever the path may lead to other
                content. Returns the seconds after which to call it again even without a change. Exceptions
                are logged, and the watch continues.
            poll: Call it every second instead of watching the file.

        Returns:
            The handle that ends the watch.
        """
        watch = Watch(self, path, on_change)
        with self.lock:
            self._watches[watch] = None
        watch.check_soon(poll=poll)
        return watch

    def post(self, work: Callable[[], object]) -> None:
        """Queue a callable on the watcher's thread; callables run in order. Never blocks.

        If no thread can be started, the work waits for the thread that the next use starts.
        """
        self._inbox.append(work)
        if not self.keep_running():
            return
        with self.lock:
            self._channels.wake()

    def keep_running(self) -> bool:
        """Start the thread if it should run and does not, because none could be started or it has ended.

        Returns:
            Whether it runs, or has nothing to do.
        """
        with self.lock:
            # A thread without a number is being started, perhaps further down this very stack.
            if self._thread is not None and (self._thread.is_alive() or self._thread.ident is None):
                return True
            if not self._watches and not self._inbox:
                return True
            thread = self._thread = threading.Thread(target=self._run, name="hcpcreds-watcher", daemon=True)
        try:
            thread.start()  # outside the lock: it waits for the thread, which may collect and so post
        except (RuntimeError, MemoryError) as error:  # "can't start new thread": a limit of the pod, say
            for watch in self._list_watches():
                watch.mode = "stopped"
            self._warn_once(f"cannot watch files: {error}; the next use retries")
        finally:
            with self.lock:
                if self._thread is thread and not thread.is_alive():
                    self._thread = None
        return self._thread is not None

    def restart_in_child(self) -> None:
        """Start again in a forked child, which has the parent's descriptors but not its threads."""
        self.lock = threading.RLock()
        self._thread = None
        self._close()
        self.keep_running()

    # On the watcher's thread

    def check(self, *watches: Watch) -> None:
        """Call `on_change` of each. The paths are walked later: that takes longer, and may wait."""
        for watch in watches:
            if watch not in self._watches:
                continue
            watch.due = math.inf
            self._call(watch.call_on_change)
            self._unwalked[watch] = None

    def remove(self, watch: Watch) -> None:
        """Stop watching a file."""
        with self.lock:
            self._watches.pop(watch, None)
        self._unwalked.pop(watch, None)
        if self._channels.directories is not None:
            self._channels.directories.forget(watch)

    def _run(self) -> None:
        me = threading.current_thread()
        try:
            while self._thread is me:
                try:
                    self._step()
                except Exception as error:  # noqa: BLE001 (files must still be read, whatever it is)
                    self._warn_once(
                        f"cannot watch files ({locate(error)}); reads them every {POLL_SECONDS} s"
                    )
                    with self.lock:
                        self._close()
                    for watch in self._list_watches():
                        watch.mode = "polling"
                    time.sleep(POLL_SECONDS)
        finally:
            with self.lock:
                if self._thread is me:
                    self._thread = None
                    self._close()
                    for watch in self._watches:
                        watch.mode = "stopped"

    def _step(self) -> None:
        """Do the pending work, then wait for more."""
        self._open_missing()
        for _ in range(min(len(self._inbox), _MAX_WORK)):
            self._call(self._inbox.popleft())
        self._check_due()
        for _ in range(min(len(self._unwalked), _MAX_WORK)):
            self._walk(self._unwalked.popitem(last=False)[0])
        with self.lock:
            if not self._watches and not self._inbox:
                self._thread = None
                self._close()
                self._warned.clear()
                return
        self.check(*self._wait())

    def _open_missing(self) -> None:
        with self.lock:
            self._channels.open_pipe()
        self._may_have_missed |= self._channels.replace_mounts()
        if self._channels.drop_closed_inotify():
            _log.warning("other code has closed the descriptors that watch files; they are being reopened")
            self._may_have_missed = True
        if self._may_have_missed:
            self._may_have_missed = False
            self.check(*self._list_watches())

    def _wait(self) -> list[Watch]:
        """Wait for something to do; returns the watches whose files may have changed."""
        try:
            ready = self._channels.wait(self._get_timeout())
        except (OSError, ValueError) as error:
            self._warn_once(f"cannot wait for changes ({error}); looks every {POLL_SECONDS} s")
            time.sleep(POLL_SECONDS)
            return self._list_watches()
        if ready.mounts:
            return self._list_watches()
        return self._read_events() if ready.inotify else []

    def _close(self) -> None:
        self._channels.close()
        self._unwalked.clear()
        self._next_due = math.inf
        self._may_have_missed = True

    def _list_watches(self) -> list[Watch]:
        with self.lock:
            return list(self._watches)

    def _call(self, work: Callable[[], object]) -> None:
        try:
            work()
        except (Exception, SystemExit) as error:  # noqa: BLE001 (one bad file must not stop all others)
            _log.error("the watcher failed, but continues: %s", locate(error))

    def _get_timeout(self) -> float:
        if self._inbox or self._unwalked:
            return 0.0
        longest = _MAX_WAIT_SECONDS if self._channels.has_pipe else POLL_SECONDS
        return max(0.0, min(self._next_due - self._monotonic(), longest))

    def _set_timer(self, watch: Watch, delay: float) -> None:
        watch.due = self._monotonic() + delay
        self._next_due = min(self._next_due, watch.due)

    def _check_due(self) -> None:
        now = self._monotonic()
        if now < self._next_due:
            return
        watches = self._list_watches()
        self._next_due = min((watch.due for watch in watches if watch.due > now), default=math.inf)
        self.check(*(watch for watch in watches if watch.due <= now))

    def _walk(self, watch: Watch) -> None:
        if watch not in self._watches:
            return
        if self._watch_directories(watch):
            self._call(watch.call_on_change)
        self._set_timer(watch, min(watch.delay, POLL_SECONDS) if watch.mode == "polling" else watch.delay)

    def _watch_directories(self, watch: Watch) -> bool:
        """Watch every directory that the path depends on now; returns whether these have changed."""
        if watch.poll:
            watch.mode = "polling"
            return False
        try:
            has_changed = self._get_directories().watch(watch, watch.path)
        except OSError as error:
            watch.mode = "polling"
            if error.errno != errno.EBADF:  # closed by other code: `_open_missing` says so
                limit = f"; see {_LIMITS[error.errno]}" if error.errno in _LIMITS else ""
                reason = f"{os.strerror(error.errno or 0)}{limit}"
                self._warn_once(f"cannot watch files ({reason}); reads them every {POLL_SECONDS} s")
            return False
        watch.mode = "watching"
        return has_changed

    def _get_directories(self) -> DirectoryWatches[Watch]:
        if self._channels.directories is None:
            libc = load_libc()  # takes a lock that a fork takes before the one here
            with self.lock:
                self._channels.directories = DirectoryWatches(Inotify(libc))
        return self._channels.directories

    def _read_events(self) -> list[Watch]:
        try:
            touched, begun = self._get_directories().read()
        except OSError:
            return []  # other code has closed it meanwhile; the next step reopens it
        for watch in begun:
            if watch.due > self._monotonic() + POLL_SECONDS:
                self._set_timer(watch, POLL_SECONDS)
        return touched

    def _warn_once(self, reason: str) -> None:
        if reason not in self._warned:
            self._warned.add(reason)
            _log.warning("hcpcreds %s", reason)
