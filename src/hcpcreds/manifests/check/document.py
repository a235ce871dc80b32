"""Documents that remember where they stand, and a cursor that walks them without ever failing."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from typing_extensions import override

from hcpcreds.documents import PlainScalar, parse_documents

Path = tuple[str | int, ...]

_TRUE: Final = frozenset({"y", "yes", "true", "on"})  # as go.yaml.in/yaml/v2 reads a boolean, and so kubectl
_ESCAPE: Final = re.compile(r"\\.")
_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][-\w]*")
_DEEPEST_MERGE: Final = 100


class _Position(msgspec.Struct):
    """Where a value begins, and the values in it."""

    line: int
    fields: "dict[str, _Position]" = msgspec.field(default_factory=dict)
    items: "list[_Position]" = msgspec.field(default_factory=list)
    key_line: int = 0
    block: str = ""
    """Of a literal block: its text, which may be JSON or YAML with lines of its own."""

    def child(self, key: str | int, depth: int = 0) -> "_Position | None":
        if self.block:
            [inner] = _read_positions(self.block, 1, first_line=self.line + 1)
            return inner.child(key, depth) if inner else None
        if isinstance(key, int):
            return self.items[key] if key < len(self.items) else None
        merged = self.fields.get("<<")
        if key in self.fields or merged is None or depth > _DEEPEST_MERGE:
            return self.fields.get(key)
        found = (source.child(key, depth + 1) for source in merged.items or [merged])
        return next(filter(None, found), None)


class Document(msgspec.Struct, frozen=True):
    """One object, with the file that it stands in.

    Args:
        value: The object in the Kubernetes API's JSON shape, or any other YAML or JSON.
        file: What findings call its file.
        path: Where in its YAML or JSON document it stands: ``("items", 0)`` in a List.
    """

    value: Any
    file: str = "-"
    path: Path = ()
    position: "_Position | None" = None

    @override
    def __repr__(self) -> str:
        # A Secret is a manifest too: what stands in one is shown to nobody.
        return f"Document(file={self.file!r}, path={self.path!r})"

    def line(self, path: Path) -> int:
        """The line (from 1) where the value at a path begins, or what there is of the path; 1 if unknown."""
        position = self.position
        line = position.line if position else 1
        for key in path:
            position = position.child(key) if position else None
            if position is None:
                break
            line = position.key_line or position.line
        return line


def read_documents(source: str | bytes, *, file: str) -> list[Document]:
    """Parse a stream of YAML documents, or one of JSON, and keep their lines.

    Args:
        source: The stream; bytes are UTF-8.
        file: What findings and error messages call it.

    Raises:
        InputError: Not usable; see `hcpcreds.documents.parse_documents`.
    """
    values = parse_documents(source, where=file)
    text = source.decode("utf-8-sig") if isinstance(source, bytes) else source
    positions = _read_positions(text, len(values))
    return [Document(value, file, (), position) for value, position in zip(values, positions, strict=True)]


def _read_positions(text: str, count: int, *, first_line: int = 1) -> "list[_Position] | list[None]":
    """The position of each document; None for each where the text, though JSON, is beyond YAML."""
    try:
        import yaml  # noqa: PLC0415 - JSON alone does without
    except ImportError:
        return [None] * count
    # JSON may hold tabs and escapes that YAML does not take: neither moves a line.
    for candidate in (text, _ESCAPE.sub("__", text).replace("\t", " ")):
        try:
            events = yaml.parse(candidate, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
            positions = [
                position for position in _Positions(events, first_line).read() if position is not None
            ]
        except (yaml.YAMLError, ValueError, OverflowError, RecursionError):
            continue
        if len(positions) == count:
            return positions
    return [None] * count


class _Positions:
    """Reads the parser's events as hcpcreds.documents does, for the lines alone."""

    def __init__(self, events: Iterator[Any], first_line: int) -> None:
        self._events = events
        self._first_line = first_line
        self._anchors: dict[str, _Position] = {}

    def read(self) -> "Iterator[_Position | None]":
        for event in self._events:
            if type(event).__name__ == "DocumentStartEvent":
                self._anchors.clear()
                first = next(self._events)
                position = self._read_value(first)
                empty = getattr(first, "value", None) in ("", "~", "null", "Null", "NULL")
                yield None if empty and first.implicit[0] else position

    def _read_value(self, event: Any) -> _Position:  # noqa: ANN401 - PyYAML has many kinds of events
        kind = type(event).__name__
        if kind == "AliasEvent":
            return self._anchors[event.anchor]
        position = _Position(event.start_mark.line + self._first_line)
        if getattr(event, "style", None) == "|":
            position.block = event.value
        if event.anchor:
            self._anchors[event.anchor] = position
        if kind == "SequenceStartEvent":
            for item in self._until("SequenceEndEvent"):
                position.items.append(self._read_value(item))
        elif kind == "MappingStartEvent":
            for key in self._until("MappingEndEvent"):
                self._read_value(key)
                value = self._read_value(next(self._events))
                if isinstance(getattr(key, "value", None), str):
                    # An alias's position is shared, so the line of this key is kept beside it.
                    position.fields[key.value] = _Position(
                        value.line,
                        value.fields,
                        value.items,
                        key.start_mark.line + self._first_line,
                        value.block,
                    )
        return position

    def _until(self, end: str) -> Iterator[Any]:
        for event in self._events:
            if type(event).__name__ == end:
                return
            yield event


class Node:
    """A value in a document. Reading what is not there, or of another kind, gives an empty node."""

    __slots__ = ("document", "path", "value")

    def __init__(self, document: Document, path: Path, value: Any) -> None:  # noqa: ANN401 - any JSON
        self.document = document
        self.path = path
        self.value = value

    def __getitem__(self, key: str | int) -> "Node":
        value = None
        if isinstance(key, str) and isinstance(self.value, Mapping):
            value = self.value.get(key)
        elif isinstance(key, int) and isinstance(self.value, list) and key < len(self.value):
            value = self.value[key]
        return Node(self.document, (*self.path, key), value)

    def at(self, *keys: str | int) -> "Node":
        """The node that lies deeper by several keys."""
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
        """The boolean; None for anything else, text such as ``"true"`` included."""
        if isinstance(self.value, bool):
            return self.value
        if isinstance(self.value, PlainScalar) and self.value.kind == "boolean":
            return self.value.text.lower() in _TRUE
        return None

    @property
    def is_set(self) -> bool:
        """Whether there is anything but nothing and the empty text."""
        return self.value is not None and self.value != ""

    @property
    def line(self) -> int:
        """Where the value stands in its file, from 1."""
        return self.document.line((*self.document.path, *self.path))

    @property
    def json_path(self) -> str:
        """Where the value stands in its object, as a JSON path: ``$.spec.volumes[0].name``."""
        text = "$"
        for key in (*self.document.path, *self.path):
            if isinstance(key, int):
                text += f"[{key}]"
            elif _PLAIN_KEY.fullmatch(key):
                text += f".{key}"
            else:
                text += f"[{key!r}]"
        return text
