"""A HostedCluster or HostedControlPlane, read for its Azure identities.

Strict on what is read and on what `rules` lists, blind to the rest. What HyperShift's CRD refuses is refused.
So is the little that it lets through and Azure or the CSI driver's Azure provider refuses: ids that are not
UUIDs, names outside their alphabets.
Source of names, defaults and limits: openshift/hypershift, api/hypershift/v1beta1 (August 2026).
"""

from hcpcreds.hosted_cluster.forms import (
    API_VERSION,
    CREDENTIALS_SECRET_NAME,
    KINDS,
    NAMESPACE,
    OBJECT_ENCODING,
    OBJECT_ENCODINGS,
    PROBE_MODE_ANNOTATION,
    PROBE_PATH_ANNOTATION,
    PROBE_PORT_ANNOTATION,
    UUID,
)
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
    "API_VERSION",
    "CREDENTIALS_SECRET_NAME",
    "KINDS",
    "NAMESPACE",
    "OBJECT_ENCODING",
    "OBJECT_ENCODINGS",
    "PROBE_MODE_ANNOTATION",
    "PROBE_PATH_ANNOTATION",
    "PROBE_PORT_ANNOTATION",
    "UUID",
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
