"""HC1xx: volumes and mounts.

Sources: openshift/hypershift, support/azureutil; kubernetes-sigs/secrets-store-csi-driver,
pkg/secrets-store/nodeserver.go.
"""

import difflib
from collections.abc import Iterator
from typing import Final

from hcpcreds.constants import (
    MANAGED_AZURE_CERTIFICATE_MOUNT_PATH,
    MANAGED_AZURE_CREDENTIALS_MOUNT_PATH_FOR_KMS,
    MANAGED_AZURE_SECRET_PROVIDER_CLASS,
    MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER,
)
from hcpcreds.kubernetes.nodes import Node
from hcpcreds.kubernetes.placeholders import is_placeholder
from hcpcreds.manifests.check.rules import Finding, report
from hcpcreds.manifests.check.spelling import describe_misspelt
from hcpcreds.manifests.check.subjects import (
    COMPONENT_BY_CLASS,
    COMPONENT_BY_VOLUME,
    Container,
    Pod,
    Subjects,
    class_of,
    is_credential_volume,
    path_of,
)

_PREFIX: Final = "managed-azure-"
_LIKENESS: Final = 0.8
_CREDENTIAL_PATHS: Final = (
    MANAGED_AZURE_CERTIFICATE_MOUNT_PATH,
    MANAGED_AZURE_CREDENTIALS_MOUNT_PATH_FOR_KMS,
)


def check_volumes(subjects: Subjects) -> Iterator[Finding]:
    """Check every pod's credential volumes and their mounts."""
    for pod in subjects.pods:
        for volume in pod.credential_volumes:
            yield from _check_volume(volume)
            yield from _check_class(volume, pod, subjects)
            yield from _check_is_mounted(volume, pod, subjects)
        yield from _check_volume_names(pod)
        for container in pod.containers:
            yield from _check_mounts(container, pod, subjects)


def _check_volume(volume: Node) -> Iterator[Finding]:
    name, driver = volume["name"].text, volume.at("csi", "driver")
    if driver.text != MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER and not is_placeholder(driver.text):
        yield report(
            "HC107",
            driver,
            f"the volume {name!r} names a SecretProviderClass, but its driver is {driver.text!r}",
            f"Set driver: {MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER}.",
        )
    read_only = volume.at("csi", "readOnly")
    if read_only.boolean is not True and not is_placeholder(read_only.text):
        yield report(
            "HC105",
            read_only,
            f"the volume {name!r} is not read-only, and the driver refuses to mount it",
            "Set csi.readOnly: true.",
        )
    if not class_of(volume).is_set:
        keys = [key for key, _ in volume.at("csi", "volumeAttributes").fields()]
        yield report(
            "HC108",
            class_of(volume),
            f"the volume {name!r} does not say what to mount"
            f"{describe_misspelt(keys, MANAGED_AZURE_SECRET_PROVIDER_CLASS)}",
            "Name the SecretProviderClass in csi.volumeAttributes.secretProviderClass.",
        )


def _check_class(volume: Node, pod: Pod, subjects: Subjects) -> Iterator[Finding]:
    name = class_of(volume).text
    if not name or is_placeholder(name) or subjects.find_classes(name, pod.namespace):
        return
    if any(row.mount and row.mount.volume_name == volume["name"].text for _, row in pod.rows) and (
        name not in COMPONENT_BY_CLASS
    ):
        return  # HC112 names the right one
    elsewhere = sorted({item.namespace for item in subjects.classes_by_name.get(name, ())})
    if elsewhere:
        yield report(
            "HC102",
            class_of(volume),
            f"the SecretProviderClass {name} is in the namespace {', '.join(elsewhere)}, and the pod in "
            f"{pod.namespace}",
            "Put both into one namespace: a pod can only use a SecretProviderClass of its own namespace.",
        )
    elif _is_missing(name, volume, pod, subjects):
        yield report(
            "HC101",
            class_of(volume),
            f"there is no SecretProviderClass {name!r}",
            f"Name an existing one ({_list_classes(pod.namespace, subjects)}), or add it.",
        )


def _is_missing(name: str, volume: Node, pod: Pod, subjects: Subjects) -> bool:
    """Whether the documents show that a SecretProviderClass should be among them.

    HyperShift's nine come together. Any other may be anywhere, unless the volume's own file contains some, or
    its name is similar to that of another one.
    """
    names = subjects.classes_by_name.keys()
    cluster = subjects.find_cluster(pod.namespace)
    if name in COMPONENT_BY_CLASS and cluster is not None:
        is_lacking = COMPONENT_BY_CLASS[name].get_identity(cluster) is None
        return is_lacking or not names.isdisjoint(COMPONENT_BY_CLASS)
    if name.startswith(_PREFIX):
        return cluster is not None or not names.isdisjoint(COMPONENT_BY_CLASS)
    own = [item for item in subjects.classes if item.name not in COMPONENT_BY_CLASS]
    if any(is_placeholder(item.name) for item in own):
        return False
    return any(item.node.document.file == volume.document.file for item in own) or bool(
        difflib.get_close_matches(name, [item.name for item in own], cutoff=_LIKENESS)
    )


def _list_classes(namespace: str, subjects: Subjects) -> str:
    return ", ".join(sorted(subjects.classes_by_name)) or ", ".join(
        name
        for name, component in COMPONENT_BY_CLASS.items()
        if (cluster := subjects.find_cluster(namespace)) and component.get_identity(cluster)
    )


def _check_is_mounted(volume: Node, pod: Pod, subjects: Subjects) -> Iterator[Finding]:
    name = volume["name"].text

    mounted = {
        mount["name"].text
        for other in (pod, *subjects.find_others(pod))
        for container in other.containers
        for mount in container.mounts
    }
    if pod.containers and name not in mounted:
        yield report(
            "HC103",
            volume,
            f"no container mounts the volume {name!r}, so no program sees the credential",
            "Add a volumeMount to the container that calls Azure, or remove the volume.",
        )


def _check_volume_names(pod: Pod) -> Iterator[Finding]:
    credentials = {volume["name"].text for volume in pod.credential_volumes}
    seen: set[str] = set()
    for volume in pod.volumes:
        name = volume["name"].text
        if name in seen and name in credentials:
            yield report(
                "HC111",
                volume["name"],
                f"there are two volumes {name!r}",
                "Remove one of them, or rename it.",
            )
        seen.add(name)


def _check_mounts(container: Container, pod: Pod, subjects: Subjects) -> Iterator[Finding]:
    paths: dict[str, Node] = {}
    for mount in container.mounts:
        name, path = mount["name"].text, path_of(mount)
        volume = pod.find_volume(mount)
        is_credential = volume is not None and is_credential_volume(volume)
        if volume is None and (name in COMPONENT_BY_VOLUME or path in _CREDENTIAL_PATHS):
            yield from _check_has_volume(mount, container, pod, subjects)
        if volume is not None and is_credential:
            yield from _check_mount(mount, volume, container)
        other = paths.setdefault(path, mount)
        if other is not mount and (is_credential or pod.get_class(other)):
            yield report(
                "HC110",
                mount["mountPath"],
                f"the container {container.name!r} mounts both {other['name'].text!r} and {name!r} at {path}",
                "Mount one of them elsewhere.",
            )


def _check_has_volume(mount: Node, container: Container, pod: Pod, subjects: Subjects) -> Iterator[Finding]:
    if is_placeholder(mount["name"].text):
        return
    if all(other.find_volume(mount) is None for other in subjects.find_others(pod)):
        yield report(
            "HC104",
            mount["name"],
            f"the container {container.name!r} mounts {mount['name'].text!r}, "
            "and the pod has no volume of that name",
            "Add the volume, or correct the name.",
        )


def _check_mount(mount: Node, volume: Node, container: Container) -> Iterator[Finding]:
    name, read_only = mount["name"].text, mount["readOnly"]
    is_protected = read_only.boolean is True or is_placeholder(read_only.text)
    if not is_protected and volume.at("csi", "readOnly").boolean is True:  # else HC105
        yield report(
            "HC106",
            read_only,
            f"the container {container.name!r} does not mount {name!r} with readOnly: true; "
            "it is read-only all the same, because its volume is",
            "Set readOnly: true, as HyperShift does.",
        )
    for key in ("subPath", "subPathExpr"):
        if mount[key].is_set:
            yield report(
                "HC109",
                mount[key],
                f"a file mounted with {key} never changes: {container.name!r} keeps the credential that it "
                "started with",
                f"Mount the whole volume: remove {key}, and make mountPath a directory.",
            )
