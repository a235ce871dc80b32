"""Objects as text that kubectl reads back exactly as meant.

kubectl reads YAML 1.1 with Go's idea of it, in which ``y``, ``1e3`` and ``0o7`` are no text. PyYAML's idea
differs (it would write all three without quotes), so here text goes without quotes only when nobody's idea
of YAML takes it for anything else.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
import yaml

_PLAIN: Final = re.compile(r"[A-Za-z/][-A-Za-z0-9_./]*")
_WORDS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
"""Booleans and null, in any case."""
_NEVER_FOLD: Final = 1 << 30


def render_yaml(objects: Iterable[Mapping[str, Any]]) -> str:
    """Render objects as a stream of YAML documents, each begun by ``---``; keys keep their order."""
    text: str = yaml.dump_all(
        objects,
        Dumper=_Dumper,
        allow_unicode=True,
        explicit_start=True,
        sort_keys=False,
        width=_NEVER_FOLD,
    )
    return text


def render_json(objects: Sequence[Mapping[str, Any]]) -> str:
    """Render objects as one JSON document, a ``List`` as kubectl writes it; keys keep their order."""
    document = {"apiVersion": "v1", "kind": "List", "items": objects}
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    if "\n" in text and text.replace("\n", "").isprintable():
        style: str | None = "|"
    elif _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        style = None
    else:
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


# Equal parts of objects are written out each time: aliases are for people.
_Dumper: Any = type(
    "_Dumper",
    (getattr(yaml, "CSafeDumper", yaml.SafeDumper),),
    {"ignore_aliases": lambda _self, _data: True},
)
_Dumper.add_representer(str, _represent_text)
