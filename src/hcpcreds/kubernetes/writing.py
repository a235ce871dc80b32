"""Objects as text that kubectl reads back exactly as meant.

kubectl reads YAML 1.1 as Go does, where `y`, `1e3` and `0o7` are not text. PyYAML would write all three
without quotes, so only its emitter is used, and text is written without quotes only where every YAML parser
takes it for text.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
import yaml
from yaml.events import (
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)

_PLAIN: Final = re.compile(r"[A-Za-z/][-A-Za-z0-9_./]*")
_WORDS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
"""Booleans and null, in any case."""
_NEVER_FOLD: Final = 1 << 30
_UNPRINTABLE: Final = re.compile(r"[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
"""Characters that move a terminal's cursor or reverse its text: C1 and bidirectional controls."""


def render_yaml(objects: Iterable[Mapping[str, Any]]) -> str:
    """Render objects as a stream of YAML documents, each begun by `---`; keys keep their order."""
    events: list[Event] = [StreamStartEvent()]
    for item in objects:
        events.append(DocumentStartEvent(explicit=True))
        _add_events(events, item)
        events.append(DocumentEndEvent())
    events.append(StreamEndEvent())
    emitter = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.emit(events, Dumper=emitter, allow_unicode=True, width=_NEVER_FOLD)
    return _escape(text)


def render_json(objects: Sequence[Mapping[str, Any]]) -> str:
    """Render objects as one JSON document, a `List` as kubectl writes it; keys keep their order."""
    document = {"apiVersion": "v1", "kind": "List", "items": objects}
    return _escape(msgspec.json.format(msgspec.json.encode(document), indent=2).decode()) + "\n"


def _add_events(events: list[Event], value: object) -> None:
    if isinstance(value, str):
        style = _choose_style(value)
        events.append(ScalarEvent(None, None, (style is None, style is not None), value, style=style))
    elif isinstance(value, Mapping):
        events.append(MappingStartEvent(None, None, implicit=True, flow_style=False))
        for key, item in value.items():
            _add_events(events, key)
            _add_events(events, item)
        events.append(MappingEndEvent())
    elif isinstance(value, list):
        events.append(SequenceStartEvent(None, None, implicit=True, flow_style=False))
        for item in value:
            _add_events(events, item)
        events.append(SequenceEndEvent())
    elif value is None or isinstance(value, bool | int | float):
        events.append(ScalarEvent(None, None, (True, False), json.dumps(value)))
    else:
        raise TypeError(f"{type(value).__name__} is not a JSON type")


def _escape(text: str) -> str:
    """Escape characters that are not printable; YAML and JSON allow them only in quotes."""
    return _UNPRINTABLE.sub(lambda found: json.dumps(found[0])[1:-1], text)


def is_plain(text: str) -> bool:
    """Whether YAML reads a text without quotes as that text."""
    return _PLAIN.fullmatch(text) is not None and text.lower() not in _WORDS


def _choose_style(text: str) -> str | None:
    if is_plain(text):
        return None
    if "\n" in text and text.replace("\n", "").isprintable():
        return "|"
    return '"'
