"""The transport for asyncio code: azure-core's with aiohttp, with limits."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from azure.core import AsyncPipelineClient
from azure.core.exceptions import AzureError, ServiceResponseError, ServiceResponseTimeoutError
from azure.core.pipeline.transport import AioHttpTransport, AsyncHttpTransport
from azure.core.rest import AsyncHttpResponse, HttpRequest
from typing_extensions import override

from hcpcreds.http.answers import ACCEPT_ENCODING, CHUNK, Unpacker
from hcpcreds.http.network import TIMEOUTS, Network, strip_settings
from hcpcreds.http.policies import build_policies
from hcpcreds.http.resolver import Resolver
from hcpcreds.http.retries import AsyncBoundedRetryPolicy


class _Connector(aiohttp.TCPConnector):
    """Aborts the connections that it closes, as aiohttp does when it closes a session.

    Otherwise the connection of a cancelled request would wait for its peer's TLS close_notify for half a
    minute, and cause a warning if its event loop ends before. There is no public setting for this.
    """

    @override
    def _release(self, key: Any, protocol: Any, *, should_close: bool = False, **options: Any) -> None:
        if should_close or protocol.should_close:
            protocol.abort()
            should_close = True
        super()._release(key, protocol, should_close=should_close, **options)


def open_session() -> aiohttp.ClientSession:
    """Open a session that reads neither ~/.netrc nor the environment. Needs a running event loop."""
    session = aiohttp.ClientSession(
        connector=_Connector(resolver=Resolver()),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": ACCEPT_ENCODING},
        auto_decompress=False,
        trust_env=False,
    )
    # aiohttp retries a PUT itself when the connection breaks, and Key Vault would create two versions. There
    # is no public setting for this; aiohttp's own test client sets the attribute, too.
    session._retry_connection = False  # noqa: SLF001 (as said above)
    return session


def make_transport(
    settings: dict[str, Any], *, max_answer: int, network: Network | None = None
) -> AsyncHttpTransport[Any, Any]:
    """Return the transport for azure-core's settings: the caller's own if there is one.

    Args:
        settings: azure-core's keyword arguments.
        max_answer: Maximum number of bytes in a response.
        network: The CA certificates and proxies; by default those of the settings.

    Raises:
        InputError: A setting is unusable.
    """
    if settings.get("transport") is not None:
        return settings["transport"]  # type: ignore[no-any-return] # the caller's own
    if settings.get("session") is not None:
        return AioHttpTransport(**{**TIMEOUTS, **settings})  # type: ignore[no-any-return]
    return BoundedAioTransport(network or Network(settings), settings, max_answer=max_answer)


def build_pipeline_client(
    settings: dict[str, Any], *own_policies: Any, max_answer: int
) -> AsyncPipelineClient[HttpRequest, AsyncHttpResponse]:
    """Build a pipeline client; the twin of `hcpcreds.http.sync.build_pipeline_client`."""
    policies = build_policies(AsyncBoundedRetryPolicy(**settings), *own_policies, **settings)
    transport = make_transport(settings, max_answer=max_answer)
    return AsyncPipelineClient("", policies=policies, **{**settings, "transport": transport})


@asynccontextmanager
async def open_transports(
    settings: dict[str, Any], *, urls: Collection[str] = ()
) -> AsyncIterator[Callable[[int], AioHttpTransport]]:
    """Open one session for several Azure clients, for the duration of the context.

    Args:
        settings: azure-core's keyword arguments.
        urls: URLs that will certainly be requested: an unusable proxy for them is reported at once.

    Yields:
        A function that creates the transport of one client from the maximum number of bytes in a response.
        Closing the transport leaves the session open.

    Raises:
        InputError: A setting is unusable.
    """
    network = Network(settings)
    for url in urls:
        network.proxies.find(url)
    shared = {**settings, "session": open_session(), "session_owner": False}
    async with shared["session"]:
        yield lambda max_answer: BoundedAioTransport(network, shared, max_answer=max_answer)
    # The connections close in the loop's next iteration; without it, a loop that ends now would warn.
    await asyncio.sleep(0)


class BoundedAioTransport(AioHttpTransport):  # type: ignore[misc] # azure-core imports it lazily
    """Sends with the trust and proxies of its network, and limits the length of responses.

    Args:
        network: The CA certificates and proxies.
        settings: azure-core's keyword arguments. A `session` among them was opened by `open_session`.
        max_answer: Maximum number of bytes in a response, both compressed and decompressed.
    """

    def __init__(self, network: Network, settings: dict[str, Any], *, max_answer: int) -> None:
        super().__init__(**strip_settings(settings))
        self.session: aiohttp.ClientSession | None
        self._network = network
        self._max_answer = max_answer
        self._was_opened = False

    @override
    async def open(self) -> None:
        """Open the session on first use."""
        if self.session is None and not self._was_opened:
            self.session = open_session()
        self._was_opened = True
        await super().open()

    @override
    async def send(self, request: Any, *, stream: bool = False, proxies: Any = None, **config: Any) -> Any:
        """Send a request and read its response."""
        proxy = self._network.proxies.find(request.url)
        config["connection_verify"] = True  # otherwise azure-core creates a TLS context for each request
        config["ssl"] = self._network.trust.get_context()
        if proxy is not None:
            config["proxy"] = proxy.url
            if proxy.authorization is not None:
                config["proxy_headers"] = {"Proxy-Authorization": proxy.authorization}
        try:
            response: Any = await super().send(request, stream=True, **config)
            response._content = await self._read(response.internal_response)  # noqa: SLF001 (see there)
            response._decompressed_content = True  # noqa: SLF001 (see there)
        except AzureError as error:
            raise self._network.explain(error, request.url) from error
        return response

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        # azure-core and aiohttp read and decompress without a limit.
        try:
            unpacker = Unpacker(response.headers.get("Content-Encoding"), limit=self._max_answer)
            async for chunk in response.content.iter_chunked(CHUNK):
                unpacker.feed(chunk)
            return unpacker.finish()
        except TimeoutError as error:
            raise ServiceResponseTimeoutError(error, error=error) from error
        except aiohttp.ClientError as error:
            raise ServiceResponseError(error, error=error) from error
        finally:
            response.close()
