"""Identifies the component of a workload, and so the entries that it needs."""

from hcpcreds.azureutil import (
    create_env_vars_for_azure_managed_identity,
    create_volume_for_azure_secret_store_provider_class,
)
from hcpcreds.components import KMS_BACKUP_CONTAINER, WORKLOADS, find_workload
from hcpcreds.errors import InputError
from hcpcreds.hosted_cluster import ManagedIdentity
from hcpcreds.hosted_cluster.forms import CREDENTIALS_SECRET_NAME
from hcpcreds.kubernetes.fields import describe
from hcpcreds.manifests.inject.options import (
    COMPONENT_KEY,
    COMPONENT_WORKLOADS,
    CREDENTIALS_SECRET_NAME_KEY,
    CustomComponent,
    InjectOptions,
)
from hcpcreds.manifests.inject.workloads import Workload
from hcpcreds.manifests.workload import (
    ContainerAdditions,
    PodAdditions,
    build_pod_additions,
    build_pod_additions_for_secret,
    needs_secret,
)


def identify(workload: Workload, options: InjectOptions) -> PodAdditions | None:
    """Identify a workload's component, and build the entries that it needs.

    Returns:
        The additions; None if it does not belong to a component.

    Raises:
        InputError: The component or its identity is unknown, or they contradict each other.
    """
    if options.custom is not None:
        return _build_custom_additions(workload, options.custom, options.container)
    row = find_row(workload, options)
    if row is None:
        return None
    values = {
        "key_vault_user_client_id": options.key_vault_user_client_id,
        "managed_service": options.managed_service,
    }
    if options.cluster is not None:
        _check_secret_name(workload, WORKLOADS[row][0][0].get_identity(options.cluster))
        additions = build_pod_additions(options.cluster, row, **values)
    else:
        secret = find_secret_name(workload, options) if needs_secret(row) else ""
        additions = build_pod_additions_for_secret(secret, row, **values)
    # Even if the cluster has no backup key now: an existing container needs its mount.
    if KMS_BACKUP_CONTAINER in WORKLOADS[row][0][1].containers and additions.containers:
        additions.containers.setdefault(KMS_BACKUP_CONTAINER, next(iter(additions.containers.values())))
    return additions


def find_row(workload: Workload, options: InjectOptions) -> str | None:
    """Find the name of a workload in the table; None if it does not belong to a component.

    Raises:
        InputError: Its label or annotation names no component.
    """
    component = options.component or workload.get_note(COMPONENT_KEY, "annotations", "labels")
    return _find_named_row(workload, component) if component else find_workload(workload.name)


def find_secret_name(workload: Workload, options: InjectOptions) -> str:
    """Find the name of the identity's secret, if no hosted cluster is given.

    Raises:
        InputError: It is not known.
    """
    return options.credentials_secret_name or _get_secret_name(workload)


def find_suspect(workload: Workload) -> str | None:
    """Find a container that has a component's name, in a workload that has none.

    Names that occur only as containers in the table, such as `manager`, are too common to suggest anything.
    """
    return next((name for name, _ in workload.get_containers() if name in COMPONENT_WORKLOADS), None)


def _build_custom_additions(
    workload: Workload, custom: CustomComponent, container: str | None
) -> PodAdditions:
    names = [name for name, _ in workload.get_containers()]
    if container is None and len(names) != 1:
        problem = f"containers {', '.join(names) or 'none'}: name the one that gets the credential"
        raise InputError(workload.title, [problem], options=["container"])
    volume = create_volume_for_azure_secret_store_provider_class(
        custom.volume_name, custom.secret_provider_class
    )
    added = ContainerAdditions(
        [{"name": custom.volume_name, "mountPath": custom.mount_path, "readOnly": True}]
    )
    if custom.credentials_secret_name is not None:
        [variable] = create_env_vars_for_azure_managed_identity(custom.credentials_secret_name)
        path = f"{custom.mount_path.rstrip('/')}/{custom.credentials_secret_name}"
        added.env.append({"name": variable["name"], "value": path})
    return PodAdditions([volume], {container or names[0]: added})


def _find_named_row(workload: Workload, component: str) -> str:
    """Find the name of a workload in the table."""
    rows = COMPONENT_WORKLOADS.get(find_workload(component) or component, ())
    if len(rows) == 1:
        return rows[0]
    named = find_workload(workload.name)
    if named in rows:
        return named
    expected = ", ".join(rows or COMPONENT_WORKLOADS)
    problem = f"{COMPONENT_KEY}: got {describe(component)}, expected one of {expected}"
    raise InputError(workload.title, [problem])


def _get_secret_name(workload: Workload) -> str:
    name = workload.get_note(CREDENTIALS_SECRET_NAME_KEY, "annotations")
    if name is None:
        problem = (
            "its identity is not known: give the hosted cluster, or the name of its secret in the annotation "
            f"{CREDENTIALS_SECRET_NAME_KEY}"
        )
        raise InputError(workload.title, [problem], options=["hosted_cluster"])
    if not CREDENTIALS_SECRET_NAME.pattern.fullmatch(name):
        expected = CREDENTIALS_SECRET_NAME.expected
        problem = f"{CREDENTIALS_SECRET_NAME_KEY}: got {describe(name)}, expected {expected}"
        raise InputError(workload.title, [problem])
    return name


def _check_secret_name(workload: Workload, identity: ManagedIdentity | None) -> None:
    noted = workload.get_note(CREDENTIALS_SECRET_NAME_KEY, "annotations")
    if noted is not None and identity is not None and noted != identity.credentials_secret_name:
        expected = f"the hosted cluster has {identity.credentials_secret_name!r}"
        problem = f"{CREDENTIALS_SECRET_NAME_KEY}: got {describe(noted)}, but {expected}"
        raise InputError(workload.title, [problem])
