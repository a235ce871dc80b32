"""Splits the bytes from a client into requests."""

from http import HTTPStatus
from typing import Final

from hcpcreds.serving.limits import Limits
from hcpcreds.serving.messages import Request, RequestError, parse_head

_END: Final = b"\r\n\r\n"


class RequestReader:
    """The requests of one connection, in order. Does no I/O.

    Args:
        limits: The maximum lengths of headers and bodies.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._request: Request | None = None
        """A request whose body has not arrived in full."""
        self.has_expectation = False
        """Whether the client waits for "100 Continue"; reset it after sending that."""

    @property
    def is_empty(self) -> bool:
        """Whether no byte of a further request has arrived."""
        return not self._buffer and self._request is None

    @property
    def is_at_body(self) -> bool:
        """Whether the headers have been read and the body is incomplete."""
        return self._request is not None

    @property
    def is_full(self) -> bool:
        """Whether to stop reading until a request is taken."""
        return len(self._buffer) > self._limits.header_bytes + (self._request.length if self._request else 0)

    def feed(self, data: bytes) -> None:
        """Add bytes from the client."""
        self._buffer += data

    def clear(self) -> None:
        """Discard everything that has arrived."""
        self._buffer.clear()
        self._request = None

    def take(self) -> Request | None:
        """Take the next request; None if it has not arrived in full.

        Raises:
            RequestError: The request has to be refused, and everything after it.
        """
        if self._request is None:
            self._request = self._take_head()
            if self._request is None:
                return None
            self.has_expectation = self._request.has_expectation
        if len(self._buffer) < self._request.length:
            return None
        request, self._request = self._request, None
        self.has_expectation = False
        if request.length:
            request.body = bytes(self._buffer[: request.length])
            del self._buffer[: request.length]
        return request

    def _take_head(self) -> Request | None:
        while self._buffer.startswith(b"\r\n"):
            del self._buffer[:2]  # an empty line ahead of a request is not an error: RFC 9112, section 2.2
        end = self._buffer.find(_END, 0, self._limits.header_bytes + len(_END))
        if end < 0:
            if len(self._buffer) > self._limits.header_bytes:
                raise RequestError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the headers are too long")
            return None
        request = parse_head(bytes(self._buffer[:end]))
        if request.length > self._limits.body_bytes:
            raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too long")
        del self._buffer[: end + len(_END)]
        return request
