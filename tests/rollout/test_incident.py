"""The incident drill: a certificate leaks, and is revoked without a failed request (docs/rollout.md)."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CertificateCredential, WorkloadIdentityCredential
from prometheus_client import generate_latest
from tests.credential.files import wait_for_generation
from tests.endpoint.endpoints import RunningEndpoint, get_signer, running
from tests.local.clients import ARM, VAULT
from tests.rollout.fleet import Container, Fleet, MountedPod, serving_page
from tests.support.waiting import wait_until

from hcpcreds.endpoint.assertion_file import FileSettings
from hcpcreds.endpoint.metrics import build_registry

SIDECAR = {"HCPCREDS_ASSERTION_DIRECTORY": "/var/run/hcpcreds"}


class Keyless:
    """A pod with a sidecar that keeps assertions, and a program that sends them.

    Args:
        pod: The pod.
        directory: Where assertions are written.
    """

    def __init__(self, pod: MountedPod, directory: Path) -> None:
        self.pod = pod
        self.later = timedelta(0)
        """How long after now the sidecar is looked at."""
        self._directory = directory
        directory.mkdir()

    @contextmanager
    def run(self) -> Iterator[RunningEndpoint]:
        served = Served(self.pod)
        with running(served, files=FileSettings(directory=self._directory)) as sidecar:  # type: ignore[arg-type]
            registry = build_registry(sidecar.endpoint)
            with serving_page(lambda: generate_latest(registry), ahead=lambda: self.later) as port:
                self.pod.write(Container("hcpcreds", port=port, env=SIDECAR))
                wait_until(lambda: not sidecar.find_unready())
                yield sidecar

    def find_signer(self) -> str:
        """Find the certificate that signs the assertion."""
        header = self._file.read_bytes().partition(b".")[0]
        return base64.urlsafe_b64decode(
            json.loads(base64.urlsafe_b64decode(header + b"=="))["x5t#S256"] + "="
        ).hex()

    def get_token(self) -> str:
        """Get a token, as a program that has nothing in memory."""
        azure = self.pod.azure
        with WorkloadIdentityCredential(
            client_id=json.loads(self.pod.path.read_bytes())["client_id"],
            tenant_id=azure.tenant_id,
            authority=azure.authority,
            token_file_path=str(self._file),
            connection_verify=str(azure.ca_file),
        ) as credential:
            return credential.get_token(f"{VAULT}/.default").token

    @property
    def _file(self) -> Path:
        return self._directory / self.pod.secret


class Served:
    """A mounted credential, as `running` takes it."""

    def __init__(self, pod: MountedPod) -> None:
        self.azure, self.name, self.path = pod.azure, pod.secret, pod.path


def load_once(pod: MountedPod) -> CertificateCredential:
    """Load a credential as a program does that never looks at its file again."""
    content: dict[str, Any] = json.loads(pod.path.read_bytes())
    return CertificateCredential(
        content["tenant_id"],
        content["client_id"],
        certificate_data=base64.b64decode(content["client_secret"]),
        authority=pod.azure.authority,
        disable_instance_discovery=True,
        connection_verify=str(pod.azure.ca_file),
    )


def test_leaked_certificate_is_revoked_without_a_failure(fleet: Fleet, tmp_path: Path):
    leaked = fleet.store("drill", "eeeeeeee-0000-0000-0000-00000000d111")
    keyless = Keyless(fleet.add("keyless", "drill"), tmp_path / "assertions")
    library, silent, stuck = (fleet.add(name, "drill") for name in ("library", "silent", "stuck"))
    credential, port = fleet.use(library)
    library.write(Container(port=port))
    stuck.write(Container(port=fleet.use(stuck)[1]))
    program = load_once(silent)
    with keyless.run() as sidecar, program:
        assert get_signer(credential.get_token(f"{ARM}/.default").token) == leaked
        report = fleet.judge("drill")
        assert (report["done"], report["no_longer_used"]) == (True, []), "there is no other certificate yet"

        renewed = fleet.renew_now("drill")
        assert renewed.exit_code == 0, renewed.output
        assert set(fleet.list_states("drill").values()) == {"old"}, "nothing is mounted yet"
        for pod in (keyless.pod, library, silent):  # not the one whose driver does not rotate
            pod.poll()
        wait_for_generation(credential, 2)
        wait_until(lambda: keyless.find_signer() != leaked)
        wait_until(lambda: not sidecar.find_unready())
        assert fleet.list_states("drill") == {
            "keyless": "draining",  # programs may still send what they read before
            "library": "new",
            "silent": "unknown",  # it may have loaded the file at its start, and it has
            "stuck": "old",
        }
        keyless.later = timedelta(minutes=12)
        assert fleet.list_states("drill")["keyless"] == "new"
        assert fleet.judge("drill")["no_longer_used"] == []

        again = silent
        for pod in (silent, stuck):  # as rollout says: restarted
            fleet.remove(pod)
            again = fleet.add(f"{pod.name}-again", "drill")
        done = fleet.rollout("--watch", "--timeout", "20s", "drill")
        assert done.exit_code == 0, done.output
        assert f"drill: no pod uses the earlier certificate {leaked} any more" in done.stdout
        assert "It may be revoked" in done.stdout

        fleet.azure.directory.unregister(leaked)
        assert get_signer(credential.get_token(f"{VAULT}/.default").token) != leaked
        assert get_signer(keyless.get_token()) != leaked
        with load_once(again) as restarted:
            assert restarted.get_token(f"{ARM}/.default").token
        with pytest.raises(ClientAuthenticationError):
            program.get_token(f"{ARM}/.default")


def test_sidecar_is_old_while_it_signs_with_the_earlier_certificate(fleet: Fleet, tmp_path: Path):
    client = "eeeeeeee-0000-0000-0000-00000000d112"
    first = fleet.store("slow", client)
    keyless = Keyless(fleet.add("keyless", "slow"), tmp_path / "assertions")
    with keyless.run() as sidecar:
        application = fleet.azure.directory.find_application(client)
        assert application is not None
        second = fleet.store("slow", client)
        unknown = application.certificates.pop(second)  # Entra ID takes its time
        keyless.pod.poll()
        (served,) = sidecar.endpoint.served
        wait_for_generation(served.credential, 2)
        (row,) = fleet.judge("slow")["rows"]
        assert row["state"] == "old"
        assert f"hcpcreds still signs assertions with an earlier certificate, {first[:12]}" in row["reason"]
        assert row["in_use"] == [first]

        application.certificates[second] = unknown
        keyless.later = timedelta(minutes=12)
        wait_until(lambda: keyless.find_signer() == second)
        assert fleet.list_states("slow") == {"keyless": "new"}
