"""What the pods of a workload get: volumes, mounts, environment."""

from collections.abc import Mapping
from typing import Final

import msgspec

from hcpcreds.azureutil import create_volume_for_azure_secret_store_provider_class
from hcpcreds.components import KMS_BACKUP_CONTAINER, WORKLOADS, Component, Pod
from hcpcreds.errors import InputError
from hcpcreds.hosted_cluster import HostedCluster
from hcpcreds.kubernetes.objects import EnvVar, Volume, VolumeMount

_NO_SECRET: Final = ""
"""For what passes names on and needs no secret's name."""


class ContainerAdditions(msgspec.Struct):
    """What one container gets."""

    volume_mounts: list[VolumeMount] = []
    env: list[EnvVar] = []


class PodAdditions(msgspec.Struct):
    """What a workload's pod template gets; containers by name, never an init container."""

    volumes: list[Volume] = []
    containers: dict[str, ContainerAdditions] = {}


def build_pod_additions(
    cluster: HostedCluster,
    workload: str,
    *,
    key_vault_user_client_id: str | None = None,
    managed_service: str | None = None,
) -> PodAdditions:
    """Build what a control plane's workload gets so that its credentials are there.

    Args:
        cluster: The hosted cluster. A workload gets nothing for components that the cluster does not have.
        workload: One of `WORKLOADS`, for instance ``capi-provider``.
        key_vault_user_client_id: Value of ``ARO_HCP_KEY_VAULT_USER_CLIENT_ID``, which some workloads hand on;
            capi-provider must have it.
        managed_service: Value of ``MANAGED_SERVICE``, which the control-plane-operator hands on.

    Raises:
        InputError: There is no such workload, or it needs the client id and there is none.
    """
    has_backup = cluster.kms_keys is not None and cluster.kms_keys.backup is not None
    left_out = "" if has_backup else KMS_BACKUP_CONTAINER
    rows = []
    for component, pod in _find_rows(workload):
        identity = component.get_identity(cluster)
        if identity is not None:
            rows.append((component, pod, identity.credentials_secret_name))
    values = {"key_vault_user": key_vault_user_client_id or "", "managed_service": managed_service or ""}
    return _build_additions(rows, values, left_out)


def build_pod_additions_for_secret(
    credentials_secret_name: str,
    workload: str,
    *,
    key_vault_user_client_id: str | None = None,
    managed_service: str | None = None,
) -> PodAdditions:
    """Build what a workload gets where only the name of its own secret is known, and not the hosted cluster.

    The control-plane-operator then gets its own credential and not that of KMS, which has another secret.
    For the other arguments and what is raised, see `build_pod_additions`.
    """
    own, *others = _find_rows(workload)
    rows = [(*own, credentials_secret_name)]
    rows += [(component, pod, _NO_SECRET) for component, pod in others if pod.mount is None]
    values = {"key_vault_user": key_vault_user_client_id or "", "managed_service": managed_service or ""}
    return _build_additions(rows, values, "")


def _find_rows(workload: str) -> tuple[tuple[Component, Pod], ...]:
    if workload not in WORKLOADS:
        raise InputError(
            "workload", [f"unknown workload {workload!r}; expected one of {', '.join(WORKLOADS)}"]
        )
    return WORKLOADS[workload]


def _build_additions(
    rows: list[tuple[Component, Pod, str]], values: Mapping[str, str], left_out: str
) -> PodAdditions:
    additions = PodAdditions()
    for component, pod, secret in rows:
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
            container.env += _build_env(pod, {"secret": secret, **values})
    return additions


def _build_env(pod: Pod, values: dict[str, str]) -> list[EnvVar]:
    env: list[EnvVar] = []
    for variable in pod.env:
        value = variable.value.format_map(values)
        if value:
            env.append({"name": variable.name, "value": value})
        elif not variable.optional:
            raise InputError(pod.workload, [f"environment variable {variable.name} is not set"])
    return env
