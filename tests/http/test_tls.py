"""TLS connections of a process that forks."""

import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from hcpcreds.http.trust import Trust
from hcpcreds.local.azure.azure import LocalAzure

NAME = "localhost"
HOST = "127.0.0.1"
REQUEST = b"GET / HTTP/1.0\r\n\r\n"
Asked = Callable[[], None]


@pytest.fixture
def context() -> ssl.SSLContext:
    return Trust().get_context()


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """Our end of a connection to a server that says nothing."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours


def shake_hands_over_socket(context: ssl.SSLContext, connection: socket.socket) -> None:
    with pytest.raises((OSError, ValueError)):
        context.wrap_socket(connection, server_hostname=NAME)


def shake_hands_over_memory(context: ssl.SSLContext, _: socket.socket) -> None:
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=NAME).do_handshake()


def fork() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def start(work: Callable[[], None]) -> threading.Event:
    """Start a thread; the event is set when it has done its work."""
    done = threading.Event()

    def run() -> None:
        work()
        done.set()

    threading.Thread(target=run, daemon=True).start()
    return done


def read_over_socket(
    context: ssl.SSLContext, connection: socket.socket, connected: Callable[[], None]
) -> None:
    with context.wrap_socket(connection, server_hostname=HOST) as tls:
        connected()
        with pytest.raises(TimeoutError):
            tls.recv(1)


def read_over_memory(context: ssl.SSLContext, connection: socket.socket, asked: Asked) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=HOST)

    def finish(work: Callable[[], object]) -> None:
        while True:
            try:
                work()
            except ssl.SSLWantReadError:
                connection.sendall(outgoing.read())
                incoming.write(connection.recv(1 << 16))
            else:
                connection.sendall(outgoing.read())
                return

    finish(tls.do_handshake)
    tls.write(REQUEST)
    asked()
    finish(lambda: tls.read(4))


class Hold:
    """Stops OpenSSL in the middle of its work, once, as soon as it is told to."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._is_wanted = False
        self.inside, self.go_on = threading.Event(), threading.Event()
        context._msg_callback = self._stop  # type: ignore[attr-defined] # (called by OpenSSL, as nothing else is)

    def want(self) -> None:
        self._is_wanted = True

    def _stop(self, *_: object) -> None:
        if self._is_wanted:
            self.inside.set()
            self.go_on.wait(15)


def assert_that_fork_waits(hold: Hold) -> None:
    assert hold.inside.wait(15)
    forked = start(fork)
    assert not forked.wait(0.2)
    hold.go_on.set()
    assert forked.wait(15)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("shake_hands", [shake_hands_over_socket, shake_hands_over_memory])
def test_fork_waits_when_openssl_is_in_the_middle_of_a_handshake(
    context: ssl.SSLContext,
    silent: socket.socket,
    shake_hands: Callable[[ssl.SSLContext, socket.socket], None],
):
    hold = Hold(context)
    hold.want()
    silent.settimeout(0.1)
    done = start(lambda: shake_hands(context, silent))
    assert_that_fork_waits(hold)
    assert done.wait(15)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("read", [read_over_socket, read_over_memory])
def test_fork_waits_when_openssl_is_reading_tickets_after_a_handshake(
    local_azure: LocalAzure,
    read: Callable[[ssl.SSLContext, socket.socket, Asked], None],
):
    context = Trust(verify=str(local_azure.ca_file)).get_context()
    hold = Hold(context)
    with socket.create_connection(
        (HOST, urlsplit(local_azure.authority).port or 443), timeout=0.5
    ) as connection:
        done = start(lambda: read(context, connection, hold.want))
        assert_that_fork_waits(hold)
        assert done.wait(15)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_fork_does_not_wait_when_a_handshake_waits_for_the_network(
    context: ssl.SSLContext, silent: socket.socket
):
    sent = threading.Event()
    context._msg_callback = lambda *_: sent.set()  # type: ignore[attr-defined]
    silent.settimeout(15)
    done = start(lambda: shake_hands_over_socket(context, silent))
    assert sent.wait(15)
    assert start(fork).wait(10)
    assert not done.is_set()


def test_handshake_times_out_when_the_server_says_nothing(context: ssl.SSLContext, silent: socket.socket):
    silent.settimeout(0.05)
    with pytest.raises(TimeoutError):
        context.wrap_socket(silent, server_hostname=NAME)
