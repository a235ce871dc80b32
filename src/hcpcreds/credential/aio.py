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
    BEHIND_SECONDS,
    FLIGHT_SECONDS,
    CachedToken,
    CredentialBase,
    Outcome,
    is_final,
)
from hcpcreds.errors import HcpCredsError
from hcpcreds.fork_locks import first_use
from hcpcreds.workers import Workers

__all__ = ["UserAssignedIdentityCredential"]

T = TypeVar("T")


class UserAssignedIdentityCredential(CredentialBase):
    """Azure tokens for a managed identity, from its mounted credential file, in asyncio code.

    As `hcpcreds.credential.UserAssignedIdentityCredential`, whose file it shares when both have the same
    path. It blocks no event loop: files are read in another thread, and signing takes 0.3 ms, about as long
    as handing it to one. Several event loops may use it, also at once: each asks for itself, and all share
    the tokens. It needs nothing of a loop's default executor.

    Args:
        path: The credential file inside its mount, for instance `/mnt/certs/ingress`.
        cloud: Name of the Azure cloud. A file that names another cloud's authority is refused.
        authority: `https` URL of the token authority, instead of the file's.
        backstop: How often the file is read even if nothing seems to have happened to it.
        poll: Read the file every second instead of watching it: for network file systems.
        on_reload: Called with the status whenever a later credential has replaced another one (so not for the
            first), in the watcher's thread: return soon. What it raises is logged.
        clock: Unix time; for tests.
        monotonic: Seconds on a clock that nobody sets; for tests.
        **kwargs: azure-core's usual ones (`transport`, `connection_verify`, `proxies`, `retry_total`,
            `connection_timeout`, ...). A `transport` that is given stays its giver's to close. The timeouts
            are 30 s unless given; bodies are never logged, for they hold assertions and tokens.

    Raises:
        InputError: An argument is wrong.
    """

    _reads_at_once = False
    _flights: "dict[tuple[asyncio.AbstractEventLoop, TokenRequest], _Flight]"

    async def get_token(
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
            MountAbsentError: There is no credential file yet; also azure-identity's
                CredentialUnavailableError.
            MountNotReadyError, MountFormatError, CredentialExpiredError, TokenRefusedError,
                TokenUnavailableError: As they say; each is also azure-core's ClientAuthenticationError.
            SourceClosedError: After `close()`.

        Waits for the authority when there is no token in memory that is good for a while: two minutes at
        most.
        """
        if claims is None:
            cached = self._cached.get((scopes, tenant_id, enable_cae))
            if (
                cached is not None
                and self._clock() < cached.refresh_on
                and self._monotonic() < cached.refresh_at
            ):
                return cached.access_token
        return (
            await self._get(self._make_request("get_token", scopes, claims, tenant_id, enable_cae=enable_cae))
        ).access_token

    async def get_token_info(
        self, *scopes: str, options: TokenRequestOptions | None = None
    ) -> AccessTokenInfo:
        """Get an access token with the time to refresh it, from memory if there is one.

        Args:
            *scopes: As for `get_token`.
            options: `claims`, `tenant_id`, `enable_cae`, as for `get_token`.

        Raises:
            HcpCredsError: As `get_token` does.
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
                return cached.info
        return (
            await self._get(
                self._make_request("get_token_info", scopes, claims, tenant_id, enable_cae=enable_cae)
            )
        ).info

    async def close(self) -> None:
        """Stop watching, forget the tokens, let go who waits for one. More than once is no error."""
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

    async def _get(
        self,
        request: TokenRequest,
    ) -> CachedToken:
        servable, is_due = self._find_token(request)
        if servable is not None:
            if is_due:
                self._join(request, patient=False)
            return servable
        outcome, patient = await self._wait(request)
        if not is_final(outcome, patient=patient):
            outcome, _ = await self._wait(request)
        self._check_open()
        if isinstance(outcome, CachedToken):
            return outcome
        # In a thread, for it may import azure.identity.
        raise await call_in_thread(build_error, outcome)

    async def _wait(self, request: TokenRequest) -> tuple[Outcome, bool]:
        flight = self._join(request, patient=True)
        try:
            # Who waits may be cancelled; the others who wait for the same token are not.
            return await asyncio.shield(flight.task), flight.is_patient
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if not flight.task.cancelled() or (me is not None and me.cancelling()):
                raise
            return self._describe_overdue(), flight.is_patient

    def _join(self, request: TokenRequest, *, patient: bool) -> "_Flight":
        """Get this event loop's request under way, or start it."""
        loop, now = asyncio.get_running_loop(), self._monotonic()
        flight = self._flights.get((loop, request))
        if flight is not None and now < flight.deadline:
            return flight
        if flight is not None:
            flight.task.cancel()
        for each in self._flights.copy():
            if each[0].is_closed():
                self._flights.pop(each, None)
        deadline = now + (FLIGHT_SECONDS if patient else BEHIND_SECONDS)
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
        except Exception as error:  # noqa: BLE001 (nothing foreign leaves; its frames could hold a token)
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


class _Flight(NamedTuple):
    """One request under way, for all in its event loop who wait for the same token. Its task never raises."""

    task: "asyncio.Task[Outcome]"
    deadline: float
    """Monotonic time from which on nobody waits for it."""
    is_patient: bool
    """Whether failures are tried again; a refresh behind a caller that has a token still is not."""


class Sender:
    """Sends one flight's requests through an azure-core pipeline, and closes its connections.

    They are not kept for the next flight: tokens are asked for once an hour or so, and a connection that
    outlives its event loop can only be complained about.
    """

    def __init__(self, build: Callable[[], Any], *, owns_transport: bool) -> None:
        self._build = build
        self._owns_transport = owns_transport
        self._pipeline: Any = None

    async def send(
        self, attempt: Attempt, *, seconds: float, patient: bool
    ) -> AsyncHttpResponse | AzureError:
        """Send, with azure-core's retries."""
        request, options = build_request(attempt, seconds=seconds, patient=patient)
        try:
            if self._pipeline is None:
                # Importing takes a quarter of a second, which no event loop has.
                self._pipeline = await call_in_thread(self._build)
            response: AsyncHttpResponse = (await self._pipeline.run(request, **options)).http_response
        except (AzureError, OSError, ValueError) as error:
            return read_failure(error)
        return response

    async def aclose(self) -> None:
        """Close the connections, unless they are the transport's of somebody else."""
        if self._pipeline is not None and self._owns_transport:
            await self._pipeline.__aexit__()
            # The connections close in the loop's next round, and a loop that ended before would warn of them.
            await asyncio.sleep(0)


async def call_in_thread(function: Callable[..., T], *arguments: object) -> T:
    # Not by asyncio.to_thread: its threads may all wait for what this is needed for.
    return await asyncio.wrap_future(_workers.call(functools.partial(function, *arguments)))


_workers = Workers("hcpcreds-asyncio")
