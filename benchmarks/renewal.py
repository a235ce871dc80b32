"""Renewing the due credentials of a full vault: `hcpcreds renew` beside a simple loop."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.full_vault import DUE, LATENCY_SECONDS, LIMIT_REQUESTS, LIMIT_SECONDS, STORED
from benchmarks.measure import Row, highest_resident_mib, print_rows

_CONCURRENCY: Final = 32
_POLL_SECONDS: Final = 0.02
_METHOD: Final = f"""a local Azure in its own process, {STORED} credentials in one vault, {DUE} of them due, \
{LATENCY_SECONDS * 1000:.0f} ms of latency on every response, {LIMIT_REQUESTS} requests in any {LIMIT_SECONDS:.0f} s \
(vault and data plane each; more are answered with 429), one RSA key for all certificates, so that generating keys is \
not measured. Each way is one process, from its start to its end, once, with its own vault. The counts of written \
secrets are those of the vault. Throttle alone: the shortest time in which the limit admits that many requests to the \
vault, without those answered with 429; it is a step of {LIMIT_SECONDS:.0f} s for every {LIMIT_REQUESTS} of them. Peak \
memory: VmHWM, read every {_POLL_SECONDS * 1000:.0f} ms. \
Peer: list, then get, renew and set each due one with the same SDK clients and connections, {_CONCURRENCY} at once, the \
SDK's own retries; it checks nothing before or after it writes, and so makes 2 requests for each renewal where hcpcreds \
makes 4, and one to the authority, which proves the identity of the key."""


@dataclass(frozen=True)
class _Run:
    """The cost of one way of renewing, and its results."""

    seconds: float
    cpu_seconds: float
    mib: float
    left: dict[str, int]

    @property
    def requests(self) -> int:
        """Requests to the vault, without those answered with 429."""
        return self.left["lists"] + self.left["reads"] + self.left["writes"] - self.left["refused"]

    @property
    def throttle_seconds(self) -> float:
        """The shortest time in which the limit admits that many requests."""
        return (self.requests - 1) // LIMIT_REQUESTS * LIMIT_SECONDS


def run() -> None:
    """Measure both, and print."""
    ours = _measure(["-m", "hcpcreds", "renew", "--once", "--concurrency", str(_CONCURRENCY)])
    peer = _measure(["-m", "benchmarks.plain_renewal", "--concurrency", str(_CONCURRENCY)])
    ratio = ours.seconds / ours.throttle_seconds
    rows = [
        Row(
            "wall time, beside that of the throttle alone",
            f"{ours.seconds:.1f} s",
            f"{peer.seconds:.1f} s",
            f"{ours.throttle_seconds:.0f} s for ours: {ratio:.2f} times; {peer.throttle_seconds:.0f} s for the peer's",
            "1.3 times",
            ratio <= 1.3,
        ),
        Row(
            "due ones renewed exactly once",
            str(ours.left["renewed_once"]),
            str(peer.left["renewed_once"]),
            reach=str(DUE),
            reached=ours.left["renewed_once"] == DUE,
        ),
        Row(
            "due ones renewed more often, others touched",
            f"{ours.left['renewed_more_often']}, {ours.left['others_touched']}",
            f"{peer.left['renewed_more_often']}, {peer.left['others_touched']}",
            reach="0, 0",
            reached=ours.left["renewed_more_often"] == ours.left["others_touched"] == 0,
        ),
        Row("requests to the vault", _describe(ours), _describe(peer)),
        Row("requests to the data plane", str(ours.left["renewals"]), str(peer.left["renewals"])),
        Row("peak memory", f"{ours.mib:.0f} MiB", f"{peer.mib:.0f} MiB", "-", "250 MiB", ours.mib < 250),
        Row("CPU time", f"{ours.cpu_seconds:.1f} s", f"{peer.cpu_seconds:.1f} s"),
    ]
    print_rows("Renewing what is due in a full vault", _METHOD, rows)


def _describe(measured: _Run) -> str:
    left = measured.left
    return f"{measured.requests}: {left['lists']} lists, {left['reads']} reads, {left['writes']} writes; \
less {left['refused']} answered 429"


def _measure(arguments: Sequence[str]) -> _Run:
    with tempfile.TemporaryDirectory(prefix="hcpcreds-bench-") as folder, _full_vault(folder) as (azure, ask):
        where = [
            *("--vault", azure["vault"]),
            *("--audience", azure["data_plane_audience"]),
            *("--data-plane-host", "127.0.0.1"),
            *("--credential-file", azure["credential_file"]),
            *("--ca-file", azure["ca_file"]),
        ]
        mib = 0.0
        began = time.perf_counter()
        process = subprocess.Popen([sys.executable, *arguments, *where], stdout=subprocess.DEVNULL)
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            mib = max(mib, highest_resident_mib(process.pid))
            time.sleep(_POLL_SECONDS)
        took = time.perf_counter() - began
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(
                f"{' '.join(arguments)} ended with {process.returncode}: there is nothing to measure."
            )
        return _Run(took, usage.ru_utime + usage.ru_stime, mib, ask())


@contextmanager
def _full_vault(folder: str) -> Iterator[tuple[dict[str, Any], Any]]:
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.full_vault", folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def ask() -> dict[str, int]:
            stdin.close()
            left: dict[str, int] = json.loads(stdout.readline())
            return left

        try:
            yield json.loads(stdout.readline()), ask
        finally:
            process.kill()
