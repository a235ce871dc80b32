import json
from base64 import b64decode

import pytest
from hypothesis import given
from tests.manifests.examples import (
    AZURE,
    REMOVED,
    SUBSCRIPTION,
    TENANT,
    make_labels,
    make_manifest,
    manifests,
    probe,
)

from hcpcreds.errors import InputError
from hcpcreds.hosted_cluster import parse_hosted_cluster
from hcpcreds.manifests import (
    build_cloud_provider_secret,
    build_disk_csi_secret,
    build_file_csi_secret,
    build_kms_secret,
    build_node_config_map,
)
from hcpcreds.manifests.cloud_config import (
    render_cloud_provider_config,
    render_kms_config,
    render_node_config,
)

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


@pytest.mark.parametrize(
    ("build", "name", "component", "text"),
    [
        (build_cloud_provider_secret, "azure-cloud-config", "cloud-controller-manager", CLOUD_PROVIDER),
        (build_disk_csi_secret, "azure-disk-csi-config", "cluster-storage-operator-disk", DISK),
        (
            build_file_csi_secret,
            "azure-file-csi-config",
            "cluster-storage-operator-file",
            DISK.replace("otter-disk", "otter-file"),
        ),
        (build_kms_secret, "azure-kms-config", "kube-apiserver", KMS),
    ],
)
def test_secret_holds_the_config_to_the_byte(build, name, component, text):
    secret = build(CLUSTER)
    assert b64decode(secret["data"]["cloud.conf"]).decode() == text
    assert secret == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "clusters-otter", "labels": make_labels(component)},
        "data": secret["data"],
    }
    assert build(CLUSTER, namespace="elsewhere")["metadata"]["namespace"] == "elsewhere"


def test_config_map_for_nodes_holds_the_config_to_the_byte():
    assert build_node_config_map(CLUSTER) == {
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
    identity = (
        "/subscriptions/s/resourceGroups/r/providers/Microsoft.ManagedIdentity/userAssignedIdentities/pull"
    )
    registry = {"credentials": {"managedIdentity": {"resourceID": identity}}}
    changes = {f"{AZURE}.containerRegistry": registry, **probe(path="/healthz", port="10256")}
    cluster = parse_hosted_cluster(make_manifest(changes))
    probes = """,
  "clusterServiceSharedLoadBalancerHealthProbePath": "/healthz",
  "clusterServiceSharedLoadBalancerHealthProbePort": 10256"""
    assert render_cloud_provider_config(cluster) == CLOUD_PROVIDER.removesuffix("\n}") + probes + "\n}"
    assert render_node_config(cluster) == NODE.removesuffix("\n}") + (
        f'{probes},\n  "userAssignedIdentityID": "{identity}"\n}}'
    )


def test_probe_mode_is_the_annotations():
    cluster = parse_hosted_cluster(make_manifest(probe("servicenodeport", "/healthz", "80")))
    assert render_node_config(cluster) == NODE.replace('"shared"', '"servicenodeport"')


def test_text_is_escaped_as_go_does():
    location = '<a>&\u2028\u2029\u00fc\U0001f9a6"\\/'
    cluster = parse_hosted_cluster(make_manifest({f"{AZURE}.location": location}))
    escaped = '\\u003ca\\u003e\\u0026\\u2028\\u2029\u00fc\U0001f9a6\\"\\\\/'
    assert render_kms_config(cluster) == KMS.replace("westeurope", escaped)


@given(manifests())
def test_config_of_any_cluster_is_json_that_reads_the_mounted_file(manifest):
    cluster = parse_hosted_cluster(manifest)
    text = render_cloud_provider_config(cluster)
    assert not set(text) & set("<>&\u2028\u2029")
    config = json.loads(text)
    assert config["location"] == cluster.location
    assert config["vnetName"] == cluster.vnet_name
    secret_name = cluster.identities.cloud_provider.credentials_secret_name
    assert config["aadMSIDataPlaneIdentityPath"] == f"/mnt/certs/{secret_name}"
    # Any of these would win over the mounted file in cloud-provider-azure.
    assert not config["useManagedIdentityExtension"]
    assert not config["useFederatedWorkloadIdentityExtension"]
    assert not config["aadClientSecret"]
    assert not config["aadClientCertPath"]


def test_kms_config_is_refused_when_the_cluster_does_not_use_kms():
    cluster = parse_hosted_cluster(make_manifest({"spec.secretEncryption": REMOVED}))
    with pytest.raises(InputError, match="azure-kms-config: the hosted cluster otter does not use KMS"):
        build_kms_secret(cluster)
