# ruff: noqa: PLC0415 (the HTTP library is imported when the first token is needed)
"""The credential for synchronous code."""

import contextlib
import contextvars
import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

from azure.core.credentials import AccessToken, AccessTokenInfo, TokenRequestOptions
from azure.core.exceptions import AzureError, ClientAuthenticationError
from azure.core.rest import HttpResponse

from hcpcreds.credential.arguments import CertificateArguments, ManagedIdentityArguments
from hcpcreds.credential.authority import (
    Attempt,
    Failure,
    Moment,
    Token,
    TokenRequest,
    build_request,
    read_failure,
)
from hcpcreds.credential.azure_errors import build_error
from hcpcreds.credential.base import (
    FLIGHT_SECONDS,
    REFRESH_RETRY_SECONDS,
    REFRESH_SECONDS,
    CachedToken,
    CredentialBase,
    Outcome,
    is_final,
)
from hcpcreds.credential.flight import Flight
from hcpcreds.errors import HcpCredsError
from hcpcreds.fork_locks import first_use
from hcpcreds.workers import Workers

_GRACE_SECONDS: Final = 0.05
"""How long a waiting caller lets the caller that created a flight begin it."""


class SyncCredential(CredentialBase):
    """The part of a credential that waits and sends."""

    _reads_at_once = True
    _flights: dict[TokenRequest, Flight]

    def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        enable_cae: bool = False,
        **kwargs: Any,  # noqa: ARG002 (part of the protocol)
    ) -> AccessToken:
        """Get an access token, from memory if possible.

        Args:
            *scopes: The scopes of the token, for instance `https://management.azure.com/.default`.
            claims: A claims challenge; always requests a new token.
            tenant_id: A tenant other than the identity's own.
            enable_cae: Request a token with continuous access evaluation.
            **kwargs: Ignored.

        Raises:
            MountAbsentError: There is no credential file yet; also azure-identity's
                CredentialUnavailableError.
            MountNotReadyError, MountFormatError, CredentialExpiredError, TokenRefusedError,
                TokenUnavailableError: See their descriptions; each is also azure-core's
                ClientAuthenticationError.
            SourceClosedError: After `close()`.

        Blocks on the authority if no cached token is valid for long enough: at most two minutes.
        """
        # Inlined here and below: azure-core calls these methods for each request.
        if claims is None:
            cached = self._cached.get((scopes, tenant_id, enable_cae))
            if (
                cached is not None
                and self._clock() < cached.refresh_on
                and self._monotonic() < cached.refresh_at
            ):
                self.counts.hits += 1
                return cached.access_token
        request = self._make_request("get_token", scopes, claims, tenant_id, enable_cae=enable_cae)
        return self._get(request).access_token

    def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        """Get an access token with its refresh time, from memory if possible.

        Args:
            *scopes: As for `get_token`.
            options: `claims`, `tenant_id`, `enable_cae`, as for `get_token`.

        Raises:
            HcpCredsError: As for `get_token`.
        """
        claims, tenant_id, enable_cae = None, None, False
        if options:
            claims, tenant_id = options.get("claims"), options.get("tenant_id")
            enable_cae = options.get("enable_cae", False)
        if claims is None:
            cached = self._cached.get((scopes, tenant_id, enable_cae))
            if (
                cached is not None
                and self._clock() < cached.refresh_on
                and self._monotonic() < cached.refresh_at
            ):
                self.counts.hits += 1
                return cached.info
        request = self._make_request("get_token_info", scopes, claims, tenant_id, enable_cae=enable_cae)
        return self._get(request).info

    def close(self) -> None:
        """Stop watching the file, forget the tokens and release waiting callers. Later calls do nothing."""
        self._closed = True
        self._cached.clear()
        for flight in self._flights.copy().values():
            flight.end(self._describe_overdue())
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.close()

    def _get(self, request: TokenRequest) -> CachedToken:
        cached, is_due = self._find_token(request)
        if cached is not None:
            if is_due:
                self._refresh(request, cached)
            return cached
        outcome, patient = self._wait(request)
        if not is_final(outcome, patient=patient):
            outcome, _ = self._wait(request)
        outcome = self._choose(request, outcome)
        if isinstance(outcome, CachedToken):
            return outcome
        raise build_error(outcome)

    def _refresh(self, request: TokenRequest, cached: CachedToken) -> None:
        flight, leads = self._join(request, patient=False)
        if leads and not _workers.submit(functools.partial(self._fly, request, flight)):
            cached.postpone_refresh(self._now(), REFRESH_RETRY_SECONDS)
            self._end(request, flight, self._describe("no thread can be started to refresh the token"))

    def _wait(self, request: TokenRequest) -> tuple[Outcome, bool]:
        flight, leads = self._join(request, patient=True)
        if not leads and not flight.has_begun:
            flight.wait(_GRACE_SECONDS)
        if not flight.has_begun:
            # It is this caller's own, or it waits for a worker, or its caller was interrupted.
            flight.make_patient(self._monotonic() + FLIGHT_SECONDS)
            # In another thread, which no signal or cancellation interrupts.
            work = functools.partial(contextvars.copy_context().run, self._fly, request, flight)
            if not _senders.submit(work):
                work()
        outcome = flight.wait(flight.deadline - self._monotonic())
        if outcome is None:
            outcome = self._abandon(request, flight)
        return outcome, flight.is_patient

    def _join(self, request: TokenRequest, *, patient: bool) -> tuple[Flight, bool]:
        """Return the flight for a request, and whether it is new, so that the caller has to begin it."""
        now = self._monotonic()
        flight = self._flights.get(request)
        if flight is not None and (now >= flight.deadline or flight.is_of_parent):
            self._abandon(request, flight)
            flight = None
        if flight is not None:
            return flight, False
        mine = Flight(now + (FLIGHT_SECONDS if patient else REFRESH_SECONDS), is_patient=patient)
        flight = self._flights.setdefault(request, mine)
        return flight, flight is mine

    def _fly(self, request: TokenRequest, flight: Flight) -> None:
        if not flight.begin():
            return
        outcome: Outcome = self._describe("the request was interrupted")
        try:
            result = self._ask(request, flight)
            # If the flight was abandoned, only a token still matters.
            if flight.outcome is None or isinstance(result, CachedToken):
                outcome = self._land(request, result)
        finally:
            self._end(request, flight, outcome)

    def _abandon(self, request: TokenRequest, flight: Flight) -> Outcome:
        outcome = flight.outcome or self._land(request, self._describe_overdue())
        self._end(request, flight, outcome)
        return outcome

    def _end(self, request: TokenRequest, flight: Flight, outcome: Outcome) -> None:
        if self._flights.get(request) is flight:
            self._flights.pop(request, None)
        flight.end(outcome)

    def _ask(self, request: TokenRequest, flight: Flight) -> CachedToken | Failure | HcpCredsError:
        def now() -> Moment:
            if flight.outcome is not None:
                raise _AbandonedError
            return self._now()

        try:
            asking = self._start(request, now)
            with contextlib.closing(
                _Sender(self._build_pipeline, owns_transport=self._owns_transport)
            ) as sender:
                attempt = next(asking)
                while True:
                    seconds = flight.deadline - self._monotonic()
                    attempt = asking.send(sender.send(attempt, seconds=seconds, patient=flight.is_patient))
        except StopIteration as stop:
            return CachedToken(stop.value) if isinstance(stop.value, Token) else stop.value
        except Exception as error:  # noqa: BLE001 (foreign errors must not leave; their frames may hold a token)
            return self._describe_unexpected(error)

    def _build_pipeline(self) -> Any:  # noqa: ANN401 (azure-core's own)
        with first_use:
            from azure.core.pipeline import Pipeline

            from hcpcreds.credential.pipeline import assemble
            from hcpcreds.http.retries import BoundedRetryPolicy
            from hcpcreds.http.sync import make_transport

            return assemble(Pipeline, make_transport, BoundedRetryPolicy, self._settings, self._get_network())


class UserAssignedIdentityCredential(ManagedIdentityArguments, SyncCredential):
    """Azure tokens for a managed identity, from its mounted credential file.

    An Azure SDK credential (`TokenCredential`, `SupportsTokenInfo`). It reads the file when it is created and
    whenever the file changes. An invalid file is reported, and the last valid one stays in use. If there is
    no valid file yet, `get_token` raises the error, not the constructor: the file may be mounted later, and
    `ChainedTokenCredential` may continue.

    Args:
        path: The credential file inside its mount, for instance `/mnt/certs/ingress`.
        cloud: Name of the Azure cloud. A file that names an authority of another cloud is refused.
        authority: `https` URL of the token authority, instead of the one in the file.
        backstop: Longest time between two reads of the file, even if no change is noticed.
        poll: Read the file every second instead of watching it: for network file systems.
        on_reload: Called with the status after a later credential has replaced another one (so not after the
            first), on the watcher's thread: return quickly. Exceptions are logged.
        clock: Unix time; for tests.
        monotonic: Seconds on a clock that cannot be set; for tests.
        **kwargs: azure-core's keyword arguments (`transport`, `connection_verify`, `proxies`, `retry_total`,
            `connection_timeout`, ...). The caller closes its own `transport`. Timeouts default to 30 s.
            Bodies are never logged, because they contain assertions and tokens.

    Raises:
        InputError: An argument is invalid.

    It may be used from any thread, and after `fork`.
    """


class CertificateCredential(CertificateArguments, SyncCredential):
    """Azure tokens for a service principal, from its mounted certificate: azure-identity's, and it reloads.

    Takes the arguments of `azure.identity.CertificateCredential`, and works like
    `UserAssignedIdentityCredential`: it reads the file when it is created and whenever the file changes. The
    leaf is the certificate that the private key belongs to, wherever it stands. A certificate replaces
    another one if it became valid later. An invalid file is reported, and the last valid one stays in use. If
    there is no valid file yet, `get_token` raises the error, not the constructor.

    Args:
        path_or_tenant_id: The file with the certificate and its private key, PEM or PKCS#12, inside its
            mount; `tenant_id` and `client_id` are then given by name. Also, as for azure-identity, the
            tenant, with `client_id` and `certificate_path` after it.
        client_id: The service principal's client (application) id.
        certificate_path: The file, if it is not the first argument.
        tenant_id: The service principal's tenant, a UUID or a domain name.
        password: Decrypts the key or the PKCS#12; a `str` is encoded as UTF-8.
        password_file: A file that holds the password, without the line break at its end. It is watched too,
            so that a rotation may change both.
        send_certificate_chain: Send the certificates with each token request (`x5c`): needed where Entra ID
            trusts the application by the subject name and issuer of its certificate.
        cloud: Name of the Azure cloud, whose authority is used.
        authority: The token authority itself, a host name or an `https` URL. Without both, it is
            `AZURE_AUTHORITY_HOST`, else Entra ID's public cloud.
        additionally_allowed_tenants: Other tenants for which `get_token` may request tokens; `*` stands for
            any.
        disable_instance_discovery: Ignored: the authority is never looked up elsewhere.
        certificate_data: Refused: what is not a file cannot rotate.
        cache_persistence_options: Refused: tokens are kept in memory only.
        backstop: Longest time between two reads of the file, even if no change is noticed.
        poll: Read the file every second instead of watching it: for network file systems.
        on_reload: Called with the status after a later credential has replaced another one (so not after the
            first), on the watcher's thread: return quickly. Exceptions are logged.
        clock: Unix time; for tests.
        monotonic: Seconds on a clock that cannot be set; for tests.
        **kwargs: azure-core's keyword arguments (`transport`, `connection_verify`, `proxies`, `retry_total`,
            `connection_timeout`, ...). The caller closes its own `transport`. Timeouts default to 30 s.
            Bodies are never logged, because they contain assertions and tokens.

    Raises:
        InputError: An argument is invalid.

    It may be used from any thread, and after `fork`.
    """


class _AbandonedError(ClientAuthenticationError):
    """The credential is closed, or no caller waits any more: nothing more is signed and sent."""


class _Sender:
    """Sends one flight's requests through an azure-core pipeline, and closes its connections.

    They are not kept for the next flight: tokens are requested about once an hour, and an idle connection may
    break: through a fork, through a server that closes it, through the limit of descriptors.
    """

    def __init__(self, build: Callable[[], Any], *, owns_transport: bool) -> None:
        self._build = build
        self._owns_transport = owns_transport
        self._pipeline: Any = None

    def send(self, attempt: Attempt, *, seconds: float, patient: bool) -> HttpResponse | AzureError:
        """Send an attempt, with azure-core's retries."""
        request, options = build_request(attempt, seconds=seconds, patient=patient)
        try:
            if self._pipeline is None:
                self._pipeline = self._build()
            response: HttpResponse = self._pipeline.run(request, **options).http_response
        except (AzureError, OSError, ValueError) as error:
            return read_failure(error)
        return response

    def close(self) -> None:
        """Close the connections, unless the transport is the caller's own."""
        if self._pipeline is not None and self._owns_transport:
            self._pipeline.__exit__()


_senders = Workers("hcpcreds-token", threads=64)
_workers = Workers("hcpcreds-refresh")
