"""Servers that tests ask over real sockets: each on an event loop in a thread of its own."""

import asyncio
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPConnection, HTTPSConnection, parse_headers
from typing import Any

import trustme
from tests.support.volume import Mount
from tests.support.waiting import wait_until

from hcpcreds.serving import Response, Route, Server, parse_address, serve

CA = trustme.CA()
NAMES = ("localhost", "127.0.0.1")


def issue(*names: str) -> dict[str, bytes]:
    """Issue a certificate; returns the files of a Secret."""
    issued = CA.issue_cert(*(names or NAMES))
    chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
    return {"tls.crt": chain, "tls.key": issued.private_key_pem.bytes()}


def make_client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    CA.configure_trust(context)
    return context


def get_serial(files: Mapping[str, bytes]) -> str:
    """The serial number of a certificate, as `ssl` shows it."""
    from cryptography import x509  # noqa: PLC0415 (for few tests)

    return f"{x509.load_pem_x509_certificate(files['tls.crt']).serial_number:X}"


@dataclass
class Reply:
    """A response."""

    status: int
    headers: Message
    body: bytes


class Client:
    """One connection, read response by response."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._file = connection.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self, *, has_body: bool = True) -> Reply:
        """Read one response."""
        status = self._file.readline().split()[1]
        headers = parse_headers(self._file)
        length = int(headers.get("Content-Length", 0)) if has_body else 0
        body = self._file.read(length)
        assert len(body) == length
        return Reply(int(status), headers, body)

    def read_to_end(self) -> bytes:
        """Read until the server closes the connection, one way or the other."""
        data = bytearray()
        try:
            while chunk := self._file.read1(65536):
                data += chunk
        except (ConnectionResetError, ssl.SSLError):
            pass
        return bytes(data)

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def reset_on_close(self) -> None:
        """Have the connection end as that of a client which crashes."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@dataclass
class Running:
    """A server, as its clients see it."""

    server: Server
    loop: asyncio.AbstractEventLoop
    stop: asyncio.Event
    draining: threading.Event
    is_tls: bool
    thread: threading.Thread

    @property
    def port(self) -> int:
        return self.server.address.port

    @contextmanager
    def connect(self) -> Iterator["Client"]:
        """Open a connection that the test writes to and reads from, and wait until the server has it."""
        before = self.list_connections()
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as plain:
            if self.is_tls:
                client = Client(make_client_context().wrap_socket(plain, server_hostname="127.0.0.1"))
            else:
                client = Client(plain)
            wait_until(lambda: self.list_connections() - before)
            with closing(client):
                yield client

    def open(self, *, timeout: float = 10) -> AbstractContextManager[HTTPConnection]:
        """Open a connection of the standard library's client."""
        if self.is_tls:
            context = make_client_context()
            return closing(HTTPSConnection("127.0.0.1", self.port, context=context, timeout=timeout))
        return closing(HTTPConnection("127.0.0.1", self.port, timeout=timeout))

    def ask(
        self, path: str, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes]:
        """Send one request on a connection of its own."""
        with self.open() as connection:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()

    def count_connections(self) -> int:
        return len(self.list_connections())

    def list_connections(self) -> set[object]:
        """Those that the server counts; asked for on its loop, so that it is done with what came before."""

        async def copy() -> set[object]:
            return set(self.server._connections)

        return asyncio.run_coroutine_threadsafe(copy(), self.loop).result(10)

    def close(self) -> None:
        """Leave the server's context."""
        with suppress(RuntimeError):  # it has ended already
            self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join(30)
        assert not self.thread.is_alive()


ROUTES = {
    "/hello": Route(lambda _: Response(b"hello\n")),
    "/echo": Route(lambda request: Response(request.body), ("POST",)),
    "/large": Route(lambda _: Response(b"x" * 8_000_000)),
}


@contextmanager
def running(
    routes: Mapping[str, Route] = ROUTES, *, address: str = "127.0.0.1:0", **options: Any
) -> Iterator[Running]:
    """Run a server for the length of a block. Options are those of `serve`."""
    ready = threading.Event()
    found: list[Running | BaseException] = []
    draining = threading.Event()

    async def main() -> None:
        stop = asyncio.Event()
        async with serve(parse_address(address), routes, is_draining=draining.is_set, **options) as server:
            is_tls = options.get("certificate") is not None
            loop = asyncio.get_running_loop()
            found.append(Running(server, loop, stop, draining, is_tls, thread))
            ready.set()
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:  # noqa: BLE001 (raised in the test's own thread)
            found.append(error)
            ready.set()

    thread = threading.Thread(target=run, name="test-server")
    thread.start()
    assert ready.wait(30)
    first = found[0]
    if isinstance(first, BaseException):
        thread.join()
        raise first
    try:
        yield first
    finally:
        if thread.is_alive():
            first.close()
    if isinstance(found[-1], BaseException):
        raise found[-1]


def mount_pair(mount: Mount, files: Mapping[str, bytes] | None = None) -> dict[str, bytes]:
    """Mount a pair as the kubelet mounts a Secret."""
    pair = dict(files or issue())
    mount.swap_all(pair)
    return pair


Start = Callable[..., Running]
