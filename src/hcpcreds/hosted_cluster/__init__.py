"""A HostedCluster or HostedControlPlane, read for its Azure identities.

Strict on what is read and on what `rules` lists, blind to the rest. What HyperShift's CRD refuses is refused.
So is the little that it lets through and Azure or the CSI driver's Azure provider refuses: ids that are not
UUIDs, names outside their alphabets.
Source of names, defaults and limits: openshift/hypershift, api/hypershift/v1beta1 (August 2026).
"""

from hcpcreds.hosted_cluster.reading import parse_hosted_cluster, read_hosted_cluster
from hcpcreds.hosted_cluster.values import (
    DataPlaneIdentities,
    HostedCluster,
    Identities,
    KeyVault,
    KmsKey,
    KmsKeys,
    ManagedIdentity,
    WorkloadIdentities,
    WorkloadIdentity,
)

__all__ = [
    "DataPlaneIdentities",
    "HostedCluster",
    "Identities",
    "KeyVault",
    "KmsKey",
    "KmsKeys",
    "ManagedIdentity",
    "WorkloadIdentities",
    "WorkloadIdentity",
    "parse_hosted_cluster",
    "read_hosted_cluster",
]
