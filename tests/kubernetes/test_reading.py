"""Reading a cluster: the real lightkube over HTTPS against a small API server."""

from collections.abc import Iterator
from typing import Any

import pytest

from hcpcreds.errors import InputError, KubernetesRefusedError, KubernetesUnavailableError
from hcpcreds.kubernetes.reading import (
    EVENTS,
    HOSTED_CONTROL_PLANES,
    NAMESPACES,
    PODS,
    SECRET_PROVIDER_CLASSES,
    Cluster,
)
from hcpcreds.local.kubernetes.api import KubernetesApi


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesApi]:
    with KubernetesApi(tmp_path_factory.mktemp("kubernetes")) as server:
        server.put(*(make_pod(f"pod-{number:04}") for number in range(1001)))
        server.put(make_pod("other", namespace="elsewhere"))
        yield server


@pytest.fixture
def cluster(api: KubernetesApi, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig))
    with Cluster.open() as opened:
        yield opened
    api.rules = None
    api.faults.clear()


def make_pod(name: str, *, namespace: str = "hcpcreds") -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"newField": {"kept": True}}}


def test_list_returns_every_object_when_they_come_in_chunks(api: KubernetesApi, cluster: Cluster):
    api.requests.clear()
    pods = cluster.list(PODS, namespace=cluster.namespace)
    assert [pod["metadata"]["name"] for pod in pods] == [f"pod-{number:04}" for number in range(1001)]
    assert api.requests.count("kubernetes") == 3


def test_list_starts_again_without_chunks_when_the_rest_has_expired(api: KubernetesApi, cluster: Cluster):
    body = b'{"kind": "Status", "apiVersion": "v1", "code": 410, "reason": "Expired", "message": "too old"}'
    api.faults.add("kubernetes", status=410, body=body, times=1, headers={"Content-Type": "application/json"})
    assert len(cluster.list(PODS, namespace="hcpcreds")) == 1001


def test_list_selects_and_looks_into_every_namespace(cluster: Cluster):
    assert len(cluster.list(PODS, fields={"metadata.name": "other"})) == 1
    assert {each["metadata"]["name"] for each in cluster.list(NAMESPACES)} == {"hcpcreds", "elsewhere"}
    assert cluster.list(EVENTS) == []


def test_get_returns_the_object_as_it_is_or_none(cluster: Cluster):
    pod = cluster.get(PODS, "pod-0001", namespace="hcpcreds")
    assert pod is not None
    assert pod["spec"] == {"newField": {"kept": True}}, "also what no model knows"
    assert cluster.get(PODS, "absent", namespace="hcpcreds") is None
    assert cluster.get(NAMESPACES, "hcpcreds") is not None


def test_refusal_names_the_verb_and_the_resource_that_are_missing(api: KubernetesApi, cluster: Cluster):
    api.rules = []
    with pytest.raises(KubernetesRefusedError) as caught:
        cluster.list(SECRET_PROVIDER_CLASSES, namespace="hcpcreds")
    assert caught.value.status == 403
    assert "answered 403 to list: secretproviderclasses.secrets-store.csi.x-k8s.io is forbidden" in str(
        caught.value
    )
    assert caught.value.hint == (
        "It takes the verb list on secretproviderclasses in secrets-store.csi.x-k8s.io."
    )
    assert caught.value.__context__ is None, "its frames hold the answer"
    with pytest.raises(KubernetesRefusedError) as caught:
        cluster.get(PODS, "a", namespace="hcpcreds")
    assert caught.value.hint == "It takes the verb get on pods."


def test_kind_that_the_cluster_does_not_know_is_told(api: KubernetesApi, cluster: Cluster):
    api.unregister("hostedcontrolplanes")
    with pytest.raises(KubernetesRefusedError, match="CustomResourceDefinition of HostedControlPlane"):
        cluster.list(HOSTED_CONTROL_PLANES, namespace="hcpcreds")
    assert cluster.get(HOSTED_CONTROL_PLANES, "guest", namespace="hcpcreds") is None


@pytest.mark.parametrize(
    ("fault", "error", "problem"),
    [
        ({"status": 401}, KubernetesRefusedError, "answered 401 to list: This fault was injected"),
        ({"status": 429}, KubernetesUnavailableError, "answered 429 to list"),
        ({"status": 503, "body": b"<h1>no</h1>"}, KubernetesUnavailableError, "no Status of Kubernetes"),
        ({"status": 200, "body": b"<h1>hi</h1>"}, KubernetesUnavailableError, "could not be asked: "),
        ({"status": 200, "body": b"[1]"}, KubernetesUnavailableError, "could not be asked: "),
        ({"status": 200, "body": b'{"items": {"a": 1}}'}, KubernetesUnavailableError, "could not be asked: "),
        ({"drop": True}, KubernetesUnavailableError, "could not be asked: "),
    ],
    ids=["token", "overload", "proxy", "page", "JSON", "items", "cut off"],
)
def test_answer_that_is_not_usable_is_told(
    api: KubernetesApi, cluster: Cluster, fault: dict[str, Any], error: type[Exception], problem: str
):
    api.faults.add("kubernetes", **fault)
    with pytest.raises(error, match=problem) as caught:
        cluster.list(PODS, namespace="hcpcreds")
    assert caught.value.__context__ is None


def test_context_is_chosen_by_name(api: KubernetesApi, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig))
    with Cluster.open(context="local") as cluster:
        assert cluster.namespace == "hcpcreds"
    with pytest.raises(InputError, match="Context 'other' not found"):
        Cluster.open(context="other")
