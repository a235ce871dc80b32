"""The state of a source, and one pure function that applies events to it.

Nothing here reads, locks, logs or waits: the source passes in an event, swaps in the next state, and performs
the rest of the step.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, NamedTuple

from hcpcreds.credential.acceptance import find_fault, find_foreign, is_expired
from hcpcreds.credential_file.certificate import CLOCK_SKEW, Certificate
from hcpcreds.credential_file.file import CredentialFile
from hcpcreds.errors import CredentialExpiredError, HcpCredsError, MountNotReadyError

_REREAD_SECONDS: Final = 1.0
"""Delay before an unreadable file is read again."""
_RECHECK_SECONDS: Final = 60.0
"""Longest delay before a file that is not accepted yet is checked again, because the clock may be set."""
_REFUSED_RETRY_SECONDS: Final = 30.0
"""How long the previous certificate is tried first after the authority has refused the current one."""


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """An accepted credential; immutable."""

    file: CredentialFile
    digest: bytes = field(repr=False)
    generation: int

    @property
    def certificate(self) -> Certificate:
        """The certificate with its private key."""
        return self.file.certificate


class Candidate(NamedTuple):
    """A valid file that is not accepted now, but may be later."""

    file: CredentialFile
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState:
    """Everything that a source knows; always replaced as a whole."""

    path: str
    uses_authority: bool = False
    """Whether a credential uses the authority in the file; then no new file may name another one."""
    snapshot: Snapshot | None = None
    """The current credential."""
    previous: Snapshot | None = None
    proven: Snapshot | None = None
    """The last snapshot whose certificate the authority accepted."""
    refused_at: datetime | None = None
    """When the authority last refused the current certificate."""
    digest: bytes | None = field(default=None, repr=False)
    """Digest of the content that was read last."""
    digest_error: HcpCredsError | None = None
    """Why that content was not accepted."""
    is_unreadable: bool = False
    error: HcpCredsError | None = None
    """Why the file in its present state is not the current credential."""
    candidate: Candidate | None = field(default=None, repr=False)
    proven_at: datetime | None = None
    """When the authority first gave a token for that one."""
    rejections: Mapping[str, int] = field(default_factory=dict)
    """Number of contents that were not accepted, by reason."""
    rejected: int = 0
    """Number of contents that were not accepted."""
    reloaded_at: datetime | None = None

    @property
    def was_read(self) -> bool:
        """Whether the file has been read at least once, successfully or not."""
        return self.snapshot is not None or self.error is not None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Event: the file could not be read."""

    error: HcpCredsError


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Event: the content has not changed, but may have become acceptable."""

    was_read: bool
    """Whether the file was read just now."""


@dataclass(frozen=True, slots=True)
class Unusable:
    """Event: the file has new content, which is not a usable credential."""

    digest: bytes = field(repr=False)
    error: HcpCredsError


@dataclass(frozen=True, slots=True)
class Usable:
    """Event: the file has new content, which is a credential."""

    file: CredentialFile
    digest: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answered:
    """Event: the authority accepted or refused the certificate of a snapshot."""

    snapshot: Snapshot
    is_refused: bool


Event = Unreadable | Unchanged | Unusable | Usable | Answered


class LogLine(NamedTuple):
    """A message to log, with the `event` of its record."""

    level: int
    event: str
    message: str


class Step(NamedTuple):
    """The next state, and what else the source has to do."""

    state: SourceState
    lines: tuple[LogLine, ...] = ()
    is_reload: bool = False
    """Whether a later snapshot replaced another one; listeners are notified of that."""


def apply_event(state: SourceState, event: Event, *, now: datetime) -> Step:
    """Apply an event to a state.

    Args:
        state: The state before the event.
        event: What happened.
        now: Aware time.
    """
    match event:
        case Unreadable(error):
            lines = (LogLine(logging.WARNING, "unreadable", str(error)),)
            is_news = str(error) != str(state.error)
            return Step(replace(state, is_unreadable=True, error=error), lines if is_news else ())
        case Unchanged(was_read):
            if was_read:
                state = replace(state, is_unreadable=False, error=state.digest_error)
            candidate = state.candidate
            return Step(state) if candidate is None else _apply_file(state, *candidate, now=now)
        case Unusable(digest, error):
            return _reject(state, error, digest, candidate=None)
        case Usable(file, digest):
            step = _apply_file(state, file, digest, now=now)
            warnings = tuple(
                LogLine(logging.WARNING, "fixed", f"{state.path}: {warning}") for warning in file.warnings
            )
            return step._replace(lines=warnings + step.lines)
        case Answered(snapshot, is_refused):
            return _apply_answer(state, snapshot, is_refused=is_refused, now=now)


def list_usable(state: SourceState, *, now: datetime) -> list[Snapshot]:
    """List the snapshots whose certificates to try, in order; empty when all have expired."""
    known = dict.fromkeys((state.snapshot, state.previous, state.proven))
    usable = [each for each in known if each is not None and not is_expired(each.file, now)]
    if state.refused_at is not None:
        since = (now - state.refused_at).total_seconds()
        if 0 <= since < _REFUSED_RETRY_SECONDS:
            usable.reverse()
    return usable


def get_delay(state: SourceState, *, backstop: float, now: datetime) -> float:
    """Return the seconds after which to read the file again in any case."""
    if state.is_unreadable:
        return _REREAD_SECONDS
    if state.candidate is None:
        return backstop
    ahead = state.candidate.file.not_before.timestamp() - CLOCK_SKEW.total_seconds() - now.timestamp()
    return min(backstop, ahead if 0 < ahead < _RECHECK_SECONDS else _RECHECK_SECONDS)


def _apply_file(state: SourceState, file: CredentialFile, digest: bytes, *, now: datetime) -> Step:
    current = state.snapshot
    accepted = replace(
        state, digest=digest, digest_error=None, error=None, candidate=None, is_unreadable=False
    )
    if current is not None and digest == current.digest:
        return Step(accepted)
    serving = current.file if current else None
    foreign = find_foreign(state.path, file, serving, uses_authority=state.uses_authority)
    error = foreign or find_fault(state.path, file, serving, now=now, is_refused=state.refused_at is not None)
    if error is not None:
        return _reject(state, error, digest, candidate=None if foreign else Candidate(file, digest))
    snapshot = Snapshot(file, digest, current.generation + 1 if current else 1)
    line = (
        f"accepted certificate {file.certificate.thumbprint} of identity {file.client_id} from {state.path}, "
        f"valid until {file.not_after}"
    )
    reloaded = replace(accepted, snapshot=snapshot, previous=current, refused_at=None, reloaded_at=now)
    return Step(reloaded, (LogLine(logging.INFO, "reloaded", line),), is_reload=current is not None)


def _reject(state: SourceState, error: HcpCredsError, digest: bytes, *, candidate: Candidate | None) -> Step:
    is_news = digest != state.digest
    fallback = (
        "the last valid credential stays in use" if state.snapshot else "there is no valid credential yet"
    )
    rejected = replace(
        state,
        digest=digest,
        digest_error=error,
        error=error,
        is_unreadable=False,
        candidate=candidate,
        rejected=state.rejected + is_news,
        rejections=_count(state.rejections, _name_reason(error)) if is_news else state.rejections,
    )
    return Step(rejected, (LogLine(logging.WARNING, "rejected", f"{error}; {fallback}"),) if is_news else ())


def _count(counts: Mapping[str, int], reason: str) -> Mapping[str, int]:
    return {**counts, reason: counts.get(reason, 0) + 1}


def _name_reason(error: HcpCredsError) -> str:
    if isinstance(error, CredentialExpiredError):
        return "expired"
    return "not_yet_valid" if isinstance(error, MountNotReadyError) else "unusable"


def _apply_answer(state: SourceState, snapshot: Snapshot, *, is_refused: bool, now: datetime) -> Step:
    was_refused = state.refused_at is not None
    if not is_refused and state.proven is not snapshot:
        state = replace(state, proven=snapshot, proven_at=now)
    if snapshot is not state.snapshot:
        return Step(state)
    state = replace(state, refused_at=now if is_refused else None)
    if is_refused == was_refused:
        return Step(state)
    if not is_refused:
        return Step(
            state,
            (
                LogLine(
                    logging.INFO, "accepted", f"the authority now accepts the certificate from {state.path}"
                ),
            ),
        )
    fallback = "the previous one is used meanwhile" if state.previous else "there is no previous one"
    line = (
        f"the authority refuses certificate {snapshot.certificate.thumbprint} of identity "
        f"{snapshot.file.client_id} from {state.path}; {fallback}"
    )
    # A file that was not accepted may be, now that the authority refuses the current one.
    after = apply_event(state, Unchanged(was_read=False), now=now)
    return after._replace(lines=(LogLine(logging.ERROR, "refused", line), *after.lines))
