"""One connection of a server: reads requests, calls their handler, writes responses."""

import asyncio
import logging
from collections.abc import Awaitable
from http import HTTPStatus
from typing import Final, Protocol

from typing_extensions import override

from hcpcreds.errors import locate
from hcpcreds.serving.limits import Limits
from hcpcreds.serving.messages import Request, RequestError, Response
from hcpcreds.serving.reading import RequestReader

_LINGER_SECONDS: Final = 2.0
"""How long a refused client may take to read the response."""
_AT_ONCE: Final = 16
"""Number of pipelined requests that are handled before other clients get their turn."""
_CHUNK: Final = 64 * 1024
"""Bytes per write. A TLS transport buffers everything that it is given, however slow the client is."""
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_FAILED: Final = Response(b"internal error\n", HTTPStatus.INTERNAL_SERVER_ERROR)
_TOO_SLOW: Final = Response(b"the response took too long\n", HTTPStatus.SERVICE_UNAVAILABLE)
_TIMEOUT: Final = Response(b"the request took too long to arrive\n", HTTPStatus.REQUEST_TIMEOUT)

_log = logging.getLogger("hcpcreds.serving")


class Host(Protocol):
    """The interface of the server to its connections."""

    limits: Limits

    @property
    def is_draining(self) -> bool:
        """Whether each connection closes after its next response."""

    def now(self) -> float:
        """Return the monotonic time in seconds."""

    def get_date(self) -> bytes:
        """Return the current `Date` header, with its line break."""

    def handle(self, request: Request) -> Response | Awaitable[Response]:
        """Answer a request."""

    def add(self, connection: "Connection") -> None:
        """Count a connection."""

    def remove(self, connection: "Connection") -> None:
        """Stop counting a connection."""


class Connection(asyncio.Protocol):
    """A connection of a client, from the moment it is accepted.

    One request is handled at a time; pipelined requests wait.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._limits = host.limits
        self._reader = RequestReader(host.limits)
        self._transport: asyncio.Transport | None = None
        self._is_tls = False
        self._task: asyncio.Task[None] | None = None
        """Runs the handler of a request if it did not return a response immediately."""
        self._started_at = host.now()
        """When the current request began; before the first one, when the connection began."""
        self._deadline = self._started_at + self._limits.header_seconds
        self._unsent = memoryview(b"")
        """The part of the response that has not been passed to the transport yet."""
        self._is_paused = False
        """Whether the transport still has something to send."""
        self._is_writing = False
        """Whether a part of the response has not been sent yet."""
        self._is_between = False
        """Whether a response has been sent, and the next request has not begun."""
        self._is_ending = False
        """Whether the connection closes after the current response."""
        self._is_refused = False
        """Whether everything else that the client sends is discarded."""
        self._is_aborted = False
        self._has_eof = False
        """Whether the client has closed its sending side. It may still wait for responses."""
        self.opening: asyncio.Task[object] | None = None
        """Opens the connection, TLS handshake included."""
        host.add(self)

    # Called by the server

    def check_deadline(self, now: float) -> None:
        """End the connection if its time is up."""
        if now < self._deadline:
            return
        if self._task is not None:
            self._task.cancel()
            self._task = None
            self._refuse(_TOO_SLOW)
        elif not (self._reader.is_empty or self._is_ending or self._is_writing or self._is_refused):
            self._refuse(_TIMEOUT)
        else:
            self.abort()

    def end_when_idle(self) -> None:
        """Close the connection now, or after the current response."""
        self._is_ending = True
        if self._task is None and self._reader.is_empty and not self._is_writing:
            self._close()

    def abort(self) -> None:
        """Close the connection immediately, whatever is in progress."""
        self._is_aborted = True
        if self._transport is not None:
            self._transport.abort()
        elif self.opening is not None:
            self.opening.cancel()

    # asyncio.Protocol

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 (for mypy)
        self._transport = transport
        self._is_tls = transport.get_extra_info("sslcontext") is not None
        transport.set_write_buffer_limits(high=1, low=0)  # with 0, asyncio's TLS pauses when nothing is left
        if self._is_aborted:
            transport.abort()
        elif self._is_ending:
            transport.close()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._task is not None:
            self._task.cancel()
        self._host.remove(self)

    @override
    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        if self._is_between:
            self._begin()
        self._reader.feed(data)
        self._read_requests()

    @override
    def eof_received(self) -> bool:
        self._has_eof = True
        if self._task is None and not self._is_writing and not self._is_refused:
            self._read_requests()  # and close, if no complete request is left
        # With TLS, asyncio closes the connection anyway, and would log a warning if this returned True.
        return not self._is_refused and not self._is_tls

    @override
    def pause_writing(self) -> None:
        self._is_paused = True

    @override
    def resume_writing(self) -> None:
        self._is_paused = False
        if self._is_writing and self._send_more():
            self._go_on()

    # Requests

    def _begin(self) -> None:
        self._is_between = False
        self._started_at = self._host.now()
        self._deadline = self._started_at + self._limits.header_seconds

    def _read_requests(self) -> None:
        """Handle the requests that have arrived, up to the limit for one turn."""
        for _ in range(_AT_ONCE):
            if self._task is not None or self._is_writing or self._is_ending or self._is_refused:
                break
            try:
                request = self._reader.take()
            except RequestError as error:
                self._refuse(Response(f"{error.reason}\n".encode(), error.status))
                return
            if request is None:
                self._wait_for_more()
                break
            self._handle(request)
        else:
            asyncio.get_running_loop().call_soon(self._read_requests)
        if self._transport is not None:
            if self._reader.is_full:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _wait_for_more(self) -> None:
        """Wait for the rest of a request, or for the next one."""
        if self._has_eof:
            self._close()
        elif self._reader.is_at_body:
            self._deadline = self._started_at + self._limits.request_seconds
            if self._reader.has_expectation and self._transport is not None:
                self._reader.has_expectation = False
                self._transport.write(_CONTINUE)

    def _handle(self, request: Request) -> None:
        self._deadline = self._started_at + self._limits.request_seconds
        with_body = request.method != "HEAD"
        keep_alive = request.keep_alive and self._limits.idle_seconds > 0
        try:
            response = self._host.handle(request)
        except Exception as error:  # noqa: BLE001 (a handler's failure must affect only its own request)
            response = _report(error)
        if isinstance(response, Response):
            self._respond(response, end=not keep_alive, with_body=with_body)
            return
        self._task = asyncio.ensure_future(self._finish(response, keep_alive=keep_alive, with_body=with_body))

    async def _finish(self, response: Awaitable[Response], *, keep_alive: bool, with_body: bool) -> None:
        try:
            result = await response
        except Exception as error:  # noqa: BLE001 (as above)
            result = _report(error)
        if self._task is not asyncio.current_task():
            return  # it took too long, and a 503 was sent
        self._task = None
        self._respond(result, end=not keep_alive, with_body=with_body)
        self._read_requests()

    # Responses

    def _respond(self, response: Response, *, end: bool, with_body: bool = True) -> None:
        self._is_ending = self._is_ending or end or self._host.is_draining
        date = self._host.get_date()
        data = response.encode(date=date, keep_alive=not self._is_ending, with_body=with_body)
        self._unsent = memoryview(data)
        if self._send_more():
            self._end_response()

    def _send_more(self) -> bool:
        """Write as much of the response as the client accepts; return whether that is all of it."""
        transport = self._transport
        while self._unsent and not self._is_paused and transport is not None and not transport.is_closing():
            chunk, self._unsent = self._unsent[:_CHUNK], self._unsent[_CHUNK:]
            transport.write(chunk)
        self._is_writing = bool(self._unsent) or self._is_paused
        return not self._is_writing

    def _end_response(self) -> None:
        """Close the connection, or prepare for the next request."""
        if self._is_refused:
            return
        if self._is_ending:
            self._close()
        elif self._reader.is_empty:
            self._is_between = True
            self._deadline = self._host.now() + self._limits.idle_seconds
        else:
            self._begin()

    def _go_on(self) -> None:
        self._end_response()
        self._read_requests()

    def _refuse(self, response: Response) -> None:
        """Respond, discard everything that the client still sends, and close.

        Closing at once would reset the connection, and the client might never read the response.
        """
        self._is_refused = True
        self._reader.clear()
        self._deadline = self._host.now() + _LINGER_SECONDS
        self._respond(response, end=True)
        if self._transport is not None:
            self._transport.resume_reading()
            if self._transport.can_write_eof():
                self._transport.write_eof()

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _report(error: Exception) -> Response:
    _log.error("a request failed: %s", locate(error))
    return _FAILED
