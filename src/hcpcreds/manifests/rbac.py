"""The permission with which the control-plane-operator manages the SecretProviderClasses of managed Azure.

Source: openshift/hypershift, control-plane-operator/.../v2/controlplaneoperator/role.go. HyperShift adds the
rule to the operator's own Role; this is a separate Role, so that applying it does not remove other rules.
"""

from typing import Any, Final

from hcpcreds.hosted_cluster import HostedCluster
from hcpcreds.manifests.metadata import build_metadata

_OPERATOR: Final = "control-plane-operator"
_NAME: Final = "control-plane-operator-secretproviderclasses"
_GROUP: Final = "rbac.authorization.k8s.io"


def build_rbac(cluster: HostedCluster, *, namespace: str | None = None) -> list[dict[str, Any]]:
    """Build the Role, and the RoleBinding that gives it to the control-plane-operator's service account.

    Args:
        cluster: The hosted cluster.
        namespace: Where to put them instead of the control plane's namespace.

    Raises:
        InputError: The namespace is not a name that Kubernetes takes.
    """
    metadata = build_metadata(_NAME, cluster, component=_OPERATOR, namespace=namespace)
    return [
        {
            "apiVersion": f"{_GROUP}/v1",
            "kind": "Role",
            "metadata": metadata,
            "rules": [
                {
                    "apiGroups": ["secrets-store.csi.x-k8s.io"],
                    "resources": ["secretproviderclasses"],
                    "verbs": ["get", "list", "create", "update", "watch"],
                }
            ],
        },
        {
            "apiVersion": f"{_GROUP}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": _GROUP, "kind": "Role", "name": _NAME},
            "subjects": [
                {"kind": "ServiceAccount", "name": _OPERATOR, "namespace": metadata["namespace"]},
            ],
        },
    ]
