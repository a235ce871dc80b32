"""What the pods of a workload get: volumes, mounts, environment."""

from dataclasses import dataclass, field

from hcpcreds.azureutil import (
    EnvVar,
    Volume,
    VolumeMount,
    create_volume_for_azure_secret_store_provider_class,
)
from hcpcreds.components import KMS_BACKUP_CONTAINER, WORKLOADS, Pod
from hcpcreds.errors import InputError
from hcpcreds.hosted_cluster import HostedCluster


@dataclass(slots=True)
class ContainerAdditions:
    """What one container gets."""

    volume_mounts: list[VolumeMount] = field(default_factory=list)
    env: list[EnvVar] = field(default_factory=list)


@dataclass(slots=True)
class PodAdditions:
    """What a workload's pod template gets; containers by name, never an init container."""

    volumes: list[Volume] = field(default_factory=list)
    containers: dict[str, ContainerAdditions] = field(default_factory=dict)


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
    if workload not in WORKLOADS:
        raise InputError(
            "workload", [f"unknown workload {workload!r}; expected one of {', '.join(WORKLOADS)}"]
        )
    additions = PodAdditions()
    for component, pod in WORKLOADS[workload]:
        identity = component.get_identity(cluster)
        if identity is None:
            continue
        if pod.mount is not None:
            additions.volumes.append(
                create_volume_for_azure_secret_store_provider_class(
                    pod.mount.volume_name, component.secret_provider_class
                )
            )
        values = {
            "secret": identity.credentials_secret_name,
            "key_vault_user": key_vault_user_client_id or "",
            "managed_service": managed_service or "",
        }
        for name in _containers(pod, cluster):
            container = additions.containers.setdefault(name, ContainerAdditions())
            if pod.mount is not None:
                container.volume_mounts.append(
                    {"name": pod.mount.volume_name, "mountPath": pod.mount.path, "readOnly": True}
                )
            container.env += _build_env(pod, values)
    return additions


def _containers(pod: Pod, cluster: HostedCluster) -> list[str]:
    has_backup = cluster.kms_keys is not None and cluster.kms_keys.backup is not None
    return [name for name in pod.containers if has_backup or name != KMS_BACKUP_CONTAINER]


def _build_env(pod: Pod, values: dict[str, str]) -> list[EnvVar]:
    env: list[EnvVar] = []
    for variable in pod.env:
        value = variable.value.format_map(values)
        if value:
            env.append({"name": variable.name, "value": value})
        elif not variable.optional:
            raise InputError(pod.workload, [f"environment variable {variable.name} is not set"])
    return env
