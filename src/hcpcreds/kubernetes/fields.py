"""Fields of a manifest, read strictly and to the end: each problem is noted with the path of its field."""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from hcpcreds.kubernetes.documents import PlainScalar
from hcpcreds.text import make_safe

_LONGEST_ECHO: Final = 80
LONGEST_RESOURCE_ID: Final = 355
_MAX_RESOURCE_ID: Final = 255
_RESOURCE_ID: Final = "/subscriptions/{subscription}/resourceGroups/{group}/providers/"
_KINDS: Final = {
    type(None): "nothing",
    bool: "a boolean (for text, put it in quotes)",  # before int, which a bool is too
    int: "a number (for text, put it in quotes)",
    float: "a number (for text, put it in quotes)",
    Mapping: "a mapping",
    list: "a list",
}


class Form(NamedTuple):
    """The values that a text field takes: a pattern, and how to describe it."""

    pattern: re.Pattern[str]
    expected: str
    longest_echo: int = _LONGEST_ECHO
    """Characters of a wrong value that are repeated in the message."""


TEXT: Final = Form(re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]+"), "text without control characters")


class Fields:
    """A mapping of the manifest at its path; problems with its fields are noted, not raised."""

    __slots__ = ("_path", "_problems", "_values")

    def __init__(self, values: Mapping[str, Any], path: str, problems: list[str]) -> None:
        self._values = values
        self._path = path
        self._problems = problems

    def has(self, key: str) -> bool:
        """Whether the field is set; Go writes an unset struct as a mapping of empty texts."""
        value = self._values.get(key)
        if isinstance(value, dict | Mapping):  # dict alone is checked faster
            return any(field not in (None, "") for field in value.values())
        return value is not None

    def is_present(self, key: str) -> bool:
        """Whether the API server sees the field, be it empty; null is the same as absent."""
        return self._values.get(key) is not None

    def fields(self, key: str, *, required: bool = True) -> "Fields":
        """The mapping in a field; empty when it is missing or wrong, and then nothing more is noted."""
        value = self._values.get(key)
        if isinstance(value, dict | Mapping):  # dict alone is checked faster
            return Fields(value, f"{self._path}{key}.", self._problems)
        if value is not None:
            self.note(key, f"expected a mapping, got {describe(value)}")
        elif required:
            self.note(key, "required, but not set")
        return Fields({}, f"{self._path}{key}.", [])

    def text(self, key: str, form: Form = TEXT) -> str:
        """The text in a required field."""
        value = self._values.get(key)
        if isinstance(value, str) and form.pattern.fullmatch(value):
            return value
        if value is None:
            self.note(key, f"required, but not set; expected {form.expected}")
        else:
            self.note(key, f"got {describe(value, longest=form.longest_echo)}, expected {form.expected}")
        return ""

    def optional(self, key: str, form: Form = TEXT) -> str | None:
        """The text in a field that may be missing."""
        return None if self._values.get(key) is None else self.text(key, form)

    def texts(self, key: str, form: Form = TEXT) -> list[str]:
        """The texts in a field that holds a list, or may be missing."""
        entries = self._find_entries(key) or {}
        named = Fields(entries, self._path, self._problems)
        return [named.text(name, form) for name in entries]

    def items(self, key: str) -> "list[Fields] | None":
        """The mappings in a field that holds a list of them; None when it is missing or wrong."""
        entries = self._find_entries(key)
        if entries is None:
            return None
        named = Fields(entries, self._path, self._problems)
        return [named.fields(name) for name in entries]

    def resource(self, key: str, tail: str) -> tuple[str, str]:
        """Resource group and name out of the ARM resource id in a required field.

        As Go's arm.ParseResourceID does, compares types without regard to case and skips empty segments.
        HyperShift's CRD takes at most 255 characters.
        """
        expected = (_RESOURCE_ID + tail).split("/")[1:]
        value = self.text(key, Form(TEXT.pattern, _RESOURCE_ID + tail))
        parts = [part.strip() for part in value.split("/") if part.strip()]
        names = {}
        if value.startswith("/") and len(parts) == len(expected) and len(value) <= _MAX_RESOURCE_ID:
            for part, word in zip(parts, expected, strict=True):
                if word.startswith("{"):
                    names[word] = part
                elif word.lower() != part.lower():
                    break
            else:
                return names["{group}"], names["{name}"]
        if value:
            echo = describe(value, longest=LONGEST_RESOURCE_ID)
            self.note(
                key, f"got {echo}, expected {_RESOURCE_ID}{tail}, at most {_MAX_RESOURCE_ID} characters"
            )
        return "", ""

    def note(self, key: str, problem: str) -> None:
        """Note a problem with a field."""
        self._problems.append(f"{self._path}{key}: {problem}")

    def _find_entries(self, key: str) -> dict[str, Any] | None:
        """The entries of a list by their place in the manifest; None when there is no list."""
        values = self._values.get(key)
        if isinstance(values, list):
            return {f"{key}[{index}]": value for index, value in enumerate(values)}
        if values is not None:
            self.note(key, f"expected a list, got {describe(values)}")
        return None


def describe(value: object, *, longest: int = _LONGEST_ECHO) -> str:
    """Describe a value, and repeat it only when it is short: a secret may have been pasted by mistake."""
    if isinstance(value, str):
        return _quote(value) if len(value) <= longest else f"text of {len(value)} characters"
    if isinstance(value, PlainScalar):
        return f"the {value.kind} {make_safe(value.text, limit=longest)} (for text, put it in quotes)"
    for kind, name in _KINDS.items():
        if isinstance(value, kind):
            return name
    return f"a {type(value).__name__}"


def _quote(text: str) -> str:
    # The problem may be a stray blank, so the text is shown as it is, unless there is a secret in it.
    safe = make_safe(text)
    return repr(safe if "***" in safe else text)
