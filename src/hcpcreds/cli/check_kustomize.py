"""Kustomizations: which files are patches, which objects they patch, and the result of a build.

Source: kubernetes-sigs/kustomize, api/types/kustomization.go.
"""

import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from hcpcreds.errors import InputError
from hcpcreds.kubernetes.documents import Document, open_source, read_documents
from hcpcreds.text import make_safe

NAMES: Final = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_PARTS: Final = ("resources", "bases", "components", "crds")
_PATCHES: Final = ("patches", "patchesStrategicMerge", "patchesJson6902")


class _Target(NamedTuple):
    """The objects of a patch: patterns of a kind and a name; an empty one matches all."""

    kind: str
    name: str

    def matches(self, document: Document) -> bool:
        kind, name = _name(document.value)
        return all(
            not pattern or _matches(pattern, text) for pattern, text in ((self.kind, kind), (self.name, name))
        )


class _Kustomization(msgspec.Struct):
    parts: set[Path] = msgspec.field(default_factory=set)
    """Files, and directories with kustomizations."""
    patches: set[Path] = msgspec.field(default_factory=set)
    targets: list[_Target] = msgspec.field(default_factory=list)
    is_component: bool = False


class Kustomizations:
    """The kustomizations among files.

    Args:
        files: Names of files, of any kind.
    """

    def __init__(self, files: Iterable[str]) -> None:
        found = [Path(file) for file in files if Path(file).name in NAMES]
        self._found = {file.parent.resolve(): _read(file) for file in found}
        self._shown = {file.parent.resolve(): file.parent for file in found}
        self._patches = {patch for kustomization in self._found.values() for patch in kustomization.patches}
        self._targets: dict[Path, list[_Target]] = {}
        for place, kustomization in self._found.items():
            for file in self._reach(place) if kustomization.targets else ():
                self._targets.setdefault(file, []).extend(kustomization.targets)

    def mark(self, document: Document) -> Document:
        """Mark a document as partial when it is a patch, or patched."""
        file = Path(document.file).resolve()
        targets = self._targets.get(file, ())
        if file in self._patches or any(target.matches(document) for target in targets):
            return msgspec.structs.replace(document, is_partial=True)
        return document

    def find_roots(self) -> list[Path]:
        """The directories to build: those that no other kustomization includes."""
        taken = {part for kustomization in self._found.values() for part in kustomization.parts}
        return [
            self._shown[place]
            for place, kustomization in self._found.items()
            if place not in taken and not kustomization.is_component
        ]

    def list_files(self, root: Path) -> set[Path]:
        """The files that a build of a directory reads, resolved."""
        return self._reach(root.resolve(), with_patches=True)

    def _reach(self, place: Path, *, with_patches: bool = False) -> set[Path]:
        reached: set[Path] = set()
        seen: set[Path] = set()
        left = [place]
        while left:
            found = left.pop()
            kustomization = self._found.get(found)
            if kustomization is None:
                reached.add(found)
            elif found not in seen:
                seen.add(found)
                left += kustomization.parts
                if with_patches:
                    reached |= kustomization.patches | {found / name for name in NAMES}
        return reached


def build(root: Path) -> list[Document]:
    """Build a directory with kubectl or kustomize, and read the result.

    Raises:
        InputError: Neither is there, or the directory cannot be built.
    """
    where = str(root)
    kustomize, kubectl = shutil.which("kustomize"), shutil.which("kubectl")
    if kustomize is None and kubectl is None:
        hint = "Install one of them, or build it elsewhere: kustomize build . | hcpcreds check -"
        raise InputError(where, ["building it needs kubectl or kustomize"], hint=hint)
    command = [kustomize, "build", where] if kustomize else [str(kubectl), "kustomize", where]
    result = subprocess.run(command, check=False, capture_output=True)  # noqa: S603 (--kustomize asks for it)
    if result.returncode != 0:
        reason = make_safe(result.stderr.decode(errors="replace")) or f"exit status {result.returncode}"
        raise InputError(where, [f"{Path(command[0]).name} cannot build it: {reason}"])
    file = next((str(root / name) for name in NAMES if (root / name).exists()), where)
    # The lines of the result are in no file, so findings show the object's kind and name.
    return [
        msgspec.structs.replace(
            document, path=("/".join(_name(document.value)), *document.path), first_line=1, marks={}
        )
        for document in read_documents(result.stdout, file=file)
    ]


def _read(file: Path) -> _Kustomization:
    kustomization = _Kustomization()
    try:
        with open_source(file) as source:
            values = [document.value for document in read_documents(source, file=str(file))]
    except InputError:  # reported where the file is checked
        return kustomization
    for value in values:
        if not isinstance(value, dict):
            continue
        kustomization.is_component |= value.get("kind") == "Component"
        for key in _PARTS:
            kustomization.parts |= {(file.parent / part).resolve() for part in _list_texts(value.get(key))}
        for key in _PATCHES:
            for patch in value[key] if isinstance(value.get(key), list) else ():
                _add_patch(patch, file.parent, kustomization)
    return kustomization


def _add_patch(patch: object, folder: Path, kustomization: _Kustomization) -> None:
    entry: Mapping[str, Any] = patch if isinstance(patch, Mapping) else {"path": patch, "patch": patch}
    path, inline, target = entry.get("path"), entry.get("patch"), entry.get("target")
    documents: list[Document] = []
    if isinstance(path, str) and "\n" not in path:
        file = (folder / path).resolve()
        kustomization.patches.add(file)
        try:
            with open_source(file) as source:
                documents = list(read_documents(source, file=str(file)))
        except InputError:
            documents = []  # kustomize refuses it
    elif isinstance(inline, str):
        documents = list(read_documents(inline, file=""))
    if isinstance(target, Mapping):
        kustomization.targets.append(_Target(str(target.get("kind") or ""), str(target.get("name") or "")))
        return
    for document in documents:
        kind, name = _name(document.value)
        if kind and name:
            kustomization.targets.append(_Target(re.escape(kind), re.escape(name)))


def _name(value: object) -> tuple[str, str]:
    """The kind and name of an object."""
    metadata = value.get("metadata") if isinstance(value, dict) else None
    kind = value.get("kind") if isinstance(value, dict) else None
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return kind if isinstance(kind, str) else "", name if isinstance(name, str) else ""


def _matches(pattern: str, text: str) -> bool:
    try:
        return re.fullmatch(pattern, text) is not None
    except re.error:  # Go's patterns are not quite Python's
        return True


def _list_texts(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
