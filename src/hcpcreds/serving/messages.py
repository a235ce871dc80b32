"""HTTP/1.1 requests and responses (RFC 9112), to the extent that the servers of this project need them.

Parsing is strict: a request that two parsers could read differently is refused, because a proxy in front of
the server might take it for another request. A body needs a `Content-Length`; the clients of these servers
send one.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, NoReturn

from typing_extensions import override

from hcpcreds.text import make_safe

_REQUEST_LINE: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}) ([\x21-\x7e]+) HTTP/1\.([01])")
_FIELD: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
_FIELD_TEXT: Final = re.compile(r"[\t\x20-\x7e]*")
_AUTHORITY: Final = re.compile(r"\Ahttps?://[^/?]*", re.IGNORECASE)
_LENGTH: Final = re.compile(r"[0-9]{1,15}")
_MAX_FIELDS: Final = 100


class RequestError(Exception):
    """A request that is refused before any handler sees it.

    Args:
        status: The status to respond with.
        reason: The problem; contains nothing from the request.
    """

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Request:
    """A request. Its `repr` shows neither the headers nor the body, which may contain a secret."""

    __slots__ = ("body", "has_expectation", "headers", "keep_alive", "length", "method", "path", "query")

    def __init__(  # noqa: PLR0913 (all keywords)
        self,
        *,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        keep_alive: bool,
        length: int,
    ) -> None:
        self.method = method
        self.path = path
        """As received: not decoded."""
        self.query = query
        self.headers = headers
        """By name in lower case; the values of a repeated header are joined by commas."""
        self.body = b""
        self.keep_alive = keep_alive
        """Whether the client wants to send another request on this connection."""
        self.length = length
        """Length of the body in bytes."""
        self.has_expectation = headers.get("expect", "").lower() == "100-continue"
        """Whether the client waits for "100 Continue" before it sends the body."""

    @override
    def __repr__(self) -> str:
        return f"<Request {self.method} {make_safe(self.path)}>"


@dataclass(slots=True)
class Response:
    """A response. One instance may be sent any number of times; do not change it.

    Args:
        body: The content.
        status: The status code.
        content_type: The media type of the body.
        headers: Additional headers.

    Raises:
        ValueError: A header contains a character that is not allowed in headers.
    """

    body: bytes = field(default=b"", repr=False)
    status: int = HTTPStatus.OK
    content_type: str = "text/plain; charset=utf-8"
    headers: Iterable[tuple[str, str]] = ()
    _start: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        status = HTTPStatus(self.status)
        headers = [
            ("Content-Type", self.content_type),
            ("Content-Length", str(len(self.body))),
            *self.headers,
        ]
        for name, value in headers:
            if not _FIELD_TEXT.fullmatch(name + value):
                raise ValueError(
                    f"the header {make_safe(name)} contains characters that are not allowed in headers"
                )
        lines = [
            f"HTTP/1.1 {status.value} {status.phrase}",
            *(f"{name}: {value}" for name, value in headers),
            "",
        ]
        self._start = "\r\n".join(lines).encode("ascii")

    def encode(self, *, date: bytes, keep_alive: bool, with_body: bool = True) -> bytes:
        """Encode the response.

        Args:
            date: The `Date` header, with its line break.
            keep_alive: Whether the connection stays open.
            with_body: False for the response to a HEAD request.
        """
        end = b"\r\n" if keep_alive else b"Connection: close\r\n\r\n"
        return b"".join((self._start, date, end, self.body if with_body else b""))


def parse_head(head: bytes) -> Request:
    """Parse a request line and its headers.

    Args:
        head: Everything before the empty line that ends the headers.

    Raises:
        RequestError: The request is not HTTP/1.x, is ambiguous, or needs an unsupported feature.
    """
    lines = head.split(b"\r\n")
    line = _REQUEST_LINE.fullmatch(lines[0])
    if line is None:
        _refuse("expected a request line METHOD TARGET HTTP/1.1")
    if len(lines) > 1 + _MAX_FIELDS:
        raise RequestError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "there are too many headers")
    headers: dict[str, str] = {}
    for each in lines[1:]:
        found = _FIELD.fullmatch(each)
        if found is None:
            _refuse("expected headers NAME: VALUE")
        name = found[1].decode("ascii").lower()
        value = found[2].rstrip(b" \t").decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    is_latest = line[3] == b"1"
    if is_latest and ("host" not in headers or "," in headers["host"]):
        _refuse("expected one Host header")
    path, _, query = _AUTHORITY.sub("", line[2].decode("ascii")).partition("?")
    tokens = {token.strip().lower() for token in headers.get("connection", "").split(",")}
    return Request(
        method=line[1].decode("ascii"),
        path=path or "/",
        query=query,
        headers=headers,
        keep_alive=is_latest and "close" not in tokens,
        length=_parse_length(headers),
    )


def _parse_length(headers: Mapping[str, str]) -> int:
    if "transfer-encoding" in headers:
        if "content-length" in headers:
            _refuse("Transfer-Encoding and Content-Length exclude each other")
        raise RequestError(HTTPStatus.LENGTH_REQUIRED, "a body needs a Content-Length")
    text = headers.get("content-length", "0")
    if not _LENGTH.fullmatch(text):
        _refuse("Content-Length is not a number")
    return int(text)


def _refuse(reason: str) -> NoReturn:
    raise RequestError(HTTPStatus.BAD_REQUEST, reason)
