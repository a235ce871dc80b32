"""Cloud configs: the files in which Azure's cloud provider and its CSI drivers find their credential.

Rendered to the byte as HyperShift's Go code marshals them. Source: openshift/hypershift,
control-plane-operator/.../cloud_controller_manager/azure/config.go, .../storage/azure.go, and
hypershift-operator/.../platform/azure/azure.go for the KMS form.
"""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from hcpcreds.components import Content
from hcpcreds.constants import MANAGED_AZURE_CERTIFICATE_PATH
from hcpcreds.hosted_cluster import HostedCluster, ManagedIdentity

CLOUD_CONFIG_KEY: Final = "cloud.conf"
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


def render_cloud_config(cluster: HostedCluster, content: Content, identity: ManagedIdentity) -> str:
    """Render a cloud config.

    The cloud-controller-manager's names the mounted credential, and so ``useManagedIdentityExtension`` is
    false in it: cloud-provider-azure would prefer that to the mounted file.

    Args:
        cluster: The hosted cluster.
        content: Which of the cloud configs.
        identity: Whose mounted credential it names; that for nodes names none.

    Raises:
        KeyError: The content is not a cloud config.
    """
    path = MANAGED_AZURE_CERTIFICATE_PATH + identity.credentials_secret_name
    text = msgspec.json.format(msgspec.json.encode(_CONFIGS[content](cluster, path)), indent=2).decode()
    for character, escape in _GO_ESCAPES:
        text = text.replace(character, escape)
    return text


def _build_node_config(cluster: HostedCluster, _path: str) -> _CloudConfig:
    config = _build_cloud_provider_config(cluster, "")
    config.use_managed_identity_extension = True
    config.use_instance_metadata = True
    config.user_assigned_identity_id = cluster.container_registry_identity_id or UNSET
    return config


def _build_csi_config(cluster: HostedCluster, path: str) -> _CloudConfig:
    return _CloudConfig(
        cloud=cluster.cloud,
        tenant_id=cluster.tenant_id,
        subscription_id=cluster.subscription_id,
        aad_msi_data_plane_identity_path=path,
        resource_group=cluster.resource_group,
        location=cluster.location,
        vnet_name=cluster.vnet_name,
        vnet_resource_group=cluster.vnet_resource_group,
    )


def _build_kms_config(cluster: HostedCluster, path: str) -> _KmsConfig:
    return _KmsConfig(
        cloud=cluster.cloud,
        tenant_id=cluster.tenant_id,
        subscription_id=cluster.subscription_id,
        aad_msi_data_plane_identity_path=path,
        resource_group=cluster.resource_group,
        location=cluster.location,
        load_balancer_name=cluster.infra_id,
    )


def _build_cloud_provider_config(cluster: HostedCluster, path: str) -> _CloudConfig:
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


_CONFIGS: Final[Mapping[Content, Callable[[HostedCluster, str], _CloudConfig | _KmsConfig]]] = {
    Content.CLOUD_PROVIDER_CONFIG: _build_cloud_provider_config,
    Content.NODE_CONFIG: _build_node_config,
    Content.CSI_CONFIG: _build_csi_config,
    Content.KMS_CONFIG: _build_kms_config,
}
