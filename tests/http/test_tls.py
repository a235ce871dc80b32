"""TLS connections of a process that forks."""

import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

import pytest

from hcpcreds.http.trust import Trust

NAME = "localhost"


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


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("shake_hands", [shake_hands_over_socket, shake_hands_over_memory])
def test_fork_waits_when_openssl_is_in_the_middle_of_a_handshake(
    context: ssl.SSLContext,
    silent: socket.socket,
    shake_hands: Callable[[ssl.SSLContext, socket.socket], None],
):
    inside, go_on = threading.Event(), threading.Event()

    def hold(*_: object) -> None:
        inside.set()
        go_on.wait(15)

    context._msg_callback = hold  # type: ignore[attr-defined]
    silent.settimeout(0.1)
    done = start(lambda: shake_hands(context, silent))
    assert inside.wait(15)
    forked = start(fork)
    assert not forked.wait(0.2)
    go_on.set()
    assert forked.wait(15)
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
