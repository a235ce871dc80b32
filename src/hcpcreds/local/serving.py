"""Services in a thread of their own, and the TLS that they listen with. For development and tests only."""

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Final

import trustme

from hcpcreds.local.service import Service

_CLOSE_SECONDS: Final = 5.0


class ServingThread:
    """Services on an event loop of their own, in a daemon thread.

    Args:
        name: The thread's.
        services: What is closed at the end.
        listen: Lets the services listen; awaited in the thread.
    """

    def __init__(self, name: str, services: Sequence[Service], listen: Callable[[], Awaitable[None]]) -> None:
        self._name = name
        self._services = services
        self._listen = listen
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start it, and return when the services listen; raises what kept them from it."""
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(started,), name=self._name, daemon=True)
        self._thread.start()
        started.result()

    def close(self) -> None:
        """Stop every service."""
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)
        if self._thread is not None:
            self._thread.join(_CLOSE_SECONDS)

    def is_alive(self) -> bool:
        """Whether it still serves."""
        return self._thread is not None and self._thread.is_alive()

    def _run(self, started: "Future[None]") -> None:
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(self._listen())
        except BaseException as error:  # noqa: BLE001 (whoever called start() is to see it)
            started.set_exception(error)
        else:
            self._loop = loop
            started.set_result(None)
            loop.run_forever()
        for service in self._services:
            with suppress(Exception):
                loop.run_until_complete(service.close())
        loop.close()


def make_tls(ca_file: Path) -> ssl.SSLContext:
    """Make a certificate authority of its own, and what a server on loopback listens with.

    Args:
        ca_file: Where the authority's certificate is written, for clients to trust.
    """
    authority = trustme.CA(organization_name="hcpcreds local, for development and tests only")
    authority.cert_pem.write_to_path(str(ca_file))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(tls)
    return tls
