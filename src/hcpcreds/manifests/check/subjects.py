"""What the documents hold, sorted by what the checks ask for."""

import base64
import binascii
from collections.abc import Iterator
from typing import Final

import msgspec

from hcpcreds.components import COMPONENTS, WORKLOADS, Component, find_workload
from hcpcreds.components import Pod as PodRow
from hcpcreds.constants import MANAGED_AZURE_SECRET_PROVIDER_CLASS, MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER
from hcpcreds.errors import InputError
from hcpcreds.hosted_cluster import HostedCluster, parse_hosted_cluster
from hcpcreds.kubernetes.documents import Document
from hcpcreds.kubernetes.nodes import Node
from hcpcreds.kubernetes.placeholders import holds_placeholder, is_placeholder

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

_CONFIG_KEYS: Final = frozenset({"cloud.conf", "azure.json", "cloud-config"})


class Container(msgspec.Struct, frozen=True):
    """A container of a pod."""

    node: Node
    name: str
    is_init: bool
    mounts: list[Node]
    env: list[Node]

    def find_mount(self, path: str) -> Node | None:
        """The mount that provides a path: the deepest, as in the container."""
        found = [mount for mount in self.mounts if is_below(path, mount["mountPath"].text)]
        return max(found, key=lambda mount: len(mount["mountPath"].text), default=None)


def is_below(path: str, directory: str) -> bool:
    """Whether a path is a directory or lies in it."""
    directory = directory.rstrip("/")
    return bool(directory) and (path == directory or path.startswith(f"{directory}/"))


class Pod(msgspec.Struct, frozen=True):
    """A pod, or the template of a workload's pods."""

    node: Node
    """Of the pod's spec."""
    kind: str
    name: str
    namespace: str
    """Empty when the manifest leaves it to the command line."""
    volumes: list[Node]
    containers: list[Container]

    @property
    def rows(self) -> tuple[tuple[Component, PodRow], ...]:
        """What the workload is to get, by its name in the table."""
        return WORKLOADS.get(find_workload(self.name) or "", ())

    @property
    def credential_volumes(self) -> list[Node]:
        """The volumes that are, or were meant to be, mounted by the Secrets Store CSI driver."""
        return [volume for volume in self.volumes if is_credential_volume(volume)]

    def find_volume(self, mount: Node) -> Node | None:
        """The volume of a mount."""
        name = mount["name"].text
        return next((volume for volume in self.volumes if volume["name"].text == name), None)

    def get_class(self, mount: Node) -> str:
        """The SecretProviderClass that a mount shows; empty when it shows none."""
        volume = self.find_volume(mount)
        return class_of(volume).text if volume is not None and is_credential_volume(volume) else ""


def class_of(volume: Node) -> Node:
    """Where a volume names its SecretProviderClass."""
    return volume.at("csi", "volumeAttributes", MANAGED_AZURE_SECRET_PROVIDER_CLASS)


def is_credential_volume(volume: Node) -> bool:
    """Whether a volume is, or was meant to be, mounted by the Secrets Store CSI driver."""
    driver = volume.at("csi", "driver").text
    return driver == MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER or class_of(volume).is_set


class Named(msgspec.Struct, frozen=True):
    """An object with its name and namespace."""

    node: Node
    kind: str
    name: str
    namespace: str


class CloudConfig(msgspec.Struct, frozen=True):
    """A cloud config: in a Secret, a ConfigMap, or a file of its own."""

    node: Node
    """The settings; their value is None when they cannot be read."""
    problem: str = ""
    """Why they cannot be read."""
    holder: Named | None = None
    """The Secret or ConfigMap."""


class Subjects(msgspec.Struct):
    """Everything that the checks look at."""

    unreadable: list[Document] = msgspec.field(default_factory=list)
    templates: list[Node] = msgspec.field(default_factory=list)
    """Hosted clusters with placeholders."""
    settings: list[Node] = msgspec.field(default_factory=list)
    """What may be a chart's values or a description of an AKS cluster."""
    named: list[Named] = msgspec.field(default_factory=list)
    pods: list[Pod] = msgspec.field(default_factory=list)
    classes: list[Named] = msgspec.field(default_factory=list)
    configs: list[CloudConfig] = msgspec.field(default_factory=list)
    cluster_identities: list[Named] = msgspec.field(default_factory=list)
    clusters: list[HostedCluster] = msgspec.field(default_factory=list)
    unusable_clusters: list[tuple[Node, str]] = msgspec.field(default_factory=list)

    def find_classes(self, name: str, namespace: str) -> list[Named]:
        """The SecretProviderClasses that a name means in a namespace."""
        return [item for item in self.classes if item.name == name and is_same(item.namespace, namespace)]

    def find_cluster(self, namespace: str) -> HostedCluster | None:
        """The hosted cluster whose control plane runs in a namespace; the only one, if that is not said.

        A HostedCluster and its HostedControlPlane are one.
        """
        found = [item for item in self.clusters if is_same(item.control_plane_namespace, namespace)]
        is_one = all(
            (item.identities, item.key_vault, item.cloud)
            == (found[0].identities, found[0].key_vault, found[0].cloud)
            for item in found
        )
        return found[0] if found and is_one else None

    def has_component(self, component: Component, namespace: str) -> bool:
        """Whether a namespace's control plane is known to have a component of managed Azure."""
        cluster = self.find_cluster(namespace)
        if cluster is not None:
            return component.get_identity(cluster) is not None
        return bool(self.find_classes(component.secret_provider_class, namespace))

    def find_files(self, class_name: str, namespace: str) -> frozenset[str]:
        """The files that a SecretProviderClass mounts; none when that is not known."""
        classes = self.find_classes(class_name, namespace)
        if classes:
            objects = [entry for item in classes for entry in read_objects(item.node)]
            names = [entry["objectAlias"].plain or entry["objectName"].plain for entry in objects]
            return frozenset() if any(map(is_placeholder, names)) else frozenset(filter(None, names))
        component = COMPONENT_BY_CLASS.get(class_name)
        cluster = self.find_cluster(namespace)
        identity = component.get_identity(cluster) if component and cluster else None
        return frozenset({identity.credentials_secret_name} if identity else ())


def is_same(namespace: str, other: str) -> bool:
    """Whether two namespaces are one, as far as the manifests say."""
    return not namespace or not other or namespace == other


def read_objects(secret_provider_class: Node) -> list[Node]:
    """The entries of the parameter ``objects``; those that cannot be read are left out."""
    objects = secret_provider_class.at("spec", "parameters", "objects")
    entries = [entry.parse() for entry in objects.parse()["array"].items()]
    return [entry for entry in entries if isinstance(entry.value, dict)]


def read_pod(item: Named, template: tuple[str, ...]) -> Pod:
    """Read a workload's pod template."""
    spec = item.node.at(*template, "spec")
    containers = [
        Container(
            node,
            node["name"].text,
            key == "initContainers",
            node["volumeMounts"].items(),
            node["env"].items(),
        )
        for key in ("initContainers", "containers")
        for node in spec[key].items()
    ]
    claims = [
        Node(claim.document, claim.path, {"name": claim.at("metadata", "name").text})
        for claim in item.node.at("spec", "volumeClaimTemplates").items()
    ]
    volumes = [*spec["volumes"].items(), *claims]
    return Pod(spec, item.kind, item.name, item.namespace, volumes, containers)


def read_cluster(item: Named, subjects: Subjects) -> None:
    """Read a hosted cluster on Azure; one that cannot be used is noted."""
    value = item.node.value
    platform = item.node.at("spec", "platform")
    if platform["type"].text != "Azure" or not isinstance(platform["azure"].value, dict):
        return
    if not item.node.at("spec", "infraID").is_set:  # HyperShift sets it, so a folder of manifests lacks it
        value = {**value, "spec": {**value["spec"], "infraID": "not-set"}}
    metadata = value.get("metadata")
    if not item.namespace and isinstance(metadata, dict):  # kubectl fills it in
        value = {**value, "metadata": {**metadata, "namespace": "default"}}
    try:
        subjects.clusters.append(parse_hosted_cluster(value))
    except InputError as error:
        if holds_placeholder(value):
            subjects.templates.append(item.node)
            return
        subjects.unusable_clusters += [(item.node, problem) for problem in error.problems]


def read_configs(item: Named) -> Iterator[CloudConfig]:
    """Read the cloud configs in a Secret or ConfigMap."""
    for section in ("stringData", "data"):
        for key, node in item.node[section].fields():
            if key not in _CONFIG_KEYS and item.name not in COMPONENT_BY_CONFIG:
                continue
            text = _decode(node.text) if (section, item.kind) == ("data", "Secret") else node.text
            # Other platforms have a cloud.conf too; and where an operator fills it in, it is empty.
            is_ours = item.name in COMPONENT_BY_CONFIG or (text is not None and PATH_SETTING in text)
            if is_ours and text != "":
                yield _parse_config(node, text, item)


def _decode(text: str) -> str | None:
    try:
        return base64.b64decode("".join(text.split()), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None


def _parse_config(node: Node, text: str | None, holder: Named) -> CloudConfig:
    nothing = Node(node.document, node.path, None)
    if text is None:
        return CloudConfig(nothing, "it is not the base64 of a text", holder)
    settings = node.parse(None if text == node.text else text)
    if not isinstance(settings.value, dict):
        return CloudConfig(nothing, "it is not one JSON object", holder)
    return CloudConfig(settings, "", holder)
