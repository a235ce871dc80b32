"""The files of `hcpcreds check`: which of them are checked, passed over, or cannot be used."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from hcpcreds.cli.check_kustomize import Kustomizations, build
from hcpcreds.cli.source import find_files, open_file_or_stdin
from hcpcreds.errors import InputError
from hcpcreds.kubernetes.documents import TEMPLATE, Document, read_documents, read_source
from hcpcreds.manifests.check import count_subjects

_LOOKS_LIKE_OBJECT: Final = re.compile(rb"""(?m)(?:^[ \t-]*|[{,][ \t]*)["']?apiVersion["']?\s*:""")
_LOOKS_LIKE_TEMPLATE: Final = re.compile(rb"\{\{|\{%|<%")


class Reading:
    """The documents of files and directories, and a count of them that grows while they are iterated.

    Args:
        names: Of files and directories; `-` is standard input.
        builds: Whether kustomize's directories are built, and not read as they are.
    """

    def __init__(self, names: Sequence[str], *, builds: bool = False) -> None:
        self.subjects = 0
        """Kubernetes objects, and settings that are checked."""
        self.partial = 0
        """Of these, patches and the objects that they patch, which are not checked."""
        self.problems: list[str] = []
        """Why arguments cannot be used."""
        self.passed_over: list[tuple[str, str]] = []
        """Files without anything to check, each with the reason."""
        self._files = list(self._find(names))
        self._kustomizations = Kustomizations(file for file, _ in self._files)
        self._roots = self._kustomizations.find_roots() if builds else []

    def read(self) -> list[Iterable[Document]]:
        """Read everything, each file to the end.

        Returns:
            The documents, in groups to be checked by themselves: of all files, and of each that was built.
        """
        built: list[Iterable[Document]] = []
        files: set[Path] = set()
        for root in self._roots:
            try:
                documents = build(root)
            except InputError as error:  # its files are read as they are
                self.problems += [f"{error.where}: {problem}" for problem in error.problems]
                continue
            self.subjects += sum(map(count_subjects, documents))
            built.append(documents)
            files |= self._kustomizations.list_files(root)
        return [self._read_files(files), *built]

    def _find(self, names: Sequence[str]) -> Iterator[tuple[str, bool]]:
        """Find the files, and whether each has been named."""
        for name in names:
            if name == "-" or not Path(name).is_dir():
                yield name, True
                continue
            files = find_files(name, self.problems.append)
            if not files:
                self.problems.append(f"{name}: the directory holds no *.yaml, *.yml or *.json")
            yield from ((file, False) for file in files)

    def _read_files(self, built: set[Path]) -> Iterator[Document]:
        for file, is_named in self._files:
            if built and file != "-" and Path(file).resolve() in built:
                continue
            yield from self._read_named(file) if is_named else self._read_found(file)

    def _read_named(self, name: str) -> Iterator[Document]:
        before, unreadable = (self.subjects, len(self.problems)), list[Document]()
        for document in self._read_file(name):
            if document.problem:
                unreadable.append(document)
            yield document
        if (self.subjects, len(self.problems)) != before:
            return
        if not unreadable:
            self.passed_over.append((name, "no Kubernetes object in it"))
        elif any(document.problem != TEMPLATE for document in unreadable):
            self.problems.append(f"{name}: no document in it can be read")

    def _read_found(self, file: str) -> Iterator[Document]:
        """Read a file found in a directory, which may be of any kind."""
        before, unreadable, problems = self.subjects, list[Document](), len(self.problems)
        for document in self._read_file(file):
            if document.problem:
                unreadable.append(document)
            else:
                yield document
        templates = [document for document in unreadable if document.problem == TEMPLATE]
        if self.subjects > before or (unreadable and _looks_like_manifest(file)):
            # A chart's templates are often YAML in part, which is not worth a finding.
            yield from (document for document in unreadable if document.problem != TEMPLATE)
            unreadable = templates
        if unreadable:
            document = unreadable[0]
            self.passed_over.append((file, f"line {document.first_line}: {document.problem}"))
        elif (self.subjects, len(self.problems)) == (before, problems):
            self.passed_over.append((file, "no Kubernetes object in it"))

    def _read_file(self, name: str) -> Iterator[Document]:
        try:
            with open_file_or_stdin(name) as (stream, _):
                for found in read_documents(stream, file=name):
                    document, count = self._kustomizations.mark(found), count_subjects(found)
                    self.subjects += count
                    self.partial += count if document.is_partial else 0
                    yield document
        except InputError as error:
            self.problems += [f"{error.where}: {problem}" for problem in error.problems]


def _looks_like_manifest(file: str) -> bool:
    """Whether a file that cannot be read was meant for Kubernetes as it stands."""
    content = read_source(file)
    return _LOOKS_LIKE_OBJECT.search(content) is not None and not _LOOKS_LIKE_TEMPLATE.search(content)
