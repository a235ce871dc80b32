"""Cloud configs: the files in which Azure's cloud provider and its CSI drivers find their credential.

Rendered exactly as HyperShift's Go code marshals them, to the byte. Source: openshift/hypershift,
control-plane-operator/.../cloud_controller_manager/azure/config.go, .../storage/azure.go, and
hypershift-operator/.../platform/azure/azure.go for the KMS form.
"""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from hcpcreds.components import TOKEN_FILE, Content
from hcpcreds.constants import MANAGED_AZURE_CERTIFICATE_PATH
from hcpcreds.hosted_cluster import HostedCluster, ManagedIdentity, WorkloadIdentity

CLOUD_CONFIG_KEY: Final = "cloud.conf"
_BACKOFF_SECONDS: Final = 6
_LOAD_BALANCER_SKU: Final = "standard"

_GO_ESCAPES: Final = tuple((character, f"\\u{ord(character):04x}") for character in "<>&\u2028\u2029")
"""How Go's encoding/json escapes these, so that the text is safe inside HTML and JavaScript."""


class _CloudConfig(msgspec.Struct, kw_only=True, rename="camel"):
    """cloud-provider-azure's settings: all keys are always present, in this order, except the last three."""

    cloud: str
    tenant_id: str
    use_managed_identity_extension: bool = False
    use_federated_workload_identity_extension: bool = False
    subscription_id: str
    aad_client_id: str = ""
    aad_client_secret: str = ""
    aad_client_cert_path: str = ""
    aad_federated_token_file: str = ""
    aad_msi_data_plane_identity_path: str = msgspec.field(name="aadMSIDataPlaneIdentityPath", default="")
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
    """The KMS plugin's settings: the keys of an older cloud-provider-azure."""

    cloud: str
    tenant_id: str
    use_managed_identity_extension: bool = False
    use_workload_identity_extension: bool = False
    subscription_id: str
    aad_client_id: str = ""
    aad_client_cert_path: str = ""
    aad_msi_data_plane_identity_path: str = msgspec.field(name="aadMSIDataPlaneIdentityPath", default="")
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


Identity = ManagedIdentity | WorkloadIdentity


def render_cloud_config(cluster: HostedCluster, content: Content, identity: Identity) -> str:
    """Render a cloud config.

    With a managed identity, the cloud-controller-manager's config names the mounted credential, and
    `useManagedIdentityExtension` is false: cloud-provider-azure would prefer that to the mounted file.

    Args:
        cluster: The hosted cluster.
        content: The kind of cloud config.
        identity: The component's identity in that cluster.

    Raises:
        KeyError: The content is not a cloud config.
    """
    text = msgspec.json.format(msgspec.json.encode(_CONFIGS[content](cluster, identity)), indent=2).decode()
    # Searching first is ten times as fast as replacing, and hardly any config contains one of them.
    if text.isascii() and "<" not in text and ">" not in text and "&" not in text:
        return text
    for character, escape in _GO_ESCAPES:
        text = text.replace(character, escape)
    return text


def _build_node_config(cluster: HostedCluster, identity: Identity) -> _CloudConfig:
    config = _build_network_config(cluster)
    config.use_instance_metadata = True
    config.user_assigned_identity_id = cluster.container_registry_identity_id or UNSET
    if isinstance(identity, WorkloadIdentity):
        _authenticate(config, identity)
    else:
        config.use_managed_identity_extension = True
    return config


def _build_cloud_provider_config(cluster: HostedCluster, identity: Identity) -> _CloudConfig:
    config = _build_network_config(cluster)
    config.use_instance_metadata = isinstance(identity, WorkloadIdentity)
    _authenticate(config, identity)
    return config


def _build_csi_config(cluster: HostedCluster, identity: Identity) -> _CloudConfig:
    config = _CloudConfig(
        cloud=cluster.cloud,
        tenant_id=cluster.tenant_id,
        subscription_id=cluster.subscription_id,
        resource_group=cluster.resource_group,
        location=cluster.location,
        vnet_name=cluster.vnet_name,
        vnet_resource_group=cluster.vnet_resource_group,
    )
    _authenticate(config, identity)
    return config


def _build_kms_config(cluster: HostedCluster, identity: Identity) -> _KmsConfig:
    config = _KmsConfig(
        cloud=cluster.cloud,
        tenant_id=cluster.tenant_id,
        subscription_id=cluster.subscription_id,
        resource_group=cluster.resource_group,
        location=cluster.location,
        load_balancer_name=cluster.infra_id,
    )
    if isinstance(identity, WorkloadIdentity):
        config.use_workload_identity_extension = True  # the rest is in the plugin's environment
    else:
        config.aad_msi_data_plane_identity_path = _find_path(identity)
    return config


def _build_network_config(cluster: HostedCluster) -> _CloudConfig:
    """The cloud-controller-manager's and the nodes' config, without a credential."""
    return _CloudConfig(
        cloud=cluster.cloud,
        tenant_id=cluster.tenant_id,
        subscription_id=cluster.subscription_id,
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


def _authenticate(config: _CloudConfig, identity: Identity) -> None:
    if isinstance(identity, WorkloadIdentity):
        config.use_federated_workload_identity_extension = True
        config.aad_client_id = identity.client_id
        config.aad_federated_token_file = TOKEN_FILE
    else:
        config.aad_msi_data_plane_identity_path = _find_path(identity)


def _find_path(identity: ManagedIdentity) -> str:
    return MANAGED_AZURE_CERTIFICATE_PATH + identity.credentials_secret_name


_CONFIGS: Final[Mapping[Content, Callable[[HostedCluster, Identity], _CloudConfig | _KmsConfig]]] = {
    Content.CLOUD_PROVIDER_CONFIG: _build_cloud_provider_config,
    Content.NODE_CONFIG: _build_node_config,
    Content.CSI_CONFIG: _build_csi_config,
    Content.KMS_CONFIG: _build_kms_config,
}
