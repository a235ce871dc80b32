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
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast

import msgspec

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


class PlainScalar(NamedTuple):
    """What YAML takes for something else than text because it stands without quotes."""

    text: str
    kind: str
    """``number`` or ``boolean``."""


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
        events = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return list(_Reader(events).read_documents())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # libyaml looks ahead on a line, so a limit of its own can be met before it tells of the first level.
        if mark and "nest" in (error.problem or ""):
            problem = f"not usable YAML: line {mark.line + 1}: {_TOO_DEEP}"
            raise InputError(where, [problem]) from None
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise InputError(where, [f"not YAML: {place}{error.problem or error.context}"]) from None
    except (yaml.YAMLError, ValueError, OverflowError):  # the latter two from \U escapes of no character
        raise InputError(where, ["not YAML: there are characters in it that YAML forbids"]) from None
    except _UnusableError as error:
        raise InputError(where, [f"not usable YAML: {error}"]) from None


class _UnusableError(Exception):
    """YAML that is no manifest."""

    def __init__(self, event: "NodeEvent", problem: str) -> None:
        place = f"line {event.start_mark.line + 1}: " if event.start_mark else ""
        super().__init__(place + problem)


class _Reader:
    """Puts the parser's events together; for what is nested it calls itself, no deeper than it allows."""

    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events
        self._anchors: dict[str, object] = {}
        self._budget = _MERGE_BUDGET

    def read_documents(self) -> Iterator[Any]:
        for event in self._events:
            if type(event).__name__ == "DocumentStartEvent":
                self._anchors.clear()
                yield self._read_value(next(self._events), 0)

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
                items: list[object] = self._remember(event, [])
                for item in self._until("SequenceEndEvent"):
                    items.append(self._read_value(item, depth + 1))  # noqa: PERF401 - aliases see it filled
                return items
            case _:
                return self._fill_mapping(self._remember(event, {}), depth + 1)

    def _fill_mapping(self, mapping: dict[str, object], depth: int) -> dict[str, object]:
        merged: list[dict[str, object]] = []
        for event in self._until("MappingEndEvent"):
            key = _read_key(self._read_value(event, depth), event)
            if key in mapping:
                name = make_safe(key, limit=_LONGEST_ECHO)
                raise _UnusableError(event, f"the key {name!r} is there already")
            value = self._read_value(next(self._events), depth)
            if key == "<<" and event.implicit[0]:  # a quoted one is a key like any other
                merged += self._read_merged(value, event)
            else:
                mapping[key] = value
        for source in merged:
            for key, value in source.items():
                mapping.setdefault(key, value)
        return mapping

    def _read_merged(self, value: object, event: "NodeEvent") -> list[dict[str, object]]:
        sources: list[Any] = value if isinstance(value, list) else [value]
        if not all(isinstance(source, dict) for source in sources):
            raise _UnusableError(event, "a merge key (<<) takes a mapping or a list of mappings")
        self._budget -= sum(map(len, sources))
        if self._budget < 0:
            raise _UnusableError(event, "merge keys (<<) copy too much")
        return sources

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
