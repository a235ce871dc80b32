"""A cursor into a document that never fails."""

import re
from collections.abc import Mapping
from typing import Any, Final

from hcpcreds.kubernetes.documents import Document, PlainScalar, read_documents
from hcpcreds.kubernetes.objects import Path

_TRUE: Final = frozenset({"y", "yes", "true", "on"})  # as go.yaml.in/yaml/v2 reads a boolean, and so kubectl
_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][-\w]*")


class Node:
    """A value in a document. A key that is missing, or a value of another kind, gives an empty node."""

    __slots__ = ("document", "path", "value")

    def __init__(self, document: Document, path: Path, value: Any) -> None:  # noqa: ANN401 (any JSON)
        self.document = document
        self.path = path
        self.value = value

    def __getitem__(self, key: str | int) -> "Node":
        value = None
        if isinstance(key, str):
            if isinstance(self.value, dict | Mapping):  # dict alone is checked faster
                value = self.value.get(key)
        elif isinstance(key, int) and isinstance(self.value, list) and key < len(self.value):
            value = self.value[key]
        return Node(self.document, (*self.path, key), value)

    def at(self, *keys: str | int) -> "Node":
        """The node below several keys."""
        node = self
        for key in keys:
            node = node[key]
        return node

    def items(self) -> "list[Node]":
        """The nodes of a list; none for anything else."""
        return [self[index] for index in range(len(self.value))] if isinstance(self.value, list) else []

    def fields(self) -> "list[tuple[str, Node]]":
        """The keys and nodes of a mapping; none for anything else."""
        return [(key, self[key]) for key in self.value] if isinstance(self.value, Mapping) else []

    def parse(self, decoded: str | None = None) -> "Node":
        """Parse the YAML or JSON that a text holds.

        Args:
            decoded: The text after decoding, where the file holds an encoded one.

        Returns:
            A node at the text's own place. When the text cannot be read, its value is None and its document
            has the problem, on the problem's own line where that is known.
        """
        mark = self.document.find(self.path)
        text_line = 0 if decoded is not None else mark.text_line
        text = self.text if decoded is None else decoded
        documents = list(read_documents(text, file=self.document.file, first_line=text_line or 1))
        found = documents[0] if len(documents) == 1 else Document(None)
        if len(documents) > 1:
            found = Document(None, problem=f"{len(documents)} documents; expected one")
        line = found.first_line if text_line and found.problem else mark.line
        problem = found.problem
        if problem and not text_line:
            problem = f"line {found.first_line} of it: {problem}"
        document = Document(
            found.value,
            self.document.file,
            (*self.document.path, *self.path),
            line,
            found.marks if text_line else {},
            problem,
            self.document.is_partial,
        )
        return Node(document, (), found.value)

    @property
    def text(self) -> str:
        """The text; empty for anything else."""
        return self.value if isinstance(self.value, str) else ""

    @property
    def plain(self) -> str:
        """The text, or the spelling of a number or boolean, without blanks around it; else empty."""
        if isinstance(self.value, PlainScalar):
            return self.value.text
        if isinstance(self.value, bool):
            return "true" if self.value else "false"
        if isinstance(self.value, int | float):
            return str(self.value)
        return self.text.strip()

    @property
    def boolean(self) -> bool | None:
        """The boolean; None for anything else, text such as `"true"` included."""
        if isinstance(self.value, bool):
            return self.value
        if isinstance(self.value, PlainScalar) and self.value.kind == "boolean":
            return self.value.text.lower() in _TRUE
        return None

    @property
    def is_set(self) -> bool:
        """Whether there is a value other than null and the empty text."""
        return self.value is not None and self.value != ""

    @property
    def line(self) -> int:
        """Where the value stands in its file, from 1."""
        return self.document.find(self.path).line

    @property
    def json_path(self) -> str:
        """Where the value stands in its object, as a JSON path: `$.spec.volumes[0].name`."""
        text = "$"
        for key in (*self.document.path, *self.path):
            if isinstance(key, int):
                text += f"[{key}]"
            elif _PLAIN_KEY.fullmatch(key):
                text += f".{key}"
            else:
                text += f"[{key!r}]"
        return text
