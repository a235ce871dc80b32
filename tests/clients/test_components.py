"""Every row of the table, keyless: a Go program that chooses its credential as HyperShift's component does.

The rules stand in go/components.go, each with its source. A program is given the variables of its container,
as `inject --keyless` leaves them, and the object beside it, as `render --keyless` makes that. Its sidecar is
`hcpcreds serve` with the variables that `inject` gives it.
"""

import base64
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from tests.clients.clients import Client, run_client
from tests.endpoint.endpoints import ARM, VAULT, Identity
from tests.manifests.examples import KEY_VAULT_USER, TENANT, WITH_CLIENT_IDS, make_manifest
from tests.support.golang import MAY_BUILD, find_program
from tests.support.processes import start
from tests.support.waiting import wait_until

from hcpcreds.hosted_cluster import parse_hosted_cluster
from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.local.azure.faults import SeenRequest
from hcpcreds.local.azure.settings import AzureSettings
from hcpcreds.manifests.render import describe_keyless, render, render_guest
from hcpcreds.up.pods import ComponentPod, build_pods, read_environment

pytestmark = MAY_BUILD

RULES = {
    "azure-cloud-controller-manager": "cloud-provider",
    "azure-disk-csi-driver-controller": "cloud-provider",
    "azure-file-csi-driver-controller": "cloud-provider",
    "capi-provider": "capi-provider",
    "cloud-network-config-controller": "cloud-network-config-controller",
    "control-plane-operator": "control-plane-operator",
    "ingress-operator": "ingress-operator",
    "kube-apiserver": "kms",
}
REGISTRY = "cluster-image-registry-operator"
NEVER_WITH_KEY = {"control-plane-operator"}  # the calls of this program; others of it need the key
SCOPE, OTHER_SCOPE = f"{ARM}/.default", f"{VAULT}/.default"
MANIFEST = make_manifest(WITH_CLIENT_IDS)
CLUSTER = parse_hosted_cluster(MANIFEST)


def build(*, keyless: bool) -> dict[str, ComponentPod]:
    objects = render(CLUSTER, key_vault_user_client_id=KEY_VAULT_USER, keyless=keyless)
    source = json.dumps(MANIFEST).encode()
    pods = build_pods(CLUSTER, source, objects, key_vault_user_client_id=KEY_VAULT_USER, keyless=keyless)
    return {pod.name: pod for pod in pods}


class ControlPlane:
    """The pods of a control plane on this machine: the keys of all, and their programs."""

    def __init__(self, azure: LocalAzure, directory: Path) -> None:
        self.azure = azure
        self.pods, self.keyless = build(keyless=False), build(keyless=True)
        self.node = directory / "node"
        self.assertions = directory / "assertions"
        self.assertions.mkdir()
        self.seen: list[SeenRequest] = []
        azure.requests.observer = self.seen.append
        self.identities = {name: self._mount(pod) for name, pod in self.pods.items()}

    def _mount(self, pod: ComponentPod) -> Identity:
        key = self.root_of(pod) / pod.file.lstrip("/")
        identity = Identity(self.azure, key.parent, key.name, pod.identity.client_id)
        identity.rotate()
        return identity

    def root_of(self, pod: ComponentPod) -> Path:
        return self.node / pod.name

    @contextmanager
    def serve(self) -> Iterator[None]:
        """Run the sidecars for the length of a block: as one, for they differ only in the key."""
        told: list[tuple[str, dict[str, str]]] = []
        for name in RULES:
            [sidecar] = self.keyless[name].keyless_spec["initContainers"]  # type: ignore[index]
            assert sidecar["command"] == ["hcpcreds", "serve"]
            variables = read_environment(sidecar)
            key = self.root_of(self.pods[name]) / variables.pop("HCPCREDS_CREDENTIAL").lstrip("/")
            told.append((str(key), variables))
        [environment] = {tuple(sorted(variables.items())) for _, variables in told}
        variables = dict(environment) | {
            "HCPCREDS_CREDENTIAL": " ".join(key for key, _ in told),
            "HCPCREDS_ASSERTION_DIRECTORY": str(self.assertions),
            "HCPCREDS_METRICS_ADDRESS": "127.0.0.1:0",
            "HCPCREDS_AUTHORITY": self.azure.authority,
            "HCPCREDS_CA_FILE": str(self.azure.ca_file),
        }
        del variables["HCPCREDS_CLOUD"]  # which has another authority
        with start(sys.executable, "-m", "hcpcreds", "serve", env=variables):
            wait_until(lambda: len(list(self.assertions.iterdir())) == len(RULES), seconds=60)
            yield

    @contextmanager
    def run(self, pod: ComponentPod, rule: str, directory: Path, *, root: Path) -> Iterator[Client]:
        """Run the program of a pod for the length of a block.

        Args:
            pod: The pod.
            rule: How its program finds its credential.
            directory: Where the object beside it is put.
            root: The file system that the paths of keys lead into.
        """
        container = pod.keyless_spec["containers"][0] if pod.keyless_spec else pod.container
        environment = read_environment(container)
        if "AZURE_FEDERATED_TOKEN_FILE" in environment:
            file = Path(environment["AZURE_FEDERATED_TOKEN_FILE"])
            environment["AZURE_FEDERATED_TOKEN_FILE"] = str(self.assertions / file.name)
            environment["AZURE_AUTHORITY_HOST"] = self.azure.authority
        pod.write_configuration(directory)
        objects = [directory / path.lstrip("/") for path in pod.configuration]
        with run_client(
            "go", "-root", root, rule, *objects, ca_file=self.azure.ca_file, **environment
        ) as client:
            yield client


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    find_program(Path(__file__).with_name("go"))
    # Azure's SDKs count a token with less than five minutes left as none, so that each call asks for another.
    settings = AzureSettings(tenant_ids=(TENANT,), token_lifetime=4.0, refuse_replayed_assertions=False)
    with LocalAzure(settings) as azure:
        control_plane = ControlPlane(azure, tmp_path_factory.mktemp("control-plane"))
        with control_plane.serve():
            yield control_plane


def has_gone_over(program: Client, before: str, used: str) -> bool:
    return program.ask(SCOPE) == before and program.ask(OTHER_SCOPE, new=True) == used


@pytest.mark.parametrize("name", RULES)
def test_component_gets_every_token_through_three_rotations_when_it_is_keyless(
    name: str, control_plane: ControlPlane, tmp_path: Path
):
    pod, identity = control_plane.keyless[name], control_plane.identities[name]
    [used] = identity.certificates
    control_plane.seen.clear()
    with control_plane.run(pod, RULES[name], tmp_path, root=tmp_path) as program:
        assert program.ask(SCOPE) == used
        for _ in range(3):
            before, used = used, identity.rotate()
            # A credential keeps the assertion that it has read for ten minutes: that has to serve on.
            wait_until(partial(has_gone_over, program, before, used), seconds=30)
        assert program.login == "assertion"
    answered = [seen for seen in control_plane.seen if seen.certificate in identity.certificates]
    assert {seen.status for seen in answered} == {200}
    assert {seen.certificate for seen in answered if "azsdk-go" in seen.agent} == set(identity.certificates)


@pytest.mark.parametrize("name", [*sorted(RULES.keys() - NEVER_WITH_KEY), REGISTRY])
def test_component_logs_in_with_its_key_when_its_pod_is_not_keyless(
    name: str, control_plane: ControlPlane, tmp_path: Path
):
    pod, identity = control_plane.pods[name], control_plane.identities[name]
    with control_plane.run(pod, RULES.get(name, name), tmp_path, root=control_plane.root_of(pod)) as program:
        assert program.ask(SCOPE) in identity.certificates
        assert program.login == "key"


def test_image_registry_keeps_its_key_because_its_secret_names_another_identity(
    control_plane: ControlPlane, tmp_path: Path
):
    pod, identity = control_plane.keyless[REGISTRY], control_plane.identities[REGISTRY]
    assert pod.keyless_spec == pod.manifest["spec"]
    assert "which names the identity of the registry itself" in " ".join(describe_keyless(CLUSTER))
    # What its program would do without the path of the key: it sends any assertion as that other identity's.
    [secret] = render_guest(CLUSTER, components=[REGISTRY])
    other = base64.b64decode(secret["data"]["azure_client_id"]).decode()
    assert other != identity.client_id
    assertion = str(next(control_plane.assertions.iterdir()))
    secret["data"]["azure_federated_token_file"] = base64.b64encode(assertion.encode()).decode()
    file = tmp_path / "secret.json"
    file.write_text(json.dumps(secret))
    azure = control_plane.azure
    with run_client(
        "go", REGISTRY, file, ca_file=azure.ca_file, AZURE_AUTHORITY_HOST=azure.authority
    ) as program:
        told = program.fail(SCOPE)
    assert f"AADSTS700016: Application with identifier '{other}' was not found" in told
