"""Workloads as `inject` and its messages see them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hcpcreds.kubernetes.fields import describe
from hcpcreds.kubernetes.objects import Path, find_objects, find_pod_template
from hcpcreds.text import make_safe


@dataclass(frozen=True, slots=True, eq=False)
class Workload:
    """A workload in a document."""

    path: Path
    """In its document: empty, or its place in a List."""
    manifest: dict[str, Any]
    template: tuple[str, ...]
    """Path of the pod template in the manifest."""

    @property
    def pod_spec(self) -> Path:
        """Path of the pod's spec in the manifest."""
        return (*self.template, "spec")

    @property
    def name(self) -> str:
        """The name, or the prefix from which the API server generates one."""
        metadata = self.get(("metadata",))
        name = metadata.get("name") or metadata.get("generateName")
        return name if isinstance(name, str) else "without a name"

    @property
    def title(self) -> str:
        """Kind and name, for messages."""
        return make_safe(f"{self.manifest.get('kind')} {self.name}")

    def get(self, path: Path) -> Mapping[str, Any]:
        """The mapping at a path of the manifest; empty when there is none."""
        value: Any = self.manifest
        for step in path:
            if isinstance(step, int):
                value = value[step]
            else:
                value = value.get(step) if isinstance(value, Mapping) else None
        return value if isinstance(value, Mapping) else {}

    def get_note(self, key: str, *kinds: str) -> str | None:
        """The value of a label or annotation, of the workload or else of its pods."""
        for metadata in (("metadata",), (*self.template, "metadata")):
            for kind in kinds:
                value = self.get((*metadata, kind)).get(key)
                if value is not None:
                    return value if isinstance(value, str) else describe(value)
        return None

    def get_containers(self, key: str = "containers") -> list[tuple[str, Path]]:
        """The names of containers that have one, with their paths."""
        containers = self.get(self.pod_spec).get(key)
        return [
            (container["name"], (*self.pod_spec, key, index))
            for index, container in enumerate(containers if isinstance(containers, list) else ())
            if isinstance(container, Mapping) and isinstance(container.get("name"), str)
        ]


def find_workloads(document: object) -> Iterator[Workload]:
    """Find the workloads in a document, those in Lists included.

    Raises:
        InputError: The document holds too many objects.
    """
    for path, manifest in find_objects(document):
        template = find_pod_template(manifest)
        if template is not None:
            yield Workload(path, manifest, template)
