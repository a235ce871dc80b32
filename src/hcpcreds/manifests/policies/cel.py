"""Values as CEL text, as Kubernetes' API server reads it.

Source: cel-spec's langdef (literals), and k8s.io/apiserver, pkg/cel/environment/base.go: literals of lists
and maps have values of one type, so that values of several types have to be `dyn`.
"""

import re
from collections.abc import Mapping, Sequence
from string import Template
from textwrap import dedent
from typing import Final

_SPECIAL: Final = re.compile(r"[\\'\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Expression(str):
    """An expression among plain data, of any type."""

    __slots__ = ()


def quote(text: str) -> str:
    """Quote a text."""
    escaped = _SPECIAL.sub(_escape, text)
    return f"'{escaped}'"


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    return f"\\{character}" if character in "\\'" else f"\\u{ord(character):04x}"


def render(value: object) -> str:
    """Render plain data, with expressions in it; numbers are whole.

    Raises:
        TypeError: It is not plain data.
    """
    if isinstance(value, Expression):
        return value
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Mapping):
        items = _render_all(list(value.values()))
        return "{" + ", ".join(f"{quote(key)}: {item}" for key, item in zip(value, items, strict=True)) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(_render_all(value)) + "]"
    raise TypeError(f"{type(value).__name__} is not a JSON type")


def fill(template: str, **values: object) -> Expression:
    """Fill the `$name` of an expression with plain data or other expressions."""
    rendered = {name: render(value) for name, value in values.items()}
    return Expression(Template(dedent(template).strip()).substitute(rendered))


def _render_all(values: Sequence[object]) -> list[str]:
    """Render values of one list or map: as `dyn`, unless all have one type."""
    rendered = [render(value) for value in values]
    types = {_find_type(value) for value in values}
    return rendered if len(types) == 1 and "dyn" not in types else [f"dyn({text})" for text in rendered]


def _find_type(value: object) -> str:
    if isinstance(value, Expression):
        return "dyn"
    if isinstance(value, Mapping | list | tuple):
        inner = {_find_type(item) for item in (value.values() if isinstance(value, Mapping) else value)}
        kind = "map" if isinstance(value, Mapping) else "list"
        return f"{kind}({inner.pop() if len(inner) == 1 else 'dyn'})"
    return type(value).__name__
