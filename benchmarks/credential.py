"""The credential against azure-identity's CertificateCredential, which reads its certificate only once."""

import base64
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from azure.core.credentials import TokenCredential
from azure.identity import CertificateCredential
from cryptography.hazmat.primitives.asymmetric import rsa

from benchmarks.measure import Row, compare, format_seconds, percentile, print_rows, seconds_per_call
from benchmarks.volumes import FILE_NAME, Writer, write
from hcpcreds import UserAssignedIdentityCredential
from hcpcreds.credential import Status
from hcpcreds.credential.source import CredentialSource
from hcpcreds.credential_file.content import MANAGED_IDENTITY
from hcpcreds.errors import SourceClosedError
from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.local.azure.settings import AzureSettings
from hcpcreds.watch import Watcher

ARM_SCOPE: Final = "https://management.azure.com/.default"
VAULT_SCOPE: Final = "https://vault.azure.net/.default"
CLIENT_ID: Final = "c0a80004-0000-4000-8000-000000000004"
THREADS: Final = 64
CALLS: Final = 2_000
SWAPS: Final = 200
IMPORTS: Final = 15


def run() -> None:
    """Measure, and print."""
    with TemporaryDirectory() as folder, LocalAzure(AzureSettings(refuse_replayed_assertions=False)) as azure:
        contents = _issue(azure, count=SWAPS + 1)
        volume = Path(folder) / "volume"
        write(volume, contents[0])
        _measure_tokens(azure, volume / FILE_NAME, contents[0])
        _measure_rotation(Path(folder), contents)
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


def _build_peer(azure: LocalAzure, content: bytes) -> CertificateCredential:
    return CertificateCredential(
        azure.tenant_id,
        CLIENT_ID,
        certificate_data=base64.b64decode(json.loads(content)["client_secret"]),
        authority=azure.authority,
        disable_instance_discovery=True,
        connection_verify=str(azure.ca_file),
    )


def _measure_tokens(azure: LocalAzure, path: Path, content: bytes) -> None:
    with (
        UserAssignedIdentityCredential(path, connection_verify=str(azure.ca_file)) as ours,
        _build_peer(azure, content) as peer,
    ):
        for credential in (ours, peer):
            credential.get_token(ARM_SCOPE)
        ours_takes = seconds_per_call(lambda: ours.get_token(ARM_SCOPE), calls=100_000)
        peer_takes = seconds_per_call(lambda: peer.get_token(ARM_SCOPE), calls=5_000)
        ours_info = seconds_per_call(lambda: ours.get_token_info(ARM_SCOPE), calls=100_000)
        peer_info = seconds_per_call(lambda: peer.get_token_info(ARM_SCOPE), calls=5_000)
        ours_waits = _measure_while_hung(azure, ours)
        peer_waits = _measure_while_hung(azure, peer)
    print_rows(
        "Tokens",
        "both credentials get a token of 1 h from the same local authority, then return it from memory; medians of"
        f" 7 rounds. Hung: {THREADS} threads x {CALLS} calls, while a request for another scope hangs;"
        " the 99th percentile",
        [
            compare(
                "cached get_token, one thread",
                ours_takes,
                peer_takes,
                reach="0.5 µs and 35 times",
                reached=ours_takes <= 0.5e-6 and peer_takes / ours_takes >= 35,
            ),
            compare(
                "cached get_token_info, one thread",
                ours_info,
                peer_info,
                reach="0.5 µs and 35 times",
                reached=ours_info <= 0.5e-6 and peer_info / ours_info >= 35,
            ),
            compare(
                "cached get_token while another scope hangs",
                percentile(ours_waits, 99),
                percentile(peer_waits, 99),
                reach="1 ms",
                reached=percentile(ours_waits, 99) <= 1e-3,
            ),
            Row(
                "the same, the slowest call of all",
                format_seconds(max(ours_waits)),
                format_seconds(max(peer_waits)),
            ),
        ],
    )


def _measure_while_hung(azure: LocalAzure, credential: TokenCredential) -> list[float]:
    hung = azure.faults.add("entra", match="/token", delay=8.0)

    def ask() -> None:
        with suppress(SourceClosedError):  # it ends with the measurement
            credential.get_token(VAULT_SCOPE)

    threading.Thread(target=ask, daemon=True).start()
    while not hung.met:
        time.sleep(0.01)
    taken: list[float] = []

    def work() -> None:
        mine = []
        for _ in range(CALLS):
            started = time.perf_counter()
            credential.get_token(ARM_SCOPE)
            mine.append(time.perf_counter() - started)
        taken.extend(mine)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    azure.faults.clear()
    return taken


def _measure_rotation(folder: Path, contents: list[bytes]) -> None:
    taking = _measure_taking(folder / "taken", contents)
    with TemporaryDirectory() as place:
        pem = base64.b64decode(json.loads(contents[0])["client_secret"])
        building = _median(
            lambda _: CertificateCredential("tenant", CLIENT_ID, certificate_data=pem), range(20)
        )
        visible = _measure_visibility(Path(place) / "volume", contents)
    print_rows(
        "Rotation",
        f"accepting: read, parse, check and swap one of {len(contents) - 1} ever later files, median; the peer cannot"
        " reload a file, so it builds a new credential from the same certificate. Visible: another process swaps as"
        " the CSI driver does; from just before its rename to the reload callback",
        [
            compare("taking a rotated file", taking, building, reach="0.5 ms", reached=taking <= 0.5e-3),
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


def _measure_taking(path: Path, contents: list[bytes]) -> float:
    source = CredentialSource(
        str(path), MANAGED_IDENTITY, backstop=timedelta(hours=6), clock=time.time, watcher=Watcher()
    )
    taken = []
    for content in contents:
        path.write_bytes(content)
        started = time.perf_counter()
        source.reload()
        taken.append(time.perf_counter() - started)
    assert source.status().generation == len(contents)
    return statistics.median(taken[1:])


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
