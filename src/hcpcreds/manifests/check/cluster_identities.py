"""HC6xx: AzureClusterIdentities, by which cluster-api-provider-azure finds its credential.

Source: openshift/hypershift, hypershift-operator/.../platform/azure/azure.go.
"""

import posixpath
from collections.abc import Iterator
from typing import Final

from hcpcreds.components import COMPONENTS
from hcpcreds.hosted_cluster import HostedCluster
from hcpcreds.kubernetes.placeholders import is_placeholder
from hcpcreds.manifests.check.rules import Finding, report
from hcpcreds.manifests.check.subjects import Named, Subjects, is_same
from hcpcreds.manifests.cluster_identity import CLOUD_TYPES

_TYPE: Final = "UserAssignedIdentityCredential"
_CLUSTER_API: Final = next(
    component for component in COMPONENTS if component.identity == "node_pool_management"
)


def check_cluster_identities(subjects: Subjects) -> Iterator[Finding]:
    """Check every AzureClusterIdentity that names a mounted credential."""
    for item in subjects.cluster_identities:
        spec = item.node["spec"]
        path = spec["userAssignedIdentityCredentialsPath"]
        if path.is_set and spec["type"].text != _TYPE:
            yield report(
                "HC604",
                spec["type"],
                f"with the type {spec['type'].text!r}, userAssignedIdentityCredentialsPath is not read",
                f"Set type: {_TYPE}.",
            )
        elif spec["type"].text == _TYPE:
            yield from _check_path(item, subjects)
            yield from _check_cloud(item, subjects)


def _check_path(item: Named, subjects: Subjects) -> Iterator[Finding]:
    path = item.node.at("spec", "userAssignedIdentityCredentialsPath")
    consumer = _CLUSTER_API.consumer
    for pod in subjects.pods:
        if pod.name != consumer.workload or not is_same(pod.namespace, item.namespace):
            continue
        for container in pod.containers:
            if container.name in consumer.containers and container.find_mount(path.text) is None:
                yield report(
                    "HC601",
                    path,
                    f"the path is {path.text!r}, and the container {container.name!r} of {pod.name} mounts "
                    "nothing there",
                    f"Mount {_CLUSTER_API.secret_provider_class} there, or name the file where it is.",
                )
    files = subjects.find_files(_CLUSTER_API.secret_provider_class, item.namespace)
    file = posixpath.basename(path.text)
    if files and file not in files and not is_placeholder(file):
        yield report(
            "HC602",
            path,
            f"the path names the file {file!r}, but {_CLUSTER_API.secret_provider_class} mounts "
            f"{', '.join(sorted(files))}",
            "Name the secret of the nodePoolManagement identity.",
        )


def _check_cloud(item: Named, subjects: Subjects) -> Iterator[Finding]:
    cloud = item.node.at("spec", "userAssignedIdentityCredentialsCloudType")
    expected = _get_cloud_types(subjects.find_cluster(item.namespace))
    if cloud.is_set and cloud.text not in expected and not is_placeholder(cloud.text):
        yield report(
            "HC603",
            cloud,
            f"the cloud type is {cloud.plain!r}, expected {' or '.join(expected)}",
            "Use the type of the hosted cluster's cloud.",
        )


def _get_cloud_types(cluster: HostedCluster | None) -> tuple[str, ...]:
    """The type of a cluster's cloud; all of them when that is not known, or Cluster API does not know it."""
    known = CLOUD_TYPES.get(cluster.cloud.strip().lower()) if cluster else None
    return (known,) if known else tuple(CLOUD_TYPES.values())
