"""Pods and HostedControlPlanes for the policies, and what `inject` makes of the same pods."""

import copy
from collections.abc import Mapping
from typing import Any

from tests.manifests.examples import KEY_VAULT_USER, REMOVED, WITH_CLIENT_IDS, make_manifest

from hcpcreds.components import WORKLOADS
from hcpcreds.hosted_cluster import parse_hosted_cluster
from hcpcreds.manifests.inject import InjectOptions, Sidecar, inject
from hcpcreds.manifests.policies import build_policies

IMAGE = "registry.example/hcpcreds:1"
POLICIES = build_policies(key_vault_user_client_id=KEY_VAULT_USER, managed_service="ARO-HCP", image=IMAGE)
PATHS = {"MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH", "ARO_HCP_CLIENT_CREDENTIALS_PATH"}


def make_control_plane(changes: dict[str, Any] | None = None, name: str = "otter") -> dict[str, Any]:
    """A HostedControlPlane whose identities have client ids, with fields set or REMOVED."""
    wanted = {**WITH_CLIENT_IDS, **(changes or {})}
    without = {path for path in WITH_CLIENT_IDS if wanted[path] is REMOVED}
    manifest = make_manifest({path: value for path, value in wanted.items() if path not in without})
    return {
        **manifest,
        "kind": "HostedControlPlane",
        "metadata": {"name": name, "namespace": "clusters-otter"},
    }


def make_pod(
    workload: str,
    credential: str | None = None,
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """A pod of a workload of the table, with its containers unless others are given."""
    names = {name: None for _, pod in WORKLOADS.get(workload, ()) for name in pod.containers} or {"app": None}
    spec.setdefault("containers", [{"name": name, "image": "example"} for name in names])
    asked = {"hcpcreds.io/credential": credential} if credential else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": workload,
            "namespace": "clusters-otter",
            "labels": {"hcpcreds.io/component": workload, **asked} if labels is None else dict(labels),
            **({"annotations": dict(annotations)} if annotations else {}),
        },
        "spec": spec,
    }


def inject_into(pod: dict[str, Any], control_plane: dict[str, Any], *, keyless: bool = False, **options: Any):
    """What `inject` makes of a pod."""
    options.setdefault("cluster", parse_hosted_cluster(control_plane))
    return inject(
        copy.deepcopy(pod),
        InjectOptions(
            key_vault_user_client_id=KEY_VAULT_USER,
            managed_service="ARO-HCP",
            sidecar=Sidecar(image=IMAGE) if keyless else None,
            **options,
        ),
    )


def simplify(pod: Mapping[str, Any]) -> dict[str, Any]:
    """A pod whose differences mean something.

    Left out: the order of volumes, mounts and variables, empty fields, and an emptied path of a credential
    file, which `inject` takes away.
    """
    spec = copy.deepcopy(pod["spec"])
    for container in [*spec["containers"], *(spec.get("initContainers") or [])]:
        env = [entry for entry in container.get("env") or [] if not is_emptied(entry)]
        container["env"] = sorted(env, key=lambda entry: entry["name"])
        container["volumeMounts"] = sorted(
            container.get("volumeMounts") or [], key=lambda mount: mount["mountPath"]
        )
    spec["volumes"] = sorted(spec.get("volumes") or [], key=lambda volume: volume["name"])
    simple: dict[str, Any] = _prune({**pod["metadata"], "spec": spec})
    return simple


def is_emptied(variable: Mapping[str, Any]) -> bool:
    """Whether a variable with the path of a credential file is empty."""
    return variable["name"] in PATHS and not variable.get("value") and not variable.get("valueFrom")


def _prune(value: Any) -> Any:
    """A value without its empty parts; an empty directory is not one."""
    if isinstance(value, Mapping):
        pruned = {key: _prune(item) for key, item in value.items()}
        return {
            key: item
            for key, item in pruned.items()
            if item not in (None, False, "", [], {}) or key == "emptyDir"
        }
    return [_prune(item) for item in value] if isinstance(value, list) else value
