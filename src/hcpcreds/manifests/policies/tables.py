"""The table of components as the plain data that policies look up: by a pod's label, as texts only.

CEL maps have values of one type, so everything is a text; the empty one means none.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from hcpcreds.clouds import CLOUDS
from hcpcreds.components import TOKEN_MOUNT_PATH, WORKLOADS, Component, Pod, Variable
from hcpcreds.errors import InputError
from hcpcreds.manifests.inject.options import COMPONENT_WORKLOADS

Entry = dict[str, str]

LABELS: Final[Mapping[str, tuple[str, ...]]] = {
    **{alias: (pod.workload,) for rows in WORKLOADS.values() for _, pod in rows for alias in pod.aliases},
    **COMPONENT_WORKLOADS,
}
"""The workloads that each value of a label may stand for; which one, a pod's containers tell."""
AUTHORITIES: Final = {name: cloud.authority for name, cloud in CLOUDS.items()}
CLOUD_NAMES: Final = {name: cloud.name for name, cloud in CLOUDS.items()}

_FIELDS: Final = {"{secret}": "credentialsSecretName", "{client_id}": "clientID", "{tenant_id}": "tenantID"}
"""The field of a HostedControlPlane whose value ends a variable's."""


def build_mounts() -> dict[str, list[Entry]]:
    """Build each label's mounts: container, volume, class, path, readOnly, medium, and whose they are."""
    return _group(
        [
            {
                **place,
                "volume": pod.mount.volume_name,
                "class": component.secret_provider_class,
                "path": pod.mount.path,
                "readOnly": "true",
                "medium": "",
            }
            for component, pod, place in _list_places(managed=True)
            if pod.mount is not None
        ]
        + [
            {
                **place,
                "volume": pod.token.volume_name,
                "class": "",
                "path": TOKEN_MOUNT_PATH,
                "readOnly": _flag(pod.token.read_only),
                "medium": "Memory" if pod.token.in_memory else "",
            }
            for _, pod, place in _list_places(managed=False)
            if pod.token is not None
        ]
    )


def build_env(*, key_vault_user_client_id: str, managed_service: str) -> dict[str, list[Entry]]:
    """Build each label's variables: container, name, value, the field that ends it, and whose they are.

    Raises:
        InputError: A workload needs the client id, and there is none.
    """
    known = {"key_vault_user": key_vault_user_client_id, "managed_service": managed_service}
    return _group(
        [
            {**place, **variable}
            for managed in (True, False)
            for _, pod, place in _list_places(managed=managed)
            for variable in _fill(
                pod.workload, pod.env if managed else pod.token.env if pod.token else (), known
            )
        ]
    )


def build_keys() -> dict[str, list[Entry]]:
    """Build for each label the key that only the sidecar mounts, if its programs can do without.

    `alone` is set if nothing outside the pod has to change, and no mount is kept: only then a pod of
    HyperShift's own can be made keyless.
    """
    firsts = {workload: rows[0] for workload, rows in WORKLOADS.items()}
    return _group(
        [
            {
                **place,
                "volume": pod.mount.volume_name,
                "path": pod.mount.path,
                "keep": _flag(pod.keyless.keeps_mount),
                "alone": _flag(not pod.keyless.keeps_mount and not pod.keyless.beside),
            }
            for component, pod, place in _list_places(managed=True)
            if firsts[pod.workload] == (component, pod)
            and pod.mount is not None
            and pod.keyless is not None
            and not pod.keyless.refused
        ]
    )


def _list_places(*, managed: bool) -> Iterable[tuple[Component, Pod, Entry]]:
    """Every container of every row, and where a HostedControlPlane has its identity."""
    for workload, rows in WORKLOADS.items():
        for component, pod in rows:
            for container in pod.containers:
                yield (
                    component,
                    pod,
                    {
                        "workload": workload,
                        "container": container,
                        "capability": component.capability or "",
                        **find_identity(component, is_managed=managed),
                    },
                )


def find_identity(component: Component, *, is_managed: bool) -> Entry:
    """Where a HostedControlPlane has the component's identity."""
    if component.identity == "kms":
        return {"source": "kms", "identity": "kms" if is_managed else "workloadIdentity"}
    first, *others = component.identity.split("_")
    return {
        "source": "managed" if is_managed else "workload",
        "identity": first + "".join(word.title() for word in others),
    }


def _fill(workload: str, variables: Iterable[Variable], known: Mapping[str, str]) -> Iterable[Entry]:
    for variable in variables:
        left = {placeholder[1:-1]: placeholder for placeholder in _FIELDS}
        value = variable.value.format_map({**left, **known})
        if not value and not variable.optional:
            problem = f"environment variable {variable.name} is not set"
            raise InputError(workload, [problem], options=["key_vault_user_client_id"])
        if value:
            placeholder = next((text for text in _FIELDS if value.endswith(text)), "")
            yield {
                "name": variable.name,
                "value": value.removesuffix(placeholder),
                "field": _FIELDS.get(placeholder, ""),
            }


def _group(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Put entries, which name their workload, under the labels that may stand for it."""
    by_workload: dict[str, list[Entry]] = {}
    for entry in entries:
        without = {key: value for key, value in entry.items() if key != "workload"}
        by_workload.setdefault(entry["workload"], []).append(without)
    grouped = {
        label: [entry for workload in workloads for entry in by_workload.get(workload, ())]
        for label, workloads in LABELS.items()
    }
    # An empty list has no type, and the API server refuses a table of several types.
    return {label: found for label, found in grouped.items() if found}


def _flag(is_set: bool) -> str:  # noqa: FBT001 (the only argument)
    return "true" if is_set else ""
