"""Diff the lists of a pod spec against their required entries: missing entries and conflicts."""

import posixpath
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Final

from hcpcreds.constants import MANAGED_AZURE_SECRET_PROVIDER_CLASS, MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER
from hcpcreds.kubernetes.documents import PlainScalar
from hcpcreds.kubernetes.fields import describe
from hcpcreds.kubernetes.objects import Path, is_same
from hcpcreds.manifests.sidecar import ASSERTION_VOLUME

Entry = Mapping[str, Any]

_TRUE: Final = frozenset({"true", "yes", "on", "y"})


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of a list: a volume, a mount, a variable or an init container.

    A list either has entries added or has some removed, not both.
    """

    path: Path
    """Path of the list, which may be missing or null."""
    entry: Entry | None
    """None to remove the one at the index."""
    index: int | None = None
    """Index of the entry to replace; None to add this one."""

    @property
    def is_first(self) -> bool:
        """Whether the entry is added before all others: the sidecar is needed by all that follow it."""
        return self.index is None and self.path[-1] == "initContainers"


@dataclass(frozen=True, slots=True)
class ListDiff:
    """The differences between a list and its required entries."""

    changes: tuple[Change, ...] = ()
    """The entries to append and, for each conflict, the one to replace."""
    conflicts: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    """Reasons why nothing can be added to the list."""


def diff_list(
    entries: object,
    path: Path,
    wanted: Sequence[Entry],
    is_unwanted: Callable[[Entry], bool] = lambda _: False,
) -> ListDiff:
    """Compare a list with its required entries.

    Args:
        entries: The list; None if it is missing.
        path: Path of the list; its last key is `volumes`, `volumeMounts`, `env` or `initContainers`.
        wanted: The required entries.
        is_unwanted: Whether an entry has to go; not asked about required ones.
    """
    if not wanted and not isinstance(entries, list):
        return ListDiff()
    if entries is not None and not isinstance(entries, list):
        return ListDiff(problems=(f"{render_path(path)}: expected a list, got {describe(entries)}",))
    compare = _COMPARISONS[str(path[-1])]
    added, changes, conflicts = [], [], []
    left = dict(enumerate(entries or []))
    for entry in wanted:
        is_there = False
        for index, found in enumerate(entries or []):
            place = render_path((*path, index))
            if not isinstance(found, Mapping):
                return ListDiff(problems=(f"{place}: expected a mapping, got {describe(found)}",))
            difference = compare(found, entry)
            if difference is None:
                continue
            is_there = True
            left.pop(index, None)
            if difference:
                conflicts.append(f"{place}: {difference}")
                # The path keeps its spelling: a strategic merge patch finds the mount by it.
                kept = {"mountPath": found["mountPath"]} if "mountPath" in entry else {}
                changes.append(Change(path, {**entry, **kept}, index))
        if not is_there:
            added.append(entry)
    # New entries take the places of unwanted ones, so that no list both grows and shrinks.
    unwanted = [index for index, found in left.items() if isinstance(found, Mapping) and is_unwanted(found)]
    changes += [Change(path, entry, index) for entry, index in zip(added, unwanted, strict=False)]
    changes += [Change(path, entry) for entry in added[len(unwanted) :]]
    changes += [Change(path, None, index) for index in reversed(unwanted[len(added) :])]
    return ListDiff(tuple(changes), tuple(conflicts))


def apply_change(manifest: dict[str, Any], change: Change) -> dict[str, Any]:
    """Apply a change to the object that its path starts from, in a copy of it."""
    # Only the values on the path are copied: a value that YAML aliases share must not change elsewhere.
    changed = dict(manifest)
    parent: Any = changed
    for step in change.path[:-1]:
        parent[step] = copy(parent[step])
        parent = parent[step]
    entries = list(parent.get(change.path[-1]) or [])
    if change.index is None:
        entries.insert(0 if change.is_first else len(entries), change.entry)
    elif change.entry is None:
        del entries[change.index]
    else:
        entries[change.index] = change.entry
    parent[change.path[-1]] = entries
    return changed


def render_path(path: Path) -> str:
    """Render a path as people write it, for instance `spec.containers[0].env`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


# A comparison returns None for an unrelated entry, "" for the required one, and otherwise the conflict.


def _compare_volumes(found: Entry, wanted: Entry) -> str | None:
    if found.get("name") != wanted["name"]:
        return None
    if "csi" not in wanted:
        is_assertion = wanted["name"] == ASSERTION_VOLUME
        return _compare_assertion_volumes(found, wanted) if is_assertion else _compare_token_volumes(found)
    attributes = wanted["csi"]["volumeAttributes"]
    expected = f"expected the SecretProviderClass {attributes[MANAGED_AZURE_SECRET_PROVIDER_CLASS]!r}"
    name = f"the volume {wanted['name']!r}"
    csi = found.get("csi")
    if not isinstance(csi, Mapping):
        sources = ", ".join(key for key in found if key != "name") or "emptyDir"
        return f"{name} is another ({sources}), {expected}"
    if csi.get("driver") != MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER:
        return f"{name} is of the driver {describe(csi.get('driver'))}, {expected}"
    there = csi.get("volumeAttributes")
    found_class = there.get(MANAGED_AZURE_SECRET_PROVIDER_CLASS) if isinstance(there, Mapping) else None
    if found_class != attributes[MANAGED_AZURE_SECRET_PROVIDER_CLASS]:
        return f"{name} is of the SecretProviderClass {describe(found_class)}, {expected}"
    return "" if is_true(csi.get("readOnly")) else f"{name} is not read-only, expected readOnly: true"


def _compare_assertion_volumes(found: Entry, wanted: Entry) -> str:
    difference = _find_difference(found, wanted)
    return f"the volume {wanted['name']!r} is another ({difference})" if difference else ""


def _compare_token_volumes(found: Entry) -> str:
    """Compare the volume of a token, which kubelet may also project; then nothing else has to write it."""
    sources = [key for key in found if key != "name"]
    if not sources or "emptyDir" in found or "projected" in found:
        return ""
    return (
        f"the volume {found['name']!r} is another ({', '.join(sources)}), expected an emptyDir for the token"
    )


def _compare_mounts(found: Entry, wanted: Entry) -> str | None:
    path = found.get("mountPath")
    if not isinstance(path, str) or posixpath.normpath(path) != posixpath.normpath(wanted["mountPath"]):
        return None
    if found.get("name") != wanted["name"]:
        return f"{path} mounts the volume {describe(found.get('name'))}, expected {wanted['name']!r}"
    for key in ("subPath", "subPathExpr"):
        if found.get(key):
            return f"{path} mounts a {key} ({describe(found[key])}), which never rotates; expected none"
    if not wanted.get("readOnly") or is_true(found.get("readOnly")):
        return ""
    return f"{path} is mounted writable, expected readOnly: true"


def _compare_variables(found: Entry, wanted: Entry) -> str | None:
    if found.get("name") != wanted["name"]:
        return None
    if is_same(wanted, found):
        return ""
    if found.get("valueFrom") is not None:
        is_ = "is taken from elsewhere (valueFrom)"
    elif "value" in wanted and found.get("value", "") == wanted["value"]:
        return ""
    else:
        is_ = f"is {describe(found.get('value', ''))}"
    expected = repr(wanted["value"]) if "value" in wanted else "the pod's uid (valueFrom)"
    return f"the variable {wanted['name']} {is_}, expected {expected}"


def _compare_sidecars(found: Entry, wanted: Entry) -> str | None:
    if found.get("name") != wanted["name"]:
        return None
    difference = _find_difference(found, wanted)
    return f"the init container {wanted['name']!r} is another ({difference})" if difference else ""


def _find_difference(found: object, wanted: object, path: Path = ()) -> str:
    """Find what a value lacks of another; empty if it lacks nothing, also if it has more."""
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        pairs = [(key, found.get(key), value) for key, value in wanted.items()]
    elif isinstance(wanted, list) and isinstance(found, list) and isinstance(wanted[0], Mapping):
        key = next(key for key in ("mountPath", "name") if key in wanted[0])
        there = {item.get(key): item for item in found if isinstance(item, Mapping) and _is_text(item, key)}
        pairs = [(item[key], there.get(item[key]), item) for item in wanted]
    else:
        if is_same(wanted, found) or (wanted == {} and found is None):
            return ""
        is_ = "is missing" if found is None else f"is {describe(found)}"
        return f"{render_path(path)} {is_}"
    return next(
        (text for key, one, other in pairs if (text := _find_difference(one, other, (*path, key)))), ""
    )


def _is_text(item: Entry, key: str) -> bool:
    return isinstance(item.get(key), str)


def is_true(value: object) -> bool:
    """Whether a value means true, as it stands in YAML or JSON."""
    if isinstance(value, PlainScalar):
        return value.kind == "boolean" and value.text.lower() in _TRUE
    return value is True


_COMPARISONS: Final[Mapping[str, Callable[[Entry, Entry], str | None]]] = {
    "volumes": _compare_volumes,
    "volumeMounts": _compare_mounts,
    "env": _compare_variables,
    "initContainers": _compare_sidecars,
}
