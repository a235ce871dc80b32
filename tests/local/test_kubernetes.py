"""The local API server over HTTPS, as any client sees it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from hcpcreds.local.kubernetes.api import KubernetesApi
from hcpcreds.local.kubernetes.kinds import Kind

PODS = "/api/v1/namespaces/hcpcreds/pods"
CLASSES = "/apis/secrets-store.csi.x-k8s.io/v1/namespaces/hcpcreds/secretproviderclasses"

Ask = Callable[..., tuple[int, Any]]
"""Method, path, and perhaps a body and a query: status and body of the answer."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesApi]:
    with KubernetesApi(tmp_path_factory.mktemp("kubernetes")) as api:
        yield api


@pytest.fixture
def api(server: KubernetesApi) -> Iterator[KubernetesApi]:
    yield server
    server.rules = None
    for plural in ("pods", "events", "secretproviderclasses"):
        server.find_all(plural).clear()


@pytest.fixture
def ask(api: KubernetesApi) -> Iterator[Ask]:
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(api.service_account / "ca.crt")
        session.headers["Authorization"] = f"Bearer {api.token}"

        def send(method: str, path: str, body: Any = None, **query: str) -> tuple[int, Any]:
            answer = session.request(method, api.url + path, json=body, params=query, timeout=10)
            status = answer.json()
            if not answer.ok:
                assert (status["kind"], status["status"], status["code"]) == (
                    "Status",
                    "Failure",
                    answer.status_code,
                )
            return answer.status_code, status

        yield send


def make_pod(name: str, **labels: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": {}}


def make_class(name: str, **metadata: str) -> dict[str, Any]:
    return {
        "apiVersion": "secrets-store.csi.x-k8s.io/v1",
        "kind": "SecretProviderClass",
        "metadata": {"name": name, **metadata},
        "spec": {"provider": "azure"},
    }


def name_items(answer: Any) -> str:
    return " ".join(item["metadata"]["name"] for item in answer["items"])


def test_object_is_created_read_updated_and_deleted(api: KubernetesApi, ask: Ask):
    status, created = ask("POST", CLASSES, make_class("ingress"))
    assert status == 201
    assert created["metadata"]["uid"]
    changed = created | {"spec": {"provider": "azure", "parameters": {"tenantId": "t"}}}
    _, updated = ask("PUT", f"{CLASSES}/ingress", changed)
    _, again = ask("PUT", f"{CLASSES}/ingress", updated)
    assert updated["spec"] == changed["spec"]
    assert again["metadata"]["resourceVersion"] == updated["metadata"]["resourceVersion"], "nothing to write"
    assert updated["metadata"]["resourceVersion"] != created["metadata"]["resourceVersion"]
    assert ask("GET", f"{CLASSES}/ingress") == (200, updated)
    status, refusal = ask("PUT", f"{CLASSES}/ingress", created)
    assert (status, refusal["reason"]) == (409, "Conflict")
    status, done = ask("DELETE", f"{CLASSES}/ingress")
    assert (status, done["status"]) == (200, "Success")
    status, refusal = ask("GET", f"{CLASSES}/ingress")
    assert (status, refusal["reason"], refusal["message"]) == (
        404,
        "NotFound",
        'secretproviderclasses.secrets-store.csi.x-k8s.io "ingress" not found',
    )
    assert api.find_all("secretproviderclasses") == {}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "problem"),
    [
        ("POST", CLASSES, make_class("ingress"), 409, '"ingress" already exists'),
        ("POST", CLASSES, make_class("Not_A_Name"), 422, "lowercase RFC 1123 subdomain"),
        ("POST", CLASSES, make_class("a", namespace="b"), 400, "namespace of the provided object does not"),
        ("POST", CLASSES, make_pod("a"), 400, "must be of type SecretProviderClass"),
        ("POST", CLASSES, {**make_class("a"), "metadata": None}, 422, "metadata.name: Required value"),
        ("POST", CLASSES, [1], 400, "Expected `object`, got `array`"),
        ("POST", CLASSES.replace("hcpcreds", "b"), make_class("a"), 404, 'namespaces "b" not found'),
        ("PUT", f"{CLASSES}/ingress", make_class("ingress"), 422, "must be specified for an update"),
        ("PUT", f"{CLASSES}/ingress", make_class("a"), 400, "does not match the name on the URL"),
        ("PUT", f"{CLASSES}/absent", make_class("absent"), 404, '"absent" not found'),
        ("DELETE", f"{CLASSES}/ingress", {"preconditions": {"uid": "b"}}, 409, "the uid in the precondition"),
        ("DELETE", "/api/v1/pods/a", None, 405, "does not allow this method"),
        ("GET", "/api/v1/namespaces/hcpcreds/nodes/a", None, 404, "could not find the requested resource"),
    ],
)
def test_request_that_an_api_server_refuses_is_refused(  # noqa: PLR0913, PLR0917 (the columns of the table)
    api: KubernetesApi, ask: Ask, method: str, path: str, body: Any, status: int, problem: str
):
    api.put(make_class("ingress"))
    answered, refusal = ask(method, path, body)
    assert answered == status
    assert problem in refusal["message"]
    assert list(api.find_all("secretproviderclasses")) == ["ingress"]


def test_pod_takes_an_update_without_a_version(api: KubernetesApi, ask: Ask):
    api.put(make_pod("a"))
    assert ask("PUT", f"{PODS}/a", make_pod("a", role="new"))[0] == 200
    assert api.find_all("pods")["a"]["metadata"]["labels"] == {"role": "new"}


def test_name_is_generated(ask: Ask):
    pod = make_pod("") | {"metadata": {"generateName": "pod-"}}
    names = [ask("POST", PODS, pod)[1]["metadata"]["name"] for _ in range(2)]
    assert all(name.startswith("pod-") for name in names)
    assert len(set(names)) == 2


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("", "a b c"),
        ("app=one", "a"),
        ("app==one,tier", "a"),
        ("app!=one", "b c"),
        ("app", "a b"),
        ("!app", "c"),
        ("app in (one, two)", "a b"),
        ("app notin (one)", "b c"),
        ("app notin (one, two)", "c"),
        ("app,tier!=x", "b"),
    ],
)
def test_list_selects_by_label(api: KubernetesApi, ask: Ask, selector: str, expected: str):
    api.put(make_pod("a", app="one", tier="x"), make_pod("b", app="two"), make_pod("c"))
    assert name_items(ask("GET", PODS, labelSelector=selector)[1]) == expected


def test_list_selects_by_the_fields_that_the_kind_has(api: KubernetesApi, ask: Ask):
    for name, pod in (("first", "a"), ("second", "b")):
        about = {"kind": "Pod", "name": pod, "namespace": "hcpcreds"}
        api.put({"apiVersion": "v1", "kind": "Event", "metadata": {"name": name}, "involvedObject": about})
    selector = "involvedObject.kind=Pod,involvedObject.name!=b"
    assert name_items(ask("GET", "/api/v1/events", fieldSelector=selector)[1]) == "first"
    status, refusal = ask("GET", CLASSES, fieldSelector="spec.provider=azure")
    assert (status, refusal["message"]) == (400, "field label not supported: spec.provider")
    assert ask("GET", PODS, fieldSelector="status.phase")[0] == 400
    assert ask("GET", PODS, labelSelector="a b")[0] == 400
    assert ask("GET", PODS, limit="many")[0] == 400
    assert ask("GET", PODS, watch="1")[0] == 405


def test_list_comes_in_pages_that_expire(api: KubernetesApi, ask: Ask):
    api.put(*(make_pod(f"pod-{number}") for number in range(5)))
    names: list[str] = []
    query: dict[str, str] = {}
    while True:
        page = ask("GET", PODS, limit="2", **query)[1]
        names.append(name_items(page))
        api.find_all("pods").pop("pod-4", None)
        if "continue" not in page["metadata"]:
            break
        query = {"continue": page["metadata"]["continue"]}
    assert names == ["pod-0 pod-1", "pod-2 pod-3", "pod-4"], "as they were at the first page"

    token = ask("GET", PODS, limit="2")[1]["metadata"]["continue"]
    api.expire_pages()
    status, refusal = ask("GET", PODS, limit="2", **{"continue": token})
    assert (status, refusal["reason"]) == (410, "Expired")


def test_items_of_a_list_name_their_kind_only_when_it_is_a_custom_one(api: KubernetesApi, ask: Ask):
    api.put(make_pod("a"), make_class("ingress"))
    assert "kind" not in ask("GET", PODS)[1]["items"][0]
    assert ask("GET", CLASSES)[1]["items"][0]["kind"] == "SecretProviderClass"


def test_user_may_do_only_what_the_rules_allow(api: KubernetesApi, ask: Ask):
    api.put(make_pod("a"), make_pod("b"))
    api.rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"], "resourceNames": ["a"]}]
    assert ask("GET", f"{PODS}/a")[0] == 200
    status, refusal = ask("GET", f"{PODS}/b")
    assert (status, refusal["reason"]) == (403, "Forbidden")
    assert ask("GET", PODS)[1]["message"] == (
        'pods is forbidden: User "system:serviceaccount:hcpcreds:default" cannot list resource "pods" '
        'in API group "" in the namespace "hcpcreds"'
    )
    assert ask("GET", CLASSES.replace("/namespaces/hcpcreds", ""))[1]["message"].endswith(
        'in API group "secrets-store.csi.x-k8s.io" at the cluster scope'
    )


def test_token_that_is_not_the_users_is_refused(api: KubernetesApi, ask: Ask):
    before, api.token = api.token, "another"
    assert ask("GET", PODS)[0] == 401
    api.token = before


def test_kind_is_served_once_it_is_registered(api: KubernetesApi, ask: Ask):
    path = "/apis/example.com/v1/namespaces/hcpcreds/wishes"
    assert ask("GET", path)[0] == 404
    api.register(Kind("example.com", "v1", "wishes", "Wish", custom=True))
    assert ask("GET", path)[1]["items"] == []
    api.unregister("wishes")
    assert ask("GET", path)[0] == 404
