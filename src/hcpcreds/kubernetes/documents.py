"""YAML and JSON streams, read as Kubernetes' own tools read them.

PyYAML's loaders differ from kubectl where it matters: they turn dates into objects and ``12:30`` into 750,
and let a later key silently replace an earlier one. So only its parser is used here, and its events are put
together as sigs.k8s.io/yaml does it, on which kubectl stands (its rules: go.yaml.in/yaml/v2, resolve.go).
Decided here: a repeated key is an error, as in kubectl with strict validation. Aliases share what they name
and so cost no memory; merge keys copy it, and have a budget. In JSON the last of repeated keys wins.
PyYAML's own composer on libyaml is of no use for files from outside: nested deep enough, 200 KB end the
process.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast

import msgspec
from typing_extensions import override

from hcpcreds.errors import InputError
from hcpcreds.text import make_safe

if TYPE_CHECKING:
    from yaml.events import NodeEvent, ScalarEvent

MAX_BYTES: Final = 3 * 1024 * 1024
"""Kubernetes' API server takes no larger request, so nothing larger is a manifest."""
_MAX_DEPTH: Final = 100
"""libyaml's time grows with the square of the depth, and no manifest is nearly as deep."""
_TOO_DEEP: Final = f"nested deeper than {_MAX_DEPTH} levels"
_MERGE_BUDGET: Final = 100_000
_LONGEST_ECHO: Final = 80

_Value = TypeVar("_Value")

_BOOLEANS: Final = frozenset(
    spelling
    for word in ("y", "yes", "true", "on", "n", "no", "false", "off")
    for spelling in (word, word.capitalize(), word.upper())
)
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_NUMBER: Final = re.compile(
    r"[-+]?(?:0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+"
    r"|(?:\.[0-9_]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)"
)


_ESCAPE: Final = re.compile(r"\\.")


class PlainScalar(NamedTuple):
    """What YAML takes for something else than text because it stands without quotes."""

    text: str
    kind: str
    """``number`` or ``boolean``."""


class Mark(NamedTuple):
    """Where an entry of a mapping or list begins."""

    line: int
    """Of its key, or of the list's item; from 1."""
    text_line: int
    """First line of the text of a literal block (``|``), which may be YAML or JSON itself; else 0."""


class Document(msgspec.Struct, frozen=True):
    """One document of a stream, and the lines that it stands on.

    Args:
        value: The document in the Kubernetes API's JSON shape.
        file: What findings call its file.
        path: Where it stands within another: ``("items", 0)`` in a List, or the path of a text that holds it.
        first_line: Where it begins.
        marks: Of the entries of each mapping and list in it, by the ``id`` of that.
    """

    value: Any
    file: str = "-"
    path: tuple[str | int, ...] = ()
    first_line: int = 1
    marks: Mapping[int, Mapping[str | int, Mark]] = {}

    @override
    def __repr__(self) -> str:
        # A Secret is a manifest too: what stands in one is shown to nobody.
        return f"Document(file={self.file!r}, path={self.path!r})"

    def at(self, path: tuple[str | int, ...]) -> "Document":
        """The document that an object within this one would be by itself."""
        value = self.value
        for key in path:
            value = value[key]
        return Document(value, self.file, (*self.path, *path), self.find(path).line, self.marks)

    def find(self, path: tuple[str | int, ...]) -> Mark:
        """Find where the value at a path begins, or what there is of the path."""
        value, found = self.value, Mark(self.first_line, 0)
        for key in path:
            mark = self.marks.get(id(value), {}).get(key)
            if mark is None:
                return Mark(found.line, 0)
            value, found = value[key], mark
        return found


def read_source(path: str | Path) -> bytes:
    """Read a file of YAML or JSON; of one that is too large for `parse_documents`, only the beginning.

    Raises:
        InputError: It cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(str(path), [f"cannot be read: {reason}"]) from None


def parse_documents(source: str | bytes, *, where: str) -> list[Any]:
    """Parse a stream of YAML documents, or one of JSON; empty documents are left out.

    Args:
        source: The stream; bytes are UTF-8.
        where: What error messages call the stream.

    Returns:
        Mappings, lists, text and None as in the source; YAML's numbers and booleans as PlainScalar.

    Raises:
        InputError: Too large, not UTF-8, or neither YAML nor JSON; the message has the line. Or YAML, and
            PyYAML is not installed: it comes with the extra ``manifests``.
    """
    text = _decode(source, where)
    document = _parse_json(text)
    return [found.value for found in _read_yaml(text, where)] if document is None else [document]


def read_documents(source: str | bytes, *, file: str, first_line: int = 1) -> list[Document]:
    """Parse a stream as `parse_documents` does, and keep the lines.

    Args:
        source: The stream; bytes are UTF-8.
        file: What findings and error messages call it.
        first_line: The line of its file that it begins on.

    Raises:
        InputError: As `parse_documents`.
    """
    text = _decode(source, file)
    document = _parse_json(text)
    if document is None:
        return _read_yaml(text, file, first_line=first_line)
    return [_mark_json(document, text, file, first_line)]


def _decode(source: str | bytes, where: str) -> str:
    if len(source) > MAX_BYTES:
        raise InputError(where, [f"larger than {MAX_BYTES // 1024**2} MiB; no Kubernetes object is"])
    if isinstance(source, str):
        return source
    try:
        return source.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(where, [f"not text: byte {error.start} is not UTF-8"]) from None


def _parse_json(text: str) -> dict[str, Any] | None:
    """Parse a JSON object; None where it is none, for braces are YAML too, whose messages have the line."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None


def _mark_json(value: dict[str, Any], text: str, file: str, first_line: int) -> Document:
    """Find the lines of a JSON object by the YAML reader."""
    # JSON may hold tabs and escapes that YAML does not take: neither moves a line.
    masked = _ESCAPE.sub("__", text).replace("\t", " ")
    try:
        [twin] = _read_yaml(masked, file, first_line=first_line)
    except (InputError, ValueError):  # beyond YAML, or no PyYAML here: its lines stay unknown
        return Document(value, file, first_line=first_line)
    marks: dict[int, Mapping[str | int, Mark]] = {}
    pairs = [(value, twin.value)]
    while pairs:
        one, other = pairs.pop()
        if not isinstance(one, dict | list) or type(one) is not type(other) or len(one) != len(other):
            continue
        found = twin.marks[id(other)].values()
        marks[id(one)] = dict(zip(one if isinstance(one, dict) else range(len(one)), found, strict=True))
        children = (one.values(), other.values()) if isinstance(one, dict) else (one, other)
        pairs += zip(*children, strict=True)
    return Document(value, file, (), twin.first_line, marks)


def _read_yaml(text: str, where: str, *, first_line: int = 1) -> list[Document]:
    try:
        import yaml  # noqa: PLC0415 - what runs in a pod does without it
    except ImportError:
        hint = "Install it with: pip install 'hcpcreds[manifests]'"
        raise InputError(where, ["reading YAML needs PyYAML, which is not installed"], hint=hint) from None
    try:
        events = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return list(_Reader(events, where, first_line).read_documents())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # libyaml looks ahead on a line, so a limit of its own can be met before it tells of the first level.
        if mark and "nest" in (error.problem or ""):
            problem = f"not usable YAML: line {mark.line + first_line}: {_TOO_DEEP}"
            raise InputError(where, [problem]) from None
        place = f"line {mark.line + first_line}, column {mark.column + 1}: " if mark else ""
        raise InputError(where, [f"not YAML: {place}{error.problem or error.context}"]) from None
    except (yaml.YAMLError, ValueError, OverflowError):  # the latter two from \U escapes of no character
        raise InputError(where, ["not YAML: there are characters in it that YAML forbids"]) from None
    except _UnusableError as error:
        place = f"line {error.line + first_line}: " if error.line is not None else ""
        raise InputError(where, [f"not usable YAML: {place}{error}"]) from None


class _UnusableError(Exception):
    """YAML that is no manifest."""

    def __init__(self, event: "NodeEvent", problem: str) -> None:
        super().__init__(problem)
        self.line = event.start_mark.line if event.start_mark else None


class _Reader:
    """Puts the parser's events together; for what is nested it calls itself, no deeper than it allows."""

    def __init__(self, events: Iterator[Any], file: str, first_line: int) -> None:
        self._events = events
        self._file = file
        self._first_line = first_line
        self._anchors: dict[str, object] = {}
        self._budget = _MERGE_BUDGET
        self._marks: dict[int, dict[str | int, Mark]] = {}

    def read_documents(self) -> Iterator[Document]:
        """Read every document that is not empty."""
        for event in self._events:
            if type(event).__name__ == "DocumentStartEvent":
                self._anchors.clear()
                self._marks = {}
                first = next(self._events)
                value = self._read_value(first, 0)
                if value is not None:
                    yield Document(value, self._file, (), self._get_line(first), self._marks)

    def _read_value(self, event: "NodeEvent", depth: int) -> object:
        match type(event).__name__:
            case "AliasEvent":
                if event.anchor not in self._anchors:
                    anchor = make_safe(event.anchor, limit=_LONGEST_ECHO)
                    raise _UnusableError(event, f"there is no anchor &{anchor}")
                return self._anchors[event.anchor]
            case "ScalarEvent":
                return self._remember(event, _resolve(cast("ScalarEvent", event)))
            case _ if depth == _MAX_DEPTH:
                raise _UnusableError(event, _TOO_DEEP)
            case "SequenceStartEvent":
                return self._fill_list(self._remember(event, []), depth + 1)
            case _:
                return self._fill_mapping(self._remember(event, {}), depth + 1)

    def _fill_list(self, items: list[object], depth: int) -> list[object]:
        marks = self._marks[id(items)] = {}
        for event in self._until("SequenceEndEvent"):
            marks[len(items)] = self._mark(event, event)
            items.append(self._read_value(event, depth))
        return items

    def _fill_mapping(self, mapping: dict[str, object], depth: int) -> dict[str, object]:
        marks = self._marks[id(mapping)] = {}
        merged: list[dict[str, object]] = []
        for event in self._until("MappingEndEvent"):
            key = _read_key(self._read_value(event, depth), event)
            if key in mapping:
                name = make_safe(key, limit=_LONGEST_ECHO)
                raise _UnusableError(event, f"the key {name!r} is there already")
            value_event = next(self._events)
            value = self._read_value(value_event, depth)
            if key == "<<" and event.implicit[0]:  # a quoted one is a key like any other
                merged += self._read_merged(value, event)
            else:
                mapping[key] = value
                marks[key] = self._mark(event, value_event)
        for source in merged:
            for key, value in source.items():
                mapping.setdefault(key, value)
                marks.setdefault(key, self._marks[id(source)][key])
        return mapping

    def _read_merged(self, value: object, event: "NodeEvent") -> list[dict[str, object]]:
        sources: list[Any] = value if isinstance(value, list) else [value]
        if not all(isinstance(source, dict) for source in sources):
            raise _UnusableError(event, "a merge key (<<) takes a mapping or a list of mappings")
        self._budget -= sum(map(len, sources))
        if self._budget < 0:
            raise _UnusableError(event, "merge keys (<<) copy too much")
        return sources

    def _mark(self, event: "NodeEvent", value: "NodeEvent") -> Mark:
        is_literal = getattr(value, "style", None) == "|"
        return Mark(self._get_line(event), self._get_line(value) + 1 if is_literal else 0)

    def _get_line(self, event: "NodeEvent") -> int:
        return (event.start_mark.line if event.start_mark else 0) + self._first_line

    def _remember(self, event: "NodeEvent", value: _Value) -> _Value:
        if event.anchor:
            self._anchors[event.anchor] = value
        return value

    def _until(self, end: str) -> Iterator[Any]:
        for event in self._events:
            if type(event).__name__ == end:
                return
            yield event


def _read_key(value: object, event: "NodeEvent") -> str:
    """A mapping's key as JSON has it: always text."""
    if isinstance(value, str):
        return value
    if isinstance(value, PlainScalar):
        return value.text
    if value is None:
        return "null"
    raise _UnusableError(event, "a mapping or list stands where a key is expected")


def _resolve(event: "ScalarEvent") -> str | PlainScalar | None:
    text = event.value
    if not event.implicit[0]:  # quoted, a block, or tagged
        return text
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return PlainScalar(text, "boolean")
    if _NUMBER.fullmatch(text):
        return PlainScalar(text, "number")
    return text
