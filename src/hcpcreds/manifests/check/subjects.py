"""The contents of the documents, sorted for the checks."""

import posixpath
import re
from collections.abc import Iterator
from typing import Final

import msgspec

from hcpcreds.components import COMPONENTS, WORKLOADS, Component, find_workload
from hcpcreds.components import Pod as PodRow
from hcpcreds.constants import MANAGED_AZURE_SECRET_PROVIDER_CLASS, MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER
from hcpcreds.hosted_cluster import HostedCluster
from hcpcreds.kubernetes.documents import Document
from hcpcreds.kubernetes.nodes import Node
from hcpcreds.kubernetes.placeholders import is_placeholder

PATH_SETTING: Final = "aadMSIDataPlaneIdentityPath"
COMPONENT_BY_CLASS: Final = {component.secret_provider_class: component for component in COMPONENTS}
COMPONENT_BY_CONFIG: Final = {
    pod.mount.cloud_config.secret_name: component
    for component in COMPONENTS
    for pod in component.pods
    if pod.mount is not None and pod.mount.cloud_config is not None
}
COMPONENT_BY_VOLUME: Final = {
    pod.mount.volume_name: component
    for component in COMPONENTS
    for pod in component.pods
    if pod.mount is not None
}

ASSERTION_VARIABLE: Final = "AZURE_FEDERATED_TOKEN_FILE"
"""Variable with which a program logs in with an assertion instead of a key."""

TOKEN_ADDRESSES: Final = ("HCPCREDS_APP_SERVICE_ADDRESS", "HCPCREDS_IMDS_ADDRESS")
"""Variables of `hcpcreds serve`: where it gives tokens."""
_SERVE_VARIABLES: Final = ("HCPCREDS_ASSERTION_DIRECTORY", *TOKEN_ADDRESSES)
"""Variables of `hcpcreds serve`, which needs at least one of them."""
_KMS_CONFIG: Final = "azure-kms-config"
_MOST_DIGITS: Final = 3
_MOST_NAMES: Final = 1000


class Container(msgspec.Struct, frozen=True):
    """A container of a pod."""

    node: Node
    name: str
    is_init: bool
    mounts: list[Node]
    env: list[Node]

    def find_mount(self, path: str) -> Node | None:
        """The mount that provides a path: the deepest, as in the container."""
        found = [mount for mount in self.mounts if is_below(path, path_of(mount))]
        return max(found, key=lambda mount: len(path_of(mount)), default=None)

    def get_variable(self, name: str) -> Node | None:
        """Get the last variable of a name, which wins; None if it is missing or empty."""
        found = [variable for variable in self.env if variable["name"].text == name]
        is_set = bool(found) and (found[-1]["value"].is_set or found[-1]["valueFrom"].is_set)
        return found[-1] if is_set else None

    @property
    def arguments(self) -> list[Node]:
        """The command line, without the name of the program if the manifest contains it."""
        return [*self.node["command"].items()[1:], *self.node["args"].items()]


def normalize_path(path: str) -> str:
    """Write a path as the kernel reads it: no repeated or final slashes, no `.` and no `..`."""
    return re.sub("^//+", "/", posixpath.normpath(path)) if path else ""


def path_of(mount: Node) -> str:
    """Return the path of a mount in its container."""
    return normalize_path(mount["mountPath"].text)


def is_below(path: str, directory: str) -> bool:
    """Whether a path is a directory or below it; both are normalized."""
    return bool(directory) and (path == directory or path.startswith(f"{directory.rstrip('/')}/"))


class Pod(msgspec.Struct, frozen=True):
    """A pod, or the template of a workload's pods."""

    node: Node
    """Of the pod's spec."""
    kind: str
    name: str
    namespace: str
    """Empty if the manifest leaves it to the command line."""
    volumes: list[Node]
    containers: list[Container]

    @property
    def workload(self) -> str:
        """The workload's name in the table, or else its own."""
        return find_workload(self.name) or self.name

    @property
    def rows(self) -> tuple[tuple[Component, PodRow], ...]:
        """The rows for the workload, by its name in the table."""
        return WORKLOADS.get(self.workload, ())

    @property
    def sidecar(self) -> Container | None:
        """The container that runs `hcpcreds serve` for the others."""
        return next(filter(_serves, self.containers), None)

    def is_keyless(self, container: Container) -> bool:
        """Whether a container logs in with an assertion of the sidecar's."""
        return container.get_variable(ASSERTION_VARIABLE) is not None and self.sidecar not in (
            None,
            container,
        )

    @property
    def credential_volumes(self) -> list[Node]:
        """The volumes that are, or were meant to be, mounted by the Secrets Store CSI driver."""
        return [volume for volume in self.volumes if is_credential_volume(volume)]

    def find_volume(self, mount: Node) -> Node | None:
        """The volume of a mount."""
        name = mount["name"].text
        return next((volume for volume in self.volumes if volume["name"].text == name), None)

    def get_class(self, mount: Node) -> str:
        """The SecretProviderClass of a mount; empty if it has none."""
        volume = self.find_volume(mount)
        return class_of(volume).text if volume is not None and is_credential_volume(volume) else ""


def _serves(container: Container) -> bool:
    command = [part.text for key in ("command", "args") for part in container.node[key].items()]
    return any(container.get_variable(name) for name in _SERVE_VARIABLES) or (
        "serve" in command and any(posixpath.basename(part) == "hcpcreds" for part in command)
    )


def class_of(volume: Node) -> Node:
    """Where a volume names its SecretProviderClass."""
    return volume.at("csi", "volumeAttributes", MANAGED_AZURE_SECRET_PROVIDER_CLASS)


def is_credential_volume(volume: Node) -> bool:
    """Whether a volume is, or was meant to be, mounted by the Secrets Store CSI driver."""
    driver = volume.at("csi", "driver").text
    return driver == MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER or class_of(volume).is_set


def list_sources(volume: Node) -> list[tuple[str, str]]:
    """The kinds and names of the Secrets and ConfigMaps in a volume."""
    parts = [volume, *volume.at("projected", "sources").items()]
    secrets = {volume.at("secret", "secretName").text, *(part.at("secret", "name").text for part in parts)}
    found = [("Secret", name) for name in sorted(secrets)]
    found += [("ConfigMap", part.at("configMap", "name").text) for part in parts]
    return [(kind, name) for kind, name in found if name]


class Named(msgspec.Struct, frozen=True):
    """An object with its name and namespace."""

    node: Node
    kind: str
    name: str
    namespace: str


class CloudConfig(msgspec.Struct, frozen=True):
    """A cloud config: in a Secret, in a ConfigMap, or as a file."""

    node: Node
    """The settings; their value is None if they cannot be read."""
    problem: str = ""
    """Why they cannot be read."""
    fix: str = ""
    """The fix for that."""
    holder: Named | None = None
    """The Secret or ConfigMap."""

    def find(self, key: str) -> Node:
        """The setting that a program reads under a key.

        cloud-provider-azure ignores case, as Go does, and uses the last of several keys in the order of
        sigs.k8s.io/yaml; the KMS plugin (gopkg.in/yaml.v3) uses only the exact key.
        """
        keys = [found for found, _ in self.node.fields() if found.lower() == key.lower()]
        is_exact = self.holder is not None and self.holder.name == _KMS_CONFIG
        return self.node[key if is_exact or not keys else max(keys)]


class Subjects(msgspec.Struct):
    """Everything that the checks read."""

    unreadable: list[Document] = msgspec.field(default_factory=list)
    templates: list[Node] = msgspec.field(default_factory=list)
    """Hosted clusters with placeholders."""
    settings: list[Node] = msgspec.field(default_factory=list)
    """Documents that may be a chart's values or the description of an AKS cluster."""
    names: dict[str, set[tuple[str, str, str]]] = msgspec.field(default_factory=dict)
    """Kind, namespace and name of the first objects of each file."""
    secret_readers: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)
    """By the name of a Secret and its namespace, a workload whose pods read it."""
    named: list[Named] = msgspec.field(default_factory=list)
    pods: list[Pod] = msgspec.field(default_factory=list)
    workloads: dict[tuple[str, str], dict[str, list[Pod]]] = msgspec.field(default_factory=dict)
    """The same pods by kind and name of their workloads, and by namespace."""
    readers: dict[tuple[str, str], list[Pod]] = msgspec.field(default_factory=dict)
    """The same pods by kind and name of the Secrets and ConfigMaps that they mount."""
    classes: list[Named] = msgspec.field(default_factory=list)
    classes_by_name: dict[str, list[Named]] = msgspec.field(default_factory=dict)
    partial_classes: set[str] = msgspec.field(default_factory=set)
    objects: dict[int, list[Node]] = msgspec.field(default_factory=dict)
    """The objects of each SecretProviderClass, parsed once."""
    users_of_classes: dict[str, list[tuple[Pod, Node]]] = msgspec.field(default_factory=dict)
    """Pods and their volumes by the SecretProviderClass; under an empty name if that is a placeholder."""
    configs: list[CloudConfig] = msgspec.field(default_factory=list)
    cluster_identities: list[Named] = msgspec.field(default_factory=list)
    drivers: list[Node] = msgspec.field(default_factory=list)
    """CSIDrivers of the Secrets Store CSI driver."""
    clusters: list[tuple[HostedCluster, Node]] = msgspec.field(default_factory=list)
    clusters_by_namespace: dict[str, list[HostedCluster]] = msgspec.field(default_factory=dict)
    unusable_clusters: list[tuple[Node, str]] = msgspec.field(default_factory=list)

    def add_pod(self, pod: Pod) -> None:
        """Add a pod, or the template of a workload's pods."""
        self.pods.append(pod)
        for volume in pod.credential_volumes:
            name = class_of(volume).text
            users = self.users_of_classes.setdefault("" if is_placeholder(name) else name, [])
            users.append((pod, volume))
        by_namespace = self.workloads.setdefault((pod.kind, pod.workload), {})
        by_namespace.setdefault(pod.namespace, []).append(pod)
        for source in {source for volume in pod.volumes for source in list_sources(volume)}:
            self.readers.setdefault(source, []).append(pod)

    def add_class(self, item: Named, *, is_partial: bool = False) -> None:
        """Add a SecretProviderClass; of a patch for one, only the name is known."""
        self.objects[id(item.node.value)] = _read_objects(item.node)
        self.classes_by_name.setdefault(item.name, []).append(item)
        if is_partial:
            self.partial_classes.add(item.name)
        else:
            self.classes.append(item)

    def get_objects(self, item: Named) -> list[Node]:
        """The entries of the parameter `objects`; those that cannot be read are left out."""
        return self.objects[id(item.node.value)]

    def find_users(self, item: Named) -> list[tuple[Pod, Node]]:
        """The pods that mount a SecretProviderClass, each with its volume."""
        users = self.users_of_classes.get(item.name, [])
        return [(pod, volume) for pod, volume in users if is_same(pod.namespace, item.namespace)]

    def add_cluster(self, cluster: HostedCluster, node: Node) -> None:
        """Add a hosted cluster."""
        self.clusters.append((cluster, node))
        self.clusters_by_namespace.setdefault(cluster.control_plane_namespace, []).append(cluster)

    def note_name(self, item: Named) -> None:
        """Record that a file contains an object."""
        names = self.names.setdefault(item.node.document.file, set())
        if item.name and len(names) < _MOST_NAMES:
            names.add((item.kind, item.namespace, item.name))

    def find_classes(self, name: str, namespace: str) -> list[Named]:
        """Find the SecretProviderClasses to which a name refers in a namespace."""
        return [item for item in self.classes_by_name.get(name, ()) if is_same(item.namespace, namespace)]

    def find_others(self, pod: Pod) -> list[Pod]:
        """The other manifests of a pod's workload: bases and overlays, or other renderings of one template.

        Something is missing only if none of them has it.
        """
        found = self.workloads[pod.kind, pod.workload]
        namespaces = {pod.namespace, ""} if pod.namespace else found
        return [other for namespace in namespaces for other in found.get(namespace, ()) if other is not pod]

    def find_twins(self, pod: Pod, container: Container) -> list[tuple[Pod, Container]]:
        """The same container in the other manifests of a pod's workload."""
        return [
            (other, twin)
            for other in self.find_others(pod)
            for twin in other.containers
            if (twin.name, twin.is_init) == (container.name, container.is_init)
        ]

    def find_cluster(self, namespace: str) -> HostedCluster | None:
        """The hosted cluster whose control plane runs in a namespace; the only one if that is not known.

        A HostedCluster and its HostedControlPlane count as one.
        """
        if namespace:
            found = self.clusters_by_namespace.get(namespace, [])
        else:  # the first two different ones are enough
            found = [items[0] for items in self.clusters_by_namespace.values()]
        is_one = all(
            (item.identities, item.key_vault, item.cloud)
            == (found[0].identities, found[0].key_vault, found[0].cloud)
            for item in found
        )
        return found[0] if found and is_one else None

    def has_component(self, component: Component, pod: Pod) -> bool:
        """Whether a pod's control plane is known to have a component of managed Azure.

        If the hosted cluster is not among the documents, its SecretProviderClass shows that; but not one from
        elsewhere in the repository, nor one that an operator fills in.
        """
        cluster = self.find_cluster(pod.namespace)
        if cluster is not None:
            return component.get_identity(cluster) is not None
        return any(
            is_near(item.node.document.file, pod.node.document.file) and item.node["spec"].fields()
            for item in self.find_classes(component.secret_provider_class, pod.namespace)
        )

    def find_files(self, class_name: str, namespace: str) -> frozenset[str]:
        """List the files that a SecretProviderClass mounts; none if they are not known."""
        classes = self.find_classes(class_name, namespace)
        if class_name in self.partial_classes:
            return frozenset()
        if classes:
            names = [name for item in classes for name in _list_files(self.get_objects(item))]
            is_known = all(name and not is_placeholder(name) for name in names)
            return frozenset(names) if is_known else frozenset()
        component = COMPONENT_BY_CLASS.get(class_name)
        cluster = self.find_cluster(namespace)
        identity = component.get_identity(cluster) if component and cluster else None
        return frozenset({identity.credentials_secret_name} if identity else ())


def is_near(file: str, other: str) -> bool:
    """Whether two files are likely to be for one cluster.

    They are if they share a directory, if one's directory is below the other's, or if the directories are
    siblings. Standard input is near every file.
    """
    one, two = posixpath.dirname(file), posixpath.dirname(other)
    return (
        "-" in (file, other)
        or posixpath.dirname(one) == posixpath.dirname(two)
        or any(not upper or is_below(lower, upper) for lower, upper in ((one, two), (two, one)))
    )


def is_same(namespace: str, other: str) -> bool:
    """Whether two namespaces may be the same, as far as the manifests show."""
    return not namespace or not other or namespace == other


def _list_files(objects: list[Node]) -> Iterator[str]:
    for entry in objects:
        name = entry["objectAlias"].plain or entry["objectName"].plain
        history = get_history(entry)
        yield from [name] if history <= 1 else [f"{name}/{version}" for version in range(history + 1)]


def get_history(entry: Node) -> int:
    """The objectVersionHistory of an object: from 2 on, it is a directory with a file for each version."""
    text = entry["objectVersionHistory"].plain
    return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else 0


def _read_objects(secret_provider_class: Node) -> list[Node]:
    objects = secret_provider_class.at("spec", "parameters", "objects")
    entries = [entry.parse() for entry in objects.parse()["array"].items()]
    return [entry for entry in entries if isinstance(entry.value, dict)]
