"""HC112 to HC115 and HC118 to HC122: the additions to the workloads of the table.

Sources: openshift/hypershift, control-plane-operator/.../v2/kas (deployment.go, kms/azure.go) and
hypershift-operator/controllers/etcdbackup/reconciler.go; kubernetes-sigs/secrets-store-csi-driver,
pkg/secrets-store/nodeserver.go.
"""

from collections.abc import Iterator
from typing import Final

from hcpcreds.components import TOKEN_FILE, TOKEN_MOUNT_PATH, Component, Mount, PathSource, Token
from hcpcreds.components import Pod as PodRow
from hcpcreds.hosted_cluster import HostedCluster
from hcpcreds.kubernetes.nodes import Node
from hcpcreds.kubernetes.placeholders import is_placeholder
from hcpcreds.manifests.check.flags import TRUE, read_flags
from hcpcreds.manifests.check.rules import Finding, report
from hcpcreds.manifests.check.subjects import (
    Container,
    Pod,
    Subjects,
    class_of,
    normalize_path,
    path_of,
)

_KMS_WORKLOAD: Final = "kube-apiserver"
_MANAGED_HSM: Final = "managed-hsm"


def check_workloads(subjects: Subjects) -> Iterator[Finding]:
    """Check the workloads of the table, and the Job that backs up etcd."""
    for pod in subjects.pods:
        for component, row in pod.rows:
            yield from _check_row(component, row, pod, subjects)
        cluster = subjects.find_cluster(pod.namespace)
        if pod.workload == _KMS_WORKLOAD and cluster is not None and cluster.kms_keys is not None:
            yield from _check_kms(pod, cluster)
        for container in pod.containers:
            yield from _check_backup(container, pod)


def _check_row(component: Component, row: PodRow, pod: Pod, subjects: Subjects) -> Iterator[Finding]:
    if row.mount is not None:
        for volume in pod.credential_volumes:
            yield from _check_volume(volume, row.mount, component)
        if subjects.has_component(component, pod):
            yield from _check_mounts(row.mount, row, component, pod, subjects)
    cluster = subjects.find_cluster(pod.namespace)
    if row.token is not None and cluster is not None and component.get_workload_identity(cluster) is not None:
        yield from _check_token(row.token, row, component, pod, subjects)
        yield from _check_token_variables(row.token, row, component, pod, cluster)


def _check_volume(volume: Node, mount: Mount, component: Component) -> Iterator[Finding]:
    name, class_name = volume["name"].text, class_of(volume).text
    if not class_name or is_placeholder(class_name):
        return
    if name == mount.volume_name and class_name != component.secret_provider_class:
        yield report(
            "HC112",
            class_of(volume),
            f"the volume {name!r} is for the credential of {component.name}, and mounts {class_name!r} "
            f"instead of {component.secret_provider_class}",
            f"Set secretProviderClass: {component.secret_provider_class}.",
        )
    elif class_name == component.secret_provider_class and name != mount.volume_name:
        yield report(
            "HC115",
            volume["name"],
            f"HyperShift calls this volume {mount.volume_name!r}, and adds one of that name beside it",
            f"Call it {mount.volume_name}, here and in volumeMounts.",
        )


def _check_mounts(
    mount: Mount, row: PodRow, component: Component, pod: Pod, subjects: Subjects
) -> Iterator[Finding]:
    """Check which containers mount the credential, and where."""
    missing: list[Container] = []
    is_elsewhere = False
    for container in pod.containers:
        found = _find_mounts(container, component, pod)
        if container.is_init:
            continue
        if container.name not in row.containers:  # one that the user chose, with hcpcreds inject --container
            is_elsewhere = is_elsewhere or bool(found)
        elif found and mount.source is not PathSource.ENVIRONMENT:
            yield from _check_mount_path(found, mount.path, component, container)
        elif not found and not pod.is_keyless(container):
            missing.append(container)

    for container in missing:
        named = [item for item in container.mounts if item["name"].text == mount.volume_name]
        # A volume of this name with another SecretProviderClass is HC112, none at all is HC104.
        is_told = any((volume := pod.find_volume(item)) is None or class_of(volume).is_set for item in named)
        has_twin = any(
            _find_mounts(twin, component, other) for other, twin in subjects.find_twins(pod, container)
        )
        if not is_told and not is_elsewhere and not has_twin:
            yield report(
                "HC114",
                container.node,
                f"the container {container.name!r} has no credential of {component.name}: it does not mount "
                f"{component.secret_provider_class}",
                f"Mount it at {mount.path}, as hcpcreds inject does.",
            )


def _find_mounts(container: Container, component: Component, pod: Pod) -> list[Node]:
    """List the mounts with a component's credential, and those whose SecretProviderClass is a placeholder."""
    return [
        mount
        for mount in container.mounts
        if (name := pod.get_class(mount)) == component.secret_provider_class or is_placeholder(name)
    ]


def _check_mount_path(
    mounts: list[Node], expected: str, component: Component, container: Container
) -> Iterator[Finding]:
    paths = [path_of(mount) for mount in mounts]
    if expected not in paths and not any(map(is_placeholder, paths)):
        yield report(
            "HC113",
            mounts[0]["mountPath"],
            f"{container.name} looks for the credential of {component.name} in {expected}, not in {paths[0]}",
            f"Set mountPath: {expected}.",
        )


def _check_token(
    token: Token, row: PodRow, component: Component, pod: Pod, subjects: Subjects
) -> Iterator[Finding]:
    """Check that a container sees the token of a workload identity."""
    for container in pod.containers:
        is_reader = container.name in row.containers and not container.is_init
        twins = (twin for _, twin in subjects.find_twins(pod, container))
        if is_reader and all(item.find_mount(TOKEN_FILE) is None for item in (container, *twins)):
            yield report(
                "HC122",
                container.node,
                f"the container {container.name!r} has no token for the workload identity of "
                f"{component.name}: nothing is mounted at {TOKEN_MOUNT_PATH}",
                f"Mount the volume {token.volume_name} there, as hcpcreds inject does.",
            )


def _check_token_variables(
    token: Token, row: PodRow, component: Component, pod: Pod, cluster: HostedCluster
) -> Iterator[Finding]:
    identity = component.get_workload_identity(cluster)
    values = {"client_id": identity.client_id if identity else "", "tenant_id": cluster.tenant_id}
    expected = {variable.name: variable.value.format_map(values) for variable in token.env}
    for container in pod.containers:
        for variable in container.env if container.name in row.containers else ():
            name, value = variable["name"].text, variable["value"].text
            if value and not is_placeholder(value) and value.lower() != expected.get(name, value).lower():
                yield report(
                    "HC213",
                    variable["value"],
                    f"{name} is {value!r}, but the hosted cluster {cluster.name} has {expected[name]!r}",
                    f"Set it to {expected[name]}.",
                )


def _check_kms(pod: Pod, cluster: HostedCluster) -> Iterator[Finding]:
    """Check what Azure's KMS plugin needs for a Managed HSM, and for a private vault."""
    keys = cluster.kms_keys
    if keys is None:
        return
    names = {name for component, row in pod.rows if component.identity == "kms" for name in row.containers}
    for container in pod.containers:
        flags = read_flags(container, booleans=frozenset({_MANAGED_HSM}))
        if keys.vault_type != "ManagedHSM" or container.name not in names or flags is None:
            continue
        if _MANAGED_HSM not in flags or flags[_MANAGED_HSM].value not in TRUE:
            yield report(
                "HC118",
                container.node["args"],
                f"the hosted cluster {cluster.name} keeps its key in a Managed HSM, and {container.name!r} "
                f"runs without --{_MANAGED_HSM}",
                f"Add --{_MANAGED_HSM} to its args.",
            )
    hosts = [name.text for alias in pod.node["hostAliases"].items() for name in alias["hostnames"].items()]
    vault = keys.active.key_vault_name
    has_kms = any(container.name in names for container in pod.containers)
    is_private = keys.vault_access == "Private" and not cluster.is_self_managed
    if has_kms and is_private and not any(host.startswith(f"{vault}.") for host in hosts):
        yield report(
            "HC119",
            pod.node["hostAliases"],
            f"the vault {vault} of the hosted cluster {cluster.name} is private, and the pod has no host "
            "alias for it",
            "Add a host alias for the vault's host name with the private router's cluster IP, as HyperShift "
            "does.",
        )


def _check_backup(container: Container, pod: Pod) -> Iterator[Finding]:
    """Check the Job that uploads a backup of etcd: it reads a copy of a credential from a Secret."""
    flags = read_flags(container, is_interspersed=True) or {}
    kind, path = flags.get("azure-auth-type"), flags.get("credentials-file")
    if kind is None or kind.value != "managed-identity" or path is None or is_placeholder(path.value):
        return
    mount = container.find_mount(normalize_path(path.value))
    if mount is None:
        yield report(
            "HC120",
            path.node,
            f"the container {container.name!r} reads the credential {path.value!r}, and mounts nothing there",
            "Mount the Secret that holds the credential there.",
        )
        return
    volume = pod.find_volume(mount)
    if volume is not None and volume["secret"].value is not None:
        yield report(
            "HC121",
            path.node,
            f"the container {container.name!r} reads a copy of a credential from a Secret, which does not "
            "change when the credential rotates",
            "Copy the credential into the Secret again after each renewal.",
        )
