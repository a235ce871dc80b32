"""HC6xx: AzureClusterIdentities, in which cluster-api-provider-azure finds its credential.

Sources: openshift/hypershift, hypershift-operator/.../platform/azure/azure.go;
kubernetes-sigs/cluster-api-provider-azure, its CRD, internal/webhooks and azure/scope/identity.go.
"""

from collections.abc import Iterator
from typing import Final

from hcpcreds.components import COMPONENTS
from hcpcreds.hosted_cluster import HostedCluster
from hcpcreds.kubernetes.nodes import Node
from hcpcreds.kubernetes.placeholders import is_placeholder
from hcpcreds.manifests.check.rules import Finding, report
from hcpcreds.manifests.check.secret_objects import is_written
from hcpcreds.manifests.check.spelling import describe_misspelt
from hcpcreds.manifests.check.subjects import Named, Subjects, is_same, normalize_path
from hcpcreds.manifests.cluster_identity import CLOUD_TYPES

_TYPE: Final = "UserAssignedIdentityCredential"
_WORKLOAD_TYPE: Final = "WorkloadIdentity"
_TYPES: Final = (
    "ServicePrincipal",
    "UserAssignedMSI",
    "ManualServicePrincipal",
    "ServicePrincipalCertificate",
    _WORKLOAD_TYPE,
    _TYPE,
)
_REQUIRED: Final = ("type", "tenantID", "clientID")
_DEFAULT_CLOUD_TYPE: Final = "public"
_CLUSTER_API: Final = next(
    component for component in COMPONENTS if component.identity == "node_pool_management"
)
_MOUNT: Final = next(pod.mount for pod in _CLUSTER_API.pods if pod.mount is not None)


def check_cluster_identities(subjects: Subjects) -> Iterator[Finding]:
    """Check AzureClusterIdentities: all for values that the API refuses, HyperShift's for everything else."""
    for item in subjects.cluster_identities:
        spec = item.node["spec"]
        yield from _check_required(spec)
        kind = spec["type"].text
        cluster = subjects.find_cluster(item.namespace)
        is_ours = kind == _TYPE or (
            kind == _WORKLOAD_TYPE and cluster is not None and cluster.is_self_managed
        )
        if is_ours:
            yield from _check_namespaces(item)
        if kind == _TYPE:
            yield from _check_path(item, subjects)
            yield from _check_cloud(item, cluster)
        elif spec["userAssignedIdentityCredentialsPath"].is_set and not is_placeholder(kind):
            yield report(
                "HC604",
                spec["type"],
                f"with the type {kind!r}, Cluster API refuses userAssignedIdentityCredentialsPath",
                f"Set type: {_TYPE}.",
            )


def _check_required(spec: Node) -> Iterator[Finding]:
    for key in _REQUIRED:
        if not isinstance(spec[key].value, str):
            is_missing = spec[key].value is None
            yield report(
                "HC605",
                spec[key],
                f"{key} is {'not set' if is_missing else 'not text'}{_near(spec, key)}, and the API server "
                "refuses the object",
                'Set clientID: "", which a mounted credential does without.'
                if key == "clientID" and is_missing
                else f"Set it to text{', in quotes' if not is_missing else ''}.",
            )
    kind = spec["type"].text
    if kind and kind not in _TYPES and not is_placeholder(kind):
        yield report(
            "HC605",
            spec["type"],
            f"the API server does not know the type {kind!r}",
            f"Use one of: {', '.join(_TYPES)}.",
        )


def _check_namespaces(item: Named) -> Iterator[Finding]:
    """Check the allowed namespaces: Cluster API lets only the clusters in them use the identity."""
    allowed = item.node.at("spec", "allowedNamespaces")
    names = [name.text for name in allowed["list"].items()]
    is_open = (
        allowed.value is not None and allowed["list"].value is None and allowed["selector"].value is None
    )
    is_selected = bool(allowed["selector"].fields()) or any(map(is_placeholder, names))
    if is_open or is_selected or is_placeholder(item.namespace):
        return
    if not names:
        yield report(
            "HC607",
            allowed,
            f"allowedNamespaces names none{_near(item.node['spec'], 'allowedNamespaces')}, so no cluster may "
            "use the identity",
            f"Set allowedNamespaces.list: [{item.namespace or '<namespace of the control plane>'}].",
        )
    elif item.namespace and item.namespace not in names:
        yield report(
            "HC607",
            allowed,
            f"allowedNamespaces does not list {item.namespace}, where the control plane is",
            f"Add {item.namespace} to allowedNamespaces.list.",
        )


def _check_path(item: Named, subjects: Subjects) -> Iterator[Finding]:
    path = item.node.at("spec", "userAssignedIdentityCredentialsPath")
    if is_placeholder(path.text):
        return
    full, mount = normalize_path(path.text), _MOUNT.path
    if not full.startswith("/") or path.text.endswith("/") or path.text != path.text.strip() or full == mount:
        yield report(
            "HC606",
            path,
            f"userAssignedIdentityCredentialsPath is {path.text!r}, which is not the absolute path of a file"
            if path.is_set
            else "userAssignedIdentityCredentialsPath is not set"
            f"{_near(item.node['spec'], 'userAssignedIdentityCredentialsPath')}, so there is no credential",
            f"Set it to {mount}/<secret of the nodePoolManagement identity>.",
        )
        return
    consumer = _CLUSTER_API.consumer
    # A keyless pod uses another one. HyperShift still writes this.
    has_other = any(
        other.node.at("spec", "type").text == _WORKLOAD_TYPE and is_same(other.namespace, item.namespace)
        for other in subjects.cluster_identities
    )
    for pod in subjects.pods:
        if pod.workload != consumer.workload or not is_same(pod.namespace, item.namespace):
            continue
        for container in pod.containers:
            is_reader = container.name in consumer.containers and not container.is_init
            is_reader = is_reader and not (has_other and pod.is_keyless(container))
            twins = (twin for _, twin in subjects.find_twins(pod, container))
            if is_reader and all(item.find_mount(full) is None for item in (container, *twins)):
                yield report(
                    "HC601",
                    path,
                    f"the path is {path.text!r}, and the container {container.name!r} of {pod.name} mounts "
                    "nothing there",
                    f"Mount {_CLUSTER_API.secret_provider_class} there, or name the file where it is.",
                )
    files = subjects.find_files(_CLUSTER_API.secret_provider_class, item.namespace)
    file = full.removeprefix(f"{mount}/")
    if full != file and files and not is_written(file, files):
        yield report(
            "HC602",
            path,
            f"the path names the file {file!r}, but {_CLUSTER_API.secret_provider_class} mounts "
            f"{', '.join(sorted(files))}",
            "Name the secret of the nodePoolManagement identity.",
        )


def _check_cloud(item: Named, cluster: HostedCluster | None) -> Iterator[Finding]:
    """Check the cloud: Cluster API ignores case, and treats an unknown one as the public cloud."""
    cloud = item.node.at("spec", "userAssignedIdentityCredentialsCloudType")
    known = CLOUD_TYPES.get(cluster.cloud.strip().lower()) if cluster else None
    expected = (known,) if known else tuple(CLOUD_TYPES.values())
    found = cloud.plain.lower() or _DEFAULT_CLOUD_TYPE
    if found not in expected and not is_placeholder(cloud.text):
        yield report(
            "HC603",
            cloud,
            f"the cloud type is {cloud.plain!r}, expected {_join(expected)}"
            if cloud.is_set
            else f"the cloud type is not set, which means public; expected {_join(expected)}",
            "Use the type of the hosted cluster's cloud.",
        )


def _near(spec: Node, key: str) -> str:
    return describe_misspelt([name for name, _ in spec.fields()], key)


def _join(names: tuple[str, ...]) -> str:
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
