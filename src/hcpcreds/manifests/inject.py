"""Adding a component's volume, mounts and environment to workloads, as plain data and without any I/O.

What stands in a workload is never changed, only added to; what stands in the way is refused, or with
`InjectOptions.replace` replaced in its place. What is there already is left, so that injecting twice is
injecting once.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from hcpcreds.azureutil import (
    create_env_vars_for_azure_managed_identity,
    create_volume_for_azure_secret_store_provider_class,
)
from hcpcreds.components import COMPONENTS, KMS_BACKUP_CONTAINER, WORKLOADS
from hcpcreds.constants import MANAGED_AZURE_CERTIFICATE_MOUNT_PATH
from hcpcreds.errors import InputError
from hcpcreds.hosted_cluster import CREDENTIALS_SECRET_NAME, HostedCluster, ManagedIdentity
from hcpcreds.kubernetes.fields import Form, describe
from hcpcreds.kubernetes.objects import Path, find_objects, find_pod_template
from hcpcreds.manifests.pod_changes import Change, apply_change, find_changes_in_list
from hcpcreds.manifests.secret_provider_class import check_key_vault_user
from hcpcreds.manifests.workload import (
    ContainerAdditions,
    PodAdditions,
    build_pod_additions,
    build_pod_additions_for_secret,
)

COMPONENT_KEY: Final = "hcpcreds.io/component"
"""Label or annotation, of a workload or its pod template: which component it is."""
CREDENTIALS_SECRET_NAME_KEY: Final = "hcpcreds.io/credentials-secret-name"  # noqa: S105 - a key, and no password
"""Annotation: name of the identity's secret, for where no hosted cluster is given."""

_VOLUME_NAME: Final = Form(
    re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"),
    "1-63 lower-case letters, digits and '-', not at an end",
)
_CLASS_NAME: Final = Form(
    re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"),
    "lower-case letters, digits, '-' and '.', at most 253 characters",
)
_MOUNT_PATH: Final = Form(
    re.compile(r"/[^:\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]*"), "an absolute path without ':'"
)
_COMPONENT_WORKLOADS: Final = {
    **{component.name: tuple(pod.workload for pod in component.pods) for component in COMPONENTS},
    **{workload: (workload,) for workload in WORKLOADS},
}
"""What a component may be called, and which workloads that can mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomComponent:
    """A component of one's own, which is not in the table."""

    secret_provider_class: str
    volume_name: str
    mount_path: str = MANAGED_AZURE_CERTIFICATE_MOUNT_PATH
    credentials_secret_name: str | None = None
    """When set, ``MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH`` becomes the path of this file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectOptions:
    """What to inject, and how.

    The component is `custom`, or `component`, or what the label or annotation ``hcpcreds.io/component`` says,
    or else the one whose workload has the name of this one. Its identity is that in `cluster`, or
    `credentials_secret_name`, or what the annotation ``hcpcreds.io/credentials-secret-name`` says.
    """

    cluster: HostedCluster | None = None
    component: str | None = None
    """A component or a workload of one: ``cluster-api-provider-azure`` and ``capi-provider`` are the same."""
    custom: CustomComponent | None = None
    credentials_secret_name: str | None = None
    workload: str | None = None
    """Inject only into the workload of this name."""
    container: str | None = None
    """Inject into this container, and not into the one that the table names."""
    init_containers: bool = False
    """Inject into every init container too."""
    replace: bool = False
    """Replace what stands in the way."""
    key_vault_user_client_id: str | None = None
    managed_service: str | None = None
    """Values of ``ARO_HCP_KEY_VAULT_USER_CLIENT_ID`` and ``MANAGED_SERVICE``; see `build_pod_additions`."""

    def __post_init__(self) -> None:
        """Check what can be checked without a workload.

        Raises:
            InputError: Options contradict each other, or are outside their alphabet.
        """
        problems = []
        if self.component is not None and self.component not in _COMPONENT_WORKLOADS:
            expected = ", ".join(_COMPONENT_WORKLOADS)
            problems.append(f"component: got {describe(self.component)}, expected one of {expected}")
        forms: list[tuple[str, str | None, Form]] = [
            ("credentials secret name", self.credentials_secret_name, CREDENTIALS_SECRET_NAME)
        ]
        if self.custom is not None:
            forms += [
                ("credentials secret name", self.custom.credentials_secret_name, CREDENTIALS_SECRET_NAME),
                ("secret provider class", self.custom.secret_provider_class, _CLASS_NAME),
                ("volume name", self.custom.volume_name, _VOLUME_NAME),
                ("mount path", self.custom.mount_path, _MOUNT_PATH),
            ]
        for name, value, form in forms:
            if value is not None and not form.pattern.fullmatch(value):
                problems.append(f"{name}: got {describe(value)}, expected {form.expected}")
        if self.component is not None and self.custom is not None:
            problems.append("component: excludes a secret provider class of one's own")
        if self.credentials_secret_name is not None and self.cluster is not None:
            problems.append("credentials secret name: excludes a hosted cluster, which has it")
        if problems:
            raise InputError("inject", problems)
        if self.key_vault_user_client_id:
            check_key_vault_user(self.key_vault_user_client_id)


@dataclass(frozen=True, slots=True)
class WorkloadChanges:
    """A workload that a component's credential goes into, and what it lacks of that."""

    path: Path
    """Of the workload in its document: empty, or its place in a List."""
    title: str
    """Kind and name."""
    manifest: dict[str, Any]
    changes: tuple[Change, ...]
    """Their paths start at the workload."""


def inject(document: dict[str, Any], options: InjectOptions) -> dict[str, Any]:
    """Add a component's volume, mounts and environment to a workload.

    Args:
        document: A Deployment, StatefulSet, DaemonSet, ReplicaSet, Job, CronJob or Pod, or a List of
            anything. What is no such workload, or no component's, stays as it is.
        options: What to inject.

    Returns:
        The document with what it lacked; it shares parts with the one given, which is not changed.

    Raises:
        InputError: The options do not fit the workload, or something stands in the way. Every problem is in
            the message.
    """
    [changes] = find_changes([document], options, where="inject")
    return apply_changes(document, changes)


def find_changes(
    documents: Sequence[Any], options: InjectOptions, *, where: str
) -> list[list[WorkloadChanges]]:
    """Find what `inject` would change, in every document of a stream.

    Args:
        documents: The stream's documents, of any kind.
        options: What to inject.
        where: What error messages call the stream.

    Returns:
        For each document, its workloads that are a component's.

    Raises:
        InputError: As `inject`, with the problems of all documents.
    """
    found = [list(_find_workloads(document)) for document in documents]
    everything = [workload for workloads in found for workload in workloads]
    wanted = [workload for workload in everything if options.workload in (None, workload.name)]
    if not wanted and options.workload is not None:
        names = ", ".join(workload.title for workload in everything) or "none"
        raise InputError(where, [f"there is no workload {options.workload!r}; there are: {names}"])
    if (options.component or options.custom or options.credentials_secret_name) and len(wanted) > 1:
        names = ", ".join(workload.title for workload in wanted)
        hint = "Name one with --workload, or label each with hcpcreds.io/component."
        raise InputError(where, [f"one component for several workloads: {names}"], hint=hint)
    planned = {id(workload): workload.plan(options) for workload in wanted}
    changes = [
        [changes for workload in workloads if (changes := planned.get(id(workload))) is not None]
        for workloads in found
    ]
    problems = [f"{workload.title}: {problem}" for workload in wanted for problem in workload.problems]
    conflicts = [f"{workload.title}: {conflict}" for workload in wanted for conflict in workload.conflicts]
    if problems or (conflicts and not options.replace):
        replace = "With --replace, what stands in the way is replaced."
        raise InputError(where, problems + conflicts, hint=replace if conflicts else None)
    return changes


def apply_changes(document: dict[str, Any], workloads: Sequence[WorkloadChanges]) -> dict[str, Any]:
    """Apply changes to the document that they were found in; what it is made of is not changed."""
    for workload in workloads:
        for change in workload.changes:
            path = (*workload.path, *change.path)
            document = apply_change(document, Change(path, change.entry, change.index))
    return document


def _find_workloads(document: object) -> Iterator["_Workload"]:
    for path, manifest in find_objects(document):
        template = find_pod_template(manifest)
        if template is not None:
            yield _Workload(path, manifest, (*template, "spec"))


@dataclass(slots=True, eq=False)
class _Workload:
    """A workload, and what was found to be wrong with it."""

    path: Path
    manifest: dict[str, Any]
    pod_spec: Path
    problems: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        metadata = self._get(("metadata",))
        name = metadata.get("name") or metadata.get("generateName")
        return name if isinstance(name, str) else "without a name"

    @property
    def title(self) -> str:
        return f"{self.manifest['kind']} {self.name}"

    def plan(self, options: InjectOptions) -> WorkloadChanges | None:
        """What the workload lacks; None where it is no component's, or where that cannot be said."""
        try:
            additions = self._build_additions(options)
        except InputError as error:
            self.problems += error.problems
            return None
        if additions is None:
            return None
        changes = self._find_changes((*self.pod_spec, "volumes"), additions.volumes)
        for path, added in self._place(additions, options):
            changes += self._find_changes((*path, "volumeMounts"), added.volume_mounts)
            changes += self._find_changes((*path, "env"), added.env)
        return WorkloadChanges(self.path, self.title, self.manifest, tuple(changes))

    def _find_changes(self, path: Path, wanted: Sequence[Mapping[str, Any]]) -> list[Change]:
        return find_changes_in_list(
            self._get(path[:-1]), path, wanted, problems=self.problems, conflicts=self.conflicts
        )

    def _build_additions(self, options: InjectOptions) -> PodAdditions | None:
        if options.custom is not None:
            return self._build_custom_additions(options.custom, options.container)
        component = options.component or self._get_note(COMPONENT_KEY, ("annotations", "labels"))
        workload = self._find_table_row(component) if component else self.name
        if workload not in WORKLOADS:
            return None
        settings = {
            "key_vault_user_client_id": options.key_vault_user_client_id,
            "managed_service": options.managed_service,
        }
        if options.cluster is not None:
            self._check_secret_name(WORKLOADS[workload][0][0].get_identity(options.cluster))
            additions = build_pod_additions(options.cluster, workload, **settings)
        else:
            secret = options.credentials_secret_name or self._get_secret_name()
            additions = build_pod_additions_for_secret(secret, workload, **settings)
        # Whether the cluster has a backup key now or not: a container that is there needs its mount.
        if KMS_BACKUP_CONTAINER in WORKLOADS[workload][0][1].containers and additions.containers:
            additions.containers.setdefault(KMS_BACKUP_CONTAINER, next(iter(additions.containers.values())))
        return additions

    def _build_custom_additions(self, custom: CustomComponent, container: str | None) -> PodAdditions:
        names = [name for name, _ in self._get_containers("containers")]
        if container is None and len(names) != 1:
            expected = "name the one that gets the credential (--container)"
            raise InputError(self.title, [f"containers {', '.join(names) or 'none'}: {expected}"])
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

    def _find_table_row(self, component: str) -> str:
        """The workload in the table that this one is."""
        workloads = _COMPONENT_WORKLOADS.get(component, ())
        if len(workloads) == 1:
            return workloads[0]
        if self.name in workloads:
            return self.name
        expected = ", ".join(workloads or _COMPONENT_WORKLOADS)
        problem = f"{COMPONENT_KEY}: got {describe(component)}, expected one of {expected}"
        raise InputError(self.title, [problem])

    def _get_note(self, key: str, kinds: tuple[str, ...]) -> str | None:
        """What a label or annotation says, of the workload or else of its pods."""
        for metadata in (("metadata",), (*self.pod_spec[:-1], "metadata")):
            for kind in kinds:
                value = self._get((*metadata, kind)).get(key)
                if value is not None:
                    return value if isinstance(value, str) else describe(value)
        return None

    def _get_secret_name(self) -> str:
        name = self._get_note(CREDENTIALS_SECRET_NAME_KEY, ("annotations",))
        if name is None:
            expected = f"its secret's name in the annotation {CREDENTIALS_SECRET_NAME_KEY}"
            problem = f"which identity? Give the hosted cluster (--hosted-cluster), or {expected}"
            raise InputError(self.title, [problem])
        if not CREDENTIALS_SECRET_NAME.pattern.fullmatch(name):
            expected = CREDENTIALS_SECRET_NAME.expected
            problem = f"{CREDENTIALS_SECRET_NAME_KEY}: got {describe(name)}, expected {expected}"
            raise InputError(self.title, [problem])
        return name

    def _check_secret_name(self, identity: ManagedIdentity | None) -> None:
        noted = self._get_note(CREDENTIALS_SECRET_NAME_KEY, ("annotations",))
        if noted is not None and identity is not None and noted != identity.credentials_secret_name:
            expected = f"the hosted cluster has {identity.credentials_secret_name!r}"
            problem = f"{CREDENTIALS_SECRET_NAME_KEY}: got {describe(noted)}, and {expected}"
            raise InputError(self.title, [problem])

    def _place(
        self, additions: PodAdditions, options: InjectOptions
    ) -> Iterator[tuple[Path, ContainerAdditions]]:
        """Each container that gets something, with its path."""
        wanted = additions.containers
        if not wanted:
            return
        if options.container is not None:
            wanted = {options.container: next(iter(wanted.values()))}
        there = self._get_containers("containers")
        placed = [(path, wanted[name]) for name, path in there if name in wanted]
        if not placed:
            names = ", ".join(name for name, _ in there) or "none"
            expected = " or ".join(wanted)
            self.problems.append(f"no container {expected}; there are: {names}. Name one with --container")
        yield from placed
        if options.init_containers:
            for _, path in self._get_containers("initContainers"):
                yield path, next(iter(wanted.values()))

    def _get_containers(self, key: str) -> list[tuple[str, Path]]:
        """The names of containers that have one, with their paths."""
        containers = self._get(self.pod_spec).get(key)
        return [
            (container["name"], (*self.pod_spec, key, index))
            for index, container in enumerate(containers if isinstance(containers, list) else ())
            if isinstance(container, Mapping) and isinstance(container.get("name"), str)
        ]

    def _get(self, path: Path) -> Mapping[str, Any]:
        """The mapping at a path of the workload; empty when there is none."""
        value: Any = self.manifest
        for step in path:
            if isinstance(step, int):
                value = value[step]
            else:
                value = value.get(step) if isinstance(value, Mapping) else None
        return value if isinstance(value, Mapping) else {}
