"""HyperShift's own components, each made keyless by `inject`."""

import pytest
from tests.manifests.check_examples import codes
from tests.manifests.examples import CONTROL_PLANE, KEY_VAULT_USER, KMS, SELF_MANAGED, make_manifest
from tests.manifests.inject_examples import get_pod_spec, make_workload

from hcpcreds.components import WORKLOADS
from hcpcreds.errors import InputError
from hcpcreds.hosted_cluster import parse_hosted_cluster
from hcpcreds.manifests.inject import InjectOptions, Sidecar, inject
from hcpcreds.manifests.inject.plan import make_plans

CLIENT_ID = "cccccccc-0000-4000-8000-0000000000aa"
FIELDS = (
    "controlPlaneOperator",
    "nodePoolManagement",
    "cloudProvider",
    "ingress",
    "network",
    "imageRegistry",
    "disk",
    "file",
)
MANIFEST = make_manifest(
    {f"{CONTROL_PLANE}.{field}.clientID": CLIENT_ID for field in FIELDS} | {f"{KMS}.kms.clientID": CLIENT_ID}
)
CLUSTER = parse_hosted_cluster(MANIFEST)
SIDECAR = Sidecar(image="registry.example/hcpcreds:1")
PLAIN = InjectOptions(cluster=CLUSTER, key_vault_user_client_id=KEY_VAULT_USER)
OPTIONS = InjectOptions(cluster=CLUSTER, key_vault_user_client_id=KEY_VAULT_USER, sidecar=SIDECAR)
PATHS = {"MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH", "ARO_HCP_CLIENT_CREDENTIALS_PATH"}
CAN = {
    "azure-cloud-controller-manager",
    "azure-disk-csi-driver-controller",
    "azure-file-csi-driver-controller",
    "capi-provider",
    "cloud-network-config-controller",
    "control-plane-operator",
    "ingress-operator",
    "kube-apiserver",
}
KEEPS_MOUNT = {"control-plane-operator"}


def make(name):
    containers = {container for _, pod in WORKLOADS[name] for container in pod.containers}
    return make_workload(name=name, containers=[{"name": each} for each in sorted(containers)])


def plan(workload, options=OPTIONS):
    [[found]] = make_plans([workload], options, where="x")
    return found


def refuse(workload, options):
    with pytest.raises(InputError) as caught:
        inject(workload, options)
    return str(caught.value)


@pytest.mark.parametrize("name", sorted(CAN))
@pytest.mark.parametrize("is_plain_first", [False, True])
def test_component_is_given_assertions_and_no_key(name, is_plain_first):
    workload = inject(make(name), PLAIN) if is_plain_first else make(name)
    once = inject(workload, OPTIONS)
    assert inject(once, OPTIONS) == once
    spec = get_pod_spec(once)
    [sidecar] = spec["initContainers"]
    key = sidecar["volumeMounts"][0]
    for container in spec["containers"]:
        env = {each["name"]: each["value"] for each in container["env"]}
        assert env["AZURE_CLIENT_ID"] == CLIENT_ID
        assert env["AZURE_TENANT_ID"] == CLUSTER.tenant_id
        assert env["AZURE_FEDERATED_TOKEN_FILE"].startswith("/var/run/hcpcreds/otter-")
        assert not PATHS & env.keys()
        assert (key in container["volumeMounts"]) == (name in KEEPS_MOUNT)
    credential = {each["name"]: each["value"] for each in sidecar["env"]}["HCPCREDS_CREDENTIAL"]
    assert credential.startswith(f"{key['mountPath']}/otter-")


@pytest.mark.parametrize("name", sorted(set(WORKLOADS) - CAN))
def test_workload_that_has_no_key_or_keeps_it_is_injected_as_ever(name):
    assert inject(make(name), OPTIONS) == inject(make(name), PLAIN)


def test_reason_is_told_when_a_component_keeps_its_key():
    assert "installer-cloud-credentials" in str(plan(make("cluster-image-registry-operator")).remark)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("capi-provider", "AzureClusterIdentity of type WorkloadIdentity"),
        ("kube-apiserver", "azure-kms-config"),
        ("ingress-operator", "None"),
    ],
)
def test_object_that_a_component_needs_beside_is_told(name, expected):
    assert expected in str(plan(make(name)).remark)


@pytest.mark.parametrize("name", sorted(CAN))
def test_check_finds_nothing_more_in_a_keyless_component(name):
    expected = codes(MANIFEST, inject(make(name), PLAIN))
    assert set(codes(MANIFEST, inject(make(name), OPTIONS))) <= set(expected)


def test_kms_credential_of_the_operator_stays_mounted():
    spec = get_pod_spec(inject(make("control-plane-operator"), OPTIONS))
    assert {mount["name"] for mount in spec["containers"][0]["volumeMounts"]} == {
        "cpo-cert",
        "kms-cert",
        "hcpcreds-assertion",
    }
    assert "kms-cert" not in {mount["name"] for mount in spec["initContainers"][0]["volumeMounts"]}


def test_client_id_has_to_be_given_when_the_cluster_does_not_name_it():
    cluster = parse_hosted_cluster(make_manifest())
    workload = make("ingress-operator")
    assert "its programs need: client id" in refuse(workload, InjectOptions(cluster=cluster, sidecar=SIDECAR))
    sidecar = Sidecar(image="x", client_id=CLIENT_ID)
    injected = inject(workload, InjectOptions(cluster=cluster, sidecar=sidecar))
    assert {"name": "AZURE_CLIENT_ID", "value": CLIENT_ID} in get_pod_spec(injected)["containers"][0]["env"]


def test_client_id_given_for_several_workloads_is_refused():
    options = InjectOptions(cluster=CLUSTER, sidecar=Sidecar(image="x", client_id=CLIENT_ID))
    with pytest.raises(InputError, match="one component for several workloads"):
        make_plans([make("ingress-operator"), make("capi-provider")], options, where="x")


def test_name_of_the_secret_and_the_ids_stand_for_the_hosted_cluster():
    sidecar = Sidecar(image="x", client_id=CLIENT_ID, tenant_id=CLUSTER.tenant_id)
    options = InjectOptions(credentials_secret_name="mine", sidecar=sidecar)
    [container] = get_pod_spec(inject(make("ingress-operator"), options))["containers"]
    assert {"name": "AZURE_FEDERATED_TOKEN_FILE", "value": "/var/run/hcpcreds/mine"} in container["env"]


def test_cluster_with_workload_identities_has_no_key_to_take_away():
    cluster = parse_hosted_cluster(make_manifest(SELF_MANAGED))
    workload = make("ingress-operator")
    assert inject(workload, InjectOptions(cluster=cluster, sidecar=SIDECAR)) == inject(
        workload, InjectOptions(cluster=cluster)
    )
