"""Resolves host names for asyncio code, without the event loop's default executor."""

import asyncio
import functools
import socket
from typing import Any, Final

from aiohttp.abc import AbstractResolver, ResolveResult
from typing_extensions import override

from hcpcreds.workers import Workers

_NUMERIC: Final = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
_workers: Final = Workers("hcpcreds-resolver", threads=8)


class Resolver(AbstractResolver):
    """Calls the operating system's resolver in its own threads.

    aiohttp's resolver uses the loop's default executor, whose threads may all be waiting for the very token
    that the name is needed for.
    """

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """List the addresses of a host.

        Raises:
            OSError: The host has no address, or the resolver failed.
        """
        ask = functools.partial(
            socket.getaddrinfo, host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
        return [
            ResolveResult(
                hostname=host, host=_render(address), port=port, family=of, proto=proto, flags=_NUMERIC
            )
            for of, _, proto, _, address in await asyncio.wrap_future(_workers.call(ask))
        ]

    @override
    async def close(self) -> None:
        """Do nothing: there is nothing to close."""


def _render(address: tuple[Any, ...]) -> str:
    host = str(address[0])
    scope = address[3] if len(address) > 3 else 0  # noqa: PLR2004 (IPv6: host, port, flow, scope)
    return f"{host}%{scope}" if scope and "%" not in host else host
