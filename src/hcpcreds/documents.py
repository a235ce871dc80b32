"""YAML and JSON streams, read as Kubernetes' tools read them.

PyYAML's own loaders differ from kubectl where it matters: they turn dates into objects and ``12:30`` into
750, and let a later key silently replace an earlier one. So only its parser is used here, and its events
are put together as sigs.k8s.io/yaml does it, on which kubectl stands (its resolver: go.yaml.in/yaml/v2).
Decided here: a repeated key is an error, as in kubectl with strict validation; aliases share what they name,
so they cost no memory; merge keys copy it, and have a budget.
"""

import re
from collections.abc import Iterator
from itertools import chain
from typing import Any, Final, NamedTuple

import msgspec

from hcpcreds.errors import InputError

MAX_BYTES: Final = 3 * 1024 * 1024
"""Kubernetes' API server takes no larger request, so nothing larger is a manifest."""
_MERGE_BUDGET: Final = 100_000

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
    """A value that YAML takes for something else than text because it stands without quotes."""

    text: str
    kind: str
    """``number`` or ``boolean``."""


def parse_documents(source: str | bytes, *, where: str) -> list[Any]:
    """Parse a stream of YAML documents, or one of JSON; empty documents are left out.

    Args:
        source: The stream; bytes are UTF-8.
        where: What error messages call the stream.

    Returns:
        Mappings, lists, text and None as in the source; other YAML scalars as PlainScalar.

    Raises:
        InputError: Too large, not UTF-8, or neither YAML nor JSON; the message has the line.
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
            pass  # a flow mapping is YAML too, and YAML's message has the line
    return [document for document in _parse_yaml(source, where) if document is not None]


def _parse_yaml(text: str, where: str) -> list[Any]:
    try:
        import yaml  # noqa: PLC0415 - what runs in a pod does without it
    except ImportError:
        hint = "Install it with: pip install 'hcpcreds[manifests]'"
        raise InputError(where, ["reading YAML needs PyYAML, which is not installed"], hint=hint) from None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return list(_build_documents(yaml.parse(text, Loader=loader)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise InputError(where, [f"not YAML: {place}{error.problem or error.context}"]) from None
    except (yaml.YAMLError, UnicodeError):
        raise InputError(where, ["not YAML: it holds characters that YAML forbids"]) from None
    except _NotSupportedError as error:
        raise InputError(where, [f"not usable YAML: {error}"]) from None


class _NotSupportedError(Exception):
    """YAML that is no manifest; the text has the line."""


class _Mapping:
    """A mapping that is being put together."""

    __slots__ = ("key", "merged", "value")

    def __init__(self) -> None:
        self.value: dict[str, Any] = {}
        self.key: str | None = None
        self.merged: list[Any] = []


def _build_documents(events: Iterator[Any]) -> Iterator[Any]:
    anchors: dict[str, Any] = {}
    stack: list[_Mapping | list[Any]] = []
    budget = _MERGE_BUDGET
    for event in events:
        kind = type(event).__name__
        if kind == "ScalarEvent":
            value: Any = _resolve(event)
        elif kind == "MappingStartEvent":
            stack.append(frame := _Mapping())
            if event.anchor:
                anchors[event.anchor] = frame.value
            continue
        elif kind == "SequenceStartEvent":
            stack.append(items := [])
            if event.anchor:
                anchors[event.anchor] = items
            continue
        elif kind == "MappingEndEvent":
            ended = stack.pop()
            assert isinstance(ended, _Mapping)  # noqa: S101 - the parser pairs its events
            budget -= _merge(ended, event)
            if budget < 0:
                raise _NotSupportedError(f"{_line(event)}: merge keys copy too much")
            value = ended.value
        elif kind == "SequenceEndEvent":
            value = stack.pop()
        elif kind == "AliasEvent":
            if event.anchor not in anchors:
                raise _NotSupportedError(f"{_line(event)}: there is no anchor &{event.anchor}")
            value = anchors[event.anchor]
        else:
            if kind == "DocumentStartEvent":
                anchors.clear()
            continue
        if kind == "ScalarEvent" and event.anchor:
            anchors[event.anchor] = value
        if stack:
            _put(stack[-1], value, event)
        else:
            yield value


def _put(container: _Mapping | list[Any], value: Any, event: Any) -> None:
    if isinstance(container, list):
        container.append(value)
    elif container.key is None:
        if isinstance(value, PlainScalar):
            value = value.text
        elif value is None:
            value = "null"
        elif not isinstance(value, str):
            raise _NotSupportedError(f"{_line(event)}: a key is no text")
        if value in container.value:
            raise _NotSupportedError(f"{_line(event)}: the key {value!r} is there already")
        container.key = value
    else:
        if container.key == "<<":
            container.merged += value if isinstance(value, list) else [value]
        else:
            container.value[container.key] = value
        container.key = None


def _merge(mapping: _Mapping, event: Any) -> int:
    """Copy what merge keys name; keys of the mapping itself win. Returns how many entries were looked at."""
    if not all(isinstance(merged, dict) for merged in mapping.merged):
        raise _NotSupportedError(f"{_line(event)}: a merge key (<<) takes a mapping or a list of mappings")
    looked_at = sum(map(len, mapping.merged))
    if looked_at <= _MERGE_BUDGET:
        for key, value in chain.from_iterable(merged.items() for merged in mapping.merged):
            mapping.value.setdefault(key, value)
    return looked_at


def _resolve(event: Any) -> str | PlainScalar | None:
    text: str = event.value
    if not event.implicit[0]:  # quoted, a block, or tagged
        return text
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return PlainScalar(text, "boolean")
    if _NUMBER.fullmatch(text):
        return PlainScalar(text, "number")
    return text


def _line(event: Any) -> str:
    return f"line {event.start_mark.line + 1}"
