"""The volumes, mounts and variables that the pods of a workload get."""

from collections.abc import Iterable, Mapping

import msgspec

from hcpcreds.azureutil import create_volume_for_azure_secret_store_provider_class
from hcpcreds.components import (
    KMS_BACKUP_CONTAINER,
    TOKEN_MOUNT_PATH,
    WORKLOADS,
    Component,
    Pod,
    Variable,
    find_workload,
)
from hcpcreds.errors import InputError
from hcpcreds.hosted_cluster import HostedCluster
from hcpcreds.kubernetes.objects import EmptyDirVolumeSource, EnvVar, Volume, VolumeMount


class ContainerAdditions(msgspec.Struct):
    """The additional mounts and variables of a container."""

    volume_mounts: list[VolumeMount] = []
    env: list[EnvVar] = []


class PodAdditions(msgspec.Struct):
    """The volumes of a workload's pod template, and the additions to its containers by name."""

    volumes: list[Volume] = []
    containers: dict[str, ContainerAdditions] = {}


def build_pod_additions(
    cluster: HostedCluster,
    workload: str,
    *,
    key_vault_user_client_id: str | None = None,
    managed_service: str | None = None,
) -> PodAdditions:
    """Build the additions with which the program of a control plane's workload finds its credential.

    For a managed identity, that is the volume with the credential file; for a workload identity, the volume
    with the token. The additions do not include HyperShift's sidecar, which writes the token.

    Args:
        cluster: The hosted cluster. A workload gets nothing for components that the cluster does not have.
        workload: One of `WORKLOADS`, for instance `capi-provider`, or an alias.
        key_vault_user_client_id: Value of `ARO_HCP_KEY_VAULT_USER_CLIENT_ID`, which some workloads pass on;
            capi-provider needs it in a cluster with managed identities.
        managed_service: Value of `MANAGED_SERVICE`, which two workloads pass on.

    Raises:
        InputError: The workload is unknown, or it needs the client id and none was given.
    """
    values = {
        "key_vault_user": key_vault_user_client_id or "",
        "managed_service": managed_service or "",
        "tenant_id": cluster.tenant_id,
    }
    has_backup = cluster.kms_keys is not None and cluster.kms_keys.backup is not None
    left_out = "" if has_backup else KMS_BACKUP_CONTAINER
    additions = PodAdditions()
    for component, pod in get_rows(workload):
        identity = component.get_identity(cluster)
        workload_identity = component.get_workload_identity(cluster)
        if identity is not None:
            values["secret"] = identity.credentials_secret_name
            _add_credential(additions, component, pod, values, left_out)
        elif workload_identity is not None:
            values["client_id"] = workload_identity.client_id
            _add_token(additions, pod, values, left_out)
    return additions


def build_pod_additions_for_secret(
    credentials_secret_name: str,
    workload: str,
    *,
    key_vault_user_client_id: str | None = None,
    managed_service: str | None = None,
) -> PodAdditions:
    """Build the additions if only the name of the workload's own secret is known, and not the cluster.

    Then the control-plane-operator gets its own credential, but not that of KMS, which has another secret.
    If `needs_secret` is false, the name may be empty. For the other arguments and errors see
    `build_pod_additions`.
    """
    values = {
        "secret": credentials_secret_name,
        "key_vault_user": key_vault_user_client_id or "",
        "managed_service": managed_service or "",
    }
    additions = PodAdditions()
    own, *others = get_rows(workload)
    for component, pod in (own, *(other for other in others if other[1].mount is None)):
        _add_credential(additions, component, pod, values, "")
    return additions


def needs_secret(workload: str) -> bool:
    """Whether the additions of a workload depend on the name of its secret."""
    _, pod = get_rows(workload)[0]
    return pod.mount is not None or any("{secret}" in variable.value for variable in pod.env)


def get_rows(workload: str) -> tuple[tuple[Component, Pod], ...]:
    """Return the rows of the table for a workload.

    Raises:
        InputError: The workload is unknown.
    """
    found = find_workload(workload)
    if found is None:
        problem = f"unknown workload {workload!r}; expected one of {', '.join(WORKLOADS)}"
        raise InputError("workload", [problem])
    return WORKLOADS[found]


def _add_credential(
    additions: PodAdditions, component: Component, pod: Pod, values: Mapping[str, str], left_out: str
) -> None:
    if pod.mount is not None:
        additions.volumes.append(
            create_volume_for_azure_secret_store_provider_class(
                pod.mount.volume_name, component.secret_provider_class
            )
        )
    for name in pod.containers:
        if name == left_out:
            continue
        container = additions.containers.setdefault(name, ContainerAdditions())
        if pod.mount is not None:
            container.volume_mounts.append(
                {"name": pod.mount.volume_name, "mountPath": pod.mount.path, "readOnly": True}
            )
        container.env += _build_env(pod.workload, pod.env, values)


def _add_token(additions: PodAdditions, pod: Pod, values: Mapping[str, str], left_out: str) -> None:
    if pod.token is None:
        return
    source: EmptyDirVolumeSource = {"medium": "Memory"} if pod.token.in_memory else {}
    additions.volumes.append({"name": pod.token.volume_name, "emptyDir": source})
    for name in pod.containers:
        if name == left_out:
            continue
        container = additions.containers.setdefault(name, ContainerAdditions())
        mount: VolumeMount = {"name": pod.token.volume_name, "mountPath": TOKEN_MOUNT_PATH}
        if pod.token.read_only:
            mount["readOnly"] = True
        container.volume_mounts.append(mount)
        container.env += _build_env(pod.workload, pod.token.env, values)


def _build_env(workload: str, variables: Iterable[Variable], values: Mapping[str, str]) -> list[EnvVar]:
    env: list[EnvVar] = []
    for variable in variables:
        value = variable.value.format_map(values)
        if value:
            env.append({"name": variable.name, "value": value})
        elif not variable.optional:
            raise InputError(workload, [f"environment variable {variable.name} is not set"])
    return env
