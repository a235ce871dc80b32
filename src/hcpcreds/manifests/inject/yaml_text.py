"""Rendering entries of lists as YAML or JSON, in the style of the text that they are added to."""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hcpcreds.kubernetes.documents import MAX_BYTES, PlainScalar
from hcpcreds.kubernetes.writing import is_plain
from hcpcreds.manifests.inject.changes import Entry


class NotEditableError(Exception):
    """The text cannot be changed in this way."""


class Budget:
    """A limit of the characters written: with aliases, a short text can become larger than memory."""

    def __init__(self) -> None:
        self._left = MAX_BYTES

    def spend(self, text: str) -> str:
        """Return the text, if there is room for it and a line break."""
        self._left -= len(text) + 1
        if self._left < 0:
            raise NotEditableError(f"written out, it would be larger than {MAX_BYTES // 1024**2} MiB")
        return text


class Layout(NamedTuple):
    """Where entries begin that have lines of their own."""

    margin: str
    """The blanks before each."""
    indent: str
    """The additional blanks before their own entries."""


class Renderer:
    """Renders values in the style of one document.

    Args:
        is_quoted: Whether all text is quoted, as in JSON.
        is_compact: Whether no blanks follow commas and colons.
        line_break: The document's.
        budget: Limits what is written.
    """

    def __init__(self, *, is_quoted: bool, is_compact: bool, line_break: str, budget: Budget) -> None:
        self.comma, self.colon = (",", ":") if is_compact else (", ", ": ")
        self._quoted = is_quoted
        self._break = line_break
        self._budget = budget
        self._rendered: dict[int, tuple[object, str]] = {}  # by id, with the value, whose id it stays

    def render_block(self, mapping: Entry, column: int, indent: int) -> list[str]:
        """The lines of a mapping that begins at a column; each level is indented by so many blanks."""
        lines = []
        for key, value in mapping.items():
            start = f"{self._budget.spend(' ' * column)}{self.render_text(key)}:"
            if isinstance(value, Mapping) and value:
                lines += [start, *self.render_block(value, column + indent, indent)]
            elif (
                isinstance(value, list)
                and value
                and all(isinstance(item, Mapping) and item for item in value)
            ):
                lines.append(start)
                for item in value:
                    first, *others = self.render_block(item, column + 2, indent)
                    lines += [f"{' ' * column}-{first[column + 1 :]}", *others]
            else:
                lines.append(f"{start} {self.render_flow(value, None)}")
        return lines

    def render_list(self, entries: Sequence[Entry], layout: Layout | None) -> str:
        """A flow list; over several lines if it has a layout and text is quoted."""
        if self._quoted and layout:
            return self._render_json(entries, layout)
        return self.render_flow(list(entries), None)

    def render_flow(self, value: object, layout: Layout | None) -> str:
        """A value in flow style."""
        if self._quoted and layout:
            return self._render_json(value, layout)
        if isinstance(value, Mapping | list):
            # What aliases share is rendered once, so that a text with many of them is refused at once.
            if id(value) in self._rendered:
                return self._budget.spend(self._rendered[id(value)][1])
            rendered = self._render_collection(value)
            self._rendered[id(value)] = (value, rendered)
            return rendered
        if isinstance(value, PlainScalar):
            return self._budget.spend(value.text)
        return self.render_text(value) if isinstance(value, str) else self._budget.spend(json.dumps(value))

    def _render_collection(self, value: Mapping[str, object] | list[object]) -> str:
        if isinstance(value, Mapping):
            pairs = (
                f"{self.render_text(key)}{self.colon}{self.render_flow(item, None)}"
                for key, item in value.items()
            )
            return self._budget.spend("{") + self.comma.join(pairs) + "}"
        return self._budget.spend("[") + self.comma.join(self.render_flow(item, None) for item in value) + "]"

    def _render_json(self, value: object, layout: Layout) -> str:
        self.render_flow(value, None)  # which keeps to the budget
        text = json.dumps(value, ensure_ascii=False, indent=layout.indent)
        return text.replace("\n", self._break + layout.margin)

    def render_text(self, text: str) -> str:
        """A text, quoted where it has to be."""
        if not self._quoted and is_plain(text):
            return self._budget.spend(text)
        return self._budget.spend(json.dumps(text, ensure_ascii=False))
