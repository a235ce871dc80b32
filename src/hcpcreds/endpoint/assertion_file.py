"""A client assertion in a file, which the `WorkloadIdentityCredential` of every Azure SDK sends unchanged.

The programs that read it have no key, and follow a rotation without a restart. They keep an assertion for up
to ten minutes, and do not read the file again when the authority refuses it. So an assertion lives for 30
minutes and is rewritten every minute: if writing fails, the first program fails 19 minutes later. And a new
certificate is proven with a token request before its assertion is written, because programs would keep
sending one that Entra ID does not know yet.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from hcpcreds.credential.authority import Failure
from hcpcreds.credential.state import Snapshot
from hcpcreds.endpoint.assertion import LARGE_BYTES, Assertion, AssertionSettings, sign_assertion
from hcpcreds.endpoint.credential import ServedCredential
from hcpcreds.endpoint.files import remove_drafts, replace_file
from hcpcreds.errors import HcpCredsError, locate
from hcpcreds.workers import Workers

REWRITE_SECONDS: Final = 60.0
STALE_SECONDS: Final = 300.0
"""Age at which the file counts as stale, and the endpoint as not ready."""
_RETRY_SECONDS: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Pauses between attempts to prove a certificate; the last one repeats."""

_log = logging.getLogger("hcpcreds.endpoint")
_workers: Final = Workers("hcpcreds-assertions")


T = TypeVar("T")


class _Problem(NamedTuple):
    """Why the current certificate's assertion is not in the file."""

    event: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSettings:
    """Where assertions are written, and for whom."""

    directory: Path
    mode: int = 0o440
    group: int | None = None
    """Group id of the files; None leaves the directory's default: in a pod, the fsGroup."""
    rewrite_seconds: float = REWRITE_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The assertion in a file."""

    at: float
    """Unix time."""
    expires_at: int
    snapshot: Snapshot
    """The credential that signed it."""
    since: float
    """Unix time of the first one that this credential signed."""


class AssertionFile:
    """Keeps the assertion in a file current.

    Call its methods on one event loop. Its attributes may be read on any thread.

    Args:
        name: Name of the credential, and of the file.
        credential: The credential whose certificate signs.
        scope: Scope of the token that proves a certificate; None for ARM's.
        assertion: The settings of the assertion.
        file: The settings of the file.
        clock: Unix time.
    """

    def __init__(  # noqa: PLR0913 (all keywords)
        self,
        name: str,
        credential: ServedCredential,
        *,
        scope: str | None,
        assertion: AssertionSettings,
        file: FileSettings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path: Final = file.directory / name
        self.written: Written | None = None
        self.writes = 0
        self.refusals: Counter[str] = Counter()
        """Failed proofs by AADSTS number, or as `unavailable`; failed writes as `unwritable`."""
        self.problem: str | None = None
        """Why the current certificate's assertion is not in the file; None if it is."""
        self._name = name
        self._credential = credential
        self._scope = scope
        self.assertion = assertion
        self._file = file
        self._clock = clock
        self._proven: Snapshot | None = None
        self._tried: Snapshot | None = None
        self._tries = 0
        """Number of failed attempts to prove that snapshot."""
        self._warned: set[tuple[str, str]] = set()
        self._rotated = asyncio.Event()

    def notice_rotation(self) -> None:
        """Read the credential now."""
        self._rotated.set()

    async def keep(self) -> None:
        """Keep the file current until cancelled. No failure ends this."""
        await self._call(lambda: remove_drafts(self.path))
        while True:
            self._rotated.clear()
            problem = await self._prove()
            if self._proven is not None:
                problem = await self._write(self._proven) or problem
            self._note(problem)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._rotated.wait(), self._get_pause(problem))

    def find_unready(self) -> str | None:
        """Return why programs cannot rely on the file; None if they can."""
        now, written = self._clock(), self.written
        reason = self.problem or "no token has been requested yet"
        if written is None:
            return f"{self._name}: no assertion has been written yet: {reason}"
        if now >= written.expires_at:
            return f"{self._name}: the assertion has expired: {reason}"
        if now - written.at > STALE_SECONDS:
            return f"{self._name}: the assertion was last written {now - written.at:.0f} s ago: {reason}"
        return None

    async def _prove(self) -> _Problem | None:
        """Prove the credential's certificate if it is a new one."""
        try:
            snapshot = await self._credential.read()
            if snapshot is self._proven:
                return None
            if snapshot is not self._tried:
                self._tried, self._tries = snapshot, 0
            failure = await self._credential.prove(snapshot, self.assertion, scope=self._scope)
        except HcpCredsError as error:
            return _Problem("unreadable", str(error))
        if failure is None:
            self._proven = snapshot
            return None
        self._tries += 1
        self.refusals.update(_list_reasons(failure))
        hint = f". {failure.hint}" if failure.hint else ""
        return _Problem("refused" if failure.refused else "unavailable", f"{failure.message}{hint}")

    async def _write(self, snapshot: Snapshot) -> _Problem | None:
        now = self._clock()

        def write() -> Assertion:
            assertion = sign_assertion(snapshot, self.assertion, now=now)
            if assertion.expires_at > now:
                replace_file(self.path, assertion.text.encode(), mode=self._file.mode, group=self._file.group)
            return assertion

        assertion = await self._call(write)
        if isinstance(assertion, _Problem):
            self.refusals["unwritable"] += 1
            return assertion
        if assertion.expires_at <= now:
            return _Problem("expired", f"certificate {snapshot.certificate.thumbprint} has expired")
        before, self.writes = self.written, self.writes + 1
        is_new = before is None or before.snapshot is not snapshot
        since = now if before is None or is_new else before.since
        self.written = Written(at=now, expires_at=assertion.expires_at, snapshot=snapshot, since=since)
        if is_new:
            self._log(
                logging.INFO,
                "written",
                f"wrote an assertion of certificate {snapshot.certificate.thumbprint} to {self.path}",
            )
        self._warn(snapshot, assertion, now)
        return None

    def _warn(self, snapshot: Snapshot, assertion: Assertion, now: float) -> None:
        warnings = {}
        if len(assertion.text) > LARGE_BYTES:
            warnings["large"] = (
                f"the assertion in {self.path} has {len(assertion.text)} bytes, but some programs read "
                f"only {LARGE_BYTES}; leave out the certificates that Entra ID does not need"
            )
        if assertion.expires_at < int(now + self.assertion.life.total_seconds()):
            warnings["short"] = (
                f"assertions in {self.path} now expire with certificate {snapshot.certificate.thumbprint}, "
                f"less than {self.assertion.life} after they are written"
            )
        for event, warning in warnings.items():
            if (event, snapshot.certificate.thumbprint) not in self._warned:
                self._warned.add((event, snapshot.certificate.thumbprint))
                self._log(logging.WARNING, event, warning)

    async def _call(self, work: Callable[[], T]) -> T | _Problem:
        """Call blocking work on a thread."""
        try:
            return await asyncio.wrap_future(_workers.call(work))
        except OSError as error:
            reason = error.strerror or "unknown error"
        except Exception as error:  # noqa: BLE001 (OpenSSL may raise anything about a key)
            reason = locate(error)
        return _Problem("unwritable", f"{self.path} cannot be written: {reason}")

    def _note(self, problem: _Problem | None) -> None:
        text = problem.text if problem else None
        if problem is not None and text != self.problem:
            fallback = "the last assertion stays in use" if self.written else "there is no assertion yet"
            self._log(logging.WARNING, problem.event, f"{text}; {fallback}")
        self.problem = text

    def _get_pause(self, problem: _Problem | None) -> float:
        if problem is None:
            return self._file.rewrite_seconds
        pause = _RETRY_SECONDS[min(max(self._tries, 1), len(_RETRY_SECONDS)) - 1]
        return min(_RETRY_SECONDS[0] if problem.event == "unreadable" else pause, self._file.rewrite_seconds)

    def _log(self, level: int, event: str, message: str) -> None:
        _log.log(level, "%s: %s", self._name, message, extra={"event": event, "path": str(self.path)})


def _list_reasons(failure: Failure) -> list[str]:
    return [str(code) for code in sorted(failure.codes)] if failure.refused else ["unavailable"]
