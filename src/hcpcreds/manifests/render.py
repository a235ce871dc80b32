"""A hosted cluster, rendered to every object that its credentials need."""

from typing import Any

from hcpcreds.components import COMPONENTS
from hcpcreds.hosted_cluster import HostedCluster
from hcpcreds.manifests.cloud_config import (
    build_cloud_provider_secret,
    build_disk_csi_secret,
    build_file_csi_secret,
    build_kms_secret,
    build_node_config_map,
)
from hcpcreds.manifests.cluster_identity import build_azure_cluster_identity
from hcpcreds.manifests.secret_provider_class import build_secret_provider_class


def render(
    cluster: HostedCluster, *, key_vault_user_client_id: str, namespace: str | None = None
) -> list[dict[str, Any]]:
    """Build every object that a hosted cluster needs, in an order that can be applied.

    Args:
        cluster: The hosted cluster.
        key_vault_user_client_id: Client id (a UUID) of the identity that reads the vault.
        namespace: Where to put the objects instead of the control plane's namespace.

    Raises:
        InputError: A builder cannot express the cluster; see each of them.
    """
    objects: list[Any] = [
        build_secret_provider_class(
            cluster, component, key_vault_user_client_id=key_vault_user_client_id, namespace=namespace
        )
        for component in COMPONENTS
        if component.get_identity(cluster) is not None
    ]
    objects += [
        build_cloud_provider_secret(cluster, namespace=namespace),
        build_node_config_map(cluster, namespace=namespace),
        build_disk_csi_secret(cluster, namespace=namespace),
        build_file_csi_secret(cluster, namespace=namespace),
    ]
    if cluster.identities.kms is not None:
        objects.append(build_kms_secret(cluster, namespace=namespace))
    objects.append(build_azure_cluster_identity(cluster, namespace=namespace))
    return objects
