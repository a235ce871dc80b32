# ruff: noqa: PLC0415 (the HTTP library is imported when the first token is needed)
"""The credential for synchronous code."""

import functools
import os
import threading
import time
import weakref
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from azure.core.credentials import AccessToken, AccessTokenInfo, TokenRequestOptions
from azure.core.exceptions import AzureError, ServiceRequestError
from azure.core.rest import HttpResponse

from hcpcreds.credential.authority import Attempt, Failure, Token, ask_for_token, build_request
from hcpcreds.credential.azure_errors import build_error
from hcpcreds.credential.base import CachedToken, CredentialBase, FlightKey, Outcome
from hcpcreds.credential.source import DEFAULT_BACKSTOP
from hcpcreds.credential.status import Status
from hcpcreds.credential.workers import Workers
from hcpcreds.errors import HcpCredsError
from hcpcreds.fork_locks import first_use


class UserAssignedIdentityCredential(CredentialBase):
    """Azure tokens for a managed identity, from its mounted credential file.

    An Azure SDK credential (`TokenCredential`, `SupportsTokenInfo`). The file is read when this is made, and
    whenever it changes; a bad one is reported and the last good one stays. No good file yet is
    no error here but one of `get_token`: a mount may come later, and `ChainedTokenCredential` may go on.

    Args:
        path: The credential file inside its mount, for instance `/mnt/certs/ingress`.
        cloud: Name of the Azure cloud. The file itself names its authority, and wins.
        authority: `https` URL of the token authority, instead of the file's.
        backstop: How often the file is read even if nothing seems to have happened to it.
        poll: Read the file every second instead of watching it: for network file systems.
        on_reload: Called with the status after each reload, in the watcher's thread: return soon. What it
            raises is logged.
        clock: Unix time; for tests.
        **kwargs: azure-core's usual ones (`transport`, `connection_verify`, `proxies`, `retry_total`,
            `connection_timeout`, ...). A `transport` that is given stays its giver's to close. The timeouts
            are 30 s unless given; bodies are never logged, for they hold assertions and tokens.

    Raises:
        InputError: An argument is wrong.

    Safe to use from any thread, and after `fork`.
    """

    def __init__(  # noqa: PLR0913 (as issue 3 promises them)
        self,
        path: str | os.PathLike[str],
        *,
        cloud: str | None = None,
        authority: str | None = None,
        backstop: timedelta = DEFAULT_BACKSTOP,
        poll: bool = False,
        on_reload: Callable[[Status], None] | None = None,
        clock: Callable[[], float] = time.time,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            path,
            cloud=cloud,
            authority=authority,
            backstop=backstop,
            poll=poll,
            read=True,
            on_reload=on_reload,
            clock=clock,
        )
        self._flights: dict[FlightKey, _Flight] = {}
        _credentials.add(self)
        self._sender = _Sender(kwargs)
        self._finalizer = weakref.finalize(self, _release, self._give_back, self._sender)
        self._finalizer.atexit = False

    def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        enable_cae: bool = False,
        **kwargs: Any,  # noqa: ARG002 (the protocol's)
    ) -> AccessToken:
        """Get an access token, from memory if there is one.

        Args:
            *scopes: What it is for; for instance `https://management.azure.com/.default`.
            claims: A claims challenge; asks for a new token.
            tenant_id: Another tenant than the identity's own.
            enable_cae: Ask for a token under continuous access evaluation.
            **kwargs: Ignored.

        Raises:
            MountNotReadyError: There is no credential file yet; also azure-identity's
                CredentialUnavailableError.
            MountFormatError, CredentialExpiredError, TokenRefusedError, TokenUnavailableError: As they say;
                each is also azure-core's ClientAuthenticationError.
            SourceClosedError: After `close()`.

        Blocks on the authority when there is no token in memory that is good for a while.
        """
        if claims is None:
            cached = self._cached.get((scopes, tenant_id, enable_cae))
            if cached is not None and self._clock() < cached.refresh_on:
                return cached.access_token
        return self._get("get_token", scopes, claims, tenant_id, enable_cae=enable_cae).access_token

    def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        """Get an access token with the time to refresh it, from memory if there is one.

        Args:
            *scopes: As for `get_token`.
            options: `claims`, `tenant_id`, `enable_cae`, as for `get_token`.

        Raises:
            HcpCredsError: As `get_token` does.
        """
        options = options or {}
        return self._get(
            "get_token_info",
            scopes,
            options.get("claims"),
            options.get("tenant_id"),
            enable_cae=options.get("enable_cae", False),
        ).info

    def close(self) -> None:
        """Stop watching, forget the tokens, close the connections. More than once is no error."""
        with self._lock:
            self._closed = True
            self._cached.clear()
        self._finalizer()

    def reset_after_fork(self) -> None:
        """Forget what the parent's threads are at: none of them runs in the child."""
        self._lock = threading.Lock()
        self._flights.clear()
        self._sender.reset_after_fork()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.close()

    def _get(
        self,
        method: str,
        scopes: tuple[str, ...],
        claims: str | None,
        tenant_id: str | None,
        *,
        enable_cae: bool,
    ) -> CachedToken:
        key = self._get_key(method, scopes, claims, tenant_id, enable_cae=enable_cae)
        with self._lock:
            self._check_open()
            servable = self._get_servable(key)
            flight = self._flights.get(key)
            behind = None
            if flight is None and (servable is None or self._clock() >= servable.refresh_on):
                flight = behind = self._flights[key] = _Flight()
            leads = flight is not None and servable is None and flight.start()
        if servable is not None:
            if behind is not None and not _workers.submit(functools.partial(self._fly_behind, key, behind)):
                servable.put_off_refresh(self._clock())
                self._end(key, behind, behind.outcome)
            return servable
        assert flight is not None  # noqa: S101 (made above if there was none)
        if leads:
            self._fly(key, flight)
        else:
            flight.done.wait()
        if isinstance(flight.outcome, CachedToken):
            return flight.outcome
        raise build_error(flight.outcome)

    def _fly_behind(self, key: FlightKey, flight: "_Flight") -> None:
        with self._lock:
            # Its token may have expired while no worker was free: then a caller has taken over.
            leads = flight.start()
        if leads:
            self._fly(key, flight)

    def _fly(self, key: FlightKey, flight: "_Flight") -> None:
        result: Token | Failure | HcpCredsError
        try:
            result = self._ask(key)
        except HcpCredsError as error:
            result = error
        except BaseException:
            self._end(key, flight, flight.outcome)
            raise
        with self._lock:
            outcome = self._land(key, result)
        self._end(key, flight, outcome)

    def _end(self, key: FlightKey, flight: "_Flight", outcome: Outcome) -> None:
        flight.outcome = outcome
        with self._lock:
            if self._flights.get(key) is flight:
                del self._flights[key]
        flight.done.set()

    def _ask(self, key: FlightKey) -> Token | Failure:
        asking = ask_for_token(
            self._source, key.token, claims=key.claims, authority=self._authority, clock=self._clock
        )
        try:
            attempt = next(asking)
            while True:
                attempt = asking.send(self._sender.send(attempt))
        except StopIteration as stop:
            result: Token | Failure = stop.value
            return result


class _Flight:
    """One request under way, for all who wait for the same token."""

    __slots__ = ("done", "outcome", "started")

    def __init__(self) -> None:
        self.done = threading.Event()
        self.started = False
        self.outcome: Outcome = Failure(
            message="the request for a token was interrupted", hint="The next call asks again.", refused=False
        )

    def start(self) -> bool:
        """Whether the caller is the first, and so the one to send. Under the credential's lock."""
        first, self.started = not self.started, True
        return first


class _Sender:
    """Sends through an azure-core pipeline, made when first needed: its HTTP library is slow to import."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._pipeline: Any = None
        self._inherited: Any = None
        self._lock = threading.Lock()

    def send(self, attempt: Attempt) -> HttpResponse | AzureError:
        """Send, with azure-core's retries."""
        request, options = build_request(attempt)
        try:
            response: HttpResponse = self._get_pipeline().run(request, **options).http_response
        except AzureError as error:
            return error
        except HcpCredsError:
            raise
        except (OSError, ValueError) as error:
            return ServiceRequestError(str(error))
        return response

    def close(self) -> None:
        """Close the connections, unless they are the transport's of somebody else."""
        with self._lock:
            pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None and "transport" not in self._settings:
            pipeline.__exit__()

    def reset_after_fork(self) -> None:
        """Leave the parent's connections alone; closing them could wait for a lock that nobody here holds."""
        self._lock = threading.Lock()
        self._inherited, self._pipeline = self._pipeline, None

    def _get_pipeline(self) -> Any:  # noqa: ANN401 (azure-core's generics say nothing here)
        with self._lock:
            if self._pipeline is None:
                self._pipeline = _build_pipeline(**self._settings)
            return self._pipeline


def _build_pipeline(**settings: Any) -> Any:  # noqa: ANN401 (azure-core's own)
    with first_use:
        from azure.core.pipeline import Pipeline

        from hcpcreds.credential.pipeline import SigningPolicy
        from hcpcreds.http.answers import MAX_TOKEN_ANSWER
        from hcpcreds.http.policies import build_policies
        from hcpcreds.http.retries import BoundedRetryPolicy
        from hcpcreds.http.sync import make_transport

        transport = make_transport(settings, max_answer=MAX_TOKEN_ANSWER)
        return Pipeline(
            transport, build_policies(BoundedRetryPolicy(**settings), SigningPolicy(), **settings)
        )


def _release(give_back: Callable[[], None], sender: _Sender) -> None:
    give_back()
    sender.close()


_workers = Workers("hcpcreds-refresh")
_credentials: weakref.WeakSet[UserAssignedIdentityCredential] = weakref.WeakSet()


def _reset_after_fork() -> None:
    for credential in list(_credentials):
        credential.reset_after_fork()


os.register_at_fork(after_in_child=_reset_after_fork)
