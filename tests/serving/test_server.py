"""The contract of every server: what it answers, what it refuses, and when it closes a connection."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Awaitable
from contextlib import ExitStack, closing
from http import HTTPStatus

import pytest
from tests.serving.servers import ROUTES, Start
from tests.support.waiting import wait_until

from hcpcreds.serving import Limits, Request, Response, Route, parse_address, serve

GET = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"


def test_response_is_the_handlers_when_a_route_matches(start: Start):
    server = start()
    with server.open() as connection:
        connection.request("GET", "/hello")
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"hello\n")
        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert response.headers["Date"].endswith(" GMT")
        assert "Connection" not in response.headers


def test_connection_serves_many_requests_when_it_is_kept_alive(start: Start):
    server = start()
    with server.open() as connection:
        for number in range(20):
            body = b"x" * number
            connection.request("POST", "/echo", body)
            assert connection.getresponse().read() == body
        assert server.count_connections() == 1


def test_requests_are_answered_in_order_when_they_are_sent_ahead(start: Start):
    release = threading.Event()

    async def wait(request: Request) -> Response:
        await asyncio.to_thread(release.wait, 10)
        return Response(request.query.encode())

    server = start({**ROUTES, "/wait": Route(wait)})
    with server.connect() as connection:
        asked = [f"GET /wait?{number} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for number in range(3)]
        connection.send(b"".join(asked) + GET + GET)
        release.set()
        bodies = [connection.read().body for _ in range(5)]
    assert bodies == [b"0", b"1", b"2", b"hello\n", b"hello\n"]


def test_request_is_read_when_it_comes_byte_by_byte(start: Start):
    server = start()
    with server.connect() as connection:
        for byte in b"\r\nPOST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc":
            connection.send(bytes([byte]))
        assert connection.read().body == b"abc"


def test_body_is_asked_for_when_the_client_waits_for_it(start: Start):
    server = start()
    with server.connect() as connection:
        connection.send(
            b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
        )
        assert connection.socket.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.send(b"abc")
        assert connection.read().body == b"abc"


def test_response_has_no_body_when_the_method_is_head(start: Start):
    server = start()
    with server.connect() as connection:
        connection.send(GET.replace(b"GET", b"HEAD") + GET)
        response = connection.read(has_body=False)
        assert response.headers["Content-Length"] == "6"
        assert connection.read().body == b"hello\n"


@pytest.mark.parametrize(
    "request_text",
    [
        "GET /hello HTTP/1.0\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: foo, Close\r\n\r\n",
    ],
)
def test_connection_is_closed_when_the_client_wants_no_other_request(start: Start, request_text: str):
    server = start()
    with server.connect() as connection:
        connection.send(request_text.encode())
        answer = connection.read_to_end()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nConnection: close\r\n" in answer
    assert answer.endswith(b"\r\n\r\nhello\n")


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/hello?x=https://hello.example/echo", 200),
        ("http://x:80/hello?y", 200),
        ("http://x", 404),
        ("/hell", 404),
        ("/hello/", 404),
        ("/hello/../hello", 404),
        ("//hello", 404),
        ("*", 404),
    ],
)
def test_route_matches_when_the_whole_path_is_equal(start: Start, target: str, status: int):
    server = start()
    with server.connect() as connection:
        connection.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert connection.read().status == status


def test_request_is_refused_when_its_method_is_not_the_routes(start: Start):
    server = start()
    with server.open() as connection:
        connection.request("DELETE", "/hello")
        response = connection.getresponse()
        assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")
        response.read()
        connection.request("GET", "/echo")
        assert connection.getresponse().headers["Allow"] == "POST"


def test_request_hides_its_secrets_when_it_is_represented(start: Start):
    seen: list[Request] = []

    def look(request: Request) -> Response:
        seen.append(request)
        return Response(status=204)

    server = start({"/look": Route(look, ("POST",))})
    server.ask("/look?a=b", "POST", b"body-secret", Secret="header-secret")
    (request,) = seen
    assert (request.method, request.path, request.query, request.body) == (
        "POST",
        "/look",
        "a=b",
        b"body-secret",
    )
    assert request.headers["secret"] == "header-secret"
    assert "secret" not in repr(request).replace("/look", "")


@pytest.mark.parametrize("is_async", [False, True])
def test_connection_goes_on_when_a_handler_fails(
    start: Start, caplog: pytest.LogCaptureFixture, *, is_async: bool
):
    async def fail_later(_: Request) -> Response:
        raise ValueError("a secret")

    def fail(_: Request) -> Response | Awaitable[Response]:
        raise ValueError("a secret")

    server = start({**ROUTES, "/fail": Route(fail_later if is_async else fail)})
    with server.open() as connection:
        connection.request("GET", "/fail")
        response = connection.getresponse()
        assert (response.status, response.read()) == (500, b"internal error\n")
        connection.request("GET", "/hello")
        assert connection.getresponse().status == 200
    assert "a request failed: ValueError" in caplog.text
    assert "secret" not in caplog.text


def test_request_fails_when_its_handler_puts_a_line_break_into_a_header(start: Start):
    server = start({"/": Route(lambda _: Response(headers=[("X", "a\r\nY: b")]))})
    assert server.ask("/") == (500, b"internal error\n")


# Health


def test_readiness_lists_reasons_when_the_server_is_not_ready(start: Start):
    reasons: list[str] = []
    server = start({}, find_unready=lambda: reasons)
    assert server.ask("/healthz") == (200, b"ok\n")
    assert server.ask("/readyz") == (200, b"ok\n")
    reasons += ["the cache is cold", "no Lease"]
    assert server.ask("/readyz") == (503, b"the cache is cold\nno Lease\n")
    assert server.ask("/healthz") == (200, b"ok\n")


# Limits


def test_connection_is_kept_longer_than_gos_clients_do_when_it_is_idle():
    assert Limits().idle_seconds > 90


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_connection_closes_when_it_was_idle_for_too_long(start: Start):
    clock = Clock()
    server = start(monotonic=clock)
    with server.open() as connection:
        for _ in range(3):
            connection.request("GET", "/hello")
            connection.getresponse().read()
            assert server.count_connections() == 1
            clock.now += 119
        connection.request("GET", "/hello")
        connection.getresponse().read()
        assert server.count_connections() == 1  # so the server is done with the response
        clock.now += 121
        assert connection.sock is not None
        assert connection.sock.recv(1) == b""


def test_request_is_refused_when_its_headers_take_too_long(start: Start):
    clock = Clock()
    server = start(monotonic=clock)
    with server.connect() as connection:
        for part in (b"GET /hello HTTP/1.1\r\n", b"Host: x\r\n", b"A: b\r\n"):
            connection.send(part)  # a drop does not put off the end
            clock.now += 5
        response = connection.read()
        clock.now += 3
        assert connection.read_to_end() == b""
    assert (response.status, response.headers["Connection"]) == (408, "close")


def test_connection_closes_when_nothing_is_sent(start: Start):
    clock = Clock()
    server = start(monotonic=clock)
    with server.connect() as connection:
        wait_until(server.count_connections)
        clock.now += 11
        assert connection.read_to_end() == b""


def test_request_is_refused_when_its_body_takes_too_long(start: Start):
    clock = Clock()
    server = start(monotonic=clock)
    with server.connect() as connection:
        connection.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n123")
        clock.now += 29
        connection.send(b"4")
        clock.now += 2
        assert connection.read().status == 408


def test_handler_is_cancelled_when_it_takes_too_long(start: Start):
    clock = Clock()
    ended = threading.Event()
    began = threading.Event()

    async def hang(_: Request) -> Response:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    server = start({**ROUTES, "/hang": Route(hang)}, monotonic=clock)
    with server.connect() as connection:
        connection.send(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n" + GET)
        assert began.wait(10)
        clock.now += 31
        assert connection.read().status == 503
        clock.now += 3
        assert connection.read_to_end() == b""
    assert ended.wait(10)
    assert server.ask("/hello")[0] == 200


def test_handler_is_cancelled_when_its_client_has_gone(start: Start):
    began, ended = threading.Event(), threading.Event()

    async def hang(_: Request) -> Response:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    server = start({"/hang": Route(hang)})
    with server.connect() as connection:
        connection.send(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
        assert began.wait(10)
        connection.reset_on_close()
    assert ended.wait(10)
    wait_until(lambda: server.count_connections() == 0)


def test_client_is_dropped_when_it_does_not_read_its_response(start: Start):
    clock = Clock()
    server = start(monotonic=clock)
    with server.connect() as connection:
        connection.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.socket.recv(100)
        clock.now += 29
        assert server.ask("/hello")[0] == 200
        clock.now += 2
        wait_until(lambda: server.count_connections() == 0)


def test_large_response_is_whole_when_its_client_reads_slowly(start: Start):
    server = start()
    with server.connect() as connection:
        connection.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n" + GET)
        response = connection.read()
        assert (response.status, len(response.body)) == (200, 8_000_000)
        assert connection.read().body == b"hello\n"


@pytest.mark.parametrize("at_once", [True, False])
def test_request_is_refused_when_its_headers_are_too_long(start: Start, *, at_once: bool):
    server = start()
    with server.connect() as connection:
        connection.send(b"GET /hello HTTP/1.1\r\nHost: x\r\nA: ")
        connection.send(b"b" * (16 * 1024 + 1))
        if at_once:
            connection.send(b"\r\n\r\n")
        response = connection.read()
    assert response.status == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


def test_request_is_answered_when_its_headers_and_body_are_as_long_as_allowed(start: Start):
    server = start()
    begin, end = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 65536\r\nA: ", b"\r\n\r\n"
    fill = b"b" * (16 * 1024 - len(begin))
    with server.connect() as connection:
        connection.send(begin + fill + end + b"c" * 65536)
        assert connection.read().body == b"c" * 65536


def test_body_is_refused_when_it_is_too_long(start: Start):
    server = start()
    status, reason = server.ask("/echo", "POST", b"x" * 65537)
    assert (status, reason) == (413, b"the body is too long\n")
    with server.connect() as connection:
        connection.send(
            b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 99999\r\n\r\n"
        )
        assert connection.read().status == 413


def test_refusal_is_readable_when_the_client_goes_on_sending(start: Start):
    server = start()
    for _ in range(20):
        with server.connect() as connection:
            connection.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n")
            connection.send(b"x" * 1_000_000)
            assert connection.read().status == 413


def test_refused_client_is_dropped_when_it_goes_on_sending(start: Start):
    clock = Clock()
    server = start(monotonic=clock)
    with server.connect() as connection:
        connection.send(b"nonsense\r\n\r\n")
        assert connection.read().status == 400
        connection.send(b"more")
        clock.now += 3
        wait_until(lambda: server.count_connections() == 0)


def test_open_connections_are_served_when_there_are_too_many(start: Start):
    server = start(limits=Limits(connections=5))
    with ExitStack() as stack:
        kept = [stack.enter_context(server.open()) for _ in range(5)]
        for connection in kept:
            connection.request("GET", "/hello")
            connection.getresponse().read()
        for _ in range(20):
            with closing(socket.create_connection(("127.0.0.1", server.port), timeout=10)) as extra:
                assert extra.recv(1) == b""
        for connection in kept:
            connection.request("GET", "/hello")
            assert connection.getresponse().read() == b"hello\n"
    wait_until(lambda: server.count_connections() == 0)
    assert server.ask("/hello")[0] == 200


def test_server_goes_on_when_it_was_flooded_with_connections(start: Start):
    server = start(limits=Limits(connections=50))
    for _ in range(5):
        with ExitStack() as stack:
            for number in range(100):
                connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
                stack.enter_context(closing(connection))
                if number % 2:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        wait_until(lambda: server.count_connections() == 0)
    assert server.ask("/hello")[0] == 200


def test_server_stops_reading_when_a_client_sends_ahead_without_end(start: Start):
    release = threading.Event()

    async def hang(_: Request) -> Response:
        await asyncio.to_thread(release.wait, 30)
        return Response()

    server = start({**ROUTES, "/hang": Route(hang)})
    with server.connect() as connection:
        connection.send(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.socket.settimeout(1)
        with pytest.raises(TimeoutError):
            connection.send(GET * 2_000_000)
        assert server.ask("/hello")[0] == 200
        connection.reset_on_close()
    release.set()


def test_every_request_is_answered_when_a_client_sends_more_ahead_than_is_read_at_once(start: Start):
    async def answer(request: Request) -> Response:
        await asyncio.sleep(0)
        return Response(request.query.encode())

    server = start({"/number": Route(answer)})
    with server.connect() as connection:
        asked = [f"GET /number?{number} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for number in range(2000)]
        connection.send(b"".join(asked))
        assert [int(connection.read().body) for _ in range(2000)] == list(range(2000))


def test_client_is_told_that_it_takes_too_long_when_it_has_sent_much_ahead(start: Start):
    clock = Clock()
    began = threading.Event()

    async def hang(_: Request) -> Response:
        began.set()
        await asyncio.Event().wait()
        raise AssertionError

    server = start({"/hang": Route(hang)}, monotonic=clock)
    with server.connect() as connection:
        connection.send(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
        assert began.wait(10)
        connection.send(GET * 10_000)
        clock.now += 31
        assert connection.read().status == 503
        clock.now += 1
        connection.send(GET * 100_000)  # which is read, and discarded


def test_nothing_goes_on_in_the_event_loop_when_a_server_was_closed():
    async def run() -> None:
        async with serve(parse_address("127.0.0.1:0"), ROUTES) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.address.port)
            writer.close()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())


def test_other_clients_have_their_turn_when_one_sends_thousands_of_requests_ahead(start: Start):
    order: list[str] = []

    def note(request: Request) -> Response:
        order.append(request.query)
        return Response()

    server = start({"/note": Route(note)})
    gate = threading.Event()
    with server.connect() as greedy, server.connect() as modest:
        server.loop.call_soon_threadsafe(gate.wait, 10)
        greedy.send(b"GET /note?greedy HTTP/1.1\r\nHost: x\r\n\r\n" * 400)
        modest.send(b"GET /note?modest HTTP/1.1\r\nHost: x\r\n\r\n")
        gate.set()
        assert modest.read().status == 200
        assert [greedy.read().status for _ in range(400)] == [200] * 400
    assert order.index("modest") <= 100


def test_requests_are_answered_when_the_client_says_that_it_sends_no_more(start: Start):
    async def wait(_: Request) -> Response:
        await asyncio.sleep(0)
        return Response(b"later\n")

    server = start({**ROUTES, "/wait": Route(wait)})
    if server.is_tls:
        return  # TLS has no half-closed connections in Python
    with server.connect() as connection:
        connection.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n" + GET + b"GET /he")
        connection.socket.shutdown(socket.SHUT_WR)
        assert [connection.read().body for _ in range(2)] == [b"later\n", b"hello\n"]
        assert connection.read_to_end() == b""


def test_nothing_is_logged_when_a_client_leaves(start: Start, caplog: pytest.LogCaptureFixture):
    server = start()
    with server.connect() as connection:
        connection.send(GET)
        assert connection.read().status == 200
        if isinstance(connection.socket, ssl.SSLSocket):
            connection.socket.settimeout(10)
            connection.socket.unwrap()  # says goodbye, as browsers and probes do
    wait_until(lambda: server.count_connections() == 0)
    assert [record for record in caplog.records if record.name == "asyncio" and record.levelno > 10] == []


# Draining


def test_clients_are_sent_elsewhere_when_the_process_is_draining(start: Start):
    server = start()
    with server.open() as kept:
        kept.request("GET", "/hello")
        kept.getresponse().read()
        server.draining.set()
        assert server.ask("/readyz") == (503, b"draining\n")
        assert server.ask("/healthz")[0] == 200
        kept.request("GET", "/hello")
        response = kept.getresponse()
        assert (response.status, response.headers["Connection"]) == (200, "close")
        response.read()
    wait_until(lambda: server.count_connections() == 0)


def test_requests_under_way_end_and_idle_connections_close_when_the_server_closes(start: Start):
    began, release = threading.Event(), threading.Event()

    async def wait(_: Request) -> Response:
        began.set()
        await asyncio.to_thread(release.wait, 10)
        return Response(b"done\n")

    server = start({**ROUTES, "/wait": Route(wait)})
    with server.connect() as busy, server.connect() as idle, server.connect() as new:
        idle.send(GET)
        idle.read()
        busy.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        assert began.wait(10)
        wait_until(lambda: server.count_connections() == 3)
        server.loop.call_soon_threadsafe(server.stop.set)
        assert idle.read_to_end() == b""
        assert new.read_to_end() == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port), timeout=10)
        release.set()
        response = busy.read()
        assert (response.status, response.body, response.headers["Connection"]) == (200, b"done\n", "close")
    server.close()


def test_no_request_is_lost_when_the_server_drains_under_load(start: Start):
    server = start()
    outcomes: list[str] = []
    go_on = threading.Event()

    def load() -> None:
        with server.open() as connection:
            while True:
                try:
                    connection.request("GET", "/hello")
                    response = connection.getresponse()
                except OSError:
                    outcomes.append("lost" if not server.draining.is_set() else "refused")
                    return
                assert response.read() == b"hello\n"
                go_on.set()
                if response.headers["Connection"] == "close":
                    outcomes.append("sent elsewhere")
                    return

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert go_on.wait(10)
    server.draining.set()
    for thread in threads:
        thread.join(20)
    server.close()
    assert outcomes == ["sent elsewhere"] * 8
