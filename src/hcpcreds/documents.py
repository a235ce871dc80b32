"""YAML and JSON streams, read as Kubernetes' own tools read them.

PyYAML's loaders differ from kubectl where it matters: they turn dates into objects and ``12:30`` into 750,
and let a later key silently replace an earlier one. So only its parser is used here, and its events are put
together as sigs.k8s.io/yaml does it, on which kubectl stands (its rules: go.yaml.in/yaml/v2, resolve.go).
Decided here: a repeated key is an error, as in kubectl with strict validation. Aliases share what they name
and so cost no memory; merge keys copy it, and have a budget. In JSON the last of repeated keys wins.
"""

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from hcpcreds.errors import InputError

if TYPE_CHECKING:
    from yaml.events import AliasEvent, Event, MappingStartEvent, ScalarEvent, SequenceStartEvent

MAX_BYTES: Final = 3 * 1024 * 1024
"""Kubernetes' API server takes no larger request, so nothing larger is a manifest."""
_MAX_DEPTH: Final = 100
"""libyaml's time grows with the square of the depth, and no manifest is nearly as deep."""
_MERGE_BUDGET: Final = 100_000
_LONGEST_ECHO: Final = 80

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


class PlainScalar(NamedTuple):
    """What YAML takes for something else than text because it stands without quotes."""

    text: str
    kind: str
    """``number`` or ``boolean``."""


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
    if len(source) > MAX_BYTES:
        raise InputError(where, [f"larger than {MAX_BYTES // 1024**2} MiB; no Kubernetes object is"])
    if isinstance(source, bytes):
        try:
            source = source.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(where, [f"not text: byte {error.start} is not UTF-8"]) from None
    if source.lstrip().startswith("{"):
        try:
            return [msgspec.json.decode(source)]
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            pass  # braces are YAML too, and its messages have the line
    return [document for document in _parse_yaml(source, where) if document is not None]


def _parse_yaml(text: str, where: str) -> list[Any]:
    try:
        import yaml  # noqa: PLC0415 - what runs in a pod does without it
    except ImportError:
        hint = "Install it with: pip install 'hcpcreds[manifests]'"
        raise InputError(where, ["reading YAML needs PyYAML, which is not installed"], hint=hint) from None
    try:
        return _Builder().build(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise InputError(where, [f"not YAML: {place}{error.problem or error.context}"]) from None
    except (
        yaml.YAMLError,
        ValueError,
        OverflowError,
    ):  # the latter two from \U escapes that are no character
        raise InputError(where, ["not YAML: there are characters in it that YAML forbids"]) from None
    except _UnusableError as error:
        raise InputError(where, [f"not usable YAML: {error}"]) from None


class _UnusableError(Exception):
    """YAML that is no manifest."""

    def __init__(self, event: "Event", problem: str) -> None:
        place = f"line {event.start_mark.line + 1}: " if event.start_mark else ""
        super().__init__(place + problem)


class _Mapping:
    """A mapping that is being put together."""

    __slots__ = ("key", "merged", "value")

    def __init__(self) -> None:
        self.value: dict[str, object] = {}
        self.key: str | None = None
        self.merged: list[object] = []


class _Builder:
    """Puts the parser's events together, without recursion: depth is the input's to choose."""

    def __init__(self) -> None:
        self._documents: list[Any] = []
        self._anchors: dict[str, object] = {}
        self._open: list[_Mapping | list[object]] = []
        self._budget = _MERGE_BUDGET

    def build(self, events: Iterable["Event"]) -> list[Any]:
        handlers: dict[str, Callable[[Any], None]] = {
            "DocumentStartEvent": lambda _: self._anchors.clear(),
            "ScalarEvent": self._scalar,
            "AliasEvent": self._alias,
            "MappingStartEvent": self._start_mapping,
            "SequenceStartEvent": self._start_sequence,
            "MappingEndEvent": self._end_mapping,
            "SequenceEndEvent": self._end_sequence,
        }
        for event in events:
            handler = handlers.get(type(event).__name__)
            if handler is not None:
                handler(event)
        return self._documents

    def _scalar(self, event: "ScalarEvent") -> None:
        value = _resolve(event)
        if event.anchor:
            self._anchors[event.anchor] = value
        self._add(value, event)

    def _alias(self, event: "AliasEvent") -> None:
        anchor = event.anchor or ""
        if anchor not in self._anchors:
            raise _UnusableError(event, f"there is no anchor &{anchor[:_LONGEST_ECHO]}")
        self._add(self._anchors[anchor], event)

    def _start_mapping(self, event: "MappingStartEvent") -> None:
        mapping = _Mapping()
        self._start(mapping, mapping.value, event)

    def _start_sequence(self, event: "SequenceStartEvent") -> None:
        items: list[object] = []
        self._start(items, items, event)

    def _start(
        self, opened: _Mapping | list[object], value: object, event: "MappingStartEvent | SequenceStartEvent"
    ) -> None:
        if len(self._open) == _MAX_DEPTH:
            raise _UnusableError(event, f"nested deeper than {_MAX_DEPTH} levels")
        self._open.append(opened)
        if event.anchor:
            self._anchors[event.anchor] = value

    def _end_mapping(self, event: "Event") -> None:
        mapping = self._open.pop()
        assert isinstance(mapping, _Mapping)  # noqa: S101 - the parser pairs its events
        for merged in mapping.merged:
            if not isinstance(merged, dict):
                raise _UnusableError(event, "a merge key (<<) takes a mapping or a list of mappings")
            self._budget -= len(merged)
            if self._budget < 0:
                raise _UnusableError(event, "merge keys (<<) copy too much")
            for key, value in merged.items():
                mapping.value.setdefault(key, value)
        self._add(mapping.value, event)

    def _end_sequence(self, event: "Event") -> None:
        self._add(self._open.pop(), event)

    def _add(self, value: object, event: "Event") -> None:
        if not self._open:
            self._documents.append(value)
            return
        container = self._open[-1]
        if isinstance(container, list):
            container.append(value)
        elif container.key is None:
            container.key = _key(value, event)
            if container.key in container.value:
                raise _UnusableError(event, f"the key {container.key[:_LONGEST_ECHO]!r} is there already")
        else:
            if container.key == "<<":
                container.merged += value if isinstance(value, list) else [value]
            else:
                container.value[container.key] = value
            container.key = None


def _key(value: object, event: "Event") -> str:
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
