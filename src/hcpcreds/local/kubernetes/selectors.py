"""Label and field selectors of lists. For development and tests only."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

_REQUIREMENT: Final = re.compile(
    r"\s*(?:(?P<absent>!)\s*(?P<gone>[\w./-]+)"
    r"|(?P<key>[\w./-]+)\s*(?:(?P<equal>=|==|!=)\s*(?P<value>[\w.-]*)"
    r"|\s(?P<among>in|notin)\s*\((?P<values>[^()]*)\))?)\s*(?:,|$)"
)
_FIELD: Final = re.compile(r"(?P<key>[\w.]+)(?P<equal>==|=|!=)(?P<value>.*)")

Matches = Callable[[Mapping[str, Any]], bool]


def read_label_selector(text: str) -> Matches:
    """Read a label selector.

    Raises:
        ValueError: It cannot be read.
    """
    tests: list[Matches] = []
    at = 0
    while at < len(text):
        found = _REQUIREMENT.match(text, at)
        if found is None or found.end() == at:
            raise ValueError(f"unable to parse requirement: {text[at:]}")
        tests.append(_read_requirement(found))
        at = found.end()
    return lambda item: all(test(item["metadata"].get("labels") or {}) for test in tests)


def read_field_selector(text: str, allowed: frozenset[str]) -> Matches:
    """Read a field selector.

    Args:
        text: The selector.
        allowed: Fields that it may name.

    Raises:
        ValueError: It cannot be read, or names another field.
    """
    tests: list[tuple[str, bool, str]] = []
    for part in filter(None, text.split(",")):
        found = _FIELD.fullmatch(part)
        if found is None:
            raise ValueError(f"invalid selector: {part}")
        if found["key"] not in allowed | {"metadata.name", "metadata.namespace"}:
            raise ValueError(f"field label not supported: {found['key']}")
        tests.append((found["key"], found["equal"] != "!=", found["value"]))
    return lambda item: all((_find(item, key) == value) is equal for key, equal, value in tests)


def _read_requirement(found: re.Match[str]) -> Matches:
    if found["absent"]:
        return lambda labels: found["gone"] not in labels
    key = found["key"]
    if found["among"]:
        values = {value.strip() for value in found["values"].split(",")}
        inside = found["among"] == "in"
        return lambda labels: (labels.get(key) in values) is inside
    match found["equal"]:
        case None:
            return lambda labels: key in labels
        case "!=":
            return lambda labels: labels.get(key) != found["value"]
        case _:
            return lambda labels: labels.get(key) == found["value"]


def _find(item: Mapping[str, Any], path: str) -> str:
    value: Any = item
    for key in path.split("."):
        value = value.get(key, "") if isinstance(value, Mapping) else ""
    return str(value)
