"""The transport of asyncio code: azure-core's with aiohttp, kept within bounds."""

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
    """Drops connections that it closes, as aiohttp itself does with those of a session that is closed.

    One whose request was cancelled would else wait for its peer's part of TLS's farewell, for half a minute,
    and be complained about when its event loop ends before. There is no public way to say so.
    """

    @override
    def _release(self, key: Any, protocol: Any, *, should_close: bool = False, **options: Any) -> None:
        if should_close or protocol.should_close:
            protocol.abort()
            should_close = True
        super()._release(key, protocol, should_close=should_close, **options)


def open_session() -> aiohttp.ClientSession:
    """Open a session that reads neither ~/.netrc nor the environment; only where an event loop runs."""
    session = aiohttp.ClientSession(
        connector=_Connector(resolver=Resolver()),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": ACCEPT_ENCODING},
        auto_decompress=False,
        trust_env=False,
    )
    # aiohttp sends a PUT again by itself when the connection breaks, and Key Vault would make two
    # versions of it. There is no public way to say so; aiohttp's own test client does it like this.
    session._retry_connection = False  # noqa: SLF001 (as said above)
    return session


def make_transport(
    settings: dict[str, Any], *, max_answer: int, network: Network | None = None
) -> AsyncHttpTransport[Any, Any]:
    """Make the transport that azure-core's settings ask for: the caller's own if there is one.

    Args:
        settings: azure-core's.
        max_answer: Bytes that an answer may have.
        network: What is trusted, and which proxies are taken; made from the settings unless it is given.

    Raises:
        InputError: A setting cannot be used.
    """
    if settings.get("transport") is not None:
        return settings["transport"]  # type: ignore[no-any-return] # as the caller promises
    if settings.get("session") is not None:
        return AioHttpTransport(**{**TIMEOUTS, **settings})  # type: ignore[no-any-return]
    return BoundedAioTransport(network or Network(settings), settings, max_answer=max_answer)


def build_pipeline_client(
    settings: dict[str, Any], *own_policies: Any, max_answer: int
) -> AsyncPipelineClient[HttpRequest, AsyncHttpResponse]:
    """Build a client of this package; the twin of `hcpcreds.http.sync.build_pipeline_client`."""
    policies = build_policies(AsyncBoundedRetryPolicy(**settings), *own_policies, **settings)
    transport = make_transport(settings, max_answer=max_answer)
    return AsyncPipelineClient("", policies=policies, **{**settings, "transport": transport})


@asynccontextmanager
async def open_transports(
    settings: dict[str, Any], *, urls: Collection[str] = ()
) -> AsyncIterator[Callable[[int], AioHttpTransport]]:
    """Open one session for several Azure clients, until the context is left.

    Args:
        settings: azure-core's.
        urls: What will be asked for certain; that its proxy cannot be used is told at once.

    Yields:
        What makes the transport of one client from the bytes that an answer may have; closing that leaves the
        session open.

    Raises:
        InputError: A setting cannot be used.
    """
    network = Network(settings)
    for url in urls:
        network.proxies.find(url)
    shared = {**settings, "session": open_session(), "session_owner": False}
    async with shared["session"]:
        yield lambda max_answer: BoundedAioTransport(network, shared, max_answer=max_answer)
    # The connections close in the loop's next round, and a loop that ended before would warn of them.
    await asyncio.sleep(0)


class BoundedAioTransport(AioHttpTransport):  # type: ignore[misc] # azure-core imports it when it is asked for
    """Sends as its network says, and reads no more than an answer may have.

    Args:
        network: What is trusted, and which proxies are taken.
        settings: azure-core's. A `session` among them is one that `open_session` has opened.
        max_answer: Bytes that an answer may have, packed and unpacked.
    """

    def __init__(self, network: Network, settings: dict[str, Any], *, max_answer: int) -> None:
        super().__init__(**strip_settings(settings))
        self.session: aiohttp.ClientSession | None
        self._network = network
        self._max_answer = max_answer
        self._was_opened = False

    @override
    async def open(self) -> None:
        """Open the session when it is first needed."""
        if self.session is None and not self._was_opened:
            self.session = open_session()
        self._was_opened = True
        await super().open()

    @override
    async def send(self, request: Any, *, stream: bool = False, proxies: Any = None, **config: Any) -> Any:
        """Send a request, and read its answer."""
        proxy = self._network.proxies.find(request.url)
        config["connection_verify"] = True  # azure-core makes TLS settings for each request else
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
        # azure-core and aiohttp have no reading with a bound: they read and unpack all that comes.
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
