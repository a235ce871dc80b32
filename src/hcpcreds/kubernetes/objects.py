"""Kubernetes objects: their typed shapes, the items of a List, and the place of a workload's pod template."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NotRequired, TypedDict

from hcpcreds.errors import InputError
from hcpcreds.kubernetes.yaml_reader import PlainScalar

Path = tuple[str | int, ...]
"""Keys and indexes, from the root of an object or of a document."""

MAX_OBJECTS: Final = 10_000
"""In one document. Aliases make a short text into a List of Lists of any size."""

_DIRECTIVES: Final = ("$patch", "$deleteFromPrimitiveList", "$setElementOrder", "$retainKeys")
_USUAL: Final = ("spec", "template")
_TEMPLATES: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("", "Pod"): (),
    ("", "PodTemplate"): ("template",),
    ("", "ReplicationController"): _USUAL,
    ("apps", "DaemonSet"): _USUAL,
    ("apps", "Deployment"): _USUAL,
    ("apps", "ReplicaSet"): _USUAL,
    ("apps", "StatefulSet"): _USUAL,
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
    ("batch", "Job"): _USUAL,
}
"""Where the pod template is, by API group and kind."""


class CSIVolumeSource(TypedDict):
    """A volume that a CSI driver mounts into one pod (core/v1)."""

    driver: str
    readOnly: bool
    volumeAttributes: dict[str, str]


class EmptyDirVolumeSource(TypedDict):
    """A directory that lives as long as its pod (core/v1)."""

    medium: NotRequired[str]
    sizeLimit: NotRequired[str]


class Volume(TypedDict):
    """A pod's volume: of a CSI driver, or a directory of its own (core/v1)."""

    name: str
    csi: NotRequired[CSIVolumeSource]
    emptyDir: NotRequired[EmptyDirVolumeSource]


class VolumeMount(TypedDict):
    """Where a container sees a volume (core/v1)."""

    name: str
    mountPath: str
    readOnly: NotRequired[bool]


class EnvVar(TypedDict):
    """A container's environment variable (core/v1)."""

    name: str
    value: str


class ObjectMeta(TypedDict):
    """An object's name and labels (meta/v1)."""

    name: str
    namespace: str
    labels: dict[str, str]


class Secret(TypedDict):
    """A Secret (core/v1).

    The content stands in `data`, as the API server keeps it and HyperShift writes it. In `stringData`,
    which the API server never returns, kubectl apply could not remove a key again.
    """

    apiVersion: str
    kind: str
    metadata: ObjectMeta
    data: dict[str, str]


class ConfigMap(TypedDict):
    """A ConfigMap (core/v1)."""

    apiVersion: str
    kind: str
    metadata: ObjectMeta
    data: dict[str, str]


class SecretProviderClassSpec(TypedDict):
    """Which provider gets what (secrets-store.csi.x-k8s.io/v1)."""

    provider: str
    parameters: dict[str, str]


class SecretProviderClass(TypedDict):
    """One mount's content (secrets-store.csi.x-k8s.io/v1)."""

    apiVersion: str
    kind: str
    metadata: ObjectMeta
    spec: SecretProviderClassSpec


class AllowedNamespaces(TypedDict):
    """Which namespaces may use an identity."""

    list: list[str]


class AzureClusterIdentitySpec(TypedDict):
    """An identity (infrastructure.cluster.x-k8s.io/v1beta1)."""

    type: str
    clientID: str
    tenantID: str
    userAssignedIdentityCredentialsPath: NotRequired[str]
    userAssignedIdentityCredentialsCloudType: NotRequired[str]
    allowedNamespaces: AllowedNamespaces


class AzureClusterIdentity(TypedDict):
    """An identity for cluster-api-provider-azure (infrastructure.cluster.x-k8s.io/v1beta1)."""

    apiVersion: str
    kind: str
    metadata: ObjectMeta
    spec: AzureClusterIdentitySpec


def find_objects(document: object, path: Path = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Find the objects in a document: itself, or the items of a List, also of Lists within it.

    Args:
        document: Anything; only mappings hold objects.
        path: Of the document itself, to begin the objects' paths with.

    Raises:
        InputError: There are more than `MAX_OBJECTS`.
    """
    found: list[tuple[Path, object]] = [(path, document)]
    for _ in range(MAX_OBJECTS):
        if not found:
            return
        place, value = found.pop()
        if not isinstance(value, dict):
            continue
        items = value.get("items")
        if isinstance(items, list) and _is_list(value, items):
            found += [((*place, "items", index), items[index]) for index in reversed(range(len(items)))]
        else:
            yield place, value
    raise InputError("List", [f"more than {MAX_OBJECTS} objects"], hint="Split it into several documents.")


def _is_list(value: Mapping[str, Any], items: list[Any]) -> bool:
    """Whether a mapping is a List: by its kind, or without a kind by its items."""
    kind = value.get("kind")
    return str(kind).endswith("List") if kind is not None else any(map(is_object, items))


def is_object(value: object) -> bool:
    """Whether a value says that it is a Kubernetes object."""
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("kind"), str)
        and isinstance(value.get("apiVersion"), str)
    )


def is_patch(value: object) -> bool:
    """Whether an object is a strategic merge patch: whether it has one of its directives anywhere."""
    seen: set[int] = set()
    left = [value]
    while left:
        found = left.pop()
        if id(found) in seen or not isinstance(found, dict | list):
            continue
        seen.add(id(found))  # aliases share what they name
        if isinstance(found, list):
            left += found
        elif any(str(key).startswith(_DIRECTIVES) for key in found):
            return True
        else:
            left += found.values()
    return False


def is_same(one: object, other: object, seen: set[tuple[int, int]] | None = None) -> bool:
    """Whether two documents say the same. No pair is compared twice: aliases make a small text large."""
    seen = set() if seen is None else seen
    if (id(one), id(other)) in seen:
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        seen.add((id(one), id(other)))
        return one.keys() == other.keys() and all(is_same(one[key], other[key], seen) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        seen.add((id(one), id(other)))
        return len(one) == len(other) and all(map(is_same, one, other, [seen] * len(one)))
    if isinstance(one, bool) and isinstance(other, PlainScalar):
        return other.kind == "boolean" and other.text == str(one).lower()
    if type(one) is int and isinstance(other, PlainScalar):
        return other.kind == "number" and other.text == str(one)
    return type(one) is type(other) and one == other


def find_controller(manifest: Mapping[str, Any]) -> tuple[str, str] | None:
    """Find the kind and name of the controller of a live object; None without one, and for a node."""
    metadata = manifest.get("metadata")
    owners = metadata.get("ownerReferences") if isinstance(metadata, Mapping) else None
    for owner in owners if isinstance(owners, list) else ():
        if isinstance(owner, Mapping) and owner.get("kind") != "Node" and _is_set(owner.get("controller")):
            return str(owner.get("kind")), str(owner.get("name"))
    return None


def is_over(manifest: Mapping[str, Any]) -> bool:
    """Whether a live object no longer runs: a finished pod, or the ReplicaSet of an old revision."""
    status, spec = manifest.get("status"), manifest.get("spec")
    if manifest.get("kind") == "Pod":
        return isinstance(status, Mapping) and status.get("phase") in ("Succeeded", "Failed")
    if manifest.get("kind") == "ReplicaSet" and find_controller(manifest) is not None:
        replicas = spec.get("replicas") if isinstance(spec, Mapping) else None
        return replicas == 0 or (isinstance(replicas, PlainScalar) and replicas.text == "0")
    return False


def _is_set(value: object) -> bool:
    return value is True or (isinstance(value, PlainScalar) and value.text == "true")


def find_pod_template(manifest: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Find the path of a workload's pod template; of a Pod, which is its own, the empty path.

    A kind that is not in the table counts by its shape, as DeploymentConfig and Rollout do: a list of
    containers where nearly every kind has it.

    Returns:
        The path; None when the object is not a workload.
    """
    kind, api_version = manifest.get("kind"), manifest.get("apiVersion")
    for (known_group, known_kind), path in _TEMPLATES.items():
        # A manifest that somebody forgot the apiVersion in is a workload all the same.
        is_known = api_version is None or str(api_version).rpartition("/")[0] == known_group
        if kind == known_kind and is_known:
            return path
    for path in dict.fromkeys(_TEMPLATES.values()):
        template: Any = manifest
        for key in path:
            template = template.get(key) if isinstance(template, Mapping) else None
        spec = template.get("spec") if path and isinstance(template, Mapping) else None
        if isinstance(spec, Mapping) and isinstance(spec.get("containers"), list):
            return path
    return None
