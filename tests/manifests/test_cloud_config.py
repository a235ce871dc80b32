import json
from base64 import b64decode

import pytest
from hypothesis import given
from tests.manifests.examples import (
    AZURE,
    IDENTITIES,
    SUBSCRIPTION,
    TENANT,
    make_labels,
    make_manifest,
    manifests,
    probe,
)

from hcpcreds.hosted_cluster import parse_hosted_cluster
from hcpcreds.manifests import render

CLUSTER = parse_hosted_cluster(make_manifest())

CLOUD_PROVIDER = f"""{{
  "cloud": "AzurePublicCloud",
  "tenantId": "{TENANT}",
  "useManagedIdentityExtension": false,
  "useFederatedWorkloadIdentityExtension": false,
  "subscriptionId": "{SUBSCRIPTION}",
  "aadClientId": "",
  "aadClientSecret": "",
  "aadClientCertPath": "",
  "aadFederatedTokenFile": "",
  "aadMSIDataPlaneIdentityPath": "/mnt/certs/otter-ccm",
  "resourceGroup": "otter-rg",
  "location": "westeurope",
  "vnetName": "otter-vnet",
  "vnetResourceGroup": "net-rg",
  "subnetName": "otter-subnet",
  "securityGroupName": "otter-nsg",
  "securityGroupResourceGroup": "nsg-rg",
  "routeTableName": "",
  "cloudProviderBackoff": true,
  "cloudProviderBackoffDuration": 6,
  "useInstanceMetadata": false,
  "loadBalancerSku": "standard",
  "disableOutboundSNAT": true,
  "loadBalancerName": "otter-x1y2z",
  "clusterServiceLoadBalancerHealthProbeMode": "shared"
}}"""
NODE = (
    CLOUD_PROVIDER.replace('"useManagedIdentityExtension": false', '"useManagedIdentityExtension": true')
    .replace('"useInstanceMetadata": false', '"useInstanceMetadata": true')
    .replace("/mnt/certs/otter-ccm", "")
)
DISK = f"""{{
  "cloud": "AzurePublicCloud",
  "tenantId": "{TENANT}",
  "useManagedIdentityExtension": false,
  "useFederatedWorkloadIdentityExtension": false,
  "subscriptionId": "{SUBSCRIPTION}",
  "aadClientId": "",
  "aadClientSecret": "",
  "aadClientCertPath": "",
  "aadFederatedTokenFile": "",
  "aadMSIDataPlaneIdentityPath": "/mnt/certs/otter-disk",
  "resourceGroup": "otter-rg",
  "location": "westeurope",
  "vnetName": "otter-vnet",
  "vnetResourceGroup": "net-rg",
  "subnetName": "",
  "securityGroupName": "",
  "securityGroupResourceGroup": "",
  "routeTableName": "",
  "cloudProviderBackoff": false,
  "cloudProviderBackoffDuration": 0,
  "useInstanceMetadata": false,
  "loadBalancerSku": "",
  "disableOutboundSNAT": false,
  "loadBalancerName": "",
  "clusterServiceLoadBalancerHealthProbeMode": ""
}}"""
KMS = f"""{{
  "cloud": "AzurePublicCloud",
  "tenantId": "{TENANT}",
  "useManagedIdentityExtension": false,
  "useWorkloadIdentityExtension": false,
  "subscriptionId": "{SUBSCRIPTION}",
  "aadClientId": "",
  "aadClientCertPath": "",
  "aadMSIDataPlaneIdentityPath": "/mnt/certs/otter-kms",
  "resourceGroup": "otter-rg",
  "location": "westeurope",
  "vnetName": "",
  "vnetResourceGroup": "",
  "subnetName": "",
  "securityGroupName": "",
  "securityGroupResourceGroup": "",
  "routeTableName": "",
  "cloudProviderBackoff": true,
  "cloudProviderBackoffDuration": 6,
  "useInstanceMetadata": false,
  "loadBalancerSku": "standard",
  "disableOutboundSNAT": true,
  "loadBalancerName": "otter-x1y2z"
}}"""


def build(cluster, component, kind, **options):
    [built] = render(cluster, key_vault_user_client_id="", components=[component], kinds=[kind], **options)
    return built


def read(cluster, component, kind="Secret"):
    text = build(cluster, component, kind)["data"]["cloud.conf"]
    return text if kind == "ConfigMap" else b64decode(text).decode()


@pytest.mark.parametrize(
    ("name", "component", "text"),
    [
        ("azure-cloud-config", "cloud-controller-manager", CLOUD_PROVIDER),
        ("azure-disk-csi-config", "cluster-storage-operator-disk", DISK),
        (
            "azure-file-csi-config",
            "cluster-storage-operator-file",
            DISK.replace("otter-disk", "otter-file"),
        ),
        ("azure-kms-config", "kube-apiserver", KMS),
    ],
)
def test_secret_holds_the_config_to_the_byte(name, component, text):
    secret = build(CLUSTER, component, "Secret")
    assert b64decode(secret["data"]["cloud.conf"]).decode() == text
    assert secret == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "clusters-otter", "labels": make_labels(component)},
        "data": secret["data"],
    }
    elsewhere = build(CLUSTER, component, "Secret", namespace="elsewhere")
    assert elsewhere["metadata"]["namespace"] == "elsewhere"


def test_config_map_for_nodes_holds_the_config_to_the_byte():
    assert build(CLUSTER, "cloud-controller-manager", "ConfigMap") == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "azure-cloud-config",
            "namespace": "clusters-otter",
            "labels": make_labels("cloud-controller-manager"),
        },
        "data": {"cloud.conf": NODE},
    }


def test_optional_keys_come_last_when_they_are_set():
    identity = f"{IDENTITIES}/pull"
    registry = {"credentials": {"type": "ManagedIdentity", "managedIdentity": {"resourceID": identity}}}
    changes = {f"{AZURE}.containerRegistry": registry, **probe(path="/healthz", port="10256")}
    cluster = parse_hosted_cluster(make_manifest(changes))
    probes = """,
  "clusterServiceSharedLoadBalancerHealthProbePath": "/healthz",
  "clusterServiceSharedLoadBalancerHealthProbePort": 10256"""
    assert read(cluster, "cloud-controller-manager") == CLOUD_PROVIDER.removesuffix("\n}") + probes + "\n}"
    assert read(cluster, "cloud-controller-manager", "ConfigMap") == NODE.removesuffix("\n}") + (
        f'{probes},\n  "userAssignedIdentityID": "{identity}"\n}}'
    )


def test_probe_mode_is_the_annotations():
    cluster = parse_hosted_cluster(make_manifest(probe("servicenodeport", "/healthz", "80")))
    assert read(cluster, "cloud-controller-manager", "ConfigMap") == NODE.replace(
        '"shared"', '"servicenodeport"'
    )


def test_text_is_escaped_as_go_does():
    location = '<a>&\u2028\u2029\u00fc\U0001f9a6"\\/'
    cluster = parse_hosted_cluster(make_manifest({f"{AZURE}.location": location}))
    escaped = '\\u003ca\\u003e\\u0026\\u2028\\u2029\u00fc\U0001f9a6\\"\\\\/'
    assert read(cluster, "kube-apiserver") == KMS.replace("westeurope", escaped)


@given(manifests())
def test_config_of_any_cluster_is_json_that_reads_the_mounted_file(manifest):
    cluster = parse_hosted_cluster(manifest)
    text = read(cluster, "cloud-controller-manager")
    assert not set(text) & set("<>&\u2028\u2029")
    config = json.loads(text)
    assert config["location"] == cluster.location
    assert config["vnetName"] == cluster.vnet_name
    assert cluster.identities.cloud_provider is not None
    secret_name = cluster.identities.cloud_provider.credentials_secret_name
    assert config["aadMSIDataPlaneIdentityPath"] == f"/mnt/certs/{secret_name}"
    # Any of these would win over the mounted file in cloud-provider-azure.
    assert not config["useManagedIdentityExtension"]
    assert not config["useFederatedWorkloadIdentityExtension"]
    assert not config["aadClientSecret"]
    assert not config["aadClientCertPath"]
