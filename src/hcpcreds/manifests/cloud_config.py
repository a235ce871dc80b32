"""Cloud configs: the files in which Azure's cloud provider and its CSI drivers find their credential.

Rendered to the byte as HyperShift's Go code marshals them. Source: openshift/hypershift,
control-plane-operator/.../cloud_controller_manager/azure/config.go, .../storage/azure.go, and
hypershift-operator/.../platform/azure/azure.go for the KMS form.
"""

from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from hcpcreds.constants import MANAGED_AZURE_CERTIFICATE_PATH
from hcpcreds.errors import InputError
from hcpcreds.hosted_cluster import HostedCluster, ManagedIdentity
from hcpcreds.kubernetes.objects import ConfigMap, ObjectMeta, Secret
from hcpcreds.manifests.metadata import build_metadata

CLOUD_CONFIG_KEY: Final = "cloud.conf"
CLOUD_CONFIG_NAME: Final = "azure-cloud-config"
DISK_CSI_CONFIG_NAME: Final = "azure-disk-csi-config"
FILE_CSI_CONFIG_NAME: Final = "azure-file-csi-config"
KMS_CONFIG_NAME: Final = "azure-kms-config"

_CLOUD_PROVIDER: Final = "cloud-controller-manager"
_DISK_CSI: Final = "cluster-storage-operator-disk"
_FILE_CSI: Final = "cluster-storage-operator-file"
_KMS: Final = "kube-apiserver"

_BACKOFF_SECONDS: Final = 6
_LOAD_BALANCER_SKU: Final = "standard"

_GO_ESCAPES: Final = tuple((character, f"\\u{ord(character):04x}") for character in "<>&\u2028\u2029")
"""What Go's encoding/json writes for these, so that the text is safe inside HTML and JavaScript."""


class _CloudConfig(msgspec.Struct, kw_only=True, rename="camel"):
    """What cloud-provider-azure reads: every key is always there, in this order, but for the last three."""

    cloud: str
    tenant_id: str
    use_managed_identity_extension: bool = False
    use_federated_workload_identity_extension: bool = False
    subscription_id: str
    aad_client_id: str = ""
    aad_client_secret: str = ""
    aad_client_cert_path: str = ""
    aad_federated_token_file: str = ""
    aad_msi_data_plane_identity_path: str = msgspec.field(name="aadMSIDataPlaneIdentityPath")
    resource_group: str
    location: str
    vnet_name: str
    vnet_resource_group: str
    subnet_name: str = ""
    security_group_name: str = ""
    security_group_resource_group: str = ""
    route_table_name: str = ""
    cloud_provider_backoff: bool = False
    cloud_provider_backoff_duration: int = 0
    use_instance_metadata: bool = False
    load_balancer_sku: str = ""
    disable_outbound_snat: bool = msgspec.field(name="disableOutboundSNAT", default=False)
    load_balancer_name: str = ""
    cluster_service_load_balancer_health_probe_mode: str = ""
    cluster_service_shared_load_balancer_health_probe_path: str | UnsetType = UNSET
    cluster_service_shared_load_balancer_health_probe_port: int | UnsetType = UNSET
    user_assigned_identity_id: str | UnsetType = msgspec.field(name="userAssignedIdentityID", default=UNSET)


class _KmsConfig(msgspec.Struct, kw_only=True, rename="camel"):
    """What Azure's KMS plugin reads: the keys of an older cloud-provider-azure."""

    cloud: str
    tenant_id: str
    use_managed_identity_extension: bool = False
    use_workload_identity_extension: bool = False
    subscription_id: str
    aad_client_id: str = ""
    aad_client_cert_path: str = ""
    aad_msi_data_plane_identity_path: str = msgspec.field(name="aadMSIDataPlaneIdentityPath")
    resource_group: str
    location: str
    vnet_name: str = ""
    vnet_resource_group: str = ""
    subnet_name: str = ""
    security_group_name: str = ""
    security_group_resource_group: str = ""
    route_table_name: str = ""
    cloud_provider_backoff: bool = True
    cloud_provider_backoff_duration: int = _BACKOFF_SECONDS
    use_instance_metadata: bool = False
    load_balancer_sku: str = _LOAD_BALANCER_SKU
    disable_outbound_snat: bool = msgspec.field(name="disableOutboundSNAT", default=True)
    load_balancer_name: str


def build_cloud_provider_secret(cluster: HostedCluster, *, namespace: str | None = None) -> Secret:
    """Build the cloud-controller-manager's cloud config."""
    metadata = build_metadata(CLOUD_CONFIG_NAME, cluster, component=_CLOUD_PROVIDER, namespace=namespace)
    return _build_secret(metadata, render_cloud_provider_config(cluster))


def build_node_config_map(cluster: HostedCluster, *, namespace: str | None = None) -> ConfigMap:
    """Build the cloud config for nodes, which use their own identity."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": build_metadata(
            CLOUD_CONFIG_NAME, cluster, component=_CLOUD_PROVIDER, namespace=namespace
        ),
        "data": {CLOUD_CONFIG_KEY: render_node_config(cluster)},
    }


def build_disk_csi_secret(cluster: HostedCluster, *, namespace: str | None = None) -> Secret:
    """Build the disk CSI controller's cloud config."""
    metadata = build_metadata(DISK_CSI_CONFIG_NAME, cluster, component=_DISK_CSI, namespace=namespace)
    return _build_secret(metadata, render_csi_config(cluster, cluster.identities.disk))


def build_file_csi_secret(cluster: HostedCluster, *, namespace: str | None = None) -> Secret:
    """Build the file CSI controller's cloud config."""
    metadata = build_metadata(FILE_CSI_CONFIG_NAME, cluster, component=_FILE_CSI, namespace=namespace)
    return _build_secret(metadata, render_csi_config(cluster, cluster.identities.file))


def build_kms_secret(cluster: HostedCluster, *, namespace: str | None = None) -> Secret:
    """Build the KMS containers' cloud config.

    Raises:
        InputError: The cluster does not use KMS.
    """
    metadata = build_metadata(KMS_CONFIG_NAME, cluster, component=_KMS, namespace=namespace)
    return _build_secret(metadata, render_kms_config(cluster))


def render_cloud_provider_config(cluster: HostedCluster) -> str:
    """Render the cloud-controller-manager's cloud config, which names the mounted credential.

    ``useManagedIdentityExtension`` is false: cloud-provider-azure would prefer it to the mounted file.
    """
    return _render(_build_cluster_config(cluster, path=_path(cluster.identities.cloud_provider)))


def render_node_config(cluster: HostedCluster) -> str:
    """Render the cloud config for nodes: no credential, but the machine's own identity."""
    config = _build_cluster_config(cluster, path="")
    config.use_managed_identity_extension = True
    config.use_instance_metadata = True
    config.user_assigned_identity_id = cluster.container_registry_identity_id or UNSET
    return _render(config)


def render_csi_config(cluster: HostedCluster, identity: ManagedIdentity) -> str:
    """Render the cloud config of the disk or the file CSI controller."""
    return _render(
        _CloudConfig(
            cloud=cluster.cloud,
            tenant_id=cluster.tenant_id,
            subscription_id=cluster.subscription_id,
            aad_msi_data_plane_identity_path=_path(identity),
            resource_group=cluster.resource_group,
            location=cluster.location,
            vnet_name=cluster.vnet_name,
            vnet_resource_group=cluster.vnet_resource_group,
        )
    )


def render_kms_config(cluster: HostedCluster) -> str:
    """Render the KMS containers' ``azure.json``.

    Raises:
        InputError: The cluster does not use KMS.
    """
    if cluster.identities.kms is None:
        raise InputError(KMS_CONFIG_NAME, [f"the hosted cluster {cluster.name} does not use KMS"])
    return _render(
        _KmsConfig(
            cloud=cluster.cloud,
            tenant_id=cluster.tenant_id,
            subscription_id=cluster.subscription_id,
            aad_msi_data_plane_identity_path=_path(cluster.identities.kms),
            resource_group=cluster.resource_group,
            location=cluster.location,
            load_balancer_name=cluster.infra_id,
        )
    )


def _build_cluster_config(cluster: HostedCluster, *, path: str) -> _CloudConfig:
    """What the cloud-controller-manager's config and the nodes' have in common."""
    return _CloudConfig(
        cloud=cluster.cloud,
        tenant_id=cluster.tenant_id,
        subscription_id=cluster.subscription_id,
        aad_msi_data_plane_identity_path=path,
        resource_group=cluster.resource_group,
        location=cluster.location,
        vnet_name=cluster.vnet_name,
        vnet_resource_group=cluster.vnet_resource_group,
        subnet_name=cluster.subnet_name,
        security_group_name=cluster.security_group_name,
        security_group_resource_group=cluster.security_group_resource_group,
        cloud_provider_backoff=True,
        cloud_provider_backoff_duration=_BACKOFF_SECONDS,
        load_balancer_sku=_LOAD_BALANCER_SKU,
        disable_outbound_snat=True,
        load_balancer_name=cluster.infra_id,
        cluster_service_load_balancer_health_probe_mode=cluster.health_probe_mode,
        cluster_service_shared_load_balancer_health_probe_path=cluster.health_probe_path or UNSET,
        cluster_service_shared_load_balancer_health_probe_port=cluster.health_probe_port or UNSET,
    )


def _path(identity: ManagedIdentity) -> str:
    return MANAGED_AZURE_CERTIFICATE_PATH + identity.credentials_secret_name


def _render(config: _CloudConfig | _KmsConfig) -> str:
    text = msgspec.json.format(msgspec.json.encode(config), indent=2).decode()
    for character, escape in _GO_ESCAPES:
        if character in text:
            text = text.replace(character, escape)
    return text


def _build_secret(metadata: ObjectMeta, text: str) -> Secret:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "data": {CLOUD_CONFIG_KEY: msgspec.to_builtins(text.encode())},  # bytes become base64
    }
