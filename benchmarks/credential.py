"""The credential against azure-identity's CertificateCredential and HyperShift's library for Go."""

import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa

from benchmarks.beside import measure_beside, print_beside
from benchmarks.beside_table import write
from benchmarks.measure import Row, compare, format_seconds, percentile, print_rows
from benchmarks.volumes import FILE_NAME, Writer
from hcpcreds import UserAssignedIdentityCredential
from hcpcreds.credential import Status
from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.local.azure.settings import AzureSettings

CLIENT_ID: Final = "c0a80004-0000-4000-8000-000000000004"
SWAPS: Final = 200
IMPORTS: Final = 15


def run() -> None:
    """Measure, and print."""
    with TemporaryDirectory() as folder, LocalAzure(AzureSettings(refuse_replayed_assertions=False)) as azure:
        contents = _issue(azure, count=SWAPS + 1)
        beside = measure_beside(azure, Path(folder), contents)
        print_beside(beside)
        if "--write" in sys.argv:
            write(beside.lines, beside.missing)
        _measure_rotation(contents)
        _measure_many(contents[:2])
    _measure_import()


def _issue(azure: LocalAzure, *, count: int) -> list[bytes]:
    """Credential files of one identity, each a day later than the one before, with the same key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    first = datetime.now(UTC) - timedelta(days=1)
    return [
        json.dumps(
            azure.issue(
                CLIENT_ID,
                private_key=key,
                not_before=first + timedelta(seconds=number),
                not_after=first + timedelta(days=90),
            )
        ).encode()
        for number in range(count)
    ]


def _measure_rotation(contents: list[bytes]) -> None:
    with TemporaryDirectory() as place:
        visible = _measure_visibility(Path(place) / "volume", contents)
    print_rows(
        "Rotation",
        f"{len(contents) - 1} rotations: another process swaps as the CSI driver does; from just before its rename to the"
        " reload callback",
        [
            Row(
                "swap to visible, p50",
                format_seconds(percentile(visible, 50)),
                "cannot",
                reach="0.5 ms",
                reached=percentile(visible, 50) <= 0.5e-3,
            ),
            Row(
                "swap to visible, p99",
                format_seconds(percentile(visible, 99)),
                "cannot",
                reach="5 ms",
                reached=percentile(visible, 99) <= 5e-3,
            ),
        ],
    )


def _measure_visibility(volume: Path, contents: list[bytes]) -> list[float]:
    reloaded: list[float] = []
    news = threading.Event()

    def on_reload(_: Status) -> None:
        reloaded.append(time.time())
        news.set()

    writer = Writer()
    writer.write(volume, contents[0])
    taken = []
    with UserAssignedIdentityCredential(volume / FILE_NAME, on_reload=on_reload):
        time.sleep(0.2)  # until the watch is established
        for content in contents[1:]:
            news.clear()
            swapped_at = writer.write(volume, content)
            news.wait(10)
            taken.append(reloaded[-1] - swapped_at)
            time.sleep(0.005)
    writer.close()
    return taken


def _measure_many(contents: list[bytes]) -> None:
    with TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.many_sources", folder],
            input=json.dumps([content.decode() for content in contents]),
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    report = json.loads(done.stdout)
    print_rows(
        f"{report['sources']} sources in one process",
        f"a process opens them on mounted volumes; memory is the growth of its resident set. Then another process swaps"
        f" {report['rotated']} of them in a row ({report['swapping_seconds'] * 1000:.0f} ms); the time is that from the"
        " first swap until all are visible",
        [
            Row("inotify instances", str(report["inotify"]), reach="1", reached=report["inotify"] == 1),
            Row("threads", str(report["threads"]), reach="2", reached=report["threads"] <= 2),
            Row(
                "memory of each",
                f"{report['kib_each']:.1f} KiB",
                reach="20 KiB",
                reached=report["kib_each"] <= 20,
            ),
            Row("opening one", format_seconds(report["opening_seconds"] / report["sources"])),
            Row(
                f"{report['rotated']} rotated at once",
                format_seconds(report["visible_seconds"]),
                reach="1 s",
                reached=report["visible_seconds"] < 1,
            ),
        ],
    )


def _measure_import() -> None:
    def start(code: str) -> float:
        def once(_: int) -> None:
            subprocess.run([sys.executable, "-c", code], check=True)

        return _median(once, range(IMPORTS))

    nothing = start("pass")
    ours = start("import hcpcreds") - nothing
    peer = start("import azure.identity") - nothing
    print_rows(
        "Import",
        f"wall time of a process that imports it, minus that of an empty process; medians of {IMPORTS}",
        [
            compare("import hcpcreds", max(ours, 1e-6), peer, reach="40 ms", reached=ours <= 0.040),
        ],
    )


def _median(call: Callable[[int], object], numbers: range) -> float:
    taken = []
    for number in numbers:
        started = time.perf_counter()
        call(number)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)
