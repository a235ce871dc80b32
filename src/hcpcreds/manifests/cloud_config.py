"""Cloud configs: the files in which Azure's cloud provider and its CSI drivers find their credential.

Rendered to the byte as HyperShift's Go code marshals them. Source: openshift/hypershift,
control-plane-operator/.../cloud_controller_manager/azure/config.go, .../storage/azure.go, and
hypershift-operator/.../platform/azure/azure.go for the KMS form.
"""

from base64 import b64encode
from typing import Any, Final, TypedDict

import msgspec

from hcpcreds.constants import MANAGED_AZURE_CERTIFICATE_PATH
from hcpcreds.errors import InputError
from hcpcreds.hosted_cluster import HostedCluster, ManagedIdentity
from hcpcreds.manifests.metadata import ObjectMeta

CLOUD_CONFIG_KEY: Final = "cloud.conf"
CLOUD_CONFIG_NAME: Final = "azure-cloud-config"
DISK_CSI_CONFIG_NAME: Final = "azure-disk-csi-config"
FILE_CSI_CONFIG_NAME: Final = "azure-file-csi-config"
KMS_CONFIG_NAME: Final = "azure-kms-config"


class Secret(TypedDict):
    """A Secret (core/v1).

    The content stands in ``data``, as the API server keeps it and HyperShift writes it. In ``stringData``,
    which the API server never returns, kubectl apply could not take a key away again.
    """

    apiVersion: str
    kind: str
    metadata: ObjectMeta
    data: dict[str, str]


class ConfigMap(TypedDict):
    """A ConfigMap (core/v1)."""

    apiVersion: str
    kind: str
    metadata: ObjectMeta
    data: dict[str, str]


def build_cloud_provider_secret(cluster: HostedCluster, *, namespace: str | None = None) -> Secret:
    """Build the cloud-controller-manager's cloud config."""
    return _build_secret(CLOUD_CONFIG_NAME, render_cloud_provider_config(cluster), cluster, namespace)


def build_node_config_map(cluster: HostedCluster, *, namespace: str | None = None) -> ConfigMap:
    """Build the cloud config for nodes, which use their own identity."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CLOUD_CONFIG_NAME, "namespace": namespace or cluster.control_plane_namespace},
        "data": {CLOUD_CONFIG_KEY: render_node_config(cluster)},
    }


def build_disk_csi_secret(cluster: HostedCluster, *, namespace: str | None = None) -> Secret:
    """Build the disk CSI controller's cloud config."""
    text = render_csi_config(cluster, cluster.identities.disk)
    return _build_secret(DISK_CSI_CONFIG_NAME, text, cluster, namespace)


def build_file_csi_secret(cluster: HostedCluster, *, namespace: str | None = None) -> Secret:
    """Build the file CSI controller's cloud config."""
    text = render_csi_config(cluster, cluster.identities.file)
    return _build_secret(FILE_CSI_CONFIG_NAME, text, cluster, namespace)


def build_kms_secret(cluster: HostedCluster, *, namespace: str | None = None) -> Secret:
    """Build the KMS containers' cloud config.

    Raises:
        InputError: The cluster does not use KMS.
    """
    return _build_secret(KMS_CONFIG_NAME, render_kms_config(cluster), cluster, namespace)


def render_cloud_provider_config(cluster: HostedCluster) -> str:
    """Render the cloud-controller-manager's cloud config, which names the mounted credential.

    ``useManagedIdentityExtension`` is false: cloud-provider-azure would prefer it to the mounted file.
    """
    return _render(_build_cluster_config(cluster, _path(cluster.identities.cloud_provider)))


def render_node_config(cluster: HostedCluster) -> str:
    """Render the cloud config for nodes: no credential, but the machine's own identity."""
    config = _build_cluster_config(cluster, "")
    config["useManagedIdentityExtension"] = True
    config["useInstanceMetadata"] = True
    if cluster.container_registry_identity_id is not None:
        config["userAssignedIdentityID"] = cluster.container_registry_identity_id
    return _render(config)


def render_csi_config(cluster: HostedCluster, identity: ManagedIdentity) -> str:
    """Render the cloud config of the disk or the file CSI controller."""
    return _render(_build_config(cluster, _path(identity)))


def render_kms_config(cluster: HostedCluster) -> str:
    """Render the KMS containers' ``azure.json``.

    Raises:
        InputError: The cluster does not use KMS.
    """
    if cluster.identities.kms is None:
        raise InputError(KMS_CONFIG_NAME, [f"the hosted cluster {cluster.name} does not use KMS"])
    return _render(
        {
            "cloud": cluster.cloud,
            "tenantId": cluster.tenant_id,
            "useManagedIdentityExtension": False,
            "useWorkloadIdentityExtension": False,
            "subscriptionId": cluster.subscription_id,
            "aadClientId": "",
            "aadClientCertPath": "",
            "aadMSIDataPlaneIdentityPath": _path(cluster.identities.kms),
            "resourceGroup": cluster.resource_group,
            "location": cluster.location,
            "vnetName": "",
            "vnetResourceGroup": "",
            "subnetName": "",
            "securityGroupName": "",
            "securityGroupResourceGroup": "",
            "routeTableName": "",
            "cloudProviderBackoff": True,
            "cloudProviderBackoffDuration": 6,
            "useInstanceMetadata": False,
            "loadBalancerSku": "standard",
            "disableOutboundSNAT": True,
            "loadBalancerName": cluster.infra_id,
        }
    )


def _build_cluster_config(cluster: HostedCluster, path: str) -> dict[str, Any]:
    config = _build_config(cluster, path)
    config["subnetName"] = cluster.subnet_name
    config["securityGroupName"] = cluster.security_group_name
    config["securityGroupResourceGroup"] = cluster.security_group_resource_group
    config["cloudProviderBackoff"] = True
    config["cloudProviderBackoffDuration"] = 6
    config["loadBalancerSku"] = "standard"
    config["disableOutboundSNAT"] = True
    config["loadBalancerName"] = cluster.infra_id
    config["clusterServiceLoadBalancerHealthProbeMode"] = cluster.health_probe_mode
    if cluster.health_probe_path is not None:
        config["clusterServiceSharedLoadBalancerHealthProbePath"] = cluster.health_probe_path
    if cluster.health_probe_port is not None:
        config["clusterServiceSharedLoadBalancerHealthProbePort"] = cluster.health_probe_port
    return config


def _build_config(cluster: HostedCluster, path: str) -> dict[str, Any]:
    """The keys that are always there, in the order of HyperShift's struct."""
    return {
        "cloud": cluster.cloud,
        "tenantId": cluster.tenant_id,
        "useManagedIdentityExtension": False,
        "useFederatedWorkloadIdentityExtension": False,
        "subscriptionId": cluster.subscription_id,
        "aadClientId": "",
        "aadClientSecret": "",
        "aadClientCertPath": "",
        "aadFederatedTokenFile": "",
        "aadMSIDataPlaneIdentityPath": path,
        "resourceGroup": cluster.resource_group,
        "location": cluster.location,
        "vnetName": cluster.vnet_name,
        "vnetResourceGroup": cluster.vnet_resource_group,
        "subnetName": "",
        "securityGroupName": "",
        "securityGroupResourceGroup": "",
        "routeTableName": "",
        "cloudProviderBackoff": False,
        "cloudProviderBackoffDuration": 0,
        "useInstanceMetadata": False,
        "loadBalancerSku": "",
        "disableOutboundSNAT": False,
        "loadBalancerName": "",
        "clusterServiceLoadBalancerHealthProbeMode": "",
    }


def _path(identity: ManagedIdentity) -> str:
    return MANAGED_AZURE_CERTIFICATE_PATH + identity.credentials_secret_name


def _render(config: dict[str, Any]) -> str:
    text = msgspec.json.format(msgspec.json.encode(config), indent=2).decode()
    # Go's encoding/json writes these so, to be safe inside HTML.
    text = text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")
    return text.replace("\u2028", r"\u2028").replace("\u2029", r"\u2029")


def _build_secret(name: str, text: str, cluster: HostedCluster, namespace: str | None) -> Secret:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace or cluster.control_plane_namespace},
        "data": {CLOUD_CONFIG_KEY: b64encode(text.encode()).decode()},
    }
