"""A thread that runs services, and their TLS context. For development and tests only."""

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
    """Runs services on their own event loop, in a daemon thread.

    Args:
        name: Name of the thread.
        services: Services to close at the end.
        listen: Makes the services listen; awaited in the thread.
    """

    def __init__(self, name: str, services: Sequence[Service], listen: Callable[[], Awaitable[None]]) -> None:
        self._name = name
        self._services = services
        self._listen = listen
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, and return when the services listen; raises what `listen` raises."""
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
        """Whether the thread still runs."""
        return self._thread is not None and self._thread.is_alive()

    def _run(self, started: "Future[None]") -> None:
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(self._listen())
        except BaseException as error:  # noqa: BLE001 (raised in start())
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
    """Make a new certificate authority, and the TLS context of a server on loopback.

    Args:
        ca_file: File to write the authority's certificate to, for clients to trust.
    """
    authority = trustme.CA(organization_name="hcpcreds local, for development and tests only")
    authority.cert_pem.write_to_path(str(ca_file))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(tls)
    return tls
