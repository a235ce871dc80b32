"""Reads which pods mount which secret of which vault, in which version, and which containers read it.

Source: kubernetes-sigs/secrets-store-csi-driver v1.6, pkg/secrets-store (nodeserver.go, utils.go): a status
is written after the files, for the pod that owns it; what a pod's volume sets takes precedence over its
class. The API server counts a custom resource's `generation` up with every change, and only then.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, NamedTuple

from hcpcreds.cluster.rollout.facts import Program, Use
from hcpcreds.cluster.rollout.pages import Shown, Target
from hcpcreds.constants import MANAGED_AZURE_SECRET_PROVIDER_CLASS, MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER
from hcpcreds.errors import KubernetesRefusedError
from hcpcreds.kubernetes.documents import Document
from hcpcreds.kubernetes.nodes import Node
from hcpcreds.kubernetes.objects import find_controller
from hcpcreds.kubernetes.reading import (
    PODS,
    SECRET_PROVIDER_CLASS_POD_STATUSES,
    SECRET_PROVIDER_CLASSES,
    Cluster,
    Kind,
)
from hcpcreds.vault.secret import parse_time

METRICS_PORT: Final = 9469
"""Of the sidecar."""
METRICS_PORT_NAMES: Final = ("hcpcreds", "metrics")
_NO_PORT: Final = f"it declares no port {' or '.join(METRICS_PORT_NAMES)} for its metrics"
_TWICE: Final = "its class names the secret more than once, and the driver reports one version only"
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)
_PROVIDER: Final = "azure"
_ENDED: Final = ("Succeeded", "Failed")
_ASSERTIONS: Final = "HCPCREDS_ASSERTION_DIRECTORY"
_ASSERTIONS_OPTION: Final = "--assertion-directory"


@dataclass(frozen=True, slots=True)
class Container:
    """A container that mounts a secret, before its metrics are read."""

    program: Program
    target: Target | None


@dataclass(frozen=True, slots=True)
class FoundUse:
    """A use of a secret, before metrics are read."""

    use: Use
    containers: tuple[Container, ...]

    def list_targets(self) -> Iterator[Target]:
        """List where its containers show their metrics."""
        for each in self.containers:
            program = each.program
            if each.target is not None and program.started_at is not None and not program.has_ended:
                yield each.target

    def complete(self, shown: Mapping[Target, Shown]) -> Use:
        """Return the use with what its containers show."""
        return replace(self.use, programs=tuple(_complete(each, shown) for each in self.containers))


def _complete(container: Container, shown: Mapping[Target, Shown]) -> Program:
    if container.target is None or container.target not in shown:
        return container.program
    seen, problem = shown[container.target]
    return replace(container.program, seen=seen, problem=problem)


class VaultNames:
    """The vaults that are asked, by the names that classes give them.

    Args:
        urls: Their URLs, by name in lower case. The name `*` stands for every vault.
    """

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = urls

    def has(self, name: str) -> bool:
        """Tell whether a vault is asked."""
        return "*" in self._urls or name.lower() in self._urls

    def find_url(self, name: str) -> str:
        """Return the URL of a vault that is asked."""
        return self._urls.get(name.lower()) or self._urls["*"]


@dataclass(slots=True)
class _Objects:
    """The objects of a kind by namespace and name, or why they are not known."""

    by_name: dict[tuple[str, str], Node] = field(default_factory=dict)
    problem: str = ""


class _Object(NamedTuple):
    """A secret that a pod mounts."""

    name: str
    version: str | None


def read_uses(
    cluster: Cluster, *, namespace: str | None, vaults: VaultNames, secrets: Collection[str]
) -> list[FoundUse]:
    """Read every pod that mounts a secret of the vaults.

    Args:
        cluster: The cluster.
        namespace: Where; None means everywhere.
        vaults: The vaults that are asked.
        secrets: Only secrets of these names, in lower case; empty means all.

    Raises:
        KubernetesError: The pods cannot be listed, or the API server cannot be reached.
    """
    pods = cluster.list(PODS, namespace=namespace)
    classes = _list(cluster, SECRET_PROVIDER_CLASSES, namespace)
    statuses = _list(cluster, SECRET_PROVIDER_CLASS_POD_STATUSES, namespace)
    found = []
    for item in pods:
        pod = _make_node(item)
        if pod.at("status", "phase").text in _ENDED:
            continue
        for volume in pod.at("spec", "volumes").items():
            if volume.at("csi", "driver").text == MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER:
                mount = _Mount(pod, volume, classes, statuses)
                found += [
                    each
                    for each in mount.list_uses(vaults)
                    if not secrets or each.use.key[1] in secrets or not each.use.key[1]
                ]
    return found


def _list(cluster: Cluster, kind: Kind, namespace: str | None) -> _Objects:
    try:
        nodes = [_make_node(item) for item in cluster.list(kind, namespace=namespace)]
    except KubernetesRefusedError as error:
        return _Objects(problem=str(error))
    metadata = [(node, node["metadata"]) for node in nodes]
    return _Objects({(each["namespace"].text, each["name"].text): node for node, each in metadata})


def _make_node(item: object) -> Node:
    return Node(Document(item), (), item)


class _Mount:
    """A volume of the driver in a pod."""

    def __init__(self, pod: Node, volume: Node, classes: _Objects, statuses: _Objects) -> None:
        self._pod = pod
        self._volume = volume
        attributes = volume.at("csi", "volumeAttributes")
        self._class_name = attributes[MANAGED_AZURE_SECRET_PROVIDER_CLASS].text
        self._namespace = pod.at("metadata", "namespace").text
        self._name = pod.at("metadata", "name").text
        self._class = classes.by_name.get((self._namespace, self._class_name))
        self._class_problem = classes.problem
        self._status = self._find_status(statuses)
        self._status_problem = statuses.problem
        parameters = self._class.at("spec", "parameters") if self._class else _make_node({})
        self._parameters = _make_node({**dict(parameters.value or {}), **dict(attributes.value or {})})

    def _find_status(self, statuses: _Objects) -> Node | None:
        """Find the status of this very pod, not of one that had its name before."""
        name = f"{self._name}-{self._namespace}-{self._class_name}"
        status = statuses.by_name.get((self._namespace, name))
        owners = status.at("metadata", "ownerReferences").items() if status else []
        uid = self._pod.at("metadata", "uid").text
        return status if uid and uid in [owner["uid"].text for owner in owners] else None

    def list_uses(self, vaults: VaultNames) -> Iterator[FoundUse]:
        """List the secrets that it mounts from the vaults, and those that may be from them."""
        vault = self._parameters["keyvaultName"].plain
        provider = self._class.at("spec", "provider").text if self._class else _PROVIDER
        if provider.lower() != _PROVIDER or (vault and not vaults.has(vault)):
            return
        absent = f"SecretProviderClass {self._class_name} is absent, or names no vault"
        hidden = self._class_problem or absent
        containers = tuple(self._list_containers())
        base = self._build_use()
        named = [name.lower() for name in self._list_named()]
        for each in self._list_objects():
            use = replace(
                base, key=(vault.lower(), each.name.lower()), secret=each.name, version=each.version
            )
            if not vault:
                use = replace(use, problem=hidden)
            elif named.count(each.name.lower()) > 1:
                use = replace(use, problem=_TWICE)
            yield FoundUse(use, containers)

    def _build_use(self) -> Use:
        status, problem, is_waiting = self._status, "", False
        if self._status_problem:
            problem = self._status_problem
        elif (
            status is None
            or status.at("status", "mounted").boolean is not True
            or not status.at("status", "objects").items()
        ):
            is_waiting = self._pod.at("status", "phase").text == "Pending"
            problem = "" if is_waiting else "no SecretProviderClassPodStatus shows what is mounted"
        return Use(
            namespace=self._namespace,
            pod=self._name,
            owner=self._find_owner(),
            key=("", ""),
            secret="",
            version=None,
            problem=problem,
            is_waiting=is_waiting,
            is_first=status is not None and status.at("metadata", "generation").value == 1,
            changed_at=None if status is None else _find_change(status),
            copies=tuple(self._list_copies()),
        )

    def _list_copies(self) -> Iterator[str]:
        for each in self._class.at("spec", "secretObjects").items() if self._class else ():
            yield f"{self._namespace}/{each['secretName'].text}"

    def _list_objects(self) -> list[_Object]:
        """List the secrets: those that are mounted, else those that the class names."""
        objects = self._status.at("status", "objects").items() if self._status else []
        if objects:
            found = [(each["id"].text.split("/"), each["version"].text or None) for each in objects]
            # With objectVersionHistory an id has an index; 0 is the newest.
            return [
                _Object(parts[1], version)
                for parts, version in found
                if parts[0] == "secret" and len(parts) > 1 and parts[2:] in ([], ["0"])
            ]
        return [_Object(name, None) for name in self._list_named()] or [_Object("", None)]

    def _list_named(self) -> list[str]:
        """List the secrets that the class names."""
        entries = [each.parse() for each in self._parameters["objects"].parse()["array"].items()]
        return [each["objectName"].plain for each in entries if each["objectType"].plain == "secret"]

    def _list_containers(self) -> Iterator[Container]:
        for kind in ("initContainers", "containers", "ephemeralContainers"):
            statuses = {
                each["name"].text: each for each in self._pod.at("status", f"{kind[:-1]}Statuses").items()
            }
            for container in self._pod.at("spec", kind).items():
                mounts = [each["name"].text for each in container["volumeMounts"].items()]
                if self._volume["name"].text in mounts:
                    yield self._build_container(
                        container, statuses.get(container["name"].text), is_init=kind == "initContainers"
                    )

    def _build_container(self, container: Node, status: Node | None, *, is_init: bool) -> Container:
        is_pending = self._pod.at("status", "phase").text == "Pending"
        is_running = status.at("state", "running").value is not None if status else not is_pending
        has_ended = is_init and status is not None and status.at("state", "terminated").value is not None
        state = "terminated" if has_ended else "running"
        started_at = status and parse_time(status.at("state", state, "startedAt").text)
        words = [each.text for key in ("command", "args") for each in container[key].items()]
        variables = [each["name"].text for each in container["env"].items()]
        port, ip = _find_port(container), self._pod.at("status", "podIP").text
        program = Program(
            name=container["name"].text,
            started_at=(started_at or _LONG_AGO) if is_running or has_ended else None,
            has_ended=has_ended,
            keeps_assertions=_ASSERTIONS in variables
            or any(word.split("=")[0] == _ASSERTIONS_OPTION for word in words),
            problem="the pod has no address" if port else _NO_PORT,
        )
        return Container(program, Target(self._namespace, self._name, ip, port) if port and ip else None)

    def _find_owner(self) -> str:
        controller = find_controller(self._pod.value)
        if controller is None:
            return ""
        kind, name = controller
        hash_ = self._pod.at("metadata", "labels", "pod-template-hash").text
        if kind == "ReplicaSet" and hash_ and name.endswith(f"-{hash_}"):
            return f"deployment/{name.removesuffix(f'-{hash_}')}"
        return f"{kind.lower()}/{name}" if kind in ("StatefulSet", "DaemonSet") else f"pod/{self._name}"


def _find_port(container: Node) -> int | None:
    for port in container["ports"].items():
        number = port["containerPort"].value
        if isinstance(number, int) and (number == METRICS_PORT or port["name"].text in METRICS_PORT_NAMES):
            return number
    return None


def _find_change(status: Node) -> datetime | None:
    """Find when a status last changed: when somebody last wrote anything of it, which may be later."""
    fields = status.at("metadata", "managedFields").items()
    times = [parse_time(each["time"].text) for each in fields]
    return max((time for time in times if time is not None), default=None)
