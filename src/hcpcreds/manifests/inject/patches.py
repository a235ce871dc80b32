"""Plans as patches for the Kubernetes API."""

from collections.abc import Mapping
from typing import Any, Final

from hcpcreds.kubernetes.objects import Path
from hcpcreds.manifests.inject.changes import Change, Entry
from hcpcreds.manifests.inject.plan import Plan

_MERGE_KEYS: Final = {
    "volumes": "name",
    "volumeMounts": "mountPath",
    "env": "name",
    "initContainers": "name",
}
"""The key by which the API identifies an entry (patchMergeKey in k8s.io/api/core/v1)."""


def build_json_patch(plan: Plan) -> list[dict[str, Any]]:
    """Build the JSON patch (RFC 6902) of a workload.

    It refers to entries by index, so it tests that each container and each replaced entry is the expected
    one. A missing list is added as a whole.
    """
    patch: list[dict[str, Any]] = []
    tested: set[Path] = set()
    added: dict[Path, list[Any]] = {}
    for change in plan.changes:
        owner = change.path[:-1]
        if isinstance(owner[-1], int) and owner not in tested:
            tested.add(owner)
            patch.append(_test(plan, (*owner, "name")))
        if change.index is not None:
            place = (*change.path, change.index)
            patch.append(_test(plan, (*place, _MERGE_KEYS[str(change.path[-1])])))
            if change.entry is None:
                patch.append({"op": "remove", "path": _pointer(place)})
            else:
                patch.append({"op": "replace", "path": _pointer(place), "value": change.entry})
        elif change.path in added:
            added[change.path].append(change.entry)
        elif _look_up(plan, change.path) is None:
            added[change.path] = [change.entry]
            patch.append({"op": "add", "path": _pointer(change.path), "value": added[change.path]})
        else:
            place = (*change.path, 0 if change.is_first else "-")
            patch.append({"op": "add", "path": _pointer(place), "value": change.entry})
    return patch


def build_strategic_merge_patch(plan: Plan) -> dict[str, Any]:
    """Build the strategic merge patch of a workload, for `kubectl patch` and for kustomize."""
    manifest = plan.workload.manifest
    patch: dict[str, Any] = {key: manifest[key] for key in ("apiVersion", "kind") if key in manifest}
    metadata = manifest.get("metadata")
    if isinstance(metadata, Mapping):
        patch["metadata"] = {
            key: metadata[key] for key in ("name", "namespace") if isinstance(metadata.get(key), str)
        }
    for change in plan.changes:
        *path, last = change.path
        parent = patch
        for index, step in enumerate(path):
            if isinstance(step, int):
                continue
            following = path[index + 1] if index + 1 < len(path) else None
            if not isinstance(following, int):
                parent = parent.setdefault(step, {})
                continue
            name = _look_up(plan, (*path[: index + 2], "name"))
            containers = parent.setdefault(step, [])
            parent = next((found for found in containers if found["name"] == name), {"name": name})
            if parent not in containers:
                containers.append(parent)
        parent.setdefault(str(last), []).extend(_build_merged(plan, change))
        if change.is_first:
            # Without it, kubectl patch would put a new entry behind the others.
            names = [name for name, _ in plan.workload.get_containers(str(last))]
            order = [{"name": name} for name in (change.entry["name"], *names)] if change.entry else []
            if names:
                parent[f"$setElementOrder/{last}"] = order
    return patch


def _build_merged(plan: Plan, change: Change) -> list[Entry]:
    """The entries of a list in a strategic merge patch that make a change."""
    entries = [] if change.entry is None else [change.entry]
    if change.index is None:
        return entries
    old, key = _look_up(plan, (*change.path, change.index)), _MERGE_KEYS[str(change.path[-1])]
    if change.entry is not None and change.entry[key] == old[key]:
        return [_merge_over(old, change.entry)]
    return [*entries, {key: old[key], "$patch": "delete"}]


def _merge_over(old: Entry, new: Entry) -> dict[str, Any]:
    """Return the merge patch that turns the old value into the new one: null removes a key."""
    merged: dict[str, Any] = {}
    for key, value in new.items():
        there = old.get(key)
        if isinstance(value, Mapping) and isinstance(there, Mapping):
            merged[key] = _merge_over(there, value)
        else:
            merged[key] = value
    return merged | {key: None for key in old if key not in new}


def _test(plan: Plan, path: Path) -> dict[str, Any]:
    return {"op": "test", "path": _pointer(path), "value": _look_up(plan, path)}


def _look_up(plan: Plan, path: Path) -> Any:  # noqa: ANN401 (whatever is there)
    value: Any = plan.workload.manifest
    for step in path:
        value = value[step] if isinstance(step, int) else value.get(step)
    return value


def _pointer(path: Path) -> str:
    return "".join(f"/{step}" for step in path)
