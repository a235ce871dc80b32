"""Load on an HTTP server by many connections at once: with `wrk` where it is installed, else with asyncio."""

import asyncio
import re
import shutil
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


async def _ask(url: str, headers: dict[str, str], seconds: float) -> Load:
    parts = urlsplit(url)
    lines = [f"GET {parts.path}?{parts.query} HTTP/1.1", f"Host: {parts.netloc}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    request = "\r\n".join([*lines, "", ""]).encode()
    taken: list[float] = []
    until = time.perf_counter() + seconds

    async def ask() -> None:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        while (began := time.perf_counter()) < until:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: *([0-9]+)", head)
            if not head.startswith(b"HTTP/1.1 200") or length is None:
                raise RuntimeError(head.decode(errors="replace"))
            await reader.readexactly(int(length[1]))
            taken.append(time.perf_counter() - began)
        writer.close()

    await asyncio.gather(*(ask() for _ in range(CONNECTIONS)))
    return Load(len(taken) / seconds, percentile(taken, 99))
