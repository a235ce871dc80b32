"""The AzureClusterIdentity: how cluster-api-provider-azure learns where its credential is.

Source: openshift/hypershift, hypershift-operator/.../platform/azure/azure.go.
"""

from typing import Final

from hcpcreds.constants import MANAGED_AZURE_CERTIFICATE_PATH
from hcpcreds.errors import InputError
from hcpcreds.hosted_cluster import HostedCluster
from hcpcreds.kubernetes.objects import AzureClusterIdentity
from hcpcreds.manifests.metadata import build_metadata

_CLOUD_TYPES: Final = {
    "azurepubliccloud": "public",
    "azureusgovernmentcloud": "usgovernment",
    "azurechinacloud": "china",
}


def build_azure_cluster_identity(
    cluster: HostedCluster, *, namespace: str | None = None
) -> AzureClusterIdentity:
    """Build the AzureClusterIdentity of a hosted cluster.

    Args:
        cluster: The hosted cluster.
        namespace: Where to put it instead of the control plane's namespace.

    Raises:
        InputError: cluster-api-provider-azure does not know the cluster's cloud.
    """
    cloud_type = _CLOUD_TYPES.get(cluster.cloud.strip().lower())
    if cloud_type is None:
        expected = "AzurePublicCloud, AzureUSGovernmentCloud or AzureChinaCloud"
        problem = f"spec.platform.azure.cloud: got {cluster.cloud!r}, expected {expected}"
        raise InputError(f"AzureClusterIdentity {cluster.name}", [problem])
    metadata = build_metadata(
        cluster.name, cluster, component="cluster-api-provider-azure", namespace=namespace
    )
    secret_name = cluster.identities.node_pool_management.credentials_secret_name
    return {
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1beta1",
        "kind": "AzureClusterIdentity",
        "metadata": metadata,
        "spec": {
            "type": "UserAssignedIdentityCredential",
            "tenantID": cluster.tenant_id,
            "userAssignedIdentityCredentialsPath": MANAGED_AZURE_CERTIFICATE_PATH + secret_name,
            "userAssignedIdentityCredentialsCloudType": cloud_type,
            "allowedNamespaces": {"list": [metadata["namespace"]]},
        },
    }
