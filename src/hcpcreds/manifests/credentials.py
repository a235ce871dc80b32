"""Secrets in which operators find their subscription, and their identity where its credential is not mounted.

Source: openshift/hypershift, hypershift-operator/.../platform/azure/azure.go (ReconcileCredentials) and
hosted-cluster-config-operator's resources/azure/azure.go (SetupOperandCredentials).
"""

from typing import Final

import msgspec

from hcpcreds.components import COMPONENTS, TOKEN_FILE, Component
from hcpcreds.hosted_cluster import HostedCluster, ManagedIdentity, WorkloadIdentity
from hcpcreds.kubernetes.objects import Secret
from hcpcreds.manifests.metadata import build_labels

_PLACEHOLDER: Final = "fakeClientID"
"""HyperShift's placeholder. The ingress operator requires a client id, but uses its mounted credential."""


def build_credentials(cluster: HostedCluster, identity: ManagedIdentity | WorkloadIdentity) -> dict[str, str]:
    """Build the content of a Secret in the control plane's namespace.

    Args:
        cluster: The hosted cluster.
        identity: The identity of the Secret's reader. A managed identity is not named here: it is mounted.
    """
    if isinstance(identity, WorkloadIdentity):
        return _encode(cluster, identity.client_id, token_file=TOKEN_FILE)
    return _encode(cluster, None, token_file=None)


def build_guest_secrets(cluster: HostedCluster) -> dict[str, Secret]:
    """Build the Secrets in the guest cluster that name the identities to use there.

    They depend only on the cluster's capabilities, not on the identities of its control plane.

    Returns:
        The Secrets by the names of their components.
    """
    return {
        component.name: {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": component.guest.name,
                "namespace": component.guest.namespace,
                "labels": build_labels(cluster, component.name),
            },
            "data": _encode(cluster, _find_guest_client_id(cluster, component), token_file=TOKEN_FILE),
        }
        for component in COMPONENTS
        if component.guest is not None and component.capability not in cluster.disabled_capabilities
    }


def _find_guest_client_id(cluster: HostedCluster, component: Component) -> str:
    workload_identity = component.get_workload_identity(cluster)
    if workload_identity is not None:
        return workload_identity.client_id
    data_plane = component.guest.data_plane if component.guest else None
    if data_plane is None or cluster.data_plane is None:
        return _PLACEHOLDER
    client_id: str = getattr(cluster.data_plane, data_plane)
    return client_id


def _encode(cluster: HostedCluster, client_id: str | None, *, token_file: str | None) -> dict[str, str]:
    values = {
        "azure_client_id": client_id,
        "azure_federated_token_file": token_file,
        "azure_region": cluster.location,
        "azure_resource_prefix": f"{cluster.name}-{cluster.infra_id}",
        "azure_resourcegroup": cluster.resource_group,
        "azure_subscription_id": cluster.subscription_id,
        "azure_tenant_id": cluster.tenant_id,
    }
    # bytes become base64
    encoded: dict[str, str] = msgspec.to_builtins(
        {key: value.encode() for key, value in values.items() if value is not None}
    )
    return encoded
