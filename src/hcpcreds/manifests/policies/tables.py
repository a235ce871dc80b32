"""The table of components as the plain data that policies look up: by workload, as texts only.

CEL maps have values of one type, so everything is a text; the empty one means none.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from hcpcreds.clouds import CLOUDS
from hcpcreds.components import TOKEN_MOUNT_PATH, WORKLOADS, Component, Pod, Variable
from hcpcreds.errors import InputError
from hcpcreds.manifests.inject.options import COMPONENT_WORKLOADS

Entry = dict[str, str]

ALIASES: Final = {
    name: list(workloads)
    for name, workloads in {
        **{alias: (pod.workload,) for rows in WORKLOADS.values() for _, pod in rows for alias in pod.aliases},
        **COMPONENT_WORKLOADS,
    }.items()
    if name not in WORKLOADS
}
"""The workloads that each other name may stand for."""
AUTHORITIES: Final = {name: cloud.authority for name, cloud in CLOUDS.items()}
CLOUD_NAMES: Final = {name: cloud.name for name, cloud in CLOUDS.items()}


def build_entries(*, key_vault_user_client_id: str, managed_service: str) -> dict[str, list[Entry]]:
    """Build each workload's mounts and variables, for managed and for workload identities.

    In a variable's value, `{secret}`, `{client_id}` and `{tenant_id}` are left to the policy.

    Raises:
        InputError: A workload needs the client id, and there is none.
    """
    known = {"key_vault_user": key_vault_user_client_id, "managed_service": managed_service}
    entries = {
        workload: [entry for component, pod in rows for entry in _build_entries(component, pod, known)]
        for workload, rows in WORKLOADS.items()
    }
    # An empty list has no type, and the API server refuses a table of several types.
    return {workload: found for workload, found in entries.items() if found}


def build_keys() -> dict[str, Entry]:
    """Build for each workload that can do without its key what its sidecar mounts.

    `alone` is set if nothing outside the pod has to change, and no mount is kept: only then a pod of
    HyperShift's own can be made keyless.
    """
    keys = {}
    for workload, ((component, pod), *_) in WORKLOADS.items():
        if pod.mount is None or pod.keyless is None or pod.keyless.refused:
            continue
        keys[workload] = {
            "volume": pod.mount.volume_name,
            "path": pod.mount.path,
            "keep": _flag(pod.keyless.keeps_mount),
            "alone": _flag(not pod.keyless.keeps_mount and not pod.keyless.beside),
            **find_identity(component, is_managed=True),
        }
    return keys


def _build_entries(component: Component, pod: Pod, known: Mapping[str, str]) -> Iterable[Entry]:
    managed = find_identity(component, is_managed=True)
    workload = find_identity(component, is_managed=False)
    for container in pod.containers:
        place = {"container": container, "capability": component.capability or ""}
        if pod.mount is not None:
            yield {
                **place,
                **managed,
                "volume": pod.mount.volume_name,
                "class": component.secret_provider_class,
                "path": pod.mount.path,
                "readOnly": "true",
                "medium": "",
            }
        for variable in _fill(pod.workload, pod.env, known):
            yield {**place, **managed, **variable}
        if pod.token is not None:
            yield {
                **place,
                **workload,
                "volume": pod.token.volume_name,
                "class": "",
                "path": TOKEN_MOUNT_PATH,
                "readOnly": _flag(pod.token.read_only),
                "medium": "Memory" if pod.token.in_memory else "",
            }
            for variable in _fill(pod.workload, pod.token.env, known):
                yield {**place, **workload, **variable}


def _fill(workload: str, variables: Iterable[Variable], known: Mapping[str, str]) -> Iterable[Entry]:
    left = {name: f"{{{name}}}" for name in ("secret", "client_id", "tenant_id")}
    for variable in variables:
        value = variable.value.format_map({**left, **known})
        if value:
            yield {"variable": variable.name, "value": value}
        elif not variable.optional:
            problem = f"environment variable {variable.name} is not set"
            raise InputError(workload, [problem], options=["key_vault_user_client_id"])


def find_identity(component: Component, *, is_managed: bool) -> Entry:
    """Where a HostedControlPlane has the component's identity."""
    if component.identity == "kms":
        return {"source": "kms", "identity": "kms" if is_managed else "workloadIdentity"}
    first, *others = component.identity.split("_")
    return {
        "source": "managed" if is_managed else "workload",
        "identity": first + "".join(word.title() for word in others),
    }


def _flag(is_set: bool) -> str:  # noqa: FBT001 (the only argument)
    return "true" if is_set else ""
