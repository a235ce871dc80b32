"""The plan of `inject` for each workload of a stream, made before anything is written."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hcpcreds.errors import InputError
from hcpcreds.kubernetes.objects import Path
from hcpcreds.manifests.inject.changes import Change, ListDiff, apply_change, diff_list, is_true
from hcpcreds.manifests.inject.identify import find_suspect, identify
from hcpcreds.manifests.inject.keyless import Kept, Key, diff_keyless, find_key
from hcpcreds.manifests.inject.options import InjectOptions
from hcpcreds.manifests.inject.workloads import Workload, find_workloads
from hcpcreds.manifests.sidecar import SHARED_PROCESSES, SIDECAR
from hcpcreds.manifests.workload import ContainerAdditions, PodAdditions
from hcpcreds.text import make_safe

_MOST_TITLES: Final = 10
"""Of workloads, in a message."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The entries that one workload lacks to find its component's credential."""

    workload: Workload
    changes: tuple[Change, ...]
    """Their paths start at the workload."""
    conflicts: tuple[str, ...]
    """The entries that the changes replace, which needs `InjectOptions.replace`."""
    suspect: str | None = None
    """The workload is not a component's by its name, but this container of it has a component's name."""
    remark: str | None = None
    """What is left to do, or cannot be done, to make it keyless."""

    @property
    def document_changes(self) -> list[Change]:
        """The changes, with paths that start at the document."""
        return [
            Change((*self.workload.path, *change.path), change.entry, change.index) for change in self.changes
        ]


def inject(document: dict[str, Any], options: InjectOptions) -> dict[str, Any]:
    """Add a component's volume, mounts and environment to a workload.

    Args:
        document: Anything with a pod template, a Pod, or a List of anything. Objects that are not workloads
            and workloads of no component stay as they are.
        options: Which component, and how.

    Returns:
        The completed document; it shares parts with the one given, which is not changed.

    Raises:
        InputError: The options do not fit the workload, or something conflicts; lists every problem.
    """
    [plans] = make_plans([document], options, where="inject")
    return apply_plans(document, plans)


def make_plans(documents: Sequence[Any], options: InjectOptions, *, where: str) -> list[list[Plan]]:
    """Plan the changes of `inject` in every document of a stream.

    Args:
        documents: The stream's documents, of any kind.
        options: Which component, and how.
        where: Name of the stream in error messages.

    Returns:
        For each document, a plan for each of its workloads that is a component's, or with a hosted cluster
        might be one.

    Raises:
        InputError: As `inject`, with the problems of all documents.
    """
    planner = Planner(options)
    plans = [planner.plan(document, where) for document in documents]
    planner.finish()
    return plans


class Planner:
    """Plans the changes in documents that come one after another, of one stream or of several.

    `finish` raises all of its problems at once.
    """

    def __init__(self, options: InjectOptions) -> None:
        self._options = options
        self._problems: list[tuple[str, str]] = []
        self._conflicts: list[tuple[str, str]] = []
        self._settled_by: dict[str, None] = {}
        self._hints: dict[str, None] = {}
        self._wanted: list[str] = []
        self._others: list[str] = []
        self._streams: dict[str, None] = {}

    def plan(self, document: object, where: str) -> list[Plan]:
        """Plan one document.

        Args:
            document: Of any kind.
            where: Name of its stream in error messages.

        Returns:
            A plan for each of its workloads that is a component's, or with a hosted cluster might be one;
            none that `finish` would refuse.
        """
        self._streams[where] = None
        plans: list[Plan] = []
        try:
            workloads = list(find_workloads(document))
        except InputError as error:
            self.note(where, error)
            return []
        for workload in workloads:
            if self._options.workload not in (None, workload.name):
                self._others.append(workload.title)
                continue
            self._wanted.append(workload.title)
            try:
                plan = _make_plan(workload, self._options)
            except InputError as error:
                self.note(where, error, title=f"{workload.title}: ")
                continue
            if plan is None:
                continue
            if plan.conflicts and not self._options.replace:
                self._conflicts += [(where, f"{workload.title}: {conflict}") for conflict in plan.conflicts]
            else:
                plans.append(plan)
        return plans

    def note(self, where: str, error: InputError, *, title: str = "") -> None:
        """Note why a document or a workload cannot be changed."""
        self._problems += [(where, f"{title}{problem}") for problem in error.problems]
        self._settled_by.update(dict.fromkeys(error.options))
        if error.hint is not None:
            self._hints[error.hint] = None

    def finish(self) -> None:
        """Raise everything that prevents the plans.

        Raises:
            InputError: There are problems, or conflicts that are not to be replaced; or an option is for one
                workload, and it is about none or several.
        """
        options = self._options
        if not self._wanted and options.workload is not None:
            problem = f"there is no workload {options.workload!r}; there are: {_list(self._others) or 'none'}"
            raise InputError(self._name_streams(), [problem])
        client_id = options.sidecar.client_id if options.sidecar else None
        is_for_one = options.component or options.custom or options.credentials_secret_name or client_id
        if is_for_one and len(self._wanted) > 1:
            problem = f"one component for several workloads: {_list(self._wanted)}"
            hint = "Choose one workload, or label each with hcpcreds.io/component."
            raise InputError(self._name_streams(), [problem], hint=hint, options=["workload"])
        if self._conflicts:
            self._hints["Conflicting entries can be replaced."] = None
            self._settled_by["replace"] = None
        problems = self._problems + self._conflicts
        if problems:
            shown = [text if len(self._streams) == 1 else f"{where}: {text}" for where, text in problems]
            raise InputError(
                self._name_streams(),
                shown,
                hint=" ".join(self._hints) or None,
                options=list(self._settled_by),
            )

    def _name_streams(self) -> str:
        return next(iter(self._streams)) if len(self._streams) == 1 else "files"


def _list(titles: Sequence[str]) -> str:
    more = len(titles) - _MOST_TITLES
    return ", ".join(titles[:_MOST_TITLES]) + (f" and {more} more" if more > 0 else "")


def apply_plans(document: dict[str, Any], plans: Sequence[Plan]) -> dict[str, Any]:
    """Apply plans to a copy of the document that they were made for."""
    for plan in plans:
        for change in plan.document_changes:
            document = apply_change(document, change)
    return document


def _make_plan(workload: Workload, options: InjectOptions) -> Plan | None:
    """Plan one workload; None when nothing suggests that it is a component's.

    Raises:
        InputError: Its component is unknown, or nothing can be added to it as it is written.
    """
    additions = identify(workload, options)
    if additions is None:
        suspect = find_suspect(workload) if options.cluster is not None else None
        return Plan(workload, (), (), suspect) if suspect else None
    if options.sidecar is None and _is_keyless(workload, additions):
        problem = "its sidecar hcpcreds holds the key, which its programs would get back"
        hint = "To give it back, apply the workload as it was before it became keyless."
        raise InputError(workload.title, [problem], hint=hint, options=["keyless", "endpoint"])
    placed = list(_place(workload, additions, options)) if additions.containers else []
    key = find_key(workload, options)
    if isinstance(key, Key) and options.sidecar is not None:
        diffs = diff_keyless(workload, additions, placed, key, options.sidecar)
    else:
        diffs = [_diff(workload, workload.pod_spec, "volumes", additions.volumes)]
        for path, added in placed:
            diffs += [_diff(workload, path, "volumeMounts", added.volume_mounts)]
            diffs += [_diff(workload, path, "env", added.env)]
    problems = [problem for diff in diffs for problem in diff.problems]
    lacks_container = bool(additions.containers) and not placed
    if lacks_container:
        names = ", ".join(make_safe(name) for name, _ in workload.get_containers()) or "none"
        expected = options.container or " or ".join(additions.containers)
        problems.append(f"no container {expected}; there are: {names}")
    if problems:
        raise InputError(workload.title, problems, options=["container"] if lacks_container else [])
    return Plan(
        workload,
        tuple(change for diff in diffs for change in diff.changes),
        tuple(conflict for diff in diffs for conflict in diff.conflicts),
        remark="; ".join(_describe(workload, key)) or None,
    )


def _is_keyless(workload: Workload, additions: PodAdditions) -> bool:
    """Whether the sidecar mounts the key that the programs would get."""
    volumes = {volume["name"] for volume in additions.volumes}
    for name, path in workload.get_containers("initContainers"):
        mounts = workload.get(path).get("volumeMounts")
        if name == SIDECAR and isinstance(mounts, Sequence):
            return any(isinstance(mount, Mapping) and mount.get("name") in volumes for mount in mounts)
    return False


def _describe(workload: Workload, key: Key | Kept | None) -> Iterator[str]:
    if isinstance(key, Kept):
        yield f"it keeps its key: {key.reason}"
    elif key is not None:
        if key.beside:
            yield f"it needs beside it {key.beside}"
        for name in SHARED_PROCESSES:
            if is_true(workload.get(workload.pod_spec).get(name)):
                yield f"its programs may read the key through /proc: remove {name}"


def _diff(workload: Workload, path: Path, key: str, wanted: Sequence[Any]) -> ListDiff:
    return diff_list(workload.get(path).get(key), (*path, key), wanted)


def _place(
    workload: Workload, additions: PodAdditions, options: InjectOptions
) -> Iterator[tuple[Path, ContainerAdditions]]:
    """Find each container that gets something, with its path."""
    wanted = additions.containers
    if options.container is not None:
        wanted = {options.container: next(iter(wanted.values()))}
    placed = [(path, wanted[name]) for name, path in workload.get_containers() if name in wanted]
    yield from placed
    if placed and options.init_containers:
        for name, path in workload.get_containers("initContainers"):
            if name != SIDECAR or options.sidecar is None:
                yield path, next(iter(wanted.values()))
