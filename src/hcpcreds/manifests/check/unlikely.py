"""Pods that matter only if they read a cloud config, stored compactly until that is known.

A cluster has tens of thousands of them, and their Secrets and ConfigMaps may come after them.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from hcpcreds.kubernetes.documents import Document
from hcpcreds.kubernetes.nodes import Node
from hcpcreds.manifests.check.subjects import Container, Pod, list_sources

_Place = tuple[str, tuple[str | int, ...], int]


class _PackedContainer(msgspec.Struct, array_like=True):
    place: _Place
    name: str
    is_init: bool
    mounts: list[dict[str, str]]


class _PackedPod(msgspec.Struct, array_like=True):
    place: _Place
    kind: str
    name: str
    namespace: str
    sources: list[tuple[str, str, str]]
    """Name of a volume, and kind and name of its Secret or ConfigMap."""
    containers: list[_PackedContainer]


class UnlikelyPods:
    """Pods by the Secrets and ConfigMaps that they mount."""

    def __init__(self) -> None:
        self._packed: dict[str, list[bytes]] = {}

    def add(self, pod: Pod) -> None:
        """Keep a pod if it mounts anything that could contain a cloud config."""
        sources = [
            (volume["name"].text, kind, name) for volume in pod.volumes for kind, name in list_sources(volume)
        ]
        if not sources:
            return
        containers = [
            _PackedContainer(
                _find_place(container.node),
                container.name,
                container.is_init,
                [
                    {"name": mount["name"].text, "mountPath": mount["mountPath"].text}
                    for mount in container.mounts
                ],
            )
            for container in pod.containers
        ]
        place = _find_place(pod.node)
        packed = _PackedPod(place, pod.kind, pod.name, pod.namespace, sources, containers)
        content = msgspec.msgpack.encode(packed)
        for name in {name for _, _, name in sources}:
            self._packed.setdefault(name, []).append(content)

    def find(self, names: set[str]) -> Iterator[Pod]:
        """Find the pods that mount a Secret or ConfigMap of one of these names."""
        found = {content: None for name in sorted(names) for content in self._packed.get(name, ())}
        for content in found:
            yield _unpack(msgspec.msgpack.decode(content, type=_PackedPod))


def _find_place(node: Node) -> _Place:
    return node.document.file, (*node.document.path, *node.path), node.line


def _unpack(packed: _PackedPod) -> Pod:
    volumes: dict[str, list[Any]] = {}
    for volume, kind, name in packed.sources:
        source = {"secret": {"name": name}} if kind == "Secret" else {"configMap": {"name": name}}
        volumes.setdefault(volume, []).append(source)
    spec = {
        "volumes": [{"name": name, "projected": {"sources": sources}} for name, sources in volumes.items()]
    }
    node = _make_node(packed.place, spec)
    containers = []
    for container in packed.containers:
        found = _make_node(container.place, {"name": container.name, "volumeMounts": container.mounts})
        mounts = found["volumeMounts"].items()
        containers.append(Container(found, container.name, container.is_init, mounts, []))
    return Pod(node, packed.kind, packed.name, packed.namespace, node["volumes"].items(), containers)


def _make_node(place: _Place, value: Any) -> Node:  # noqa: ANN401 (any JSON)
    file, path, line = place
    return Node(Document(value, file, path, line), (), value)
