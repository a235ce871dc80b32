"""YAML's events, put together as kubectl does it.

PyYAML's loaders differ from kubectl where it matters: they turn dates into objects and `12:30` into 750,
and let a later key silently replace an earlier one. So only its parser is used here, and its events are put
together as sigs.k8s.io/yaml does it, on which kubectl stands (its rules: go.yaml.in/yaml/v2, resolve.go).
Decided here: a repeated key is an error, as it is to kustomize and to the API server's strict validation.
Aliases share their anchor's value and so cost no memory; merge keys copy it, and have a budget.
PyYAML's own composer on libyaml is not fit for files from outside: nested deep enough, 200 KB end the
process.
"""

import base64
import binascii
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast

from hcpcreds.text import make_safe

if TYPE_CHECKING:
    from yaml.events import NodeEvent, ScalarEvent

MAX_BYTES: Final = 3 * 1024 * 1024
"""Kubernetes' API server takes no larger request, so nothing larger is an object."""
TOO_LARGE: Final = f"larger than {MAX_BYTES // 1024**2} MiB, which no Kubernetes object is"
_MAX_DEPTH: Final = 100
"""libyaml's time grows with the square of the depth, and no manifest is nearly as deep."""
TOO_DEEP: Final = f"nested deeper than {_MAX_DEPTH} levels"
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
_TELLING: Final = frozenset("0123456789+-.~" + "".join(each[0] for each in {*_BOOLEANS, *_NULLS} - {""}))
"""The first characters of plain scalars that may be something other than text."""
_TAG: Final = "tag:yaml.org,2002:"
_KINDS_BY_TAG: Final = {"bool": "boolean", "int": "number", "float": "number"}


class PlainScalar(NamedTuple):
    """A number or boolean: a scalar without quotes, or with a tag."""

    text: str
    kind: str
    """`number` or `boolean`."""


class Mark(NamedTuple):
    """Where an entry of a mapping or list begins; only its line, except for literal blocks."""

    line: int
    """Of its key, or of the list's item; from 1."""
    text_line: int
    """First line of the text of a literal block (`|`), which may be YAML or JSON itself; else 0."""


class UnusableError(Exception):
    """YAML that is not a manifest.

    Args:
        line: Of the text, from 0.
        problem: The reason.
    """

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line


Found = tuple[Any, tuple[str | int, ...], int, dict[int, dict[str | int, Mark | int]]]
"""The value of a document or of a List's object, its path in its document, its line, and the marks in it."""


class YamlReader:
    """Puts the parser's events together; it calls itself for nested values, up to its depth limit."""

    def __init__(self, events: Iterator[Any], first_line: int) -> None:
        self._events = events
        self._first_line = first_line
        self._anchors: dict[str, object] = {}
        self._budget = _MERGE_BUDGET
        self._marks: dict[int, dict[str | int, Mark | int]] = {}

    def read_documents(self) -> Iterator[Found]:
        """Read every document that is not empty."""
        for first in self._begin_documents():
            value = self._read_value(first, 0)
            if value is not None:
                yield value, (), self._get_line(first), self._marks

    def read_items(self) -> Iterator[Found]:
        """Read the objects of documents too large for anything but a List, one after another."""
        for first in self._begin_documents():
            if type(first).__name__ != "MappingStartEvent":
                raise UnusableError(_line_of(first), TOO_LARGE)
            is_list = False
            for event in self._until("MappingEndEvent"):
                key, value = self._read_value(event, 1), next(self._events)
                if key == "items" and type(value).__name__ == "SequenceStartEvent":
                    is_list = True
                    yield from self._read_each(self._until("SequenceEndEvent"))
                else:
                    self._read_limited(value)
            if not is_list:
                raise UnusableError(_line_of(first), TOO_LARGE)

    def _read_each(self, events: Iterator[Any]) -> Iterator[Found]:
        for index, event in enumerate(events):
            if not self._anchors:  # else a later object may hold what an earlier one does
                self._marks = {}
            value = self._read_limited(event)
            if value is not None:
                yield value, ("items", index), self._get_line(event), self._marks

    def _read_limited(self, first: "NodeEvent") -> object:
        _check_size(first, first)
        events = self._events
        self._events = _limit(events, first)
        value = self._read_value(first, 2)
        self._events = events
        return value

    def _begin_documents(self) -> Iterator["NodeEvent"]:
        for event in self._events:
            if type(event).__name__ == "DocumentStartEvent":
                self._anchors.clear()
                self._marks = {}
                yield next(self._events)

    def _read_value(self, event: "NodeEvent", depth: int) -> object:
        match type(event).__name__:
            case "AliasEvent":
                if event.anchor not in self._anchors:  # not repeated: it may be a password
                    raise UnusableError(_line_of(event), "an alias (*) without its anchor (&)")
                return self._anchors[event.anchor]
            case "ScalarEvent":
                return self._remember(event, _resolve(cast("ScalarEvent", event)))
            case _ if depth == _MAX_DEPTH:
                raise UnusableError(_line_of(event), TOO_DEEP)
            case "SequenceStartEvent":
                return self._fill_list(self._remember(event, []), depth + 1)
            case _:
                return self._fill_mapping(self._remember(event, {}), depth + 1)

    def _fill_list(self, items: list[object], depth: int) -> list[object]:
        marks = self._marks[id(items)] = {}
        for event in self._events:
            if type(event).__name__ == "SequenceEndEvent":
                break
            marks[len(items)] = self._mark(event, event)
            items.append(self._read_value(event, depth))
        return items

    def _fill_mapping(self, mapping: dict[str, object], depth: int) -> dict[str, object]:
        marks = self._marks[id(mapping)] = {}
        merged: list[dict[str, object]] = []
        for event in self._events:
            if type(event).__name__ == "MappingEndEvent":
                break
            key = _read_key(self._read_value(event, depth), event)
            if key in mapping:
                name = make_safe(key, limit=_LONGEST_ECHO)
                raise UnusableError(_line_of(event), f"the key {name!r} is repeated")
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
            raise UnusableError(_line_of(event), "a merge key (<<) takes a mapping or a list of mappings")
        self._budget -= sum(map(len, sources))
        if self._budget < 0:
            raise UnusableError(_line_of(event), "merge keys (<<) copy too much")
        return sources

    def _mark(self, event: "NodeEvent", value: "NodeEvent") -> Mark | int:
        line = event.start_mark.line if event.start_mark else 0
        if getattr(value, "style", None) != "|":
            return line + self._first_line  # which takes less memory, as nearly all do
        return Mark(line + self._first_line, self._get_line(value) + 1)

    def _get_line(self, event: "NodeEvent") -> int:
        return _line_of(event) + self._first_line

    def _remember(self, event: "NodeEvent", value: _Value) -> _Value:
        if event.anchor:
            self._anchors[event.anchor] = value
        return value

    def _until(self, end: str) -> Iterator[Any]:
        for event in self._events:
            if type(event).__name__ == end:
                return
            yield event


def _limit(events: Iterator[Any], first: "NodeEvent") -> Iterator[Any]:
    for event in events:
        _check_size(first, event)
        yield event


def _check_size(first: "NodeEvent", last: "NodeEvent") -> None:
    start, end = first.start_mark, last.end_mark
    if start and end and end.index - start.index > MAX_BYTES:
        raise UnusableError(start.line, TOO_LARGE)


def _line_of(event: "NodeEvent") -> int:
    return event.start_mark.line if event.start_mark else 0


def _read_key(value: object, event: "NodeEvent") -> str:
    """A mapping's key as JSON has it: always text. Documents have many keys in common, which they share."""
    if isinstance(value, str):
        return sys.intern(value)
    if isinstance(value, PlainScalar):
        return value.text
    if value is None:
        return "null"
    raise UnusableError(_line_of(event), "a mapping or list stands where a key is expected")


def _resolve(event: "ScalarEvent") -> str | PlainScalar | None:
    text = event.value
    if event.tag and event.tag.startswith(_TAG):
        return _resolve_tagged(event, event.tag.removeprefix(_TAG))
    if not event.implicit[0]:  # quoted, a block, or of an unknown tag
        return text
    return _resolve_plain(text)


def _resolve_plain(text: str) -> str | PlainScalar | None:
    if text and text[0] not in _TELLING:  # as of nearly all texts
        return text
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return PlainScalar(text, "boolean")
    if _NUMBER.fullmatch(text):
        return PlainScalar(text, "number")
    return text


def _resolve_tagged(event: "ScalarEvent", tag: str) -> str | PlainScalar | None:
    """Resolve a scalar by its tag: `!!bool "true"` is a boolean in spite of its quotes."""
    text, found = event.value, _resolve_plain(event.value)
    if tag == "binary":
        try:
            return base64.b64decode("".join(text.split()), validate=True).decode()
        except (binascii.Error, ValueError):
            raise UnusableError(_line_of(event), "!!binary is not the base64 of a text") from None
    is_as_tagged = isinstance(found, PlainScalar) and found.kind == _KINDS_BY_TAG.get(tag)
    if is_as_tagged or (tag == "null" and found is None):
        return found
    if tag in _KINDS_BY_TAG or tag == "null":
        raise UnusableError(_line_of(event), f"the value tagged !!{tag} is not of that type")
    return text
