"""The connections of a renewer: one session for all of its Azure clients."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
from azure.core.pipeline.transport import AioHttpTransport

_CONNECT_SECONDS: Final = 10
_ANSWER_SECONDS: Final = 30


@asynccontextmanager
async def open_session(
    ca_file: str | None, *, trust_env: bool = True
) -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session, until the context is left.

    Args:
        ca_file: PEM file of the authorities to trust; None means the machine's.
        trust_env: Whether the environment's proxies are used.
    """
    # Given a CA file, azure-core makes a TLS context of it for each request, and so a connection for each:
    # 8 ms of CPU time and 160 kB of memory, and the connections stay open. A session has one for all.
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=ca_file)),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,  # azure-core does that
        trust_env=trust_env,
    ) as session:
        # aiohttp sends a PUT again by itself when the connection breaks, and Key Vault would make two
        # versions of it. There is no public way to say so; aiohttp's own test client does it like this.
        session._retry_connection = False  # noqa: SLF001
        yield session
    # The connections close in the loop's next round, and a loop that ended before would warn of them.
    await asyncio.sleep(0)


def make_transport(session: aiohttp.ClientSession) -> AioHttpTransport:
    """Make the transport of one Azure client; closing that leaves the session open."""
    return AioHttpTransport(
        session=session,
        session_owner=False,
        connection_timeout=_CONNECT_SECONDS,
        read_timeout=_ANSWER_SECONDS,
    )
