"""The guard on a real API server, in the words that its users read."""

import json
import shutil
import subprocess

import pytest
from tests.cluster.crds import complete
from tests.manifests.examples import KEY_VAULT_USER, TENANT
from tests.manifests.policies.policy_examples import inject_into, make_control_plane, make_pod
from tests.support.waiting import wait_until

from hcpcreds.components import WORKLOADS
from hcpcreds.hosted_cluster import parse_hosted_cluster
from hcpcreds.manifests import render
from hcpcreds.manifests.policies import build_guard, build_policies

CONTROL_PLANE = complete(make_control_plane())
HOSTED = {"hypershift.openshift.io/hosted-control-plane": "true"}
GUARD = build_guard(key_vault_user_client_id=KEY_VAULT_USER)


def make_namespace(name, labels):
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


@pytest.fixture(scope="module")
def server(api_server):
    """The API server with the guard, once it honours all four policies."""
    api_server.apply(make_namespace("clusters-otter", HOSTED), CONTROL_PLANE)
    api_server.apply(make_namespace("warned", {"hcpcreds.io/guard": "warn"}))
    api_server.apply(*GUARD)
    wait_until(lambda: all(create(api_server, item) for item in BAD), seconds=30)
    yield api_server
    api_server.delete(*GUARD)


def make_class(namespace="clusters-otter", **parameters):
    cluster = parse_hosted_cluster(CONTROL_PLANE)
    made = render(cluster, key_vault_user_client_id=KEY_VAULT_USER)
    [item] = [each for each in made if each["metadata"]["name"] == "managed-azure-ingress"]
    item["metadata"]["namespace"] = namespace
    return {**item, "spec": {**item["spec"], "parameters": {**item["spec"]["parameters"], **parameters}}}


def create(server, item):
    """Return why the server refuses an object; the empty text if it does not."""
    answer = server.create(item, dry_run=True)
    if answer.ok:
        return ""
    message = answer.json()["message"]
    assert answer.status_code == 403, message
    return message.partition(" denied request: ")[2]


def is_refused(server, item, reason):
    return reason in server.create(item, dry_run=True).text


SECOND = complete(make_control_plane(name="badger"))
BAD = [
    make_pod("ingress-operator"),
    make_pod("cluster-network-operator"),
    make_class(keyvaultName="somebody-elses"),
    SECOND,
    make_class(namespace="default"),
]


def test_guard_tells_what_is_wrong(server):
    assert [create(server, item) for item in BAD] == [
        (
            "the pod is labelled hcpcreds.io/component=ingress-operator, but lacks: the volume ingress-cert "
            "(of the SecretProviderClass managed-azure-ingress); the mount of the volume ingress-cert at "
            "/mnt/certs in the container ingress-operator; the variable "
            "MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH in the container ingress-operator. Complete its "
            "manifest with hcpcreds inject; where a policy does that, find out why it did not: kubectl get "
            "mutatingadmissionpolicybindings."
        ),
        (
            "the HostedControlPlane otter has managed identities, and the pod lacks: the variable "
            "ARO_HCP_SECRET_PROVIDER_CLASS in the container cluster-network-operator; the variable "
            "MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH in the container cluster-network-operator. Complete its "
            "manifest with hcpcreds inject --hosted-cluster."
        ),
        "keyvaultName is not the vault of the HostedControlPlane otter; expected otter-vault",
        (
            "the namespace clusters-otter has the HostedControlPlane otter already: with two, nobody can "
            "tell whose credentials its pods get"
        ),
        (
            "userAssignedIdentityID or clientID is the identity that reads the credentials of all hosted "
            "control planes; only namespaces of hosted control planes may use it"
        ),
    ]


@pytest.mark.parametrize("keyless", [False, True])
@pytest.mark.parametrize("workload", WORKLOADS)
def test_guard_lets_a_pod_pass_that_inject_has_made(server, workload, keyless):
    pod = make_pod(workload, "keyless" if keyless else None)
    assert create(server, inject_into(pod, CONTROL_PLANE, keyless=keyless)) == ""


def test_guard_lets_the_classes_of_render_pass(server):
    made = render(parse_hosted_cluster(CONTROL_PLANE), key_vault_user_client_id=KEY_VAULT_USER)
    classes = [item for item in made if item["kind"] == "SecretProviderClass"]
    assert [create(server, item) for item in classes] == [""] * 9


def test_guard_lets_an_unchanged_class_be_labelled(server):
    wrong = make_class(tenantId=TENANT)
    server.delete(*GUARD)
    wait_until(lambda: not create(server, wrong), seconds=30)
    server.apply(wrong, *GUARD)
    wait_until(lambda: all(create(server, item) for item in BAD), seconds=30)
    server.apply({**wrong, "metadata": {**wrong["metadata"], "labels": {"seen": "true"}}})
    server.delete(wrong)


def test_guard_warns_where_the_namespace_says_so(server):
    pod = make_pod("ingress-operator")
    pod["metadata"]["namespace"] = "warned"
    answer = server.create(pod, dry_run=True)
    assert answer.ok
    assert "but lacks: the volume ingress-cert" in answer.headers["Warning"]


def test_other_pods_start_when_the_kind_of_the_parameters_is_not_known(api_server):
    policies = build_policies(key_vault_user_client_id=KEY_VAULT_USER, image="example")
    # As long as HyperShift's definitions are not there, or gone.
    text = (
        json.dumps(policies).replace('"HostedControlPlane"', '"Unknown"').replace('"hcpcreds-', '"unknown-')
    )
    unknown = json.loads(text)
    labelled = make_pod("ingress-operator")
    api_server.apply(make_namespace("clusters-otter", HOSTED), *unknown)
    try:
        wait_until(lambda: is_refused(api_server, labelled, "paramKind"), seconds=30)
        for namespace in ("clusters-otter", "kube-system"):
            for labels in ({}, {"app": "shop"}, {"hypershift.openshift.io/control-plane-component": "etcd"}):
                other = make_pod("shop", labels=labels)
                other["metadata"]["namespace"] = namespace
                answer = api_server.create(other, dry_run=True)
                assert answer.ok, answer.text
    finally:
        api_server.delete(*unknown)
        wait_until(lambda: not is_refused(api_server, labelled, "paramKind"), seconds=30)


def test_guard_speaks_through_kubectl(server):
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run(
        [kubectl, "--kubeconfig", server.kubeconfig, "apply", "--filename", "-"],
        input=json.dumps(make_pod("ingres-operator")),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error from server (Forbidden): error when creating ")
    assert "hcpcreds.io/component=ingres-operator, which is not a component of HyperShift" in done.stderr
