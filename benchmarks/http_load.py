"""Load on an HTTP server by many connections at once: with `wrk` where it is installed, else with asyncio."""

import asyncio
import re
import shutil
import ssl
import subprocess
import time
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from benchmarks.measure import percentile

CONNECTIONS: Final = 32
_UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True)
class Load:
    """What a server did under load."""

    per_second: float
    p99: float
    """Seconds."""


def describe() -> str:
    """Tell what puts the load on."""
    return "wrk, one thread" if shutil.which("wrk") else "an asyncio client in this process"


def put_load(url: str, headers: dict[str, str], *, seconds: float) -> Load:
    """Ask for one URL again and again, on connections that are kept.

    Raises:
        RuntimeError: An answer was not a 200.
    """
    if wrk := shutil.which("wrk"):
        return _run_wrk(wrk, url, headers, seconds)
    return asyncio.run(_ask(url, headers, seconds))


def _run_wrk(wrk: str, url: str, headers: dict[str, str], seconds: float) -> Load:
    command = [wrk, "--threads=1", f"--connections={CONNECTIONS}", f"--duration={seconds:.0f}s", "--latency"]
    for name, value in headers.items():
        command += ["--header", f"{name}: {value}"]
    said = subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout
    rate = re.search(r"Requests/sec: +([0-9.]+)", said)
    late = re.search(r"99% +([0-9.]+)(us|ms|s)", said)
    if "Non-2xx" in said or "Socket errors" in said or rate is None or late is None:
        raise RuntimeError(said)
    return Load(float(rate[1]), float(late[1]) * _UNITS[late[2]])


class Connection:
    """One connection that is kept, for one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, netloc: str, tls: ssl.SSLContext | None = None) -> "Connection":
        """Connect to `HOST:PORT`."""
        host, _, port = netloc.rpartition(":")
        return cls(*await asyncio.open_connection(host, int(port), ssl=tls))

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a whole request; returns the answer's status and body."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: *([0-9]+)", head)
        if re.search(rb"(?i)transfer-encoding: *chunked", head):
            return int(head.split(b" ", 2)[1]), await self._reader.readuntil(b"0\r\n\r\n")
        body = await self._reader.readexactly(int(length[1])) if length else b""
        return int(head.split(b" ", 2)[1]), body

    def close(self) -> None:
        """Close it, whatever is on its way."""
        self._writer.close()


def build_request(url: str, headers: dict[str, str]) -> bytes:
    """Build a whole GET request."""
    parts = urlsplit(url)
    lines = [f"GET {parts.path}?{parts.query} HTTP/1.1", f"Host: {parts.netloc}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


async def _ask(url: str, headers: dict[str, str], seconds: float) -> Load:
    request = build_request(url, headers)
    taken: list[float] = []
    until = time.perf_counter() + seconds

    async def ask() -> None:
        connection = await Connection.open(urlsplit(url).netloc)
        while (began := time.perf_counter()) < until:
            status, body = await connection.ask(request)
            if status != 200:
                raise RuntimeError(body.decode(errors="replace"))
            taken.append(time.perf_counter() - began)
        connection.close()

    await asyncio.gather(*(ask() for _ in range(CONNECTIONS)))
    return Load(len(taken) / seconds, percentile(taken, 99))
