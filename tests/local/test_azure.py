"""The local Azure as a whole: starting, ending, its process, and what it never says."""

import asyncio
import json
import logging
import os
import resource
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from aiohttp import ClientSession, web
from azure.core.exceptions import ServiceRequestError
from cryptography.hazmat.primitives.serialization import Encoding
from tests.local.clients import ARM, VAULT, Client, bearer, make_certificate, send
from typing_extensions import override

from hcpcreds.errors import ChainError, InputError
from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.local.azure.faults import Faults, RequestLog
from hcpcreds.local.azure.settings import AzureSettings, read_settings
from hcpcreds.local.service import Service

EXAMPLE: dict[str, Any] = {
    "tenant_ids": ["AAAAAAAA-0000-0000-0000-000000000001"],
    "vaults": ["kv-one", "kv-two"],
    "identities": [
        {"client_id": "11111111-0000-0000-0000-000000000001", "resource_id": "/subscriptions/s/one"}
    ],
    "node_identities": [{"client_id": "22222222-0000-0000-0000-000000000002"}],
    "token_lifetime": 2.5,
    "certificate_lifetime": 60,
}


@contextmanager
def run_process(config: Path, **environment: str) -> "Iterator[subprocess.Popen[str]]":
    with subprocess.Popen(
        [sys.executable, "-m", "hcpcreds.local.azure.azure", "--config", str(config)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(config.parent), **environment},  # killed, it leaves its directory
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def write_config(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "azure.json"
    path.write_text(json.dumps(EXAMPLE | changes))
    return path


def read_ready(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdout is not None
    ready: dict[str, Any] = json.loads(process.stdout.readline())
    return ready


@pytest.mark.measured_processes
def test_process_says_where_everything_is_and_that_it_is_for_development(tmp_path: Path):
    certificate = make_certificate("caller").public_bytes(Encoding.PEM).decode()
    config = write_config(
        tmp_path,
        state_directory=str(tmp_path / "state"),
        applications=[{"client_id": "caller", "certificates": [certificate]}],
    )
    with run_process(config) as process:
        ready = read_ready(process)
        assert ready["event"] == "ready"
        assert ready["notice"] == "for development and tests only"
        assert ready["tenant_id"] == EXAMPLE["tenant_ids"][0].lower()
        assert list(ready["vaults"]) == EXAMPLE["vaults"]
        assert ready["ca_file"] == str(tmp_path / "state" / "ca.pem")
        trust = ssl.create_default_context(cafile=ready["ca_file"])
        for url in (f"{ready['authority']}{ready['tenant_id']}/discovery/v2.0/keys",):
            with urllib.request.urlopen(url, context=trust) as answer:  # noqa: S310 (our own URL)
                assert json.load(answer)["keys"]
        query = f"api-version=2018-02-01&resource={VAULT}"
        request = urllib.request.Request(  # noqa: S310 (the same)
            f"{ready['instance_metadata']}/metadata/identity/oauth2/token?{query}",
            headers={"Metadata": "true"},
        )
        with urllib.request.urlopen(request) as answer:  # noqa: S310 (the same)
            assert json.load(answer)["client_id"] == EXAMPLE["node_identities"][0]["client_id"]
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == ["ca.pem"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_process_exits_with_0_and_removes_its_directory_when_it_gets_a_signal(
    tmp_path: Path, number: signal.Signals
):
    with run_process(write_config(tmp_path)) as process:
        ready = read_ready(process)
        process.send_signal(number)
        _, errors = process.communicate()
        assert (process.returncode, errors) == (0, "")
        assert not Path(ready["ca_file"]).parent.exists()


def test_process_exits_with_0_when_its_parent_has_ended(tmp_path: Path):
    with run_process(write_config(tmp_path)) as process:
        read_ready(process)
        _, errors = process.communicate()  # closes its standard input
        assert (process.returncode, errors) == (0, "")


def test_process_is_ready_within_a_second_and_a_half_of_processor_time(tmp_path: Path):
    def measure() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before = measure()
    with run_process(
        write_config(tmp_path), COVERAGE_PROCESS_START="", COVERAGE_PROCESS_CONFIG=""
    ) as process:
        read_ready(process)
    assert measure() - before < 1.5


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "truncated"),
        ('{"tenant_ids": []}', "$.tenant_ids"),
        ('{"token_lifetime": 0}', "$.token_lifetime"),
        ('{"unknown": 1}', "unknown"),
        (
            '{"applications": [{"client_id": "a", "certificates": ["x"]}]}',
            "$.applications[0].certificates[0]",
        ),
    ],
)
def test_settings_are_refused_when_one_is_wrong(tmp_path: Path, content: str, problem: str):
    config = tmp_path / "azure.json"
    config.write_text(content)
    with pytest.raises(InputError) as refused:
        read_settings(config)
    assert str(config) in str(refused.value)
    assert problem in str(refused.value)


def test_process_ends_with_2_when_its_configuration_is_wrong(tmp_path: Path):
    config = tmp_path / "azure.json"
    config.write_text("{")
    with run_process(config) as process:
        output, errors = process.communicate()
    assert (process.returncode, output) == (2, "")
    assert str(config) in errors
    assert "truncated" in errors


def test_settings_are_refused_when_the_file_does_not_exist(tmp_path: Path):
    with pytest.raises(InputError, match="cannot be read"):
        read_settings(tmp_path / "missing.json")


def test_process_ends_with_1_and_the_reason_when_it_cannot_start(tmp_path: Path):
    file = tmp_path / "file"
    file.write_text("")
    with run_process(write_config(tmp_path, state_directory=str(file / "below"))) as process:
        output, errors = process.communicate()
    assert (process.returncode, output) == (1, "")
    assert errors.startswith("the local Azure failed: ")


def count_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_azure_starts_and_ends_quickly_and_leaves_nothing():
    descriptors, threads = count_descriptors(), threading.active_count()
    began = time.monotonic()
    for _ in range(3):
        with LocalAzure() as azure:
            assert azure.ca_file.exists()
        assert not azure.ca_file.exists()
        azure.close()
    assert time.monotonic() - began < 3
    assert count_descriptors() <= descriptors
    assert threading.active_count() <= threads


def test_azure_is_slow_and_throttles_as_its_settings_say(tmp_path: Path):
    config = write_config(
        tmp_path,
        latency={"resource_manager": 0.2},
        limits={"vault": {"requests": 1, "seconds": 60}, "entra": {"requests": 0, "seconds": 7}},
    )
    with LocalAzure(read_settings(config)) as azure:
        began = time.monotonic()
        send(azure, "GET", azure.resource_manager)
        assert time.monotonic() - began >= 0.2
        vault = azure.vault_url("kv-one")
        assert [send(azure, "GET", vault).status_code for _ in range(3)] == [404, 429, 429]
        answer = send(azure, "GET", azure.authority)
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")


def test_check_fails_when_azure_no_longer_runs():
    with LocalAzure() as azure:
        azure.check()
    with pytest.raises(ChainError, match="no longer runs"):
        azure.check()


def test_azure_tells_its_starter_when_it_cannot_start(tmp_path: Path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(OSError, match="file"):
        LocalAzure(AzureSettings(state_directory=str(file / "below"))).start()


def test_azure_serves_only_whom_its_authority_vouches_for(local_azure: LocalAzure, tmp_path: Path):
    other = LocalAzure(AzureSettings(state_directory=str(tmp_path)))
    with other, pytest.raises(ServiceRequestError, match="CERTIFICATE_VERIFY_FAILED"):
        send(other, "GET", local_azure.resource_manager)


def test_azure_knows_the_identities_that_its_settings_name(tmp_path: Path):
    config = write_config(
        tmp_path, identities=[{"client_id": "i", "object_id": "o", "system_assigned": True}]
    )
    with LocalAzure(read_settings(config)) as azure:
        identity = azure.data_plane.find_identity("I")
        assert identity is not None
        assert (identity.object_id, identity.resource_id) == ("o", azure.settings.resource_id)


class Broken(Service):
    """A service with a bug, whose error's text holds what the service was given."""

    name: ClassVar[str] = "broken"

    @override
    def routes(self) -> list[web.RouteDef]:
        return [web.get("/{given}", self._fail)]

    async def _fail(self, request: web.Request) -> web.Response:
        raise ValueError(request.match_info["given"])


def test_service_returns_500_and_logs_no_text_when_a_handler_has_a_bug(caplog: pytest.LogCaptureFixture):
    async def ask() -> tuple[int, str]:
        broken = Broken(faults=Faults(), requests=RequestLog())
        await broken.listen(None)
        async with ClientSession() as session, session.get(f"{broken.url}/sentinel") as answer:
            found = answer.status, await answer.text()
        await broken.close()
        return found

    status, body = asyncio.run(ask())
    assert status == 500
    assert "broken: unexpected ValueError" in caplog.text
    assert "sentinel" not in caplog.text + body


def test_azure_logs_and_shows_no_secret(local_azure: LocalAzure, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.DEBUG):
        for name in ("azure", "msal", "urllib3"):
            caplog.set_level(logging.CRITICAL, logger=name)  # the callers' own logs are not judged here
        client = Client(local_azure)
        token = client.ask().json()["access_token"]
        issued = local_azure.issue(str(uuid.uuid4()))
        url = f"{local_azure.vault_url()}/secrets/sentinel?api-version=7.6"
        send(local_azure, "PUT", url, json={"value": "sentinel-value"}, headers=bearer(local_azure, VAULT))
        send(local_azure, "GET", f"{local_azure.resource_manager}/x", headers=bearer(local_azure, ARM))
        client.form["client_assertion"] = "sentinel.assertion.text"
        refused = client.ask().text()
    shown = caplog.text + refused + repr((local_azure, local_azure.data_plane, local_azure.settings))
    for secret in (token, issued["client_secret"], "sentinel-value", "sentinel.assertion"):
        assert secret not in shown
