"""`hcpcreds explain` on a real API server, as a user who has the ClusterRoles of deploy/explain alone."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from tests.cluster.api_server import ApiServer
from tests.cluster.crds import complete
from tests.cluster.pods import Object, Scene
from tests.cluster.test_explain import BROKEN, BROKEN_SIDECAR, ROLES, Explain, check_broken, read
from tests.cluster.users import make_user

from hcpcreds.cli.root import hcpcreds

OLD = {"older than the policy", "silence"}
"""What needs an object that is older than the test."""


@pytest.fixture(scope="module")
def kubeconfig(api_server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That of a service account with the roles that are shipped."""
    roles = yaml.safe_load_all(ROLES.read_text())
    return make_user(api_server, "explain", *roles, folder=tmp_path_factory.mktemp("explain"))


@pytest.fixture
def namespace() -> str:
    return f"clusters-{uuid.uuid4().hex[:12]}"


def put(api_server: ApiServer, scene: Scene) -> None:
    """Create the objects of a scene; the status of those that have one apart is written apart."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": scene.namespace}}
    api_server.apply(namespace)
    for item in scene.objects:
        if item["kind"] not in {"Pod", "Deployment"}:
            api_server.apply(complete(item) if item["kind"] == "HostedControlPlane" else item)
            continue
        metadata = {key: value for key, value in item["metadata"].items() if key != "creationTimestamp"}
        named = {key: item[key] for key in ("apiVersion", "kind")} | {"metadata": metadata}
        api_server.apply(named | {"spec": item["spec"]})
        if "status" in item:
            write_status(api_server, named | {"status": item["status"]})


def write_status(api_server: ApiServer, item: Object) -> None:
    with api_server.open_session() as session:
        answer = session.patch(
            f"{api_server.find_path(item)}/{item['metadata']['name']}/status",
            json=item,
            headers={"Content-Type": "application/merge-patch+json"},
            timeout=10,
        )
    assert answer.ok, answer.text


@pytest.fixture
def explain(api_server: ApiServer, kubeconfig: Path, namespace: str) -> Iterator[Explain]:
    used: list[Object] = []

    def run(scene: Scene, *arguments: str) -> Result:
        used.extend(scene.policies)
        put(api_server, scene)
        api_server.apply(*scene.policies)
        environment = {"KUBECONFIG": str(kubeconfig)}
        arguments = (*arguments, "--namespace", namespace, "--output", "json")
        return CliRunner(env=environment).invoke(hcpcreds, ["explain", *arguments])

    yield run
    api_server.delete(*used)


def make_scene(namespace: str, name: str, *, sidecar: bool = False) -> Scene:
    """A scene whose policies do not change the pod that is broken, unless it is about them."""
    labels = {"hcpcreds.io/component": "ingress-operator", "hcpcreds.io/credential": "keyless"}
    scene = Scene(namespace, sidecar=sidecar, labels=labels if sidecar else None)
    if "policy" not in name:
        scene.policies.clear()
    return scene


@pytest.mark.parametrize("name", sorted(BROKEN.keys() - OLD))
def test_explain_names_the_link_that_is_broken_on_a_real_api_server(
    api_server: ApiServer, explain: Explain, namespace: str, name: str
):
    if BROKEN[name][1] == "policy":
        path = f"{api_server.url}/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies"
        with api_server.open_session() as session:
            if not session.get(path, timeout=5).ok:
                pytest.skip("this API server does not know MutatingAdmissionPolicies")
    check_broken(explain, make_scene(namespace, name), BROKEN[name])


@pytest.mark.parametrize("name", BROKEN_SIDECAR)
def test_explain_names_the_link_of_a_keyless_pod_that_is_broken_on_a_real_api_server(
    explain: Explain, namespace: str, name: str
):
    check_broken(explain, make_scene(namespace, name, sidecar=True), BROKEN_SIDECAR[name])


def test_explain_finds_nothing_broken_on_a_real_api_server(explain: Explain, namespace: str):
    scene = Scene(namespace, labels={"hcpcreds.io/component": "ingress-operator"})
    result = explain(scene, f"pod/{scene.pod['metadata']['name']}")
    found = read(result)
    assert (found["broken"], result.exit_code) == (None, 0), json.dumps(found, indent=1)
    assert found["links"]["policy"]["what"] == "hcpcreds-components is in force"
    assert {link["state"] for link in found["links"].values()} == {"ok", "absent"}
    assert ", since 20" in found["links"]["version"]["what"]
