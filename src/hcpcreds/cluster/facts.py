"""What the API shows of a namespace, as a value: whatever explains it needs no further question."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec
from typing_extensions import override

from hcpcreds.kubernetes.documents import Document
from hcpcreds.kubernetes.nodes import Node
from hcpcreds.kubernetes.objects import find_controller
from hcpcreds.kubernetes.reading import Kind

Object = dict[str, Any]


class Listing(msgspec.Struct, frozen=True):
    """The objects of a kind, or why they are not known."""

    kind: Kind
    items: tuple[Object, ...] = ()
    problem: str = ""
    """Why they could not be read; empty if they could."""
    fix: str = ""
    is_served: bool = True
    """Whether the cluster knows the kind at all."""

    @override
    def __repr__(self) -> str:
        # What a pod's variables hold is never shown.
        return f"Listing({self.kind.resource}, {len(self.items)} items)"

    def __iter__(self) -> Iterator[Node]:
        return map(view, self.items)

    def find(self, name: str) -> Node | None:
        """Find an object by its name."""
        return next((node for node in self if name_of(node) == name), None)


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was read, and when."""

    now: datetime
    namespace: str
    namespaces: Listing
    pods: Listing
    deployments: Listing
    stateful_sets: Listing
    control_planes: Listing
    classes: Listing
    statuses: Listing
    events: Listing
    policies: Listing
    bindings: Listing


class Subject(msgspec.Struct, frozen=True):
    """A pod, or a workload that has no pods."""

    kind: str
    name: str
    namespace: str
    owner: str
    """Name of the workload that the pod belongs to; its own if it belongs to none."""
    template: Node
    """With the metadata and the spec of the pod."""
    pod: Node | None = None
    workload: Node | None = None

    @property
    def manifest(self) -> Object:
        """A workload that would make such a pod, for whoever reads manifests."""
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": self.owner, "namespace": self.namespace},
            "spec": {
                "template": {
                    "metadata": self.template["metadata"].value or {},
                    "spec": self.template["spec"].value or {},
                }
            },
        }

    def get_label(self, key: str) -> str:
        """A label of the pod; empty without."""
        return self.template.at("metadata", "labels")[key].text

    def get_annotation(self, key: str) -> str:
        """An annotation of the pod; empty without."""
        return self.template.at("metadata", "annotations")[key].text


def view(item: Object) -> Node:
    """Look at an object without having to fear what is missing in it."""
    return Node(Document(item), (), item)


def name_of(node: Node) -> str:
    """The name of an object."""
    return node.at("metadata", "name").text


def read_time(text: str) -> datetime | None:
    """Read a time of the API; None if it is not one."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo is not None else None


def make_pod_subject(pod: Node) -> Subject:
    """Make the subject of a pod."""
    namespace = pod.at("metadata", "namespace").text
    return Subject("Pod", name_of(pod), namespace, find_owner(pod)[1], pod, pod=pod)


def make_workload_subject(workload: Node, kind: str) -> Subject:
    """Make the subject of a workload that has no pods."""
    name, template = name_of(workload), workload.at("spec", "template")
    namespace = workload.at("metadata", "namespace").text
    return Subject(kind, name, namespace, name, template, workload=workload)


def find_owner(pod: Node) -> tuple[str, str]:
    """Find the kind and name of the workload that a pod belongs to, its own if it belongs to none.

    A Deployment's ReplicaSet is called after it and the hash of its template, which the pod has as a label.
    """
    kind, name = find_controller(pod.value) or ("Pod", name_of(pod))
    suffix = f"-{pod.at('metadata', 'labels', 'pod-template-hash').text}"
    if kind == "ReplicaSet" and len(suffix) > 1 and name.endswith(suffix):
        return "Deployment", name.removesuffix(suffix)
    return kind, name
