# ruff: noqa: PLC0415 (the HTTP library is imported when the first token is needed)
"""The credential for asyncio code: same class name, arguments and behaviour as in `hcpcreds.credential`."""

import asyncio
import contextlib
import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from azure.core.credentials import AccessToken, AccessTokenInfo, TokenRequestOptions
from azure.core.exceptions import AzureError
from azure.core.rest import AsyncHttpResponse

from hcpcreds.credential.arguments import CertificateArguments, ManagedIdentityArguments
from hcpcreds.credential.authority import (
    Attempt,
    Failure,
    Token,
    TokenRequest,
    build_request,
    read_failure,
)
from hcpcreds.credential.azure_errors import build_error
from hcpcreds.credential.base import (
    FLIGHT_SECONDS,
    REFRESH_SECONDS,
    CachedToken,
    CredentialBase,
    Outcome,
    is_final,
)
from hcpcreds.errors import HcpCredsError
from hcpcreds.fork_locks import first_use
from hcpcreds.workers import Workers

__all__ = ["CertificateCredential", "UserAssignedIdentityCredential"]

T = TypeVar("T")


class AsyncCredential(CredentialBase):
    """The part of a credential that waits and sends."""

    _reads_at_once = False
    _flights: "dict[tuple[asyncio.AbstractEventLoop, TokenRequest], _Flight]"

    async def get_token(
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

        Waits for the authority if no cached token is valid for long enough: at most two minutes.
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
        return (
            await self._get(self._make_request("get_token", scopes, claims, tenant_id, enable_cae=enable_cae))
        ).access_token

    async def get_token_info(
        self, *scopes: str, options: TokenRequestOptions | None = None
    ) -> AccessTokenInfo:
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
        return (
            await self._get(
                self._make_request("get_token_info", scopes, claims, tenant_id, enable_cae=enable_cae)
            )
        ).info

    async def close(self) -> None:
        """Stop watching the file, forget the tokens and release waiting callers. Later calls do nothing."""
        self._closed = True
        self._cached.clear()
        self._finalizer()
        here = asyncio.get_running_loop()
        ended = []
        for (loop, _), flight in self._flights.copy().items():
            if loop is here:
                flight.task.cancel()
                ended.append(flight.task)
            else:
                with contextlib.suppress(RuntimeError):  # that loop is closed already
                    loop.call_soon_threadsafe(flight.task.cancel)
        await asyncio.gather(*ended, return_exceptions=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.close()

    async def _get(self, request: TokenRequest) -> CachedToken:
        cached, is_due = self._find_token(request)
        if cached is not None:
            if is_due:
                self._join(request, patient=False)
            return cached
        outcome, patient = await self._wait(request)
        if not is_final(outcome, patient=patient):
            outcome, _ = await self._wait(request)
        outcome = self._choose(request, outcome)
        if isinstance(outcome, CachedToken):
            return outcome
        # In a thread, because it may import azure.identity.
        raise await call_in_thread(build_error, outcome)

    async def _wait(self, request: TokenRequest) -> tuple[Outcome, bool]:
        flight = self._join(request, patient=True)
        try:
            # Cancelling one caller must not cancel the others that wait for the same token.
            return await asyncio.shield(flight.task), flight.is_patient
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if not flight.task.cancelled() or (me is not None and me.cancelling()):
                raise
            return self._describe_overdue(), flight.is_patient

    def _join(self, request: TokenRequest, *, patient: bool) -> "_Flight":
        """Return this event loop's flight for a request; start it if there is none."""
        loop, now = asyncio.get_running_loop(), self._monotonic()
        flight = self._flights.get((loop, request))
        if flight is not None and now < flight.deadline:
            return flight
        if flight is not None:
            flight.task.cancel()
        for each in self._flights.copy():
            if each[0].is_closed():
                self._flights.pop(each, None)
        deadline = now + (FLIGHT_SECONDS if patient else REFRESH_SECONDS)
        task = loop.create_task(self._fly(request, deadline, patient=patient))
        flight = self._flights[loop, request] = _Flight(task, deadline, patient)
        return flight

    async def _fly(self, request: TokenRequest, deadline: float, *, patient: bool) -> Outcome:
        result: CachedToken | Failure | HcpCredsError
        try:
            async with asyncio.timeout(deadline - self._monotonic()):
                result = await self._ask(request, deadline, patient=patient)
        except TimeoutError:
            result = self._describe_overdue()
        finally:
            place = (asyncio.get_running_loop(), request)
            flight = self._flights.get(place)
            if flight is not None and flight.task is asyncio.current_task():
                self._flights.pop(place, None)
        return self._land(request, result)

    async def _ask(
        self, request: TokenRequest, deadline: float, *, patient: bool
    ) -> CachedToken | Failure | HcpCredsError:
        try:
            if not self._source.was_read:
                await call_in_thread(functools.partial(self._source.reload, deliver=self._source.post))
            asking = self._start(request, self._now)
            async with contextlib.aclosing(
                Sender(self._build_pipeline, owns_transport=self._owns_transport)
            ) as sender:
                attempt = next(asking)
                while True:
                    seconds = deadline - self._monotonic()
                    attempt = asking.send(await sender.send(attempt, seconds=seconds, patient=patient))
        except StopIteration as stop:
            return CachedToken(stop.value) if isinstance(stop.value, Token) else stop.value
        except Exception as error:  # noqa: BLE001 (foreign errors must not leave; their frames may hold a token)
            return self._describe_unexpected(error)

    def _build_pipeline(self) -> Any:  # noqa: ANN401 (azure-core's own)
        with first_use:
            from azure.core.pipeline import AsyncPipeline

            from hcpcreds.credential.pipeline import assemble
            from hcpcreds.http.aio import make_transport
            from hcpcreds.http.retries import AsyncBoundedRetryPolicy

            return assemble(
                AsyncPipeline, make_transport, AsyncBoundedRetryPolicy, self._settings, self._get_network()
            )


class UserAssignedIdentityCredential(ManagedIdentityArguments, AsyncCredential):
    """Azure tokens for a managed identity, from its mounted credential file, in asyncio code.

    Works like `hcpcreds.credential.UserAssignedIdentityCredential`, and shares its source if both have the
    same path. It does not block the event loop: files are read in another thread, and signing takes 0.3 ms,
    about as long as passing it to a thread. Several event loops may use it, even concurrently: each sends its
    own requests, and all share the tokens. It does not use the loop's default executor.

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
    """


class CertificateCredential(CertificateArguments, AsyncCredential):
    """Azure tokens for a service principal, from its mounted certificate, in asyncio code.

    Works like `hcpcreds.credential.CertificateCredential`, and blocks the event loop no more than
    `UserAssignedIdentityCredential` does.

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
    """


class _Flight(NamedTuple):
    """A token request in progress, for all callers in one event loop. Its task never raises."""

    task: "asyncio.Task[Outcome]"
    deadline: float
    """Monotonic time at which callers stop waiting."""
    is_patient: bool
    """Whether failures are retried. A background refresh does not retry: its caller still has a token."""


class Sender:
    """Sends one flight's requests through an azure-core pipeline, and closes its connections.

    They are not kept for the next flight: tokens are requested about once an hour, and a connection that
    outlives its event loop only causes a warning.
    """

    def __init__(self, build: Callable[[], Any], *, owns_transport: bool) -> None:
        self._build = build
        self._owns_transport = owns_transport
        self._pipeline: Any = None

    async def send(
        self, attempt: Attempt, *, seconds: float, patient: bool
    ) -> AsyncHttpResponse | AzureError:
        """Send an attempt, with azure-core's retries."""
        request, options = build_request(attempt, seconds=seconds, patient=patient)
        try:
            if self._pipeline is None:
                # Importing takes a quarter of a second: too long for an event loop.
                self._pipeline = await call_in_thread(self._build)
            response: AsyncHttpResponse = (await self._pipeline.run(request, **options)).http_response
        except (AzureError, OSError, ValueError) as error:
            return read_failure(error)
        return response

    async def aclose(self) -> None:
        """Close the connections, unless the transport is the caller's own."""
        if self._pipeline is not None and self._owns_transport:
            await self._pipeline.__aexit__()
            # The connections close in the loop's next iteration; without it, a loop that ends now would warn.
            await asyncio.sleep(0)


async def call_in_thread(function: Callable[..., T], *arguments: object) -> T:
    # Not asyncio.to_thread: all of its threads may be waiting for the result of this call.
    return await asyncio.wrap_future(_workers.call(functools.partial(function, *arguments)))


_workers = Workers("hcpcreds-asyncio")
