"""HC1xx: volumes and mounts.

Sources: openshift/hypershift, support/azureutil; kubernetes-sigs/secrets-store-csi-driver,
pkg/secrets-store/nodeserver.go.
"""

from collections.abc import Iterator
from typing import Final

from hcpcreds.components import Component, Mount, PathSource
from hcpcreds.components import Pod as PodRow
from hcpcreds.constants import (
    MANAGED_AZURE_CERTIFICATE_MOUNT_PATH,
    MANAGED_AZURE_CREDENTIALS_MOUNT_PATH_FOR_KMS,
    MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER,
)
from hcpcreds.kubernetes.nodes import Node
from hcpcreds.kubernetes.placeholders import is_placeholder
from hcpcreds.manifests.check.rules import Finding, report
from hcpcreds.manifests.check.subjects import (
    COMPONENT_BY_CLASS,
    COMPONENT_BY_VOLUME,
    Container,
    Pod,
    Subjects,
    class_of,
    is_credential_volume,
)

_PREFIX: Final = "managed-azure-"
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
            yield from _check_is_mounted(volume, pod)
        yield from _check_volume_names(pod)
        for container in pod.containers:
            yield from _check_mounts(container, pod)
        for component, row in pod.rows:
            yield from _check_row(component, row, pod, subjects)


def _check_volume(volume: Node) -> Iterator[Finding]:
    name, driver = volume["name"].text, volume.at("csi", "driver")
    if driver.text != MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER:
        yield report(
            "HC107",
            driver,
            f"the volume {name!r} names a SecretProviderClass, but its driver is {driver.text!r}",
            f"Set driver: {MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER}.",
        )
    read_only = volume.at("csi", "readOnly")
    if read_only.boolean is not True:
        yield report(
            "HC105",
            read_only,
            f"the volume {name!r} is not read-only, and the driver refuses to mount it",
            "Set csi.readOnly: true.",
        )
    if not class_of(volume).is_set:
        yield report(
            "HC108",
            class_of(volume),
            f"the volume {name!r} does not say what to mount",
            "Name the SecretProviderClass in csi.volumeAttributes.secretProviderClass.",
        )


def _check_class(volume: Node, pod: Pod, subjects: Subjects) -> Iterator[Finding]:
    name = class_of(volume).text
    if not name or is_placeholder(name) or subjects.find_classes(name, pod.namespace):
        return
    elsewhere = sorted({item.namespace for item in subjects.classes if item.name == name})
    if elsewhere:
        yield report(
            "HC102",
            class_of(volume),
            f"the SecretProviderClass {name} is in {', '.join(elsewhere)}, the pod in {pod.namespace}",
            "Put both into one namespace: a pod mounts only from its own.",
        )
    elif _is_known_set(name, pod.namespace, subjects):
        yield report(
            "HC101",
            class_of(volume),
            f"there is no SecretProviderClass {name}",
            f"Name one that there is ({_list_classes(pod.namespace, subjects)}), or add it.",
        )


def _is_known_set(name: str, namespace: str, subjects: Subjects) -> bool:
    """Whether the documents hold the SecretProviderClasses among which a name would have to be.

    HyperShift's nine come together, and so do one's own: either may be elsewhere while the other is here.
    """
    names = {item.name for item in subjects.classes}
    cluster = subjects.find_cluster(namespace)
    if name in COMPONENT_BY_CLASS and cluster is not None:
        is_lacking = COMPONENT_BY_CLASS[name].get_identity(cluster) is None
        return is_lacking or not names.isdisjoint(COMPONENT_BY_CLASS)
    if name.startswith(_PREFIX):
        return cluster is not None or not names.isdisjoint(COMPONENT_BY_CLASS)
    return not names <= set(COMPONENT_BY_CLASS)


def _list_classes(namespace: str, subjects: Subjects) -> str:
    return ", ".join(sorted({item.name for item in subjects.classes})) or ", ".join(
        name
        for name, component in COMPONENT_BY_CLASS.items()
        if (cluster := subjects.find_cluster(namespace)) and component.get_identity(cluster)
    )


def _check_is_mounted(volume: Node, pod: Pod) -> Iterator[Finding]:
    name = volume["name"].text
    mounts = [mount for container in pod.containers for mount in container.mounts]
    if pod.containers and name not in {mount["name"].text for mount in mounts}:
        yield report(
            "HC103",
            volume,
            f"no container mounts the volume {name!r}, so nobody sees the credential",
            "Add a volumeMount to the container that calls Azure, or take the volume away.",
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
                "Take one away, or give it another name.",
            )
        seen.add(name)


def _check_mounts(container: Container, pod: Pod) -> Iterator[Finding]:
    paths: dict[str, Node] = {}
    for mount in container.mounts:
        name, path = mount["name"].text, mount["mountPath"].text.rstrip("/")
        volume = pod.find_volume(mount)
        is_credential = volume is not None and is_credential_volume(volume)
        if volume is None and (name in COMPONENT_BY_VOLUME or path in _CREDENTIAL_PATHS):
            yield report(
                "HC104",
                mount["name"],
                f"the container {container.name!r} mounts {name!r}, and the pod has no such volume",
                "Add the volume, or correct the name.",
            )
        if is_credential:
            yield from _check_mount(mount, container)
        other = paths.setdefault(path, mount)
        if other is not mount and (is_credential or pod.get_class(other)):
            yield report(
                "HC110",
                mount["mountPath"],
                f"the container {container.name!r} mounts both {other['name'].text!r} and {name!r} at {path}",
                "Mount one of them elsewhere.",
            )


def _check_mount(mount: Node, container: Container) -> Iterator[Finding]:
    name = mount["name"].text
    if mount["readOnly"].boolean is not True:
        yield report(
            "HC106",
            mount["readOnly"],
            f"the container {container.name!r} mounts {name!r} writable",
            "Set readOnly: true, as HyperShift does.",
        )
    for key in ("subPath", "subPathExpr"):
        if mount[key].is_set:
            yield report(
                "HC109",
                mount[key],
                f"with {key}, the file in {container.name!r} stays what it was when the container started",
                f"Mount the whole volume: take {key} away, and let mountPath be a directory.",
            )


def _check_row(component: Component, row: PodRow, pod: Pod, subjects: Subjects) -> Iterator[Finding]:
    """Check what a workload of the table gets for one component."""
    if row.mount is None or not subjects.has_component(component, pod.namespace):
        return
    missing: list[Container] = []
    is_elsewhere = False
    for container in pod.containers:
        found = [
            mount for mount in container.mounts if pod.get_class(mount) == component.secret_provider_class
        ]
        if container.is_init:
            continue
        if container.name not in row.containers:  # one that somebody chose, with hcpcreds inject --container
            is_elsewhere = is_elsewhere or bool(found)
        elif found and row.mount.source is not PathSource.ENVIRONMENT:
            yield from _check_mount_path(found, row.mount.path, component, container)
        elif not found:
            missing.append(container)
    for container in missing if not is_elsewhere else ():
        yield from _report_missing(component, row.mount, container, pod, subjects)
    for volume in pod.credential_volumes:
        name, class_name = volume["name"].text, class_of(volume).text
        if class_name == component.secret_provider_class and name != row.mount.volume_name:
            yield report(
                "HC115",
                volume["name"],
                f"HyperShift calls this volume {row.mount.volume_name!r}, and adds one so called beside it",
                f"Call it {row.mount.volume_name}, here and in volumeMounts.",
            )


def _report_missing(
    component: Component, mount: Mount, container: Container, pod: Pod, subjects: Subjects
) -> Iterator[Finding]:
    is_mounted = mount.volume_name in {item["name"].text for item in container.mounts}
    volumes = [volume for volume in pod.volumes if volume["name"].text == mount.volume_name]
    if not is_mounted or (volumes and not is_credential_volume(volumes[0])):
        yield report(
            "HC114",
            container.node,
            f"the container {container.name!r} has no credential of {component.name}: it does not mount "
            f"{component.secret_provider_class}",
            f"Mount it at {mount.path}: hcpcreds inject does.",
        )
        return
    for volume in volumes:
        name = class_of(volume).text
        if name in COMPONENT_BY_CLASS or subjects.find_classes(name, pod.namespace):
            yield report(
                "HC112",
                class_of(volume),
                f"{component.name} would log in with the identity in {name}",
                f"Set secretProviderClass: {component.secret_provider_class}.",
            )


def _check_mount_path(
    mounts: list[Node], expected: str, component: Component, container: Container
) -> Iterator[Finding]:
    paths = [mount["mountPath"].text.rstrip("/") for mount in mounts]
    if expected not in paths:
        yield report(
            "HC113",
            mounts[0]["mountPath"],
            f"{container.name} looks for the credential of {component.name} in {expected}, not in {paths[0]}",
            f"Set mountPath: {expected}.",
        )
