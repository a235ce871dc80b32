"""One source for each credential file in the process.

A source reads its file, lets `state.apply_event` decide, and swaps in the next state as a whole: readers get
the current snapshot by reading one attribute, without a lock.
"""

import copy
import functools
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from hcpcreds.clouds import Cloud
from hcpcreds.credential.acceptance import find_foreign_cloud, is_expired
from hcpcreds.credential.state import (
    Answered,
    Event,
    Snapshot,
    SourceState,
    Unchanged,
    Unreadable,
    Unusable,
    Usable,
    apply_event,
    get_delay,
    list_usable,
)
from hcpcreds.credential.status import PreviousCertificate, Status
from hcpcreds.credential.traces import find_rotation, trace_rotation
from hcpcreds.credential_file.content import Content, FileFormat
from hcpcreds.errors import (
    CredentialExpiredError,
    HcpCredsError,
    InputError,
    MountError,
    MountFormatError,
    MountNotReadyError,
)
from hcpcreds.watch import Watch, Watcher

DEFAULT_BACKSTOP: Final = timedelta(hours=6)

_log = logging.getLogger("hcpcreds.credential")

Listener = Callable[[Status], None]
"""Is called with the status after a reload, on the watcher's thread, while no lock is held."""
_Deliver = Callable[[Callable[[], None]], object]


def _call(work: Callable[[], None]) -> None:
    work()


class CredentialSource:
    """The current credential in one file. Created and shared by `open_source`."""

    __slots__ = (
        "__weakref__",
        "_clock",
        "_format",
        "_listeners",
        "_lock",
        "_noticed_at",
        "_read_at",
        "_state",
        "_traced",
        "_watcher",
        "_watches",
        "backstop",
        "left",
        "path",
        "post",
        "users",
    )

    def __init__(
        self,
        path: str,
        file_format: FileFormat,
        *,
        backstop: timedelta,
        clock: Callable[[], float],
        watcher: Watcher,
    ) -> None:
        self.path = path
        self.backstop = backstop
        self.users = 0
        self.left: deque[None] = deque()
        """One entry for each user that has left but is still counted in `users`."""
        self.post = watcher.post
        """Queue a callable on the watcher's thread; callables run in order."""
        self._watcher = watcher
        self._format = file_format
        self._watches: tuple[Watch, ...] = ()
        """One for each file that is read; that of the credential first."""
        self._clock = clock
        self._lock = threading.Lock()
        self._state = SourceState(path=path)
        self._listeners: list[Callable[[], Listener | None]] = []
        self._read_at = self._noticed_at = self._now()
        self._traced = 1  # the first generation is not a rotation

    @property
    def snapshot(self) -> Snapshot | None:
        """The current credential."""
        return self._state.snapshot

    @property
    def was_read(self) -> bool:
        """Whether the file has been read at least once, successfully or not."""
        return self._state.was_read

    def join(
        self,
        *,
        clock: Callable[[], float],
        uses_authority: bool,
        listener: Callable[[], Listener | None] | None,
    ) -> None:
        """Register a user of this source.

        Args:
            clock: Unix time; all users have to pass the same function.
            uses_authority: Whether the user sends its requests to the authority in the file.
            listener: Returns the function to call after a reload, or None when its owner no longer exists.

        Raises:
            InputError: The other users passed another clock.
        """
        is_alone = self.users <= len(self.left)
        if clock is not self._clock and not is_alone:
            problem = f"{self.path} is already open in this process with another clock"
            raise InputError(
                "clock", [problem], hint="Pass the same function to all credentials for this path."
            )
        with self._lock:
            self._clock = clock
            uses_authority = self._state.uses_authority or uses_authority
            self._state = replace(self._state, uses_authority=uses_authority)
            if listener is not None:
                self._listeners.append(listener)

    def start_watching(self, *, poll: bool) -> None:
        """Reload the file whenever it changes; with `poll`, read it every second."""
        watches = tuple(
            self._watcher.watch(path, self._reload_again, poll=poll)
            for path in (self.path, *self._format.other_paths)
        )
        with self._lock:
            first, self._watches = self._watches, self._watches or watches
        if first:
            _close(watches)
        for watch in first:
            watch.check_soon(poll=poll)

    def stop_watching(self) -> None:
        """Stop watching the file."""
        with self._lock:
            watches, self._watches = self._watches, ()
        _close(watches)

    def _reload_again(self) -> float:
        self.reload()
        return self.get_delay()

    def reload(self, *, deliver: _Deliver = _call) -> None:
        """Read the file, and accept its credential if it is valid and later than the current one.

        Args:
            deliver: How to call the listeners. Call them directly only on the watcher's thread.

        Blocks on one or two small reads. Never raises.
        """
        self._read_at = self._now()
        try:
            content = self._format.read(self.path)
        except MountError as error:
            self._handle(Unreadable(_copy(error)), deliver=deliver)
            return
        digest = content.digest
        if digest == self._state.digest:
            self._handle(Unchanged(was_read=True), deliver=deliver)
        else:
            self._handle(self._parse(content, digest), deliver=deliver)

    def get_delay(self) -> float:
        """Return the seconds after which to read the file again in any case."""
        return get_delay(self._state, backstop=self.backstop.total_seconds(), now=self._now())

    def get_usable(self, cloud: Cloud | None = None) -> list[Snapshot]:
        """List the snapshots whose certificates to try, in order; at least one.

        Args:
            cloud: The cloud that the authority in the file must belong to; None for any.

        Raises:
            HcpCredsError: There is none; the message says why.
        """
        if not self._watcher.keep_running():
            self.reload(deliver=self.post)  # no thread can be started that would do it
        snapshot = self.snapshot
        if snapshot is None or is_expired(snapshot.file, self._now()):
            self._handle(Unchanged(was_read=False), deliver=self.post)
        state = self._state
        if state.snapshot is None:
            raise (
                _copy(state.error)
                if state.error
                else MountNotReadyError(f"{self.path} has not been read yet")
            )
        usable = list_usable(state, now=self._now())
        if not usable:
            file = state.snapshot.file
            raise CredentialExpiredError(
                f"the certificate of identity {file.client_id} in {self.path} expired at "
                f"{file.not_after:%Y-%m-%dT%H:%M:%SZ}, and no newer one is mounted",
                hint="Did the renewal write a new version to the vault, and does the driver rotate?",
            )
        foreign = cloud and find_foreign_cloud(self.path, usable[0].file, cloud)
        if foreign:
            raise foreign
        return usable

    def set_refused(self, snapshot: Snapshot, *, refused: bool) -> None:
        """Record whether the authority refused a snapshot's certificate."""
        state = self._state
        if not refused and state.proven is snapshot and state.refused_at is None:
            return
        self._handle(Answered(snapshot, refused), deliver=self.post)

    def reset_after_fork(self) -> None:
        """Replace the lock, which a thread of the parent process may have held."""
        self._lock = threading.Lock()

    def status(self) -> Status:
        """Return the current status."""
        watches = self._watches
        watch_mode = watches[0].mode if watches else "watching"
        self._watcher.keep_running()
        state = self._state
        snapshot, previous = state.snapshot, state.previous
        file = snapshot.file if snapshot else None
        return Status(
            path=self.path,
            client_id=file.client_id if file else None,
            tenant_id=file.tenant_id if file else None,
            thumbprint=file.certificate.thumbprint if file else None,
            not_before=file.not_before if file else None,
            not_after=file.not_after if file else None,
            renew_after=file.renew_after if file else None,
            generation=snapshot.generation if snapshot else 0,
            last_reload=state.reloaded_at,
            last_error=str(state.error) if state.error else None,
            rejected=state.rejected,
            watch_mode=watch_mode,
            previous=PreviousCertificate(
                thumbprint=previous.certificate.thumbprint,
                not_before=previous.file.not_before,
                not_after=previous.file.not_after,
            )
            if previous
            else None,
            refused=state.refused_at is not None,
            rejections=state.rejections,
            first_token=state.proven_at if state.proven is snapshot else None,
        )

    def _parse(self, content: Content, digest: bytes) -> Unusable | Usable:
        try:
            return Usable(self._format.parse(content, path=self.path, now=self._now()), digest)
        except MountFormatError as error:
            return Unusable(digest, _copy(error))
        except Exception as error:  # noqa: BLE001 (no file may stop the process; the text may contain a secret)
            return Unusable(digest, MountFormatError(f"{self.path} cannot be parsed: {type(error).__name__}"))

    def _handle(self, event: Event, *, deliver: _Deliver) -> None:
        """Apply an event: swap in the next state, log, and notify the listeners."""
        with self._lock:
            self._state, lines, is_reload = apply_event(self._state, event, now=self._now())
            has_listeners = bool(self._listeners)
            if is_reload:
                self._noticed_at = self._read_at
            rotation = find_rotation(self._state, noticed=self._noticed_at, traced=self._traced)
            if rotation is not None:
                self._traced = rotation.generation
        for line in lines:
            _log.log(line.level, "%s", line.message, extra={"event": line.event, "path": self.path})
        if is_reload and has_listeners:
            deliver(self._notify)
        if rotation is not None:
            self.post(functools.partial(trace_rotation, rotation))

    def _notify(self) -> None:
        status = self.status()
        with self._lock:
            self._listeners = [each for each in self._listeners if each() is not None]
            listeners = [each() for each in self._listeners]
        for listener in listeners:
            if listener is not None:
                listener(status)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)


def _close(watches: Iterable[Watch]) -> None:
    for watch in watches:
        watch.close()


def _copy(error: HcpCredsError) -> HcpCredsError:
    # Without the traceback: its frames hold the file's content, and raising one instance in several threads
    # would mix their tracebacks.
    return copy.copy(error)
