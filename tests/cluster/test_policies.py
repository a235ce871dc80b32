"""The policies on a real API server: a row of the table for each test, compared with what `inject` makes."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.cluster.api_server import ApiServer
from tests.cluster.crds import complete
from tests.manifests.policies.policy_examples import (
    POLICIES,
    inject_into,
    make_control_plane,
    make_pod,
    simplify,
)
from tests.support.waiting import wait_until

from hcpcreds.components import WORKLOADS

CONTROL_PLANE = complete(make_control_plane())
NAMESPACE = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {"name": CONTROL_PLANE["metadata"]["namespace"]},
}
ROWS = [(workload, credential) for workload in WORKLOADS for credential in ("", "keyless")]


@pytest.fixture(scope="module")
def expected(api_server: ApiServer) -> dict[tuple[str, str], dict[str, Any]]:
    """What the server makes, with its own defaults and no policy, of the pods that `inject` has made."""
    api_server.apply(NAMESPACE, CONTROL_PLANE)
    return {
        row: create(api_server, inject_into(make(row), CONTROL_PLANE, keyless=bool(row[1]))) for row in ROWS
    }


@pytest.fixture(scope="module")
def server(api_server: ApiServer, expected: dict[tuple[str, str], dict[str, Any]]) -> Iterator[ApiServer]:
    """The API server with the policies, once it honours them."""
    assert expected, "found without the policies"
    api_server.apply(*POLICIES)
    for pod in (make_pod("ingress-operator"), make_pod("ingress-operator", "keyless")):
        wait_until(lambda pod=pod: is_injected(api_server, pod), seconds=30)  # type: ignore[misc]
    yield api_server
    api_server.delete(*POLICIES)


def is_injected(server: ApiServer, pod: dict[str, Any]) -> bool:
    answer = server.create(pod, dry_run=True)  # the guard may be there before the others, and refuse it
    return answer.ok and "volumes" in answer.json()["spec"]


def make(row: tuple[str, str]) -> dict[str, Any]:
    workload, credential = row
    return make_pod(workload, credential or None)


def create(server: ApiServer, pod: dict[str, Any]) -> dict[str, Any]:
    """Ask what the server makes of a pod; without what is different each time."""
    answer = server.create(pod, dry_run=True)
    assert answer.ok, answer.text
    admitted: dict[str, Any] = answer.json()
    kept = {key: admitted["metadata"][key] for key in ("name", "labels") if key in admitted["metadata"]}
    return {**admitted, "metadata": kept}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(filter(None, row)))
def test_admitted_pod_equals_what_inject_makes(server, expected, row):
    admitted = create(server, make(row))
    assert simplify(admitted) == simplify(expected[row])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(filter(None, row)))
def test_complete_pod_is_admitted_unchanged(server, expected, row):
    complete = inject_into(make(row), CONTROL_PLANE, keyless=bool(row[1]))
    assert simplify(create(server, complete)) == simplify(expected[row])


def test_pod_without_a_label_is_admitted_unchanged_when_its_name_is_a_components(server):
    admitted = create(server, make_pod("ingress-operator", labels={}))
    assert "volumes" not in admitted["spec"]


def test_pod_starts_unchanged_when_its_namespace_has_no_hosted_control_plane(server):
    pod = make_pod("ingress-operator")
    pod["metadata"]["namespace"] = "default"
    assert "volumes" not in create(server, pod)["spec"]
