"""What a policy leaves alone: the user's own, and pods that it cannot complete."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.manifests.examples import AUTHENTICATION, CONTROL_PLANE, KEY_VAULT_USER, KMS, REMOVED, SELF_MANAGED
from tests.manifests.policies.api_server import ApiServer, start_api_server
from tests.manifests.policies.policy_examples import (
    POLICIES,
    inject_into,
    is_emptied,
    make_control_plane,
    make_pod,
    simplify,
)
from tests.support.golang import MAY_BUILD

from hcpcreds.components import WORKLOADS
from hcpcreds.errors import InputError
from hcpcreds.manifests.policies import build_policies

pytestmark = MAY_BUILD

CONTROL_PLANE_OBJECT = make_control_plane()
INGRESS = "managed-azure-ingress"
KEYLESS_NAMESPACE = {"hcpcreds.io/hypershift": "keyless"}
ALONE = {
    "azure-cloud-controller-manager",
    "azure-disk-csi-driver-controller",
    "azure-file-csi-driver-controller",
    "cloud-network-config-controller",
    "ingress-operator",
}
"""Workloads of HyperShift's that only need their pods changed."""
OPERANDS = ALONE - {"azure-cloud-controller-manager", "ingress-operator"}
"""Those of them that an operator deploys."""


def container(name: str = "ingress-operator", **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": "example", **fields}


def volume(name: str = "ingress-cert", **csi: Any) -> dict[str, Any]:
    source = {
        "driver": "secrets-store.csi.k8s.io",
        "readOnly": True,
        "volumeAttributes": {"secretProviderClass": INGRESS},
    }
    return {"name": name, "csi": {**source, **csi}}


def mount(**fields: Any) -> dict[str, Any]:
    return {"name": "ingress-cert", "mountPath": "/mnt/certs", "readOnly": True, **fields}


CONFLICTS: dict[str, dict[str, Any]] = {
    "volume of another kind": {"volumes": [{"name": "ingress-cert", "configMap": {"name": "certs"}}]},
    "volume without a source": {"volumes": [{"name": "ingress-cert"}]},
    "volume of another driver": {"volumes": [volume(driver="other.csi.k8s.io")]},
    "volume of another class": {"volumes": [volume(volumeAttributes={"secretProviderClass": "other"})]},
    "writable volume": {"volumes": [volume(readOnly=False)]},
    "path taken": {"containers": [container(volumeMounts=[mount(name="other")])]},
    "path taken, otherwise spelled": {
        "containers": [container(volumeMounts=[mount(name="other", mountPath="/mnt/./certs/")])]
    },
    "writable mount": {"containers": [container(volumeMounts=[mount(readOnly=False)])]},
    "mount of a file": {"containers": [container(volumeMounts=[mount(subPath="otter-ingress")])]},
    "mount of a file by a variable": {"containers": [container(volumeMounts=[mount(subPathExpr="$(A)")])]},
    "sidecar has the key": {
        "initContainers": [container("hcpcreds", volumeMounts=[mount()], restartPolicy="Always")]
    },
}
KEYLESS_CONFLICTS: dict[str, dict[str, Any]] = {
    "volume of the assertions is another": {"volumes": [{"name": "hcpcreds-assertion", "emptyDir": {}}]},
    "path of the assertions is taken": {
        "containers": [container(volumeMounts=[mount(name="other", mountPath="/var/run/hcpcreds")])]
    },
    "container has the sidecar's name": {"containers": [container(), container("hcpcreds")]},
    "init container has the sidecar's name": {"initContainers": [container("hcpcreds")]},
    "sidecar is for another credential": {
        "initContainers": [
            container(
                "hcpcreds",
                volumeMounts=[mount()],
                restartPolicy="Always",
                env=[{"name": "HCPCREDS_CREDENTIAL", "value": "/mnt/certs/other"}],
            )
        ]
    },
    "sidecar comes too late": {
        "initContainers": [
            container("early", volumeMounts=[mount()]),
            container(
                "hcpcreds",
                volumeMounts=[mount()],
                restartPolicy="Always",
                env=[{"name": "HCPCREDS_CREDENTIAL", "value": "/mnt/certs/otter-ingress"}],
            ),
        ]
    },
}


def assert_untouched(
    server: ApiServer, pod: dict[str, Any], *control_planes: dict[str, Any], **how: Any
) -> None:
    answer = server.create(pod, *control_planes, **how)
    assert answer.errors == ()
    assert simplify(answer.object) == simplify(pod)


@pytest.mark.parametrize("conflict", CONFLICTS)
def test_policy_leaves_a_pod_alone_that_inject_refuses(server, conflict):
    pod = make_pod("ingress-operator", **CONFLICTS[conflict])
    assert_untouched(server, pod, CONTROL_PLANE_OBJECT)
    with pytest.raises(InputError):
        inject_into(pod, CONTROL_PLANE_OBJECT)


@pytest.mark.parametrize("conflict", KEYLESS_CONFLICTS)
def test_policy_leaves_a_pod_alone_that_inject_refuses_to_make_keyless(server, conflict):
    pod = make_pod("ingress-operator", "keyless", **KEYLESS_CONFLICTS[conflict])
    assert_untouched(server, pod, CONTROL_PLANE_OBJECT)
    with pytest.raises(InputError):
        inject_into(pod, CONTROL_PLANE_OBJECT, keyless=True)


@pytest.mark.parametrize(
    "pod",
    [
        make_pod("ingress-operator", os={"name": "windows"}),
        make_pod("ingress-operator", nodeSelector={"kubernetes.io/os": "windows"}),
        make_pod("ingress-operator", annotations={"kubernetes.io/config.mirror": "abc"}),
        make_pod("ingress-operator", labels={}),
        make_pod("ingress-operator", labels={"hcpcreds.io/component": "ingress"}),
        make_pod("ingress-operator", "endpoint"),
        make_pod("ingress-operator", "paperless"),
        make_pod("ingress-operator", containers=[container("other")]),
        make_pod("ingress-operator", "keyless", containers=[container("other")]),
    ],
    ids=[
        "windows",
        "windows node",
        "mirror",
        "no label",
        "unknown",
        "endpoint",
        "way",
        "container",
        "keyless",
    ],
)
def test_policy_leaves_a_pod_alone_that_is_not_for_it(server, pod):
    assert_untouched(server, pod, CONTROL_PLANE_OBJECT)


@pytest.mark.parametrize("credential", [None, "keyless"])
@pytest.mark.parametrize(
    ("workload", "changes"),
    [
        ("ingress-operator", {"spec.capabilities": {"disabled": ["Ingress", "ImageRegistry"]}}),
        ("cluster-image-registry-operator", {f"{CONTROL_PLANE}.imageRegistry": REMOVED}),
        ("kube-apiserver", {"spec.secretEncryption": REMOVED}),
        ("kube-apiserver", {AUTHENTICATION: REMOVED, f"{KMS}.kms": REMOVED}),
        ("ingress-operator", {"spec.platform": {"type": "AWS"}}),
    ],
)
def test_policy_adds_nothing_for_a_component_that_the_cluster_does_not_have(
    server, workload, changes, credential
):
    assert_untouched(server, make_pod(workload, credential), make_control_plane(changes))


def test_policy_adds_nothing_when_there_is_no_hosted_control_plane(server):
    assert_untouched(server, make_pod("ingress-operator"))


def test_policy_adds_the_operators_own_credential_alone_when_etcd_is_not_encrypted_by_azure(server):
    control_plane = make_control_plane({"spec.secretEncryption": REMOVED})
    pod = make_pod("control-plane-operator")
    answer = server.create(pod, control_plane)
    assert simplify(answer.object) == simplify(inject_into(pod, control_plane))
    assert [each["name"] for each in answer.object["spec"]["volumes"]] == ["cpo-cert"]


def test_policy_leaves_a_keyless_pod_alone_when_its_identity_has_no_client_id(server):
    control_plane = make_control_plane({f"{CONTROL_PLANE}.ingress.clientID": REMOVED})
    assert_untouched(server, make_pod("ingress-operator", "keyless"), control_plane)
    assert "volumes" in server.create(make_pod("ingress-operator"), control_plane).object["spec"]


def test_policy_leaves_a_keyless_pod_alone_when_it_knows_no_image():
    policies = build_policies(key_vault_user_client_id=KEY_VAULT_USER)
    with start_api_server(policies) as server:
        assert server.problems == []
        assert_untouched(server, make_pod("ingress-operator", "keyless"), CONTROL_PLANE_OBJECT)
        assert "volumes" in server.create(make_pod("ingress-operator"), CONTROL_PLANE_OBJECT).object["spec"]


def test_policy_keeps_the_first_of_two_hosted_control_planes(server):
    other = make_control_plane({f"{CONTROL_PLANE}.ingress.credentialsSecretName": "stray"}, name="stray")
    for credential in (None, "keyless"):
        pod = make_pod("ingress-operator", credential)
        both = server.create(pod, CONTROL_PLANE_OBJECT, other)
        assert both.errors == ()
        assert both.object == server.create(pod, CONTROL_PLANE_OBJECT).object


def test_policy_keeps_the_users_own_values(server):
    env = [
        {"name": "MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH", "value": "/elsewhere"},
        {"name": "OWN", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]
    spec: dict[str, Any] = {
        "containers": [container(env=env, volumeMounts=[mount(name="own", mountPath="/own")])],
        "volumes": [
            {"name": "own", "configMap": {"name": "own", "defaultMode": 420}},
            {
                "name": "token",
                "projected": {"sources": [{"serviceAccountToken": {"expirationSeconds": 3607}}]},
            },
        ],
    }
    found = server.create(make_pod("ingress-operator", **spec), CONTROL_PLANE_OBJECT).object["spec"]
    assert found["containers"][0]["env"] == env
    assert [each["name"] for each in found["containers"][0]["volumeMounts"]] == ["own", "ingress-cert"]
    assert [each["name"] for each in found["volumes"]] == ["own", "token", "ingress-cert"]
    keyless = server.create(make_pod("ingress-operator", "keyless", **spec), CONTROL_PLANE_OBJECT).object[
        "spec"
    ]
    first, own, *others = keyless["containers"][0]["env"]
    assert is_emptied(first)
    assert own == env[1]
    assert {each["name"] for each in others} == {
        "AZURE_CLIENT_ID",
        "AZURE_TENANT_ID",
        "AZURE_FEDERATED_TOKEN_FILE",
        "AZURE_AUTHORITY_HOST",
    }


def make_hypershifts_own(workload: str, **spec: Any) -> dict[str, Any]:
    """A pod as HyperShift writes it: with the key, and with an init container of its own."""
    pod: dict[str, Any] = inject_into(make_pod(workload, **spec), CONTROL_PLANE_OBJECT)
    pod["metadata"]["labels"] = {"hypershift.openshift.io/control-plane-component": workload}
    if workload in OPERANDS:
        pod["metadata"]["labels"] = {"app": workload, "hypershift.openshift.io/hosted-control-plane": "a-b"}
    pod["spec"]["initContainers"] = [container("availability-prober")]
    return pod


@pytest.mark.parametrize("workload", WORKLOADS)
def test_policy_makes_hypershifts_own_pods_keyless_when_nothing_else_has_to_change(server, workload):
    pod = make_hypershifts_own(workload)
    assert_untouched(server, pod, CONTROL_PLANE_OBJECT)
    answer = server.create(pod, CONTROL_PLANE_OBJECT, labels=KEYLESS_NAMESPACE)
    assert answer.errors == ()
    if workload not in ALONE:
        assert simplify(answer.object) == simplify(pod)
        return
    asked = {
        **pod,
        "metadata": {**pod["metadata"], "labels": make_pod(workload, "keyless")["metadata"]["labels"]},
    }
    expected = inject_into(asked, CONTROL_PLANE_OBJECT, keyless=True)
    assert simplify(answer.object)["spec"] == simplify(expected)["spec"]
    sidecar, *_ = answer.object["spec"]["initContainers"]
    assert sidecar["name"] == "hcpcreds"
    main = answer.object["spec"]["containers"][0]
    [key] = {each["name"] for each in pod["spec"]["volumes"]}
    assert key not in [each["name"] for each in main["volumeMounts"]]
    assert key in [each["name"] for each in sidecar["volumeMounts"]]
    assert all(is_emptied(each) for each in main["env"] if each["name"].endswith("CREDENTIALS_PATH"))
    again = server.create(answer.object, CONTROL_PLANE_OBJECT, labels=KEYLESS_NAMESPACE)
    assert again.object == answer.object


@pytest.mark.parametrize(
    "changes",
    [SELF_MANAGED, {f"{CONTROL_PLANE}.ingress.clientID": REMOVED}],
    ids=["self-managed", "no client id"],
)
def test_policy_leaves_hypershifts_own_pods_their_key_when_they_could_not_do_without(server, changes):
    pod = make_hypershifts_own("ingress-operator")
    assert_untouched(server, pod, make_control_plane(changes), labels=KEYLESS_NAMESPACE)


def test_policy_leaves_hypershifts_own_pods_alone_when_they_have_another_identity(server):
    pod = make_hypershifts_own(
        "ingress-operator", containers=[container(env=[{"name": "AZURE_CLIENT_ID", "value": "own"}])]
    )
    assert_untouched(server, pod, CONTROL_PLANE_OBJECT, labels=KEYLESS_NAMESPACE)


_ENV: list[dict[str, Any]] = [
    {"name": "A", "value": "1"},
    {"name": "B"},
    {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    {"name": "HTTPS_PROXY", "value": "http://proxy:3128"},
    {"name": "NO_PROXY", "value": ".svc"},
    {"name": "AZURE_CLIENT_CERTIFICATE_PATH", "value": "/own"},
]
_env = st.lists(st.sampled_from(_ENV), max_size=3, unique_by=lambda entry: entry["name"])
_mounts = st.lists(
    st.sampled_from(
        [
            {"name": "own", "mountPath": "/own"},
            {"name": "own", "mountPath": "/mnt"},
            {"name": "own", "mountPath": "/a"},
        ]
    ),
    max_size=2,
    unique_by=lambda entry: entry["mountPath"],
)


@st.composite
def pods(draw: st.DrawFn) -> tuple[dict[str, Any], bool]:
    """A pod of the table with lists missing or full, and whether it asks to be keyless."""
    workload = draw(st.sampled_from(sorted(WORKLOADS)))
    keyless = draw(st.booleans())
    names = list(dict.fromkeys(name for _, pod in WORKLOADS[workload] for name in pod.containers))
    names += draw(st.lists(st.sampled_from(["proxy", "logs"]), unique=True))
    spec: dict[str, Any] = {"containers": []}
    for name in draw(st.permutations(names)):
        spec["containers"].append(container(name, env=draw(_env), volumeMounts=draw(_mounts)))
    if draw(st.booleans()):
        spec["initContainers"] = [container("init", env=draw(_env), volumeMounts=draw(_mounts))]
    if draw(st.booleans()):
        spec["volumes"] = [{"name": "own", "emptyDir": {}}]
    return make_pod(workload, "keyless" if keyless else None, **spec), keyless


@settings(max_examples=60)
@given(pods(), st.sampled_from([None, SELF_MANAGED]))
def test_policy_does_to_any_pod_what_inject_does(server, pod, changes):
    given_pod, keyless = pod
    control_plane = make_control_plane(changes)
    answer = server.create(given_pod, control_plane)
    assert answer.errors == ()
    expected = inject_into(given_pod, control_plane, keyless=keyless and changes is None)
    assert simplify(answer.object) == simplify(expected)
    assert server.create(answer.object, control_plane) == answer


def test_policies_with_parameters_select_pods_themselves():
    # Where nobody has defined the kind of the parameters, all that they select is refused.
    with_parameters = [policy for policy in POLICIES if "paramKind" in policy["spec"]]
    constraints = [
        policy["spec"]["matchConstraints"]
        for policy in with_parameters
        if policy["kind"] == "MutatingAdmissionPolicy"
    ]
    assert len(constraints) == 3
    assert all("objectSelector" in each for each in constraints)
