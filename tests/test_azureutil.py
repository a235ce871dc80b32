import json

import pytest
from kr8s.asyncio.objects import Pod as Kr8sPod
from kubernetes.client import ApiClient
from lightkube.models.core_v1 import EnvVar, Volume, VolumeMount
from tests.manifests.examples import make_manifest

from hcpcreds import azureutil
from hcpcreds.hosted_cluster import parse_hosted_cluster

VOLUME = azureutil.create_volume_for_azure_secret_store_provider_class(
    "ingress-cert", "managed-azure-ingress"
)
MOUNT = azureutil.create_volume_mount_for_azure_secret_store_provider_class("ingress-cert")
KMS_MOUNT = azureutil.create_volume_mount_for_kms_azure_secret_store_provider_class("kms-cert")
ENV = azureutil.create_env_vars_for_azure_managed_identity("ingress-secret")

ARO = {"MANAGED_SERVICE": "ARO-HCP"}
MANAGED = {"azureAuthenticationConfig": {"azureAuthenticationConfigType": "ManagedIdentities"}}
WORKLOAD = {"azureAuthenticationConfig": {"azureAuthenticationConfigType": "WorkloadIdentities"}}


def test_volume_is_a_read_only_csi_volume_of_the_secret_provider_class():
    assert VOLUME == {
        "name": "ingress-cert",
        "csi": {
            "driver": "secrets-store.csi.k8s.io",
            "readOnly": True,
            "volumeAttributes": {"secretProviderClass": "managed-azure-ingress"},
        },
    }


def test_mounts_are_read_only_and_where_the_reference_document_says():
    assert MOUNT == {"name": "ingress-cert", "mountPath": "/mnt/certs", "readOnly": True}
    assert KMS_MOUNT == {"name": "kms-cert", "mountPath": "/mnt/kms", "readOnly": True}


def test_environment_names_the_mounted_file():
    assert ENV == [{"name": "MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH", "value": "/mnt/certs/ingress-secret"}]


def test_helpers_give_fresh_data_at_each_call():
    again = azureutil.create_volume_for_azure_secret_store_provider_class(
        "ingress-cert", "managed-azure-ingress"
    )
    again["csi"]["volumeAttributes"]["secretProviderClass"] = "other"
    assert VOLUME["csi"]["volumeAttributes"]["secretProviderClass"] == "managed-azure-ingress"


@pytest.mark.parametrize(
    ("data", "model"),
    [(VOLUME, "V1Volume"), (MOUNT, "V1VolumeMount"), (KMS_MOUNT, "V1VolumeMount"), (ENV[0], "V1EnvVar")],
)
def test_kubernetes_client_accepts_results_of_the_helpers(data, model):
    client = ApiClient()
    assert client.sanitize_for_serialization(data) == data
    assert client.sanitize_for_serialization(client.deserialize(json.dumps(data), model, None)) == data


@pytest.mark.parametrize(
    ("data", "model"), [(VOLUME, Volume), (MOUNT, VolumeMount), (KMS_MOUNT, VolumeMount), (ENV[0], EnvVar)]
)
def test_lightkube_accepts_results_of_the_helpers(data, model):
    assert model.from_dict(data).to_dict() == data


def test_kr8s_accepts_results_of_the_helpers():
    spec = {
        "volumes": [VOLUME],
        "containers": [{"name": "c", "volumeMounts": [MOUNT, KMS_MOUNT], "env": ENV}],
    }
    assert Kr8sPod({"metadata": {"name": "pod"}, "spec": spec}).to_dict()["spec"] == spec


@pytest.mark.parametrize("value", [None, "", "aro-hcp", "ARO-HCP ", " ARO-HCP", "ARO_HCP", "true"])
def test_is_aro_hcp_is_false_when_managed_service_is_anything_else(value):
    assert not azureutil.is_aro_hcp({} if value is None else {"MANAGED_SERVICE": value})


def test_is_aro_hcp_reads_the_environment_of_the_process(monkeypatch):
    monkeypatch.delenv("MANAGED_SERVICE", raising=False)
    assert not azureutil.is_aro_hcp()
    monkeypatch.setenv("MANAGED_SERVICE", "ARO-HCP")
    assert azureutil.is_aro_hcp()


@pytest.mark.parametrize("is_aro_hcp_by", [azureutil.is_aro_hcp_by_hcp, azureutil.is_aro_hcp_by_hc])
@pytest.mark.parametrize(
    ("platform", "without", "under_aro"),
    [
        ({"type": "Azure", "azure": MANAGED}, True, True),
        ({"type": "Azure", "azure": WORKLOAD}, False, False),
        ({"type": "Azure", "azure": {}}, False, False),
        ({"type": "Azure", "azure": "text"}, False, False),
        ({"type": "Azure", "azure": None}, False, True),
        ({"type": "Azure"}, False, True),
        ({"type": "AWS", "azure": MANAGED}, False, False),
        ({"type": "azure"}, False, False),
        ({}, False, False),
        (None, False, False),
    ],
)
def test_is_aro_hcp_by_cluster_asks_the_cluster_before_the_environment(
    is_aro_hcp_by, platform, without, under_aro
):
    cluster = {"spec": {"platform": platform}}
    assert is_aro_hcp_by(cluster, {}) is without
    assert is_aro_hcp_by(cluster, ARO) is under_aro


def test_is_aro_hcp_by_cluster_is_true_when_the_cluster_was_parsed():
    assert azureutil.is_aro_hcp_by_hc(parse_hosted_cluster(make_manifest()), {})
    assert azureutil.is_aro_hcp_by_hcp(make_manifest(), {})
    assert not azureutil.is_aro_hcp_by_hcp({}, ARO)


def test_key_vault_authorized_user_comes_from_the_environment(monkeypatch):
    assert azureutil.get_key_vault_authorized_user({}) == ""
    monkeypatch.setenv("ARO_HCP_KEY_VAULT_USER_CLIENT_ID", "some-id")
    assert azureutil.get_key_vault_authorized_user() == "some-id"
