"""The one HTTP server of this project: asyncio, and nothing but the standard library.

A token endpoint has to answer 12,000 requests per second from memory, with a 99th percentile below 5 ms, on a
busy machine. Of the servers that were measured, only plain asyncio protocols did so in every run; aiohttp and
uvicorn did only on a quiet machine. Our own protocol also needs no extra, and keeps all limits in one place.
"""

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from email.utils import formatdate
from http import HTTPStatus
from typing import Final, NamedTuple

from hcpcreds.errors import locate
from hcpcreds.serving.address import ListenAddress, close_listener, open_listener
from hcpcreds.serving.certificate import ServingCertificate
from hcpcreds.serving.connection import Connection
from hcpcreds.serving.limits import Limits
from hcpcreds.serving.messages import Request, Response

BACKLOG: Final = 128
"""Number of connections that the kernel queues until they are accepted."""
_CHECK_SECONDS: Final = 0.25
_PAUSE_SECONDS: Final = 1.0
"""Pause after a failure to accept a connection, for instance for lack of descriptors."""
_READ: Final = ("GET", "HEAD")
_OK: Final = Response(b"ok\n")
_NOT_FOUND: Final = Response(b"not found\n", HTTPStatus.NOT_FOUND)

_log = logging.getLogger("hcpcreds.serving")

Handler = Callable[[Request], Response | Awaitable[Response]]
"""Answers a request: directly if that takes microseconds, otherwise with a coroutine. An exception becomes a
500, and is logged without its text."""


class Route(NamedTuple):
    """The handler of a path."""

    handler: Handler
    methods: tuple[str, ...] = _READ


class Server:
    """Serves routes at one address. `serve` opens it.

    `/healthz` shows that the event loop runs; `/readyz` lists the reasons why the server is not ready.
    """

    def __init__(  # noqa: PLR0913 (all keywords)
        self,
        routes: Mapping[str, Route],
        *,
        limits: Limits,
        certificate: ServingCertificate | None,
        is_draining: Callable[[], bool],
        find_unready: Callable[[], Sequence[str]],
        monotonic: Callable[[], float],
    ) -> None:
        self.limits = limits
        self.address = ListenAddress()
        """The address, with the port that was picked."""
        self.now = monotonic
        self._routes = {"/healthz": Route(lambda _: _OK), "/readyz": Route(self._answer_ready), **routes}
        self._certificate = certificate
        self._is_draining = is_draining
        self._find_unready = find_unready
        self._listener: socket.socket | None = None
        self._connections: set[Connection] = set()
        self._date = (0, b"")
        self._is_short = False
        """Whether the last attempt to accept failed, for instance for lack of descriptors."""
        self._checking: asyncio.Task[None] | None = None
        self._all_closed = asyncio.Event()

    def listen(self, listener: socket.socket, address: ListenAddress) -> None:
        """Start accepting connections."""
        listener.setblocking(False)  # noqa: FBT003 (socket's own)
        self._listener = listener
        port = address.port if address.path else listener.getsockname()[1]
        self.address = ListenAddress(address.host, port, address.path)
        self._checking = asyncio.create_task(self._check_deadlines())
        self._accept_more()

    async def close(self, *, seconds: float = 10.0) -> None:
        """Stop accepting, finish the requests in progress, and close every connection.

        Args:
            seconds: Longest time to wait for these requests.
        """
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            close_listener(self._listener)
            self._listener = None
        for connection in list(self._connections):
            connection.end_when_idle()
        try:
            await self._wait_until_closed(seconds)
        finally:
            if self._checking is not None:
                self._checking.cancel()
            for connection in list(self._connections):
                connection.abort()
        await self._wait_until_closed(1.0)

    # For connections

    @property
    def is_draining(self) -> bool:
        """Whether each connection closes after its next response."""
        return self._listener is None or self._is_draining()

    def get_date(self) -> bytes:
        """Return the current `Date` header, with its line break."""
        second = int(time.time())
        if second != self._date[0]:
            self._date = (second, f"Date: {formatdate(second, usegmt=True)}\r\n".encode())
        return self._date[1]

    def add(self, connection: Connection) -> None:
        """Count a connection."""
        self._connections.add(connection)
        self._all_closed.clear()

    def remove(self, connection: Connection) -> None:
        """Stop counting a connection."""
        self._connections.discard(connection)
        if not self._connections:
            self._all_closed.set()

    def handle(self, request: Request) -> Response | Awaitable[Response]:
        """Answer a request with the handler of its path."""
        route = self._routes.get(request.path)
        if route is None:
            return _NOT_FOUND
        if request.method not in route.methods:
            allow = ("Allow", ", ".join(route.methods))
            return Response(b"method not allowed\n", HTTPStatus.METHOD_NOT_ALLOWED, headers=[allow])
        return route.handler(request)

    def _answer_ready(self, _: Request) -> Response:
        reasons = ["draining"] if self.is_draining else self._find_unready()
        if not reasons:
            return _OK
        text = "".join(f"{reason}\n" for reason in reasons)
        return Response(text.encode(), HTTPStatus.SERVICE_UNAVAILABLE)

    # Accepting

    def _accept_more(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        """Accept some of the waiting connections.

        Only a few at a time: other clients are served meanwhile, and connections whose clients have left are
        noticed before they fill the server.
        """
        for _ in range(max(1, min(BACKLOG, self.limits.connections // 8))):
            try:
                client, _ = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue  # the client has left already
            except OSError as error:
                if not self._is_short:
                    _log.warning("cannot accept connections on %s: %s", self.address, error.strerror)
                self._is_short = True
                loop = asyncio.get_running_loop()
                loop.remove_reader(listener)
                loop.call_later(_PAUSE_SECONDS, self._accept_more)
                return
            self._is_short = False
            if len(self._connections) >= self.limits.connections:
                client.close()
                continue
            client.setblocking(False)  # noqa: FBT003 (socket's own)
            connection = Connection(self)
            connection.opening = asyncio.create_task(self._open(connection, client))

    async def _open(self, connection: Connection, client: socket.socket) -> None:
        tls = self._certificate.context if self._certificate is not None else None
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                client,
                ssl=tls,
                ssl_handshake_timeout=None if tls is None else self.limits.header_seconds,
                ssl_shutdown_timeout=None if tls is None else self.limits.request_seconds,
            )
        except (OSError, asyncio.CancelledError):  # the client has left, or does not speak TLS
            self.remove(connection)
        except Exception as error:  # noqa: BLE001 (one client's failure must not affect the others)
            _log.error("a connection failed: %s", locate(error))
            self.remove(connection)

    async def _check_deadlines(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            now = self.now()
            for connection in list(self._connections):
                connection.check_deadline(now)

    async def _wait_until_closed(self, seconds: float) -> None:
        if self._connections:
            try:
                await asyncio.wait_for(self._all_closed.wait(), seconds)
            except TimeoutError:
                return


@asynccontextmanager
async def serve(  # noqa: PLR0913 (all keywords)
    address: ListenAddress,
    routes: Mapping[str, Route],
    *,
    certificate: ServingCertificate | None = None,
    limits: Limits = Limits(),  # noqa: B008 (immutable)
    is_draining: Callable[[], bool] = lambda: False,
    find_unready: Callable[[], Sequence[str]] = list,
    monotonic: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Server]:
    """Serve HTTP/1.1 on this event loop until the context exits, which waits for requests in progress.

    Args:
        address: The listen address.
        routes: Handlers by their full path. `/healthz` and `/readyz` are built in.
        certificate: Serve HTTPS with this certificate instead of HTTP.
        limits: The limits of connections, requests and times.
        is_draining: Whether the process is about to end. Then `/readyz` fails, and each connection closes
            after its response, so that clients move elsewhere before the server ends.
        find_unready: Lists the reasons why requests cannot be served at the moment; empty if they can.
        monotonic: Clock of the limits, in seconds.

    Yields:
        The server.

    Raises:
        InputError: The server cannot listen on the address.
    """
    listener = await asyncio.to_thread(open_listener, address, backlog=BACKLOG)
    server = Server(
        routes,
        limits=limits,
        certificate=certificate,
        is_draining=is_draining,
        find_unready=find_unready,
        monotonic=monotonic,
    )
    server.listen(listener, address)
    try:
        yield server
    finally:
        await server.close()
