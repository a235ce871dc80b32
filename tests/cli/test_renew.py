"""`hcpcreds renew`: its output, its exit status, and the vaults afterwards."""

import base64
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme
from azure.keyvault.secrets import SecretClient
from click.testing import CliRunner, Result
from tests.local.clients import Caller, make_key

from hcpcreds import vault
from hcpcreds.cli.root import hcpcreds
from hcpcreds.dataplane import UserAssignedIdentityCredentials
from hcpcreds.dataplane.models import parse_model
from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.local.kubernetes.api import KubernetesApi

LONG_AGO = "2026-11-01T00:00:00Z"
OWN = "cccccccc-0000-0000-0000-000000000001"
ENVIRONMENT = {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": ""}
"""Names a proxy that is down; loopback needs none."""


class Region:
    """A local Azure with two vaults, and the command that renews in them."""

    def __init__(self, azure: LocalAzure, folder: Path) -> None:
        self.azure = azure
        self.own = folder / "own.json"
        self.own.write_text(json.dumps(azure.issue(OWN, private_key=make_key())))

    def open(self, name: str | None = None) -> SecretClient:
        return SecretClient(
            self.azure.vault_url(name),
            Caller(self.azure),
            verify_challenge_resource=False,
            connection_verify=str(self.azure.ca_file),
        )

    def store(self, number: int, *, due: bool, name: str | None = None, **fields: Any) -> str:
        """Store a credential; returns the name of its secret."""
        issued: dict[str, Any] = {
            **self.azure.issue(f"aaaaaaaa-0000-0000-0000-{number:012}", private_key=make_key()),
            **({"renew_after": LONG_AGO} if due else {}),
            **fields,
        }
        credentials = parse_model(msgspec.json.encode(issued), UserAssignedIdentityCredentials)
        with self.open(name) as client:
            return str(vault.store(client, credentials).name)

    def count_versions(self, secret: str, name: str | None = None) -> int:
        with self.open(name) as client:
            return len(list(client.list_properties_of_secret_versions(secret)))

    def run(
        self, *arguments: str, where: bool = True, environment: Mapping[str, str] | None = None
    ) -> Result:
        """Run the command in this process."""
        command = ["renew", *(self._place if where else []), *arguments]
        done = CliRunner().invoke(hcpcreds, command, env={**ENVIRONMENT, **(environment or {})})
        check_no_secret(done.output)
        return done

    @contextmanager
    def start(
        self, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> Iterator[subprocess.Popen[str]]:
        """Run the command in a process of its own."""
        process = subprocess.Popen(
            [sys.executable, "-m", "hcpcreds", "renew", *self._place, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **ENVIRONMENT, **(environment or {})},
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    @property
    def _place(self) -> list[str]:
        return [
            *("--vault", self.azure.vault_url()),
            *("--audience", self.azure.settings.data_plane_audience),
            *("--data-plane-host", "127.0.0.1"),
            *("--credential-file", str(self.own)),
            *("--ca-file", str(self.azure.ca_file)),
        ]


def check_no_secret(text: str) -> None:
    assert not re.search(r"eyJ|LS0tLS1|PRIVATE KEY", text), "a token, a certificate or a key"


@pytest.fixture
def region(make_azure: Callable[..., LocalAzure], tmp_path: Path) -> Region:
    return Region(make_azure(vaults=("east", "west")), tmp_path)


def test_renew_once_renews_only_what_is_due(region: Region):
    due, current = region.store(1, due=True), region.store(2, due=False)
    done = region.run("--once")
    assert (done.exit_code, done.stderr) == (0, "")
    assert re.match(r"127\.0\.0\.1:\d+: 2 credentials, 1 renewed, \d\.\d s\n", done.stdout)
    assert "next expiry in" in done.stdout
    assert (region.count_versions(due), region.count_versions(current)) == (2, 1)
    assert "2 credentials, none due" in region.run("--once").stdout


def test_renew_now_renews_only_the_named_secret_whatever_its_dates(region: Region):
    leaked, other, due = (region.store(number, due=number == 3) for number in (1, 2, 3))
    done = region.run("--now", leaked, "--now", leaked.upper())
    assert (done.exit_code, "1 credential, 1 renewed" in done.stdout) == (0, True), done.output
    assert [region.count_versions(each) for each in (leaked, other, due)] == [2, 1, 1]
    assert "revoke it then: hcpcreds rollout --watch --all-namespaces --vault https://" in done.stderr


def test_renew_now_exits_with_1_when_a_secret_does_not_exist(region: Region):
    leaked = region.store(1, due=False)
    done = region.run("--now", leaked, "--now", "absent")
    assert done.exit_code == 1
    assert region.count_versions(leaked) == 2, "the other is renewed all the same"
    assert "absent: not renewed, expiry unknown: secret absent in https://" in done.stderr
    assert "revoke" not in done.stderr


def test_renew_now_says_not_to_revoke_when_there_is_no_newer_certificate(
    make_azure: Callable[..., LocalAzure], tmp_path: Path
):
    region = Region(make_azure(renew_early=False), tmp_path)
    leaked = region.store(1, due=False)
    done = region.run("--now", leaked)
    assert (done.exit_code, region.count_versions(leaked)) == (1, 1)
    assert "1 unchanged" in done.stdout
    assert "returned the certificate that is stored, and may have no newer one before 20" in done.stderr
    assert "Do not revoke that one yet" in done.stderr


def test_renew_prints_a_line_of_json_for_each_vault_when_there_are_several(region: Region):
    east, west = region.store(1, due=True), region.store(2, due=True, name="west")
    done = region.run("--once", "--output", "json", "--vault", region.azure.vault_url("west"))
    walks = {walk["vault"]: walk for walk in map(json.loads, done.stdout.splitlines())}
    assert set(walks) == {region.azure.vault_url(), region.azure.vault_url("west")}
    (outcome,) = walks[region.azure.vault_url("west")]["outcomes"]
    assert (outcome["secret"], outcome["result"], outcome["reason"]) == (west, "renewed", None)
    assert 89 * 86400 < outcome["seconds_until_expiry"] < 91 * 86400
    assert all(walk["complete"] and walk["results"]["renewed"] == 1 for walk in walks.values())
    assert (region.count_versions(east), region.count_versions(west, "west")) == (2, 2)


def test_renew_changes_nothing_when_it_is_a_dry_run(region: Region):
    due, current = region.store(1, due=True), region.store(2, due=False)
    done = region.run("--dry-run")
    assert done.exit_code == 0
    assert re.search(f"due: {due}, expires in (89|90) days\n", done.stdout)
    assert current not in done.stdout
    assert current in region.run("--dry-run", "--before", "60d").stdout
    assert region.azure.requests.count("data_plane") == 0
    assert region.count_versions(due) == 1


def test_renew_reports_the_reason_and_the_time_left_when_a_renewal_fails(region: Region):
    lost, others = (
        region.store(0, due=True, client_secret_url=None),
        [region.store(n, due=True) for n in (1, 2)],
    )
    done = region.run("--once")
    assert done.exit_code == 1
    assert re.match(
        rf"{lost}: not renewed, expires in (89|90) days: secret {lost} in https://127\S+: it has no",
        done.stderr,
    )
    assert "Have a new credential issued for the identity" in done.stderr
    assert "3 credentials, 2 renewed, 1 failed" in done.stdout
    assert [region.count_versions(name) for name in (lost, *others)] == [1, 2, 2]


def test_renew_exits_with_1_when_a_walk_is_incomplete(region: Region):
    region.azure.directory.remove_application(OWN)
    done = region.run("--once")
    assert done.exit_code == 1
    assert "the walk is incomplete: vault https://127.0.0.1" in done.stderr
    assert "AADSTS" in done.stderr
    assert "INCOMPLETE" in done.stdout


def read_until(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    assert any(text in line for line in process.stdout)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_renew_finishes_renewals_in_progress_when_it_gets_a_signal(region: Region, number: signal.Signals):
    names = [region.store(n, due=True) for n in range(6)]
    fault = region.azure.faults.add("data_plane", method="GET", delay=1.0)
    with region.start("--interval", "1h", "--concurrency", "2") as process:
        while not fault.met:
            time.sleep(0.02)
        process.send_signal(number)
        out, err = process.communicate()
    assert process.returncode == 0
    assert "Stopping after the renewals in progress" in err
    assert "INCOMPLETE" in out
    check_no_secret(out + err)
    versions = [region.count_versions(name) for name in names]
    assert sorted(versions) == [1, 1, 1, 1, 2, 2]


@pytest.mark.measured_processes
def test_renew_stops_immediately_when_it_gets_a_second_signal(region: Region):
    name = region.store(1, due=True)
    fault = region.azure.faults.add("data_plane", method="GET", hang=True)
    with region.start("--once") as process:
        while not fault.met:
            time.sleep(0.02)
        process.terminate()
        assert process.stderr is not None
        assert "Stopping" in process.stderr.readline()
        process.terminate()
        _, err = process.communicate()
    assert (process.returncode, err) == (1, "")
    assert region.count_versions(name) == 1


@pytest.mark.measured_processes
def test_renew_repeats_walks_and_serves_metrics_when_given_an_interval(region: Region):
    region.store(1, due=True)
    with region.start("--interval", "0.2s", "--metrics-address", "127.0.0.1:0") as process:
        assert process.stderr is not None
        address = f"http://{process.stderr.readline().split()[-1]}/metrics"
        read_until(process, "1 renewed")
        later = region.store(2, due=True)
        read_until(process, "2 credentials, 1 renewed")
        with urllib.request.urlopen(address, timeout=10) as answer:
            page = answer.read().decode()
        process.terminate()
        process.communicate()
    assert process.returncode == 0
    assert re.search(
        rf'hcpcreds_credential_not_after_timestamp_seconds{{secret="{later}",vault="127\S+"}} 1\.\d+e\+09',
        page,
    )
    assert re.search(r'hcpcreds_renewals_total{result="renewed",vault="127\S+"} 2\.0', page)
    assert region.count_versions(later) == 2


def test_renew_is_not_ready_and_finishes_when_it_is_told_to_stop(region: Region, tmp_path: Path):
    ca = trustme.CA()
    issued = ca.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "tls.crt"))
    issued.private_key_pem.write_to_path(str(tmp_path / "tls.key"))
    tls = ssl.create_default_context()
    ca.configure_trust(tls)
    name = region.store(1, due=True)
    fault = region.azure.faults.add("data_plane", method="GET", delay=1.0)
    arguments = ["--interval", "1h", "--metrics-address", "127.0.0.1:0"]
    arguments += ["--tls-certificate", str(tmp_path / "tls.crt"), "--tls-key", str(tmp_path / "tls.key")]
    with region.start(*arguments) as process:
        assert process.stderr is not None
        address = f"https://{process.stderr.readline().split()[-1]}/readyz"
        with urllib.request.urlopen(address, context=tls, timeout=10) as answer:
            assert answer.read() == b"ok\n"
        while not fault.met:
            time.sleep(0.02)
        process.terminate()
        assert "Stopping" in process.stderr.readline()
        with pytest.raises(urllib.error.HTTPError, match="503") as refused:
            urllib.request.urlopen(address, context=tls, timeout=10)
        assert refused.value.read() == b"draining\n"
        refused.value.close()
        process.communicate()
    assert process.returncode == 0
    assert region.count_versions(name) == 2


def test_renew_uses_the_environments_credential_when_no_file_is_given(region: Region, tmp_path: Path):
    region.store(1, due=True)
    own = json.loads(region.own.read_text())
    pem = tmp_path / "own.pem"
    pem.write_bytes(base64.b64decode(own["client_secret"]))
    done = region.run(
        *("--once", "--vault", region.azure.vault_url(), "--ca-file", str(region.azure.ca_file)),
        *("--audience", region.azure.settings.data_plane_audience, "--data-plane-host", "127.0.0.1"),
        where=False,
        environment={
            "AZURE_AUTHORITY_HOST": region.azure.authority,
            "AZURE_TENANT_ID": own["tenant_id"],
            "AZURE_CLIENT_ID": own["client_id"],
            "AZURE_CLIENT_CERTIFICATE_PATH": str(pem),
        },
    )
    assert done.exit_code == 0, done.output
    assert "1 renewed" in done.stdout


@pytest.mark.timeout(120)
def test_renew_skips_a_vault_when_another_replica_holds_its_lease(region: Region, tmp_path: Path):
    region.store(1, due=True)
    share = ("--lease-namespace", "hcpcreds")
    with KubernetesApi(tmp_path) as api:
        cluster = {"KUBECONFIG": str(api.kubeconfig)}
        with region.start("--interval", "1h", *share, environment=cluster) as first:
            read_until(first, "1 renewed")
            later = region.store(2, due=True)
            second = region.run("--once", *share, environment=cluster)
            assert second.exit_code == 0
            assert "skipped, another replica holds its Lease" in second.stderr
            assert second.stdout == ""
            assert region.count_versions(later) == 1
            urgent = region.run("--now", later, *share, environment=cluster)
            assert (urgent.exit_code, region.count_versions(later)) == (0, 2), "an incident does not wait"
            later = region.store(3, due=True)
            first.terminate()
            first.communicate()
        assert "1 renewed" in region.run("--once", *share, environment=cluster).stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "either --once"),
        (["--once", "--now", "ingress"], "--interval or --now"),
        (["--now", "a_b"], "a_b: expected 1 to 127 of"),
        (["--now", "ingress", "--vault", "other"], "exactly one --vault"),
        (["--once", "--interval", "1h"], "either --once"),
        (["--interval", "0s"], "'--interval': must be greater than zero"),
        (["--interval", "soon"], "examples: 30s, 15m, 1.5h, 10d"),
        (["--interval", "367d"], "at most 366d"),
        (["--once", "--concurrency", "0"], "--concurrency"),
        (["--once", "--vault", "http://harbour.vault.azure.net"], "expected a vault's name"),
        (["--once", "--vault", "https://harbour.vault.azure.net/secrets"], "expected a vault's name"),
        (["--once", "--vault", "a_b"], "expected a vault's name"),
        (["--once", "--metrics-address", "nowhere"], "nowhere is not HOST:PORT"),
        (["--once", "--metrics-address", "192.0.2.1:9090"], "cannot listen on 192.0.2.1:9090"),
        (["--once", "--tls-key", "k"], "need --metrics-address"),
        (["--once", "--metrics-address", ":0", "--tls-key", "k"], "must be given together"),
        (["--once", "--metrics-address", ":0", "--tls-key", "k", "--tls-certificate", "c"], "No such file"),
        (["--once", "--local"], "--local cannot be combined with --vault, --audience"),
        (["--once", "--data-plane-host", "com"], "expected a host name"),
        (["--once", "--data-plane-host", "identity.azure.net:443"], "expected a host name"),
        (["--once", "--data-plane-host", "azure.net"], "anybody can have a host below it"),
    ],
)
def test_renew_exits_with_2_when_the_usage_is_wrong(region: Region, arguments: list[str], said: str):
    done = region.run(*arguments)
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stdout == ""
    assert region.azure.requests.count("vault") == 0


@pytest.mark.parametrize("missing", [["--vault", "harbour"], ["--audience", "https://identity.azure.net"]])
def test_renew_exits_with_2_when_vault_or_audience_is_missing(region: Region, missing: list[str]):
    done = region.run("--once", *missing, where=False)
    assert done.exit_code == 2
    assert "Give at least one --vault and the --audience" in done.stderr
