"""What `hcpcreds rollout` reads of a real API server, as a user with the ClusterRoles of deploy/rollout."""

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster.api_server import ApiServer
from tests.cluster.users import make_user
from tests.local.node_cluster import build_class, build_pod

from hcpcreds.cluster.rollout.facts import Use
from hcpcreds.cluster.rollout.pages import Target, open_pages
from hcpcreds.cluster.rollout.pods import VaultNames, read_uses
from hcpcreds.kubernetes.reading import Cluster

ROLES = Path(__file__).parents[2] / "deploy/rollout/cluster-role.yaml"


class Mounted:
    """A pod, and what the driver says of it."""

    def __init__(self, api_server: ApiServer, namespace: str) -> None:
        self.namespace = namespace
        self._server = api_server
        place = {"namespace": namespace}
        api_server.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        secret_class = build_class("class", {"objectName": "ingress"})
        pod = build_pod("pod", "class")
        pod["metadata"] = {"name": "pod", **place}
        pod["spec"]["containers"][0]["image"] = "registry.example/pod:1"
        api_server.apply({**secret_class, "metadata": {"name": "class", **place}}, pod)
        with api_server.open_session() as session:
            self._pod = session.get(f"{api_server.find_path(pod)}/pod", timeout=10).json()

    def publish(self, version: str) -> None:
        """Do what the driver does after each mount (utils.go): create, else update."""
        status: dict[str, Any] = {
            "apiVersion": "secrets-store.csi.x-k8s.io/v1",
            "kind": "SecretProviderClassPodStatus",
            "metadata": {
                "name": f"pod-{self.namespace}-class",
                "namespace": self.namespace,
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Pod", "name": "pod", "uid": self._pod["metadata"]["uid"]}
                ],
            },
            "status": {
                "podName": "pod",
                "secretProviderClassName": "class",
                "mounted": True,
                "objects": [{"id": "secret/ingress", "version": version}],
            },
        }
        path = f"{self._server.url}/apis/secrets-store.csi.x-k8s.io/v1/namespaces/{self.namespace}"
        path += "/secretproviderclasspodstatuses"
        with self._server.open_session() as session:
            if session.post(path, json=status, timeout=10).status_code == 201:
                return
            name = status["metadata"]["name"]
            stored = session.get(f"{path}/{name}", timeout=10).json()
            answer = session.put(f"{path}/{name}", json={**stored, "status": status["status"]}, timeout=10)
            assert answer.ok, answer.text


@pytest.fixture(scope="module")
def kubeconfig(api_server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That of a service account that may list, but not ask pods."""
    role, _ = yaml.safe_load_all(ROLES.read_text())
    return make_user(api_server, "rollout", role, folder=tmp_path_factory.mktemp("rollout"))


@pytest.fixture
def cluster(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    with Cluster.open() as opened:
        yield opened


@pytest.fixture
def mounted(api_server: ApiServer) -> Mounted:
    return Mounted(api_server, f"clusters-{uuid.uuid4().hex[:12]}")


def read(cluster: Cluster, mounted: Mounted) -> Use:
    vaults = VaultNames({"hcpcreds-local": "https://hcpcreds-local.example"})
    (found,) = read_uses(cluster, namespace=mounted.namespace, vaults=vaults, secrets=())
    return found.use


def test_mount_is_the_first_until_its_version_changes(cluster: Cluster, mounted: Mounted):
    assert read(cluster, mounted).is_waiting
    mounted.publish("v1")
    first = read(cluster, mounted)
    assert (first.secret, first.version, first.is_first) == ("ingress", "v1", True)
    assert first.changed_at is not None
    mounted.publish("v1")
    assert read(cluster, mounted) == first, "an update without a change is none"
    mounted.publish("v2")
    second = read(cluster, mounted)
    assert (second.version, second.is_first) == ("v2", False)
    assert second.changed_at is not None
    assert second.changed_at >= first.changed_at


def test_pod_cannot_be_asked_without_its_own_role(
    api_server: ApiServer, kubeconfig: Path, mounted: Mounted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    async def ask() -> str:
        async with open_pages(None) as read_page:
            return (await read_page(Target(mounted.namespace, "pod", "192.0.2.1", 9469))).problem

    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    refused = asyncio.run(ask())
    assert 'cannot get resource "pods/proxy"' in refused
    assert "It takes the verb get on pods/proxy." in refused
    roles = list(yaml.safe_load_all(ROLES.read_text()))
    monkeypatch.setenv("KUBECONFIG", str(make_user(api_server, "rollout-metrics", *roles, folder=tmp_path)))
    assert "pods/proxy" not in asyncio.run(ask()), "the pod has no address here, and the API server says that"
