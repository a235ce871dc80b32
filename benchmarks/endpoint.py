"""`hcpcreds serve` against a token endpoint that one writes by hand, and the assertions that it writes."""

import asyncio
import base64
import http.client
import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from benchmarks.http_load import CONNECTIONS, Load, describe, put_load
from benchmarks.measure import (
    Row,
    compare,
    format_seconds,
    highest_resident_mib,
    print_rows,
    seconds_per_call,
)
from benchmarks.plain_endpoint import SECRET
from hcpcreds.credential.state import Snapshot
from hcpcreds.credential_file.content import MANAGED_IDENTITY
from hcpcreds.endpoint.assertion import DEFAULT_ASSERTION, sign_assertion
from hcpcreds.endpoint.credential import ServedCredential
from hcpcreds.endpoint.files import replace_file
from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.local.azure.settings import AzureSettings

MANY: Final = 100
ROUNDS: Final = 5
SECONDS: Final = 3.0
HEADERS: Final = {"X-IDENTITY-HEADER": SECRET}
START_SECONDS: Final = 30.0


def run() -> None:
    """Measure, and print."""
    with TemporaryDirectory() as folder, LocalAzure(AzureSettings(refuse_replayed_assertions=False)) as azure:
        files = _issue(azure, Path(folder), MANY)
        _measure_endpoint(azure, files)
        _measure_assertion(files[0], Path(folder))


def _issue(azure: LocalAzure, folder: Path, count: int) -> list[Path]:
    """Mount credentials of so many identities, which share one key: making keys is not what is measured."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    files = [folder / f"credential-{number}" for number in range(count)]
    for file in files:
        file.write_text(json.dumps(azure.issue(str(uuid.uuid4()), private_key=key)))
    return files


def _measure_endpoint(azure: LocalAzure, files: Sequence[Path]) -> None:
    given = json.loads(files[0].read_text())
    certificate = files[0].with_name("certificate.pem")
    certificate.write_bytes(base64.b64decode(given["client_secret"]))
    plain = ["benchmarks.plain_endpoint", "{port}", given["tenant_id"], given["client_id"], azure.authority]
    plain += [str(azure.ca_file), str(certificate)]
    starts: dict[str, list[float]] = {"ours": [], "plain": []}
    works: dict[str, list[float]] = {"ours": [], "plain": []}
    loads: dict[str, list[Load]] = {"ours": [], "plain": []}
    memory = {}
    for _ in range(ROUNDS):
        for name, command in (("ours", _serve(azure, files[:1])), ("plain", plain)):
            with _running(command, given["client_id"]) as (url, process, took):
                starts[name].append(took)
                works[name].append(_get_processor_seconds(process.pid))
                loads[name].append(put_load(url, HEADERS, seconds=SECONDS))
                memory[name] = highest_resident_mib(process.pid)
    with _running(_serve(azure, files), given["client_id"]) as (url, process, many_took):
        for file in files:
            client_id = json.loads(file.read_text())["client_id"]
            while not _has_token(url.replace(given["client_id"], client_id)):
                time.sleep(0.01)
        many_mib = highest_resident_mib(process.pid)
    best = {name: max(each, key=lambda load: load.per_second) for name, each in loads.items()}
    tails = {name: min(load.p99 for load in each) for name, each in loads.items()}
    print_rows(
        "Token endpoint",
        f"`hcpcreds serve` as App Service's endpoint, and the peer: aiohttp over azure-identity, both one process; "
        f"{CONNECTIONS} connections, {describe()}, {SECONDS:.0f} s; the best of {ROUNDS} rounds in turn, since other "
        "work on the machine is what makes the others worse. Start: from the process to its first token; the best, "
        f"too. Memory is the most that was resident. Load average {os.getloadavg()[0]:.1f}",
        [
            Row(
                "cached tokens a second",
                f"{best['ours'].per_second:,.0f}",
                f"{best['plain'].per_second:,.0f}",
                f"{best['ours'].per_second / best['plain'].per_second:.1f} times as many",
                "12,000",
                best["ours"].per_second >= 12_000,
            ),
            compare("their p99", tails["ours"], tails["plain"], reach="5 ms", reached=tails["ours"] < 5e-3),
            compare(
                "start to first token",
                min(starts["ours"]),
                min(starts["plain"]),
                reach="500 ms",
                reached=min(starts["ours"]) < 0.5,
            ),
            Row(
                "memory under load, one credential", f"{memory['ours']:.0f} MiB", f"{memory['plain']:.0f} MiB"
            ),
            Row(
                f"memory with {MANY} credentials",
                f"{many_mib:.0f} MiB",
                reach="80 MiB",
                reached=many_mib < 80,
            ),
            Row(f"start to first token with {MANY}", format_seconds(many_took)),
        ],
    )


def _serve(azure: LocalAzure, files: Sequence[Path]) -> list[str]:
    command = ["hcpcreds", "serve", "--app-service-address", "127.0.0.1:{port}", "--secret", SECRET]
    command += ["--ca-file", str(azure.ca_file), "--drain", "0s"]
    return command + [word for file in files for word in ("--credential", str(file))]


@contextmanager
def _running(module: Sequence[str], client_id: str) -> Iterator[tuple[str, "subprocess.Popen[bytes]", float]]:
    """Run a server; gives its URL, its process, and the seconds until its first token."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    began = time.perf_counter()
    command = [sys.executable, "-m", *(word.format(port=port) for word in module)]
    query = f"api-version=2019-08-01&resource=https://management.azure.com&client_id={client_id}"
    url = f"http://127.0.0.1:{port}/msi/token?{query}"
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            while not _has_token(url):
                if time.perf_counter() - began > START_SECONDS or process.poll() is not None:
                    raise RuntimeError(f"{module[0]} gave no token")
                time.sleep(0.002)
            yield url, process, time.perf_counter() - began
        finally:
            process.kill()


def _get_processor_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _has_token(url: str) -> bool:
    parts = urlsplit(url)
    with (
        suppress(OSError, http.client.HTTPException),
        closing(http.client.HTTPConnection(parts.netloc, timeout=START_SECONDS)) as connection,
    ):
        connection.request("GET", f"{parts.path}?{parts.query}", headers=HEADERS)
        return connection.getresponse().status == 200
    return False


def _measure_assertion(file: Path, folder: Path) -> None:
    async def read() -> Snapshot:
        async with ServedCredential(str(file), MANAGED_IDENTITY) as credential:
            return await credential.read()

    snapshot = asyncio.run(read())
    target = folder / "assertion"

    def write() -> None:
        assertion = sign_assertion(snapshot, DEFAULT_ASSERTION, now=time.time())
        replace_file(target, assertion.text.encode(), mode=0o440)

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def write_plainly() -> None:
        now = int(time.time())
        claims: dict[str, str | int] = {
            "aud": "https://login.microsoftonline.com/t/oauth2/v2.0/token",
            "iss": "i",
            "sub": "i",
        }
        claims |= {"jti": str(uuid.uuid4()), "nbf": now, "exp": now + 1800}
        text = jwt.encode(claims, pem, algorithm="PS256", headers={"x5t#S256": "x" * 43, "x5c": ["x" * 900]})
        draft = target.with_suffix(".new")
        draft.write_text(text)
        draft.rename(target)

    ours = seconds_per_call(write, calls=200)
    print_rows(
        "Assertion",
        "signed with a key of 2,048 bits and written to a file that replaces the one before; the peer: PyJWT with the "
        "PEM of a key, write_text and rename; medians of 7 rounds",
        [
            compare(
                "signed and written",
                ours,
                seconds_per_call(write_plainly, calls=200),
                reach="1 ms",
                reached=ours <= 1e-3,
            ),
        ],
    )
