"""Clusters with workload identities: what is rendered and injected instead of mounted credentials.

Expected values are those of HyperShift's own fixtures and code for self-managed Azure.
"""

import json
from base64 import b64decode
from typing import Any

import pytest
from hypothesis import given, settings
from tests.manifests.examples import (
    AUTHENTICATION,
    AZURE,
    CLIENT_ID,
    IDENTITIES,
    KMS,
    REMOVED,
    SELF_MANAGED,
    SUBSCRIPTION,
    TENANT,
    WITH_WORKLOAD_IDENTITIES,
    make_manifest,
    self_managed_manifests,
)
from tests.manifests.inject_examples import make_workload

from hcpcreds import azureutil
from hcpcreds.components import WORKLOADS
from hcpcreds.errors import InputError
from hcpcreds.hosted_cluster import parse_hosted_cluster
from hcpcreds.manifests import (
    ContainerAdditions,
    InjectOptions,
    PodAdditions,
    build_pod_additions,
    check,
    inject,
    render,
)
from hcpcreds.manifests.render import render_guest

CLUSTER = parse_hosted_cluster(make_manifest(SELF_MANAGED))
TOKEN_DIRECTORY = "/var/run/secrets/openshift/serviceaccount"
TOKEN = f"{TOKEN_DIRECTORY}/token"


def names(objects):
    return [f"{item['kind']}/{item['metadata']['name']}" for item in objects]


def read(kind, name, cluster=CLUSTER):
    [item] = [
        item
        for item in render(cluster, key_vault_user_client_id="", kinds=[kind])
        if item["metadata"]["name"] == name
    ]
    return item


def read_config(kind, name, cluster=CLUSTER):
    text = read(kind, name, cluster)["data"]["cloud.conf"]
    return json.loads(text if kind == "ConfigMap" else b64decode(text))


def decode(data):
    return {key: b64decode(value).decode() for key, value in data.items()}


def test_render_gives_no_secret_provider_class_and_needs_no_vault_user_when_self_managed():
    assert names(render(CLUSTER, key_vault_user_client_id="")) == [
        "Secret/azure-cloud-config",
        "Secret/azure-ingress-credentials",
        "Secret/azure-image-registry-credentials",
        "Secret/cloud-network-config-controller-creds",
        "Secret/azure-disk-csi-config",
        "Secret/azure-file-csi-config",
        "Secret/azure-kms-config",
        "ConfigMap/azure-cloud-config",
        "AzureClusterIdentity/otter",
    ]


def test_render_says_that_there_is_no_secret_provider_class_when_self_managed():
    with pytest.raises(InputError, match="hosted cluster otter: no object of kind SecretProviderClass"):
        render(CLUSTER, key_vault_user_client_id="", kinds=["SecretProviderClass"])


@pytest.mark.parametrize("kind", ["Secret", "ConfigMap"])
def test_cloud_provider_config_names_the_token_when_self_managed(kind):
    config = read_config(kind, "azure-cloud-config")
    assert config["useFederatedWorkloadIdentityExtension"] is True
    assert config["useManagedIdentityExtension"] is False
    assert config["useInstanceMetadata"] is True
    assert config["aadClientId"] == f"{CLIENT_ID}3"
    assert config["aadFederatedTokenFile"] == TOKEN
    assert config["aadMSIDataPlaneIdentityPath"] == ""
    assert config["loadBalancerName"] == "otter-x1y2z"


def test_node_config_names_the_identity_of_the_registry_when_self_managed():
    identity = f"{IDENTITIES}/pull"
    registry = {"credentials": {"type": "ManagedIdentity", "managedIdentity": {"resourceID": identity}}}
    cluster = parse_hosted_cluster(make_manifest({**SELF_MANAGED, f"{AZURE}.containerRegistry": registry}))
    assert read_config("ConfigMap", "azure-cloud-config", cluster)["userAssignedIdentityID"] == identity


@pytest.mark.parametrize(("driver", "client_id"), [("disk", f"{CLIENT_ID}7"), ("file", f"{CLIENT_ID}8")])
def test_csi_config_names_the_token_when_self_managed(driver, client_id):
    config = read_config("Secret", f"azure-{driver}-csi-config")
    assert config["useFederatedWorkloadIdentityExtension"] is True
    assert (config["aadClientId"], config["aadFederatedTokenFile"]) == (client_id, TOKEN)
    assert config["aadMSIDataPlaneIdentityPath"] == ""


def test_kms_config_leaves_the_identity_to_the_environment_when_self_managed():
    config = read_config("Secret", "azure-kms-config")
    assert config["useWorkloadIdentityExtension"] is True
    assert (config["aadClientId"], config["aadMSIDataPlaneIdentityPath"]) == ("", "")


@pytest.mark.parametrize("cloud", ["AzurePublicCloud", "AzureBleuCloud"])
def test_azure_cluster_identity_is_a_workload_identity_in_any_cloud_when_self_managed(cloud):
    cluster = parse_hosted_cluster(make_manifest({**SELF_MANAGED, f"{AZURE}.cloud": cloud}))
    assert read("AzureClusterIdentity", "otter", cluster)["spec"] == {
        "type": "WorkloadIdentity",
        "clientID": f"{CLIENT_ID}2",
        "tenantID": TENANT,
        "allowedNamespaces": {"list": ["clusters-otter"]},
    }


@pytest.mark.parametrize(
    ("name", "client_id"),
    [
        ("azure-ingress-credentials", f"{CLIENT_ID}4"),
        ("cloud-network-config-controller-creds", f"{CLIENT_ID}5"),
        ("azure-image-registry-credentials", f"{CLIENT_ID}6"),
    ],
)
def test_credentials_secret_names_the_workload_identity_when_self_managed(name, client_id):
    assert decode(read("Secret", name)["data"]) == {
        "azure_client_id": client_id,
        "azure_federated_token_file": TOKEN,
        "azure_region": "westeurope",
        "azure_resource_prefix": "otter-otter-x1y2z",
        "azure_resourcegroup": "otter-rg",
        "azure_subscription_id": SUBSCRIPTION,
        "azure_tenant_id": TENANT,
    }


@pytest.mark.parametrize(
    ("capability", "missing"),
    [("Ingress", "azure-ingress-credentials"), ("ImageRegistry", "azure-image-registry-credentials")],
)
def test_credentials_secret_is_left_out_when_its_capability_is_disabled(capability, missing):
    changes = {**SELF_MANAGED, "spec.capabilities": {"disabled": [capability, "Console"]}}
    objects = render(parse_hosted_cluster(make_manifest(changes)), key_vault_user_client_id="")
    everything = render(CLUSTER, key_vault_user_client_id="")
    assert set(names(everything)) - set(names(objects)) == {f"Secret/{missing}"}


def test_guest_secrets_name_the_workload_identities_when_self_managed():
    client_ids = [decode(item["data"])["azure_client_id"] for item in render_guest(CLUSTER)]
    assert client_ids == [f"{CLIENT_ID}{number}" for number in (4, 6, 7, 8)]


def token(volume_name="cloud-token", medium="Memory"):
    return {"name": volume_name, "emptyDir": {"medium": medium} if medium else {}}


def container(volume_name="cloud-token", client_id=None, **mount: Any):
    env: list[Any] = []
    if client_id:
        env = [
            {"name": "AZURE_CLIENT_ID", "value": client_id},
            {"name": "AZURE_TENANT_ID", "value": TENANT},
            {"name": "AZURE_FEDERATED_TOKEN_FILE", "value": TOKEN},
        ]
    mounts: list[Any] = [{"name": volume_name, "mountPath": TOKEN_DIRECTORY, **mount}]
    return ContainerAdditions(mounts, env)


KMS_CONTAINER = container("azure-kms-cloud-token", f"{CLIENT_ID}9", readOnly=True)
EXPECTED = {
    "control-plane-operator": PodAdditions(
        [token()], {"control-plane-operator": container(client_id=f"{CLIENT_ID}1")}
    ),
    "hosted-cluster-config-operator": PodAdditions(),
    "capi-provider": PodAdditions([token()], {"manager": container(client_id=f"{CLIENT_ID}2")}),
    "azure-cloud-controller-manager": PodAdditions([token()], {"cloud-controller-manager": container()}),
    "ingress-operator": PodAdditions([token()], {"ingress-operator": container()}),
    "cluster-image-registry-operator": PodAdditions(
        [token()], {"cluster-image-registry-operator": container()}
    ),
    "cluster-network-operator": PodAdditions(),
    "cloud-network-config-controller": PodAdditions(
        [token(medium=None)], {"controller": container(readOnly=True)}
    ),
    "cluster-storage-operator": PodAdditions(),
    "azure-disk-csi-driver-controller": PodAdditions(
        [token("bound-sa-token")], {"csi-driver": container("bound-sa-token", readOnly=True)}
    ),
    "azure-file-csi-driver-controller": PodAdditions(
        [token("bound-sa-token")], {"csi-driver": container("bound-sa-token", readOnly=True)}
    ),
    "kube-apiserver": PodAdditions(
        [token("azure-kms-cloud-token")],
        {"azure-kms-provider-active": KMS_CONTAINER, "azure-kms-provider-backup": KMS_CONTAINER},
    ),
}


@pytest.mark.parametrize("workload", WORKLOADS)
def test_workload_gets_its_token_as_from_hypershift_when_self_managed(workload):
    assert build_pod_additions(CLUSTER, workload) == EXPECTED[workload]


def test_operator_gets_nothing_when_it_has_no_workload_identity():
    changes = {**SELF_MANAGED, f"{AUTHENTICATION}.workloadIdentities.controlPlaneOperator": REMOVED}
    cluster = parse_hosted_cluster(make_manifest(changes))
    assert build_pod_additions(cluster, "control-plane-operator") == PodAdditions()


def test_one_kms_container_gets_the_token_when_no_key_rotates():
    cluster = parse_hosted_cluster(make_manifest({**SELF_MANAGED, f"{KMS}.backupKey": REMOVED}))
    assert list(build_pod_additions(cluster, "kube-apiserver").containers) == ["azure-kms-provider-active"]


def test_mounted_kms_identity_is_refused_when_there_is_no_vault_to_mount_it_from():
    cluster = parse_hosted_cluster(make_manifest(WITH_WORKLOAD_IDENTITIES))
    with pytest.raises(InputError) as caught:
        render(cluster, key_vault_user_client_id=CLIENT_ID + "0", components=["kube-apiserver"])
    assert str(caught.value) == (
        "kube-apiserver: the hosted cluster otter has no managedIdentitiesKeyVault, which would hold it. "
        "With WorkloadIdentities, give the KMS identity as kms.azure.workloadIdentity."
    )


OPTIONS = InjectOptions(cluster=CLUSTER)


def test_inject_adds_token_volume_mount_and_variables_when_self_managed():
    injected = inject(make_workload(name="capi-provider", containers=[{"name": "manager"}]), OPTIONS)
    spec = injected["spec"]["template"]["spec"]
    assert spec["volumes"] == [token()]
    [manager] = spec["containers"]
    assert manager == {
        "name": "manager",
        "volumeMounts": container().volume_mounts,
        "env": container(client_id=f"{CLIENT_ID}2").env,
    }
    assert inject(injected, OPTIONS) == injected


@pytest.mark.parametrize(
    "source",
    [
        {"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
        {"emptyDir": {}},
        {},
    ],
    ids=["projected", "emptyDir on disk", "nothing"],
)
def test_inject_leaves_a_token_volume_as_it_is_when_it_can_hold_a_token(source):
    volume = {"name": "cloud-token", **source}
    injected = inject(make_workload(volumes=[volume]), OPTIONS)
    assert injected["spec"]["template"]["spec"]["volumes"] == [volume]


def test_inject_refuses_a_volume_of_the_tokens_name_when_it_is_another():
    workload = make_workload(volumes=[{"name": "cloud-token", "secret": {"secretName": "x"}}])
    with pytest.raises(
        InputError, match=r"the volume 'cloud-token' is another \(secret\), expected an emptyDir"
    ):
        inject(workload, OPTIONS)


def test_inject_leaves_a_token_mount_as_it_is_when_it_is_read_only():
    mount = {"name": "cloud-token", "mountPath": TOKEN_DIRECTORY, "readOnly": True}
    workload = make_workload(containers=[{"name": "ingress-operator", "volumeMounts": [mount]}])
    injected = inject(workload, OPTIONS)
    assert injected["spec"]["template"]["spec"]["containers"] == [
        {"name": "ingress-operator", "volumeMounts": [mount]}
    ]


@settings(max_examples=25, deadline=None)
@given(self_managed_manifests())
def test_any_self_managed_cluster_is_rendered_and_injected_without_a_finding(manifest):
    cluster = parse_hosted_cluster(manifest)
    assert not azureutil.is_aro_hcp_by_hc(cluster)
    objects = render(cluster, key_vault_user_client_id="")
    assert {item["kind"] for item in objects} == {"Secret", "ConfigMap", "AzureClusterIdentity"}
    workloads = []
    for name, rows in WORKLOADS.items():
        containers = dict.fromkeys(container for _, row in rows for container in row.containers)
        workload = make_workload(name=name, containers=[{"name": container} for container in containers])
        workload["metadata"]["namespace"] = cluster.control_plane_namespace
        injected = inject(workload, InjectOptions(cluster=cluster))
        assert inject(injected, InjectOptions(cluster=cluster)) == injected
        workloads.append(injected)
    assert check([manifest, *objects, *workloads]) == []
