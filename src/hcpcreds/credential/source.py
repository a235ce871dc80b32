"""One source for each credential file in the process.

A source reads its file, judges what it reads, and holds the credential that serves: an immutable snapshot
that readers get with one attribute read, and without a lock.
"""

import copy
import hashlib
import logging
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from hcpcreds.credential.acceptance import find_fault, find_foreign, is_expired
from hcpcreds.credential.status import PreviousCertificate, Status
from hcpcreds.credential_file.certificate import CLOCK_SKEW, Certificate
from hcpcreds.credential_file.file import CredentialFile, parse_credential_file, read_credential_file
from hcpcreds.errors import (
    CredentialExpiredError,
    HcpCredsError,
    MountError,
    MountFormatError,
    MountNotReadyError,
)
from hcpcreds.watch.watcher import WatchMode

DEFAULT_BACKSTOP: Final = timedelta(hours=6)
_REREAD_SECONDS: Final = 1.0
"""How soon a file is read again that could not be read at all."""
_REJUDGE_SECONDS: Final = 60.0
"""How long a file that is not taken yet waits at most, should the clock be set."""
_REFUSED_RETRY_SECONDS: Final = 30.0

_log = logging.getLogger("hcpcreds.credential")


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """A credential as it was taken; never changes."""

    file: CredentialFile
    digest: bytes = field(repr=False)
    generation: int

    @property
    def certificate(self) -> Certificate:
        """The certificate with its key."""
        return self.file.certificate


class Listener(Protocol):
    """Wants to know of reloads."""

    def notify(self, status: Status) -> None:
        """A new snapshot is current. Called from the watcher's thread, under no lock."""


Deliver = Callable[[Callable[[], None]], object]


def _call(work: Callable[[], None]) -> None:
    work()


class CredentialSource:
    """The credential in one file, current. `open_source` makes and shares it."""

    __slots__ = (
        "__weakref__",
        "_candidate",
        "_clock",
        "_error",
        "_listeners",
        "_lock",
        "_proven",
        "_refused",
        "_rejected",
        "_reloaded",
        "_seen",
        "_seen_error",
        "_unreadable",
        "backstop",
        "keep_watched",
        "path",
        "post",
        "previous",
        "snapshot",
        "users",
        "uses_authority",
        "watch_mode",
    )

    def __init__(
        self,
        path: str,
        *,
        backstop: timedelta,
        clock: Callable[[], float],
        post: Callable[[Callable[[], object]], object],
        keep_watched: Callable[[], bool],
    ) -> None:
        self.path = path
        self.backstop = backstop
        self.watch_mode: WatchMode = "watching"
        self.snapshot: Snapshot | None = None
        """The current credential; replaced whole."""
        self.previous: Snapshot | None = None
        self.users = 0
        self.uses_authority = False
        """Whether anybody asks the file's own authority, and so must not be led to another by a new file."""
        self._clock = clock
        self.post = post
        """Has the watcher's thread call something, after all that it was asked to do before."""
        self.keep_watched = keep_watched
        """Starts the watcher's thread if it has ended; tells whether it runs."""
        self._lock = threading.Lock()
        self._listeners: weakref.WeakSet[Listener] = weakref.WeakSet()
        self._seen: bytes | None = None
        """Digest of the content last read."""
        self._seen_error: HcpCredsError | None = None
        self._unreadable = False
        self._error: HcpCredsError | None = None
        self._candidate: tuple[CredentialFile, bytes] | None = None
        """A good file that is not taken, and may be later."""
        self._rejected = 0
        self._reloaded: datetime | None = None
        self._proven: Snapshot | None = None
        """The last one that the authority took."""
        self._refused: float | None = None
        """When the authority last refused the current certificate."""

    def reload(self, *, deliver: Deliver = _call) -> None:
        """Read the file, and take what it holds if it is good and later.

        Args:
            deliver: Gets to call who tells the listeners; at once is only for the watcher's thread.

        Blocks on one small read. Never raises.
        """
        try:
            content = read_credential_file(self.path)
        except MountError as error:
            kept = _copy(error)
            with self._lock:
                self._unreadable = True
                news = str(kept) != str(self._error)
                self._error = kept
            if news:
                _log.warning("%s", kept, extra={"event": "unreadable", "path": self.path})
            return
        digest = hashlib.sha256(content).digest()
        if digest != self._seen:
            self._take_content(content, digest, deliver=deliver)
            return
        with self._lock:
            self._unreadable = False
            self._error = self._seen_error
        self._judge_again(deliver=deliver)

    def get_delay(self) -> float:
        """Seconds after which to look again in any case."""
        if self._unreadable:
            return _REREAD_SECONDS
        delay = self.backstop.total_seconds()
        candidate = self._candidate
        if candidate is not None:
            ahead = candidate[0].not_before.timestamp() - CLOCK_SKEW.total_seconds() - self._clock()
            delay = min(delay, ahead if 0 < ahead < _REJUDGE_SECONDS else _REJUDGE_SECONDS)
        return delay

    @property
    def was_read(self) -> bool:
        """Whether there was a first try to read the file."""
        return self.snapshot is not None or self._error is not None

    def add_listener(self, listener: Listener) -> None:
        """Tell somebody of reloads from now on, for as long as it lives."""
        with self._lock:
            self._listeners.add(listener)

    def get_usable(self) -> list[Snapshot]:
        """Get the snapshots to ask the authority with, in order.

        Raises:
            HcpCredsError: There is none; says why.
        """
        if not self.keep_watched():
            self.reload(deliver=self.post)  # there is no thread to be had, so it is done here
        snapshot = self.snapshot
        now = datetime.fromtimestamp(self._clock(), UTC)
        if snapshot is None or is_expired(snapshot.file, now):
            self._judge_again(deliver=self.post)
            snapshot = self.snapshot
        if snapshot is None:
            raise _copy(self._error) if self._error else MountNotReadyError(f"{self.path} was not read yet")
        known = dict.fromkeys((snapshot, self.previous, self._proven))
        usable = [each for each in known if each is not None and not is_expired(each.file, now)]
        if not usable:
            raise CredentialExpiredError(
                f"the certificate of identity {snapshot.file.client_id} in {self.path} expired at "
                f"{snapshot.file.not_after:%Y-%m-%dT%H:%M:%SZ}, and no newer one is mounted",
                hint="Did the renewal write a new version to the vault, and does the driver rotate?",
            )
        refused = self._refused
        if refused is not None and 0 <= self._clock() - refused < _REFUSED_RETRY_SECONDS:
            usable.reverse()
        return usable

    def set_refused(self, snapshot: Snapshot, *, refused: bool) -> None:
        """Note what the authority said to a snapshot's certificate."""
        if not refused and self._proven is snapshot and self._refused is None:
            return
        with self._lock:
            if not refused:
                self._proven = snapshot
            is_news = snapshot is self.snapshot and refused != (self._refused is not None)
            if snapshot is self.snapshot:
                self._refused = self._clock() if refused else None
        if not is_news:
            return
        if refused:
            _log.error(
                "the authority refuses the certificate %s of identity %s from %s; %s",
                snapshot.certificate.thumbprint,
                snapshot.file.client_id,
                self.path,
                "an earlier one serves meanwhile" if self.previous else "there is no earlier one",
                extra={"event": "refused", "path": self.path},
            )
            self._judge_again(deliver=self.post)
        else:
            _log.info("the authority takes %s now", self.path, extra={"event": "accepted", "path": self.path})

    def reset_after_fork(self) -> None:
        """Replace what a thread of the parent may have held."""
        self._lock = threading.Lock()

    def status(self) -> Status:
        """How this source stands now."""
        watch_mode = self.watch_mode
        self.keep_watched()
        with self._lock:
            snapshot, previous = self.snapshot, self.previous
            file = snapshot.file if snapshot else None
            return Status(
                path=self.path,
                client_id=file.client_id if file else None,
                tenant_id=file.tenant_id if file else None,
                thumbprint=file.certificate.thumbprint if file else None,
                not_before=file.not_before if file else None,
                not_after=file.not_after if file else None,
                generation=snapshot.generation if snapshot else 0,
                last_reload=self._reloaded,
                last_error=str(self._error) if self._error else None,
                rejected=self._rejected,
                watch_mode=watch_mode,
                previous=PreviousCertificate(
                    thumbprint=previous.certificate.thumbprint,
                    not_before=previous.file.not_before,
                    not_after=previous.file.not_after,
                )
                if previous
                else None,
                refused=self._refused is not None,
            )

    def _take_content(self, content: bytes, digest: bytes, *, deliver: Deliver) -> None:
        try:
            now = datetime.fromtimestamp(self._clock(), UTC)
            file = parse_credential_file(content, path=self.path, now=now)
        except MountFormatError as error:
            self._reject(_copy(error), digest)
            return
        except Exception as error:  # noqa: BLE001 (no file may stop what serves; its text could hold a secret)
            self._reject(MountFormatError(f"{self.path} does not parse: {type(error).__name__}"), digest)
            return
        for warning in file.warnings:
            _log.warning("%s: %s", self.path, warning, extra={"event": "mended", "path": self.path})
        self._judge(file, digest, deliver=deliver)

    def _judge_again(self, *, deliver: Deliver) -> None:
        # A file that was not taken is, once its time has come or the current one has failed.
        candidate = self._candidate
        if candidate is not None:
            self._judge(*candidate, deliver=deliver, again=True)

    def _reject(
        self, error: HcpCredsError, digest: bytes, *, candidate: CredentialFile | None = None
    ) -> None:
        with self._lock:
            news = digest != self._seen
            self._seen = digest
            self._seen_error = self._error = error
            self._unreadable = False
            self._candidate = (candidate, digest) if candidate else None
            self._rejected += news
        if news:
            serves = "the last good one still serves" if self.snapshot else "there is none to serve yet"
            _log.warning("%s; %s", error, serves, extra={"event": "rejected", "path": self.path})

    def _judge(self, file: CredentialFile, digest: bytes, *, deliver: Deliver, again: bool = False) -> None:
        with self._lock:
            if again and (self._candidate is None or self._candidate[1] != digest):
                return
            current = self.snapshot
            now = datetime.fromtimestamp(self._clock(), UTC)
            if current is not None and digest == current.digest:
                self._accept(digest)
                return
            serving = current.file if current else None
            foreign = find_foreign(self.path, file, serving, uses_authority=self.uses_authority)
            error = foreign or find_fault(
                self.path, file, serving, now=now, is_refused=self._refused is not None
            )
            if error is None:
                self.previous = current
                self._refused = None
                self._reloaded = now
                self.snapshot = Snapshot(file, digest, current.generation + 1 if current else 1)
                self._accept(digest)
        if error is not None:
            self._reject(error, digest, candidate=None if foreign else file)
            return
        _log.info(
            "took the certificate %s of identity %s from %s, valid until %s",
            file.certificate.thumbprint,
            file.client_id,
            self.path,
            file.not_after,
            extra={"event": "reloaded", "path": self.path},
        )
        if self._listeners and current is not None:
            deliver(self._notify)

    def _accept(self, digest: bytes) -> None:
        self._seen = digest
        self._seen_error = self._error = self._candidate = None
        self._unreadable = False

    def _notify(self) -> None:
        status = self.status()
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            listener.notify(status)


def _copy(error: HcpCredsError) -> HcpCredsError:
    # Without the traceback: its frames hold the file's content, and raising one instance from many threads
    # would mix theirs.
    return copy.copy(error)
