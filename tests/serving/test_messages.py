"""Which requests are understood, and which are refused because they could be read in two ways."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.serving.servers import Start

from hcpcreds.serving.messages import RequestError, parse_head

HEAD = b"POST /a?b HTTP/1.1\r\nHost: x"


def test_headers_are_joined_under_lower_case_names_when_they_are_repeated():
    request = parse_head(HEAD + b"\r\nMetadata:true\r\nX-Y:\t a b \t\r\nx-y: c\r\nEmpty:")
    assert request.headers == {"host": "x", "metadata": "true", "x-y": "a b, c", "empty": ""}
    assert (request.method, request.path, request.query) == ("POST", "/a", "b")


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"", "request line"),
        (b"GET / HTTP/2.0\r\nHost: x", "request line"),
        (b"GET /  HTTP/1.1\r\nHost: x", "request line"),
        (b"GET /\tHTTP/1.1\r\nHost: x", "request line"),
        (b"GET / HTTP/1.1 \r\nHost: x", "request line"),
        (b" GET / HTTP/1.1\r\nHost: x", "request line"),
        (b"GET /\xc3\xa4 HTTP/1.1\r\nHost: x", "request line"),
        (b"GET / HTTP/1.1\nHost: x", "request line"),
        (b"G(T / HTTP/1.1\r\nHost: x", "request line"),
        (b"GET / HTTP/1.1", "one Host"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y", "one Host"),
        (HEAD + b"\r\nContent-Length : 5", "NAME: VALUE"),
        (HEAD + b"\r\n Content-Length: 5", "NAME: VALUE"),
        (HEAD + b"\r\nA: b\r\n c", "NAME: VALUE"),
        (HEAD + b"\r\nA: b\nContent-Length: 5", "NAME: VALUE"),
        (HEAD + b"\r\nA: b\rContent-Length: 5", "NAME: VALUE"),
        (HEAD + b"\r\nA: \0", "NAME: VALUE"),
        (HEAD + b"\r\n: b", "NAME: VALUE"),
        (HEAD + b"\r\nA", "NAME: VALUE"),
        (HEAD + b"\r\nContent-Length: 5\r\nContent-Length: 6", "not a number"),
        (HEAD + b"\r\nContent-Length: 5, 5", "not a number"),
        (HEAD + b"\r\nContent-Length: +5", "not a number"),
        (HEAD + b"\r\nContent-Length: -5", "not a number"),
        (HEAD + b"\r\nContent-Length: 0x5", "not a number"),
        (HEAD + b"\r\nContent-Length: 5_0", "not a number"),
        (HEAD + b"\r\nContent-Length:", "not a number"),
        (HEAD + b"\r\nContent-Length: 9999999999999999", "not a number"),
        (HEAD + b"\r\nTransfer-Encoding: chunked\r\nContent-Length: 5", "exclude each other"),
        (HEAD + b"\r\nTransfer-Encoding: xchunked\r\nContent-Length: 5", "exclude each other"),
    ],
)
def test_request_is_refused_when_it_could_be_read_in_two_ways(head: bytes, reason: str):
    with pytest.raises(RequestError, match=reason) as caught:
        parse_head(head)
    assert caught.value.status == 400


def test_request_is_refused_when_it_has_too_many_headers():
    assert parse_head(HEAD + b"\r\nA: b" * 99).headers["a"] == ", ".join(["b"] * 99)
    with pytest.raises(RequestError, match="too many headers") as caught:
        parse_head(HEAD + b"\r\nA: b" * 100)
    assert caught.value.status == 431


def test_request_is_refused_when_its_body_has_no_length():
    with pytest.raises(RequestError, match="needs a Content-Length") as caught:
        parse_head(HEAD + b"\r\nTransfer-Encoding: chunked")
    assert caught.value.status == 411


@given(st.binary(max_size=300) | st.binary(max_size=100).map(lambda tail: HEAD + b"\r\n" + tail))
def test_head_is_parsed_or_refused_when_it_holds_anything(head: bytes):
    with contextlib.suppress(RequestError):
        headers = parse_head(head).headers
        assert all(name == name.lower() and "\n" not in value for name, value in headers.items())


_TOKENS = st.text("abcXYZ019-!", min_size=1, max_size=10)


@given(
    method=_TOKENS,
    path=st.text("/ab%?=:.", max_size=20),
    headers=st.dictionaries(
        _TOKENS.map(str.lower), st.text("ab c:;,é", max_size=10).map(str.strip), max_size=5
    ),
)
def test_head_is_parsed_as_written_when_it_is_valid(method: str, path: str, headers: dict[str, str]):
    headers = {**headers, "host": "x"}
    lines = [f"{method} /{path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    request = parse_head("\r\n".join(lines).encode("latin-1"))
    assert (request.method, request.headers) == (method, headers)
    assert f"/{path}" in (request.path, f"{request.path}?{request.query}")


@pytest.mark.parametrize(
    "attack",
    [
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost: x\r\nX: y\n\nGET /hello HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_rest_is_discarded_when_a_request_is_refused(start: Start, attack: bytes):
    server = start()
    with server.connect() as connection:
        connection.send(attack + b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.read().status in (400, 411)
        connection.send(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.socket.shutdown(1)
        assert connection.read_to_end() == b""
