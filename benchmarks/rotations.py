"""`python -m benchmarks.rotations --minutes 10`: is any program of `hcpcreds serve` ever given the wrong token, or none?

Programs ask for tokens as in App Service and of the instance metadata service, on connections that they keep, and
send the assertion in the file, while every credential rotates each second and the authority fails for thirty
seconds in the middle: it refuses, drops connections, and does not answer, ten seconds each. The exit status is 1
when a token was wrong, when a request failed although a token was in memory, or when the authority refused an
assertion.
"""

import argparse
import asyncio
import base64
import http.client
import itertools
import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode
from urllib.request import urlopen

import jwt

from benchmarks.http_load import CONNECTIONS, Connection, build_request
from benchmarks.measure import format_seconds, highest_resident_mib, percentile
from benchmarks.volumes import FILE_NAME, write
from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.local.azure.entra_tokens import CERTIFICATE_CLAIM
from hcpcreds.local.azure.settings import AzureSettings

RESOURCES: Final = (
    "https://management.azure.com",  # of this one or the next, `hcpcreds serve` asks for itself at each rotation
    "https://management.core.windows.net/",
    "https://vault.azure.net",
)
SECRET: Final = uuid.uuid4().hex
PROTOCOLS: Final = (
    ("/msi/token", "2019-08-01", {"X-IDENTITY-HEADER": SECRET}),
    ("/metadata/identity/oauth2/token", "2018-02-01", {"Metadata": "true"}),
)
"""App Service's and the instance metadata service's."""
ASSERTION_SECONDS: Final = 1500.0
"""How long an assertion in a file is good for at least: it lives for 30 minutes, and is written every minute."""
TOKEN_SECONDS: Final = 90.0
"""Renewed after half of that, so that one in memory always outlives the authority's failure."""
FAULTS: Final[tuple[dict[str, Any], ...]] = ({"status": 503}, {"drop": True}, {"hang": True})
FAULT_SECONDS: Final = 10.0
PAUSE_SECONDS: Final = 0.01
START_SECONDS: Final = 30.0


class Identity:
    """An identity, its mounted credential, and its assertion file."""

    def __init__(self, azure: LocalAzure, folder: Path, number: int) -> None:
        self.client_id = str(uuid.uuid4())
        self.name = f"identity-{number}"
        self.assertion = folder / "assertions" / self.name
        self.rotations = 0
        self._azure = azure
        self._volume = folder / self.name
        self.rotate()

    @property
    def file(self) -> Path:
        """The mounted credential."""
        return self._volume / FILE_NAME

    def rotate(self) -> None:
        """Issue a certificate, and mount it as the CSI driver does."""
        write(self._volume, json.dumps(self._azure.issue(self.client_id)).encode())
        self.rotations += 1

    def owns(self, thumbprint: str) -> bool:
        """Whether a certificate is one of its own."""
        application = self._azure.directory.find_application(self.client_id)
        return application is not None and thumbprint in application.certificates


class Judge:
    """Judges every answer."""

    def __init__(self) -> None:
        self.problems: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.seconds: list[float] = []
        self.tokens: dict[str, dict[str, Any]] = {}
        self.assertions = 0
        """How many the authority has taken."""
        self.is_failing = False
        """Whether the authority fails."""
        self._until: dict[tuple[str, str], float] = {}

    def judge(self, identity: Identity, resource: str, answer: tuple[int, bytes], began: float) -> None:
        """Judge the answer to a request that began then (Unix time)."""
        now = time.time()
        status, body = answer
        self.statuses[status] += 1
        self.seconds.append(now - began)
        known = self._until.get((identity.name, resource), 0.0)
        if status != 200:
            if began < known - 1:
                self.problems[f"{status} although a token was good for {known - began:.0f} s more"] += 1
            return
        fields = json.loads(body)
        token = fields["access_token"]
        claims = self.tokens.get(token)
        if claims is None:
            claims = self.tokens[token] = jwt.decode(token, options={"verify_signature": False})
            if not identity.owns(claims[CERTIFICATE_CLAIM]):
                self.problems["a token that was asked for with another identity's certificate"] += 1
        if (claims["appid"], claims["aud"]) != (identity.client_id, resource):
            self.problems["a token of another identity or resource"] += 1
        if abs(claims["exp"] - int(fields["expires_on"])) > 2:
            self.problems["a token of another time than the answer says"] += 1
        if claims["exp"] <= began:
            self.problems["a token that had expired"] += 1
        self._until[identity.name, resource] = max(known, claims["exp"])

    def judge_assertion(self, identity: Identity, context: ssl.SSLContext) -> None:
        """Judge what stands in the assertion file now, and send it as a program does that has just started."""
        assertion = identity.assertion.read_text()
        thumbprint = base64.urlsafe_b64decode(jwt.get_unverified_header(assertion)["x5t#S256"] + "=").hex()
        if not identity.owns(thumbprint):
            self.problems["an assertion of another identity's certificate"] += 1
        claims = jwt.decode(assertion, options={"verify_signature": False})
        if claims["exp"] - time.time() < ASSERTION_SECONDS:
            self.problems["an assertion that was not written again"] += 1
        form = {
            "grant_type": "client_credentials",
            "client_id": identity.client_id,
            "scope": f"{RESOURCES[0]}/.default",
            "client_assertion": assertion,
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        }
        try:
            with urlopen(  # noqa: S310 (the local authority)
                claims["aud"], urlencode(form).encode(), context=context, timeout=FAULT_SECONDS
            ) as answer:
                token = json.load(answer)["access_token"]
        except (OSError, http.client.HTTPException) as error:
            if not self.is_failing:
                self.problems[f"an assertion that the authority refused: {error}"] += 1
            return
        self.assertions += 1
        found = jwt.decode(token, options={"verify_signature": False})
        if (found["appid"], found[CERTIFICATE_CLAIM]) != (identity.client_id, thumbprint):
            self.problems["a token for an assertion that is of another certificate"] += 1


def main() -> int:
    """Run, and print the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rotations", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long (default: 10)")
    parser.add_argument("--identities", type=int, default=3, help="how many (default: 3)")
    options = parser.parse_args()
    os.environ["NO_PROXY"] = "127.0.0.1"
    settings = AzureSettings(
        token_lifetime=TOKEN_SECONDS,
        refuse_replayed_assertions=False,
        certificate_backdate=7200,
        key_pool=4,
    )
    with tempfile.TemporaryDirectory() as folder, LocalAzure(settings) as azure:
        (Path(folder) / "assertions").mkdir()
        identities = [Identity(azure, Path(folder), number) for number in range(options.identities)]
        return asyncio.run(_run(azure, identities, Path(folder), options.minutes * 60))


async def _run(azure: LocalAzure, identities: list[Identity], folder: Path, seconds: float) -> int:
    judge = Judge()
    async with _serving(azure, identities, folder) as (netloc, process):
        before = highest_resident_mib(process.pid)
        until = time.monotonic() + seconds
        tasks = [_ask_until(until, netloc, judge, identities, number) for number in range(CONNECTIONS)]
        tasks += [_rotate_until(until, each) for each in identities]
        context = ssl.create_default_context(cafile=azure.ca_file)
        tasks += [_send_until(until, each, judge, context) for each in identities]
        tasks.append(_fail(azure, judge, seconds / 2 - len(FAULTS) * FAULT_SECONDS / 2))
        await asyncio.gather(*tasks)
        after = highest_resident_mib(process.pid)
    statuses = ", ".join(f"{count:,} x {status}" for status, count in sorted(judge.statuses.items()))
    times = ", ".join(f"{name} {format_seconds(percentile(judge.seconds, at))}" for name, at in _TIMES)
    print(f"{len(judge.seconds):,} requests ({statuses}) on {CONNECTIONS} connections; {times}")
    rotations = sum(each.rotations - 1 for each in identities)
    print(
        f"{rotations:,} rotations of {len(identities)} credentials; {len(judge.tokens):,} different tokens, "
        f"{judge.assertions:,} assertions sent, {azure.requests.count('entra', match='/token'):,} requests to the authority"
    )
    print(f"memory at the start {before:.0f} MiB, at most {after:.0f} MiB")
    for problem, count in judge.problems.most_common():
        print(f"FAILED {count} times: {problem}")
    if judge.problems:
        return 1
    print("no wrong token, and no failed request that a token in memory could have answered")
    return 0


_TIMES: Final = (("p50", 50.0), ("p99", 99.0), ("p99.99", 99.99), ("the slowest", 100.0))


async def _ask_until(
    until: float, netloc: str, judge: Judge, identities: list[Identity], number: int
) -> None:
    connection = await Connection.open(netloc)
    targets = [
        (each, resource, _build_request(netloc, each, resource, protocol))
        for each, resource, protocol in itertools.product(identities, RESOURCES, PROTOCOLS)
    ]
    for target in itertools.islice(itertools.cycle(targets), number, None):
        identity, resource, request = target
        began = time.time()
        judge.judge(identity, resource, await connection.ask(request), began)
        if time.monotonic() > until:
            connection.close()
            return
        await asyncio.sleep(PAUSE_SECONDS)


async def _rotate_until(until: float, identity: Identity) -> None:
    due = time.monotonic() + 1
    while due < until:
        await asyncio.sleep(due - time.monotonic())
        await asyncio.to_thread(identity.rotate)
        due += 1


async def _send_until(until: float, identity: Identity, judge: Judge, context: ssl.SSLContext) -> None:
    while time.monotonic() < until:
        if not judge.is_failing:
            await asyncio.to_thread(judge.judge_assertion, identity, context)
        await asyncio.sleep(1)


async def _fail(azure: LocalAzure, judge: Judge, after: float) -> None:
    """Let the authority fail, in each way."""
    await asyncio.sleep(after)
    judge.is_failing = True
    for fault in FAULTS:
        azure.faults.add("entra", match="/token", **fault)
        await asyncio.sleep(FAULT_SECONDS)
        azure.faults.clear()
    judge.is_failing = False


@asynccontextmanager
async def _serving(
    azure: LocalAzure, identities: list[Identity], folder: Path
) -> AsyncIterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Run `hcpcreds serve`; gives where, once it has a token of each identity for each resource."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        netloc = f"127.0.0.1:{free.getsockname()[1]}"
    environment: Mapping[str, str] = {
        **os.environ,
        "HCPCREDS_CREDENTIAL": " ".join(f"{each.name}={each.file}" for each in identities),
        "HCPCREDS_CA_FILE": str(azure.ca_file),
        "HCPCREDS_AUTHORITY": azure.authority,
        "HCPCREDS_ASSERTION_DIRECTORY": str(folder / "assertions"),
        "HCPCREDS_APP_SERVICE_ADDRESS": netloc,
        "HCPCREDS_IMDS_ADDRESS": netloc,
        "HCPCREDS_SECRET": SECRET,
    }
    command = [sys.executable, "-m", "hcpcreds", "serve"]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, env=environment, stderr=log) as process,  # noqa: ASYNC220 (before all else)
    ):
        try:
            async with asyncio.timeout(START_SECONDS):
                for each, resource in itertools.product(identities, RESOURCES):
                    await _wait_for_token(netloc, each, resource)
            yield netloc, process
        finally:
            process.kill()


async def _wait_for_token(netloc: str, identity: Identity, resource: str) -> None:
    request = _build_request(netloc, identity, resource, PROTOCOLS[0])
    status = 0
    while status != 200 or not identity.assertion.exists():
        with suppress(OSError):
            connection = await Connection.open(netloc)
            status, _ = await connection.ask(request)
            connection.close()
        await asyncio.sleep(0.1)


def _build_request(
    netloc: str, identity: Identity, resource: str, protocol: tuple[str, str, dict[str, str]]
) -> bytes:
    path, version, headers = protocol
    query = f"api-version={version}&resource={resource}&client_id={identity.client_id}"
    return build_request(f"http://{netloc}{path}?{query}", headers)


if __name__ == "__main__":
    sys.exit(main())
