"""The AzureClusterIdentity, in which cluster-api-provider-azure finds its credential.

Source: openshift/hypershift, hypershift-operator/.../platform/azure/azure.go.
"""

from typing import Final

from hcpcreds.constants import MANAGED_AZURE_CERTIFICATE_PATH
from hcpcreds.errors import InputError
from hcpcreds.hosted_cluster import HostedCluster, ManagedIdentity, WorkloadIdentity
from hcpcreds.kubernetes.fields import describe
from hcpcreds.kubernetes.objects import AzureClusterIdentity, AzureClusterIdentitySpec, ObjectMeta

CLOUD_TYPES: Final = {
    "azurepubliccloud": "public",
    "azureusgovernmentcloud": "usgovernment",
    "azurechinacloud": "china",
}


def build_azure_cluster_identity(
    cluster: HostedCluster, identity: ManagedIdentity | WorkloadIdentity, metadata: ObjectMeta
) -> AzureClusterIdentity:
    """Build the AzureClusterIdentity of a hosted cluster.

    Args:
        cluster: The hosted cluster.
        identity: The identity that creates machines.
        metadata: The object's metadata; only its namespace may use the identity.

    Raises:
        InputError: cluster-api-provider-azure does not support managed identities in this cloud.
    """
    return {
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1beta1",
        "kind": "AzureClusterIdentity",
        "metadata": metadata,
        "spec": _build_spec(cluster, identity, metadata["namespace"]),
    }


def _build_spec(
    cluster: HostedCluster, identity: ManagedIdentity | WorkloadIdentity, namespace: str
) -> AzureClusterIdentitySpec:
    if isinstance(identity, WorkloadIdentity):
        return {
            "type": "WorkloadIdentity",
            "clientID": identity.client_id,
            "tenantID": cluster.tenant_id,
            "allowedNamespaces": {"list": [namespace]},
        }
    cloud_type = CLOUD_TYPES.get(cluster.cloud.strip().lower())
    if cloud_type is None:
        expected = "AzurePublicCloud, AzureUSGovernmentCloud or AzureChinaCloud"
        problem = f"spec.platform.azure.cloud: got {describe(cluster.cloud)}, expected {expected}"
        raise InputError(f"AzureClusterIdentity {cluster.name}", [problem])
    return {
        "type": "UserAssignedIdentityCredential",
        "clientID": "",  # not used with a mounted credential, but the CRD requires the key
        "tenantID": cluster.tenant_id,
        "userAssignedIdentityCredentialsPath": MANAGED_AZURE_CERTIFICATE_PATH
        + identity.credentials_secret_name,
        "userAssignedIdentityCredentialsCloudType": cloud_type,
        "allowedNamespaces": {"list": [namespace]},
    }
