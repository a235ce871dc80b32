"""The part that all objects share: name, namespace, labels."""

from hcpcreds.errors import InputError
from hcpcreds.hosted_cluster import HostedCluster
from hcpcreds.hosted_cluster.forms import NAMESPACE
from hcpcreds.kubernetes.fields import describe
from hcpcreds.kubernetes.objects import ObjectMeta


def build_metadata(name: str, cluster: HostedCluster, *, component: str, namespace: str | None) -> ObjectMeta:
    """Build an object's metadata with Kubernetes' recommended labels, of which HyperShift sets none here.

    Args:
        name: The object's name.
        cluster: The hosted cluster that it belongs to.
        component: Name of the component that needs it.
        namespace: The object's namespace instead of the control plane's.

    Raises:
        InputError: The namespace is not a name that Kubernetes takes.
    """
    if namespace is not None:
        check_namespace(namespace)
    return {
        "name": name,
        "namespace": namespace or cluster.control_plane_namespace,
        "labels": build_labels(cluster, component),
    }


def build_labels(cluster: HostedCluster, component: str) -> dict[str, str]:
    """Build the recommended labels.

    The instance is the control plane's namespace: unlike a cluster's name, it is always short enough for a
    label, and no two clusters of a management cluster share it.
    Source: kubernetes.io, "Recommended Labels".
    """
    return {
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/instance": cluster.control_plane_namespace,
        "app.kubernetes.io/managed-by": "hcpcreds",
        "app.kubernetes.io/part-of": "hosted-control-plane",
    }


def check_namespace(namespace: str) -> None:
    """Check the name of a namespace.

    Raises:
        InputError: It is not a name that Kubernetes takes.
    """
    if not NAMESPACE.pattern.fullmatch(namespace):
        raise InputError("namespace", [f"got {describe(namespace)}, expected {NAMESPACE.expected}"])
