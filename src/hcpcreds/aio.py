# ruff: noqa: PLC0415 (the HTTP library is imported when the first token is needed)
"""The credential for asyncio code: same class name, arguments and behaviour as in `hcpcreds.credential`."""

import asyncio
import contextlib
import os
import time
import weakref
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from azure.core.credentials import AccessToken, AccessTokenInfo, TokenRequestOptions
from azure.core.exceptions import AzureError, ServiceRequestError
from azure.core.rest import AsyncHttpResponse

from hcpcreds.credential.authority import Attempt, Failure, Token, ask_for_token, build_request
from hcpcreds.credential.azure_errors import build_error
from hcpcreds.credential.base import CachedToken, CredentialBase, FlightKey, Outcome
from hcpcreds.credential.source import DEFAULT_BACKSTOP
from hcpcreds.credential.status import Status
from hcpcreds.errors import HcpCredsError
from hcpcreds.fork_locks import first_use

__all__ = ["UserAssignedIdentityCredential"]


class UserAssignedIdentityCredential(CredentialBase):
    """Azure tokens for a managed identity, from its mounted credential file, in asyncio code.

    As `hcpcreds.credential.UserAssignedIdentityCredential`, whose file it shares when both have the same
    path. It blocks no event loop: files are read in the watcher's thread, and signing takes 0.3 ms, about as
    long as handing it to another thread. It belongs to one event loop at a time.

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
    """

    def __init__(  # noqa: PLR0913 (the sync one's)
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
            read=False,
            on_reload=on_reload,
            clock=clock,
        )
        self._flights: dict[FlightKey, asyncio.Task[Outcome]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sender = _Sender(kwargs)
        self._finalizer = weakref.finalize(self, self._give_back)
        self._finalizer.atexit = False

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
            MountNotReadyError: There is no credential file yet; also azure-identity's
                CredentialUnavailableError.
            MountFormatError, CredentialExpiredError, TokenRefusedError, TokenUnavailableError: As they say;
                each is also azure-core's ClientAuthenticationError.
            SourceClosedError: After `close()`.

        Waits for the authority when there is no token in memory that is good for a while.
        """
        if claims is None:
            cached = self._cached.get((scopes, tenant_id, enable_cae))
            if cached is not None and self._clock() < cached.refresh_on:
                return cached.access_token
        return (await self._get("get_token", scopes, claims, tenant_id, enable_cae=enable_cae)).access_token

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
        options = options or {}
        cached = await self._get(
            "get_token_info",
            scopes,
            options.get("claims"),
            options.get("tenant_id"),
            enable_cae=options.get("enable_cae", False),
        )
        return cached.info

    async def close(self) -> None:
        """Stop watching, forget the tokens, close the connections. More than once is no error."""
        self._closed = True
        self._cached.clear()
        self._finalizer()
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
        await self._sender.close()

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
        method: str,
        scopes: tuple[str, ...],
        claims: str | None,
        tenant_id: str | None,
        *,
        enable_cae: bool,
    ) -> CachedToken:
        key = self._get_key(method, scopes, claims, tenant_id, enable_cae=enable_cae)
        self._check_open()
        self._enter_loop()
        servable = self._get_servable(key)
        flight = self._flights.get(key)
        if flight is None and (servable is None or self._clock() >= servable.refresh_on):
            flight = self._flights[key] = asyncio.create_task(self._fly(key))
        if servable is not None:
            return servable
        assert flight is not None  # noqa: S101 (made above if there was none)
        try:
            # Who waits may be cancelled; the others who wait for the same token are not.
            outcome = await asyncio.shield(flight)
        except asyncio.CancelledError:
            if flight.cancelled():
                self._check_open()
            raise
        if isinstance(outcome, CachedToken):
            return outcome
        # In a thread, for it may import azure.identity.
        raise await asyncio.to_thread(build_error, outcome) from None

    def _enter_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            # What another loop has begun, it has taken with it: a second asyncio.run, or a forked child.
            self._loop = loop
            self._flights = {}
            self._sender.forget()

    async def _fly(self, key: FlightKey) -> Outcome:
        result: Token | Failure | HcpCredsError
        try:
            result = await self._ask(key)
        except HcpCredsError as error:
            result = error
        finally:
            self._flights.pop(key, None)
        return self._land(key, result)

    async def _ask(self, key: FlightKey) -> Token | Failure:
        if not self._source.was_read:
            await self._wait_for_reading()
        asking = ask_for_token(
            self._source, key.token, claims=key.claims, authority=self._authority, clock=self._clock
        )
        try:
            attempt = next(asking)
            while True:
                attempt = asking.send(await self._sender.send(attempt))
        except StopIteration as stop:
            result: Token | Failure = stop.value
            return result

    async def _wait_for_reading(self) -> None:
        loop = asyncio.get_running_loop()
        read = asyncio.Event()

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed already
                loop.call_soon_threadsafe(read.set)

        self._source.post(tell)
        await read.wait()


class _Sender:
    """Sends through an azure-core pipeline, made when first needed: its HTTP library is slow to import."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._pipeline: Any = None

    async def send(self, attempt: Attempt) -> AsyncHttpResponse | AzureError:
        """Send, with azure-core's retries."""
        if self._pipeline is None:
            # Importing takes a quarter of a second, which no event loop has.
            pipeline = await asyncio.to_thread(_build_pipeline, **self._settings)
            self._pipeline = self._pipeline or pipeline
        request, options = build_request(attempt)
        try:
            response: AsyncHttpResponse = (await self._pipeline.run(request, **options)).http_response
        except AzureError as error:
            return error
        except HcpCredsError:
            raise
        except (OSError, ValueError) as error:
            return ServiceRequestError(str(error))
        return response

    async def close(self) -> None:
        """Close the connections, unless they are the transport's of somebody else."""
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None and "transport" not in self._settings:
            await pipeline.__aexit__()
            # The connections close in the loop's next round, and a loop that ended before would warn of them.
            await asyncio.sleep(0)

    def forget(self) -> None:
        """Leave connections alone that belong to another event loop."""
        self._pipeline = None


def _build_pipeline(**settings: Any) -> Any:  # noqa: ANN401 (azure-core's own)
    with first_use:
        from azure.core.pipeline import AsyncPipeline

        from hcpcreds.credential.pipeline import SigningPolicy
        from hcpcreds.http.aio import make_transport
        from hcpcreds.http.answers import MAX_TOKEN_ANSWER
        from hcpcreds.http.policies import build_policies
        from hcpcreds.http.retries import AsyncBoundedRetryPolicy

        transport = make_transport(settings, max_answer=MAX_TOKEN_ANSWER)
        retries = AsyncBoundedRetryPolicy(**settings)
        return AsyncPipeline(transport, build_policies(retries, SigningPolicy(), **settings))
