"""What a source knows of its file, and one pure function that judges every event against it.

Nothing here reads, locks, logs or waits: a source feeds in what it saw, swaps in the next state, and does
what the step says.
"""

import logging
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, NamedTuple

from hcpcreds.credential.acceptance import find_fault, find_foreign, is_expired
from hcpcreds.credential_file.certificate import CLOCK_SKEW, Certificate
from hcpcreds.credential_file.file import CredentialFile
from hcpcreds.errors import HcpCredsError

REREAD_SECONDS: Final = 1.0
"""How soon a file is read again that could not be read at all."""
REJUDGE_SECONDS: Final = 60.0
"""How long a file that is not taken yet waits at most, should the clock be set."""
REFUSED_RETRY_SECONDS: Final = 30.0
"""How long the certificate before is asked with first, after the authority has refused the current one."""


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


class Candidate(NamedTuple):
    """A good file that is not taken now, and may be later."""

    file: CredentialFile
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState:
    """All that a source knows; replaced whole."""

    path: str
    uses_authority: bool = False
    """Whether anybody asks the file's own authority, and so must not be led to another by a new file."""
    snapshot: Snapshot | None = None
    """The current credential."""
    previous: Snapshot | None = None
    proven: Snapshot | None = None
    """The last one that the authority took."""
    refused_at: datetime | None = None
    """When the authority last refused the current certificate."""
    digest: bytes | None = field(default=None, repr=False)
    """Of the content that was last read."""
    digest_error: HcpCredsError | None = None
    """Why that content was not taken."""
    is_unreadable: bool = False
    error: HcpCredsError | None = None
    """Why the file as it is now is not the current credential."""
    candidate: Candidate | None = field(default=None, repr=False)
    rejected: int = 0
    """How many contents were not taken."""
    reloaded_at: datetime | None = None

    @property
    def was_read(self) -> bool:
        """Whether there was a first try to read the file."""
        return self.snapshot is not None or self.error is not None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Event: the file could not be read."""

    error: HcpCredsError


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Event: the content is the one that was read last, or the time has come to judge it again."""

    was_read: bool
    """Whether the file was looked at just now."""


@dataclass(frozen=True, slots=True)
class Unusable:
    """Event: new content that is not a usable credential."""

    digest: bytes = field(repr=False)
    error: HcpCredsError


@dataclass(frozen=True, slots=True)
class Usable:
    """Event: new content that is a credential."""

    file: CredentialFile
    digest: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answered:
    """Event: the authority took or refused a snapshot's certificate."""

    snapshot: Snapshot
    is_refused: bool


Event = Unreadable | Unchanged | Unusable | Usable | Answered


class LogLine(NamedTuple):
    """A line to log, with the field `event` of its record."""

    level: int
    event: str
    message: str


class Step(NamedTuple):
    """The next state, and what to do besides."""

    state: SourceState
    lines: tuple[LogLine, ...] = ()
    is_reload: bool = False
    """Whether a snapshot was replaced by a later one, which listeners hear of."""


def judge(state: SourceState, event: Event, *, now: datetime) -> Step:
    """Judge an event against a state.

    Args:
        state: The state before.
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
            return Step(state) if candidate is None else _judge_file(state, *candidate, now=now)
        case Unusable(digest, error):
            return _reject(state, error, digest, candidate=None)
        case Usable(file, digest):
            step = _judge_file(state, file, digest, now=now)
            warnings = tuple(
                LogLine(logging.WARNING, "fixed", f"{state.path}: {warning}") for warning in file.warnings
            )
            return step._replace(lines=warnings + step.lines)
        case Answered(snapshot, is_refused):
            return _judge_answer(state, snapshot, is_refused=is_refused, now=now)


def list_usable(state: SourceState, *, now: datetime) -> list[Snapshot]:
    """List the snapshots to ask the authority with, in order; none when all have expired."""
    known = dict.fromkeys((state.snapshot, state.previous, state.proven))
    usable = [each for each in known if each is not None and not is_expired(each.file, now)]
    if state.refused_at is not None:
        since = (now - state.refused_at).total_seconds()
        if 0 <= since < REFUSED_RETRY_SECONDS:
            usable.reverse()
    return usable


def get_delay(state: SourceState, *, backstop: float, now: datetime) -> float:
    """Get the seconds after which to look at the file again in any case."""
    if state.is_unreadable:
        return REREAD_SECONDS
    if state.candidate is None:
        return backstop
    ahead = state.candidate.file.not_before.timestamp() - CLOCK_SKEW.total_seconds() - now.timestamp()
    return min(backstop, ahead if 0 < ahead < REJUDGE_SECONDS else REJUDGE_SECONDS)


def _judge_file(state: SourceState, file: CredentialFile, digest: bytes, *, now: datetime) -> Step:
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
        f"took the certificate {file.certificate.thumbprint} of identity {file.client_id} from {state.path}, "
        f"valid until {file.not_after}"
    )
    taken = replace(accepted, snapshot=snapshot, previous=current, refused_at=None, reloaded_at=now)
    return Step(taken, (LogLine(logging.INFO, "reloaded", line),), is_reload=current is not None)


def _reject(state: SourceState, error: HcpCredsError, digest: bytes, *, candidate: Candidate | None) -> Step:
    is_news = digest != state.digest
    serves = "the last good one still serves" if state.snapshot else "there is none to serve yet"
    rejected = replace(
        state,
        digest=digest,
        digest_error=error,
        error=error,
        is_unreadable=False,
        candidate=candidate,
        rejected=state.rejected + is_news,
    )
    return Step(rejected, (LogLine(logging.WARNING, "rejected", f"{error}; {serves}"),) if is_news else ())


def _judge_answer(state: SourceState, snapshot: Snapshot, *, is_refused: bool, now: datetime) -> Step:
    was_refused = state.refused_at is not None
    if not is_refused:
        state = replace(state, proven=snapshot)
    if snapshot is not state.snapshot:
        return Step(state)
    state = replace(state, refused_at=now if is_refused else None)
    if is_refused == was_refused:
        return Step(state)
    if not is_refused:
        return Step(state, (LogLine(logging.INFO, "accepted", f"the authority takes {state.path} now"),))
    serves = "an earlier one serves meanwhile" if state.previous else "there is no earlier one"
    line = (
        f"the authority refuses the certificate {snapshot.certificate.thumbprint} of identity "
        f"{snapshot.file.client_id} from {state.path}; {serves}"
    )
    # A file that was not taken is, once the current one has failed.
    after = judge(state, Unchanged(was_read=False), now=now)
    return after._replace(lines=(LogLine(logging.ERROR, "refused", line), *after.lines))
