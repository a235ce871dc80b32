"""TLS connections during which a process may fork.

OpenSSL has locks for the whole process: for the algorithms that it looks up, and for random numbers. A thread
that is in the middle of a handshake holds one of them at times, without the lock of the interpreter. A child
that is forked just then would wait for it endlessly, in its own first handshake.
"""

import ssl
import time
from collections.abc import Callable
from typing import Any, TypeVar

from typing_extensions import override
from urllib3.util.wait import wait_for_read, wait_for_write

from hcpcreds.fork_locks import openssl

T = TypeVar("T")


class _Socket(ssl.SSLSocket):
    """The TLS of synchronous code. The lock is not held while it waits for the network."""

    @override
    def do_handshake(self, block: bool = False) -> None:
        self._step(super().do_handshake)

    @override
    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        # After the handshake the server sends tickets for later sessions, whose keys are derived here.
        return self._step(super().read, len, buffer)

    def _step(self, work: Callable[..., T], *arguments: Any) -> T:
        timeout = self.gettimeout()
        deadline = None if timeout is None else time.monotonic() + timeout
        self.settimeout(0.0)
        try:
            while True:
                try:
                    with openssl:
                        return work(*arguments)
                except ssl.SSLWantReadError:
                    wait = wait_for_read
                except ssl.SSLWantWriteError:
                    wait = wait_for_write
                if not wait(self, None if deadline is None else max(0.0, deadline - time.monotonic())):
                    raise TimeoutError("the TLS operation timed out")
        finally:
            self.settimeout(timeout)


class _Object(ssl.SSLObject):
    """The TLS of asyncio code, which never waits."""

    @override
    def do_handshake(self) -> None:
        with openssl:
            super().do_handshake()

    @override
    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        with openssl:
            return super().read(len, buffer)


def let_fork(context: ssl.SSLContext) -> None:
    """Have a fork wait while OpenSSL works for a connection of this context."""
    context.sslsocket_class = _Socket
    context.sslobject_class = _Object
