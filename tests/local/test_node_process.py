"""The small node as a process: what it prints, and how it ends."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.keyvault.secrets import SecretClient
from tests.local.node_cluster import NODE_IDENTITY, VAULT, build_class, build_pod, build_secret_client

from hcpcreds.errors import InputError
from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.local.node.node import read_config, run


class NodeProcess:
    """A running node, and the lines that it has printed."""

    def __init__(self, azure: LocalAzure, config: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hcpcreds.local.node.node", "--config", str(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "AZURE_POD_IDENTITY_AUTHORITY_HOST": azure.instance_metadata},
        )
        self._lines: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(json.loads(line))

    def wait_for(self, event: str) -> dict[str, Any]:
        while True:
            line = self._lines.get(timeout=10)
            if line["event"] == event:
                return line

    def end(self) -> tuple[int, str]:
        """Wait for its end; answer its exit status and what it said on standard error."""
        status = self.process.wait()
        assert self.process.stderr is not None
        return status, self.process.stderr.read().decode()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def secrets(local_azure: LocalAzure) -> Iterator[SecretClient]:
    local_azure.assign_to_node(NODE_IDENTITY)
    with build_secret_client(local_azure) as client:
        yield client


def write_config(azure: LocalAzure, folder: Path, *names: str, **changes: Any) -> Path:
    config = {
        "root": str(folder / "root"),
        "secret_provider_classes": [build_class(name, {"objectName": name}) for name in names],
        "pods": [build_pod(name, name) for name in names],
        "vault_urls": {VAULT: azure.vault_url()},
        "ca_file": str(azure.ca_file),
        "poll_interval": 0.05,
        **changes,
    }
    file = folder / "node.json"
    file.write_text(json.dumps(config))
    return file


@pytest.fixture
def start(local_azure: LocalAzure, tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    started: list[NodeProcess] = []

    def start_node(*names: str, **changes: Any) -> NodeProcess:
        started.append(NodeProcess(local_azure, write_config(local_azure, tmp_path, *names, **changes)))
        return started[-1]

    yield start_node
    for process in started:
        process.close()


def store(secrets: SecretClient, value: str, name: str | None = None) -> tuple[str, str]:
    name = name or f"s-{uuid.uuid4()}"
    return name, str(secrets.set_secret(name, value).properties.version)


@pytest.mark.measured_processes
def test_process_tells_when_each_version_became_visible(
    secrets: SecretClient, start: Callable[..., NodeProcess], tmp_path: Path
):
    name, version = store(secrets, "old")
    started_at = time.time()
    process = start(name)
    mounted = process.wait_for("mounted")
    assert started_at < mounted.pop("at") < time.time()
    assert mounted == {
        "event": "mounted",
        "namespace": "hcp",
        "pod": name,
        "volume": "cert",
        "secret_provider_class": name,
        "file": name,
        "version": version,
    }
    assert process.wait_for("ready") == {"event": "ready"}

    _, version = store(secrets, "new", name)
    stored_at = time.time()
    rotated = process.wait_for("rotated")
    assert (rotated["version"], rotated["file"]) == (version, name)
    file = tmp_path / "root" / "pods" / f"hcp_{name}" / "rootfs" / "mnt" / "certs" / name
    assert file.read_text() == "new"
    # Read before the rename: the link of the new directory cannot have been there later than that.
    data = tmp_path / "root" / "pods" / f"hcp_{name}" / "volumes" / "cert" / "..data"
    assert stored_at - 0.1 < rotated["at"] <= data.lstat().st_ctime + 0.01


@pytest.mark.measured_processes
def test_process_reports_a_failure_and_stays_ready_for_the_next_poll(
    secrets: SecretClient, start: Callable[..., NodeProcess]
):
    name = f"s-{uuid.uuid4()}"
    process = start(name)
    failed = process.wait_for("failed")
    assert (failed["pod"], failed["secret_provider_class"]) == (name, name)
    assert "SecretNotFound" in failed["reason"]
    process.wait_for("ready")
    _, version = store(secrets, "value", name)
    assert process.wait_for("mounted")["version"] == version


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_process_exits_with_0_when_it_gets_a_signal(
    secrets: SecretClient, start: Callable[..., NodeProcess], number: signal.Signals
):
    process = start(store(secrets, "value")[0])
    process.wait_for("ready")
    process.process.send_signal(number)
    assert process.end() == (0, "")


def test_process_ends_with_its_standard_input(secrets: SecretClient, start: Callable[..., NodeProcess]):
    process = start(store(secrets, "value")[0], poll_interval=3600)
    process.wait_for("ready")
    assert process.process.stdin is not None
    process.process.stdin.close()
    assert process.end() == (0, "")


def test_process_ends_at_once_when_a_vault_hangs(
    local_azure: LocalAzure, secrets: SecretClient, start: Callable[..., NodeProcess]
):
    name, _ = store(secrets, "value")
    process = start(name)
    process.wait_for("ready")
    hang = local_azure.faults.add("vault", hang=True, match=name)
    deadline = time.monotonic() + 10
    while not hang.met and time.monotonic() < deadline:
        time.sleep(0.01)
    began = time.monotonic()
    process.process.terminate()
    assert process.end() == (0, "")
    assert time.monotonic() - began < 2


def test_process_mounts_ten_volumes_in_well_under_two_seconds(
    secrets: SecretClient, start: Callable[..., NodeProcess]
):
    names = [store(secrets, "value")[0] for _ in range(10)]
    process = start(*names)
    first = process.wait_for("mounted")["at"]
    last = max(process.wait_for("mounted")["at"] for _ in names[1:])
    process.wait_for("ready")
    assert last - first < 2


def test_process_exits_when_nobody_reads_its_events(
    local_azure: LocalAzure, start: Callable[..., NodeProcess], tmp_path: Path
):
    start(f"s-{uuid.uuid4()}").wait_for(
        "ready"
    )  # writes the configuration, of a mount that fails at each poll
    with subprocess.Popen(
        [sys.executable, "-m", "hcpcreds.local.node.node", "--config", str(tmp_path / "node.json")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "AZURE_POD_IDENTITY_AUTHORITY_HOST": local_azure.instance_metadata},
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait() == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pods": 5}, "$.pods"),
        ({"poll_interval": 0}, "$.poll_interval"),
        ({"unknown": 1}, "unknown"),
        ({"pods": [{}]}, "Pod: [0]: Object missing required field `metadata`"),
        ({"secret_provider_classes": [{}]}, "SecretProviderClass: [0]"),
    ],
)
def test_configuration_is_refused_when_a_value_is_wrong(
    local_azure: LocalAzure, tmp_path: Path, changes: dict[str, Any], said: str
):
    with pytest.raises(InputError) as refused:
        run(read_config(write_config(local_azure, tmp_path, **changes)))
    assert said in str(refused.value)
    assert not (tmp_path / "root").exists()


def test_process_writes_nothing_when_its_configuration_is_wrong(
    start: Callable[..., NodeProcess], tmp_path: Path
):
    status, errors = start(pods=[{}]).end()
    assert status == 2
    assert "Pod: [0]: Object missing required field `metadata`" in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "root").exists()


def test_process_exits_with_2_when_there_is_no_configuration(local_azure: LocalAzure, tmp_path: Path):
    process = NodeProcess(local_azure, tmp_path / "absent.json")
    try:
        status, errors = process.end()
    finally:
        process.close()
    assert status == 2
    assert "absent.json" in errors
    assert "Traceback" not in errors
