"""The common base of the sync and the asyncio credential: everything but waiting and sending."""

import dataclasses
import logging
import os
import re
import time
import weakref
from collections.abc import Callable, Generator
from datetime import timedelta
from typing import Any, ClassVar, Final, NamedTuple

from azure.core.credentials import AccessToken, AccessTokenInfo

from hcpcreds.clouds import get_cloud
from hcpcreds.credential.authority import (
    Answer,
    Attempt,
    Failure,
    Moment,
    Token,
    TokenRequest,
    ask_for_token,
    merge_claims,
)
from hcpcreds.credential.azure_errors import build_error
from hcpcreds.credential.counts import TokenCounts
from hcpcreds.credential.registry import open_source
from hcpcreds.credential.source import DEFAULT_BACKSTOP
from hcpcreds.credential.state import Snapshot
from hcpcreds.credential.status import Status
from hcpcreds.credential_file.content import FileFormat
from hcpcreds.credential_file.file import check_authority
from hcpcreds.errors import HcpCredsError, InputError, SourceClosedError
from hcpcreds.fork_locks import first_use

FLIGHT_SECONDS: Final = 120.0
"""How long a token request may take in total, including retries."""
REFRESH_SECONDS: Final = 30.0
"""How long a background refresh may take. It does not retry, because the next call does."""
REFRESH_RETRY_SECONDS: Final = 30.0
_GONE_SECONDS: Final = 10.0
_LONGEST_GONE_SECONDS: Final = 300.0
_MAX_TOKENS: Final = 1_000

TENANT: Final = re.compile(r"[0-9a-zA-Z](?:[0-9a-zA-Z.-]*[0-9a-zA-Z])?")
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
"""A scope-token of RFC 6749, appendix A.4."""

_log = logging.getLogger("hcpcreds.credential")


class CachedToken:
    """A token in the forms in which callers get it, and when it ends on both clocks."""

    __slots__ = ("_end", "access_token", "info", "refresh_at", "refresh_on")

    def __init__(self, token: Token) -> None:
        expires_on = int(token.requested.wall + token.expires_in)
        refresh = token.requested.after(token.refresh_in)
        self.access_token = AccessToken(token.token, expires_on)
        self.info = AccessTokenInfo(
            token.token, expires_on, token_type=token.token_type, refresh_on=int(refresh.wall)
        )
        self.refresh_on, self.refresh_at = refresh
        # A moment before it expires, because it still has to travel to the resource.
        self._end = token.requested.after(token.expires_in - min(5.0, token.expires_in / 10))

    def is_usable(self, now: Moment) -> bool:
        """Return whether callers may still get this token."""
        return not self._end.is_reached(now)

    def is_due(self, now: Moment) -> bool:
        """Return whether it is time to refresh this token."""
        return Moment(self.refresh_on, self.refresh_at).is_reached(now)

    def postpone_refresh(self, now: Moment, seconds: float) -> None:
        """Postpone the next refresh after a failed one, but not beyond the token's end."""
        left = min(self._end.wall - now.wall, self._end.monotonic - now.monotonic)
        self.refresh_on, self.refresh_at = now.after(min(seconds, max(0.1, left / 2)))


class _Gone(NamedTuple):
    """The authority does not know the identity; no request is sent until `until`."""

    failure: Failure
    snapshot: Snapshot | None
    seconds: float
    until: Moment


Outcome = CachedToken | Failure | HcpCredsError
"""The result of a flight."""


def is_final(outcome: Outcome, *, patient: bool) -> bool:
    """Return whether a waiting caller accepts an outcome, or has to retry what a background refresh did not.

    Args:
        outcome: The result of the flight.
        patient: Whether the flight retried failures.
    """
    return patient or not isinstance(outcome, Failure) or outcome.refused


class CredentialBase:
    """The part of a credential that neither waits nor sends."""

    _reads_at_once: ClassVar[bool]
    """Whether the constructor reads the file; it must not block an event loop."""
    _flights: dict[Any, Any]
    """The requests in progress."""

    def __init__(  # noqa: PLR0913 (the credentials' arguments)
        self,
        path: str | os.PathLike[str],
        file_format: FileFormat,
        *,
        cloud: str | None = None,
        authority: str | None = None,
        backstop: timedelta = DEFAULT_BACKSTOP,
        poll: bool = False,
        on_reload: Callable[[Status], None] | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        **kwargs: Any,
    ) -> None:
        self._cloud = None if cloud is None else get_cloud(cloud)
        self._authority = check_authority(authority)
        if backstop <= timedelta(0):
            raise InputError("backstop", ["expected more than zero seconds"])
        if kwargs.get("proxies"):
            with first_use:
                from hcpcreds.http.proxies import Proxies  # noqa: PLC0415 (imported when it is needed)

            Proxies(kwargs["proxies"], None)
        self._on_reload = on_reload
        self._clock = clock
        self._monotonic = monotonic
        # No lock guards these: an exception may hit a caller between any two lines (a signal, a killed
        # greenlet), and must not leave behind a lock that others wait for. Each step is one step of the dict.
        self._closed = False
        self._cached: dict[tuple[Any, ...], CachedToken] = {}
        self._flights = {}
        self.counts: Final = TokenCounts()
        """For `hcpcreds.metrics`."""
        self._gone: _Gone | None = None
        self._settings = kwargs
        self._network: Any = None
        self._source, release = open_source(
            path,
            file_format,
            backstop=backstop,
            poll=poll,
            read=self._reads_at_once,
            clock=clock,
            uses_authority=authority is None,
            listener=None if on_reload is None else weakref.WeakMethod(self._notify),
        )
        self._finalizer = weakref.finalize(self, release)
        self._finalizer.atexit = False

    def status(self) -> Status:
        """Return the current status: identity, certificate, last error, and so on; never a secret."""
        return self._complete(self._source.status())

    def _notify(self, status: Status) -> None:
        if self._on_reload is None or self._closed:
            return
        try:
            self._on_reload(self._complete(status))
        except Exception:  # noqa: BLE001 (a caller's function may raise anything)
            _log.exception("on_reload failed for %s; the new credential is in use", status.path)

    def _make_request(
        self,
        method: str,
        scopes: tuple[str, ...],
        claims: str | None,
        tenant_id: str | None,
        *,
        enable_cae: bool,
    ) -> TokenRequest:
        problems = []
        if not scopes or not all(isinstance(scope, str) and _SCOPE.fullmatch(scope) for scope in scopes):
            problems.append(
                "scopes: expected at least one, for instance https://management.azure.com/.default"
            )
        if tenant_id is not None and not (isinstance(tenant_id, str) and TENANT.fullmatch(tenant_id)):
            problems.append("tenant_id: expected a UUID or a domain name")
        if claims and not _are_claims(claims):
            problems.append("claims: expected a JSON object whose access_token, if present, is an object")
        if problems:
            raise InputError(method, problems)
        snapshot = self._source.snapshot
        if tenant_id is not None and snapshot is not None and tenant_id.lower() == snapshot.file.tenant_id:
            tenant_id = None  # the identity's own tenant: both requests share one token
        return TokenRequest(scopes, tenant_id, enable_cae, claims)

    @property
    def is_closed(self) -> bool:
        """Whether `close()` was called."""
        return self._closed

    @property
    def _owns_transport(self) -> bool:
        return self._settings.get("transport") is None

    def _get_network(self) -> Any:  # noqa: ANN401 (imported when it is first needed)
        """Return the network settings; None if the caller's transport has its own. Reads files once."""
        if self._network is None and self._owns_transport and self._settings.get("session") is None:
            from hcpcreds.http.network import Network  # noqa: PLC0415 (start-up time)

            self._network = Network(self._settings)
        return self._network

    def _now(self) -> Moment:
        return Moment(self._clock(), self._monotonic())

    def _find_token(self, request: TokenRequest) -> tuple[CachedToken | None, bool]:
        """Return the cached token, and whether to refresh it in the background.

        Raises:
            HcpCredsError: The credential is closed, or the authority does not know the identity.
        """
        self._check_open()
        cached, gone = self._get_cached(request), self._get_gone(request)
        if cached is None and gone is not None:
            raise build_error(gone)
        if cached is not None:
            self.counts.hits += 1
        return cached, cached is not None and gone is None and cached.is_due(self._now())

    def _choose(self, request: TokenRequest, outcome: Outcome) -> Outcome:
        """Return the outcome for a caller; if it is not a token, then one that has come meanwhile.

        Raises:
            SourceClosedError: The credential is closed.
        """
        self._check_open()
        return outcome if isinstance(outcome, CachedToken) else self._get_cached(request) or outcome

    def _get_cached(self, request: TokenRequest) -> CachedToken | None:
        # A claims challenge means that the resource refused the cached token.
        cached = None if request.claims else self._cached.get(request.cache_key)
        return cached if cached is not None and cached.is_usable(self._now()) else None

    def _get_gone(self, request: TokenRequest) -> Failure | None:
        """Return why the authority does not know the identity, until it is time to ask again."""
        gone = self._gone
        if gone is None or request.tenant_id is not None or gone.snapshot is not self._source.snapshot:
            return None
        return None if gone.until.is_reached(self._now()) else gone.failure

    def _check_open(self) -> None:
        if self._closed:
            raise SourceClosedError(
                f"the credential for {self._source.path} was used after its close()",
                hint="Close it after the last client that uses it.",
            )

    def _start(
        self, request: TokenRequest, now: Callable[[], Moment]
    ) -> Generator[Attempt, Answer, Token | Failure]:
        began = self._monotonic()
        try:
            result = yield from ask_for_token(
                self._source, request, authority=self._authority, cloud=self._cloud, now=now
            )
        except GeneratorExit:  # callers stopped waiting
            self.counts.add(None, self._monotonic() - began)
            raise
        self.counts.add(result, self._monotonic() - began)
        return result

    def _land(self, request: TokenRequest, result: CachedToken | Failure | HcpCredsError) -> Outcome:
        """Record the result of a flight."""
        if isinstance(result, CachedToken):
            self._note_known(request)
            self._keep(request.cache_key, result)
            return result
        failure = result if isinstance(result, Failure) else None
        seconds = REFRESH_RETRY_SECONDS
        if failure is not None and failure.is_gone and request.tenant_id is None:
            seconds, failure = self._note_gone(failure), None
        cached = self._get_cached(request)
        if cached is not None:
            cached.postpone_refresh(self._now(), seconds)
        if failure is not None:
            _log.warning("%s", failure.message, extra={"event": "token_failed", "path": self._source.path})
        return result

    def _keep(self, key: tuple[Any, ...], cached: CachedToken) -> None:
        now = self._now()
        for old, token in self._cached.copy().items():
            if not token.is_usable(now):
                self._cached.pop(old, None)
        while len(self._cached) >= _MAX_TOKENS:
            self._cached.pop(next(iter(self._cached.copy())), None)
        self._cached[key] = cached
        if self._closed:
            self._cached.clear()

    def _note_gone(self, failure: Failure) -> float:
        before = self._gone
        seconds = min(2 * before.seconds, _LONGEST_GONE_SECONDS) if before else _GONE_SECONDS
        self._gone = _Gone(failure, self._source.snapshot, seconds, self._now().after(seconds))
        if before is None:
            _log.error(
                "%s; requests go on at growing intervals until the authority knows the identity again",
                failure.message,
                extra={"event": "gone", "path": self._source.path},
            )
        return seconds

    def _note_known(self, request: TokenRequest) -> None:
        if self._gone is not None and request.tenant_id is None:
            self._gone = None
            _log.info(
                "the authority knows the identity of %s again",
                self._source.path,
                extra={"event": "back", "path": self._source.path},
            )

    def _complete(self, status: Status) -> Status:
        gone = self._gone
        return status if gone is None else dataclasses.replace(status, gone=gone.failure.message)

    def _describe_overdue(self) -> Failure:
        return self._describe(f"no response after {FLIGHT_SECONDS:g} s")

    def _describe_unexpected(self, error: Exception) -> Failure | HcpCredsError:
        """Turn an exception into a value that can be kept: without its frames, which hold secrets."""
        if isinstance(error, HcpCredsError):
            error.__cause__ = error.__context__ = None
            return error.with_traceback(None)
        return self._describe(f"unexpected {type(error).__name__}")

    def _describe(self, what: str) -> Failure:
        snapshot = self._source.snapshot
        who = f"identity {snapshot.file.client_id} of {self._source.path}" if snapshot else self._source.path
        return Failure(
            message=f"no token for {who}: {what}",
            hint="Is the authority reachable from this machine? The next call retries.",
            refused=False,
        )


def _are_claims(text: str) -> bool:
    try:
        text.encode()
        merge_claims(text, enable_cae=True)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return False
    return True
