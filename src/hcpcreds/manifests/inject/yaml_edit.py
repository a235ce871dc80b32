"""Changing entries of lists in the text of YAML or JSON, and leaving every other byte as it is.

No round-trip library does that: they all write the text anew. So the places to edit are found by the marks
that PyYAML's parser leaves, and additions take their indentation and style from their surroundings.
"""

import re
from collections.abc import Container, Sequence
from typing import Any, Final, NamedTuple

import yaml

from hcpcreds.kubernetes.objects import Path
from hcpcreds.manifests.inject.changes import Change, Entry, render_path
from hcpcreds.manifests.inject.yaml_text import Budget, Layout, NotEditableError, Renderer

_BREAK: Final = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
"""A line break to YAML."""
_LINE_BREAK: Final = re.compile("\r\n|[\r\n]")
"""A line break to people."""
_ALIAS: Final = re.compile(r"[^*]*\*[^\s,\[\]{}]+")
_NULL: Final = re.compile(r"(?:null|Null|NULL|~)?\Z")
_EMPTY_LIST: Final = re.compile(r"\[\s*\]\Z")


class _Edit(NamedTuple):
    start: int
    end: int
    text: str


class DocumentChanges(NamedTuple):
    """The changes to one document, and its value after them."""

    changes: Sequence[Change]
    expected: object


def edit_lists(text: str, documents: Sequence[DocumentChanges], *, write_out: bool) -> str:
    """Change lists in a stream of YAML documents, or of one JSON document.

    Args:
        text: The stream. It has been parsed before, so that it is known to be sound.
        documents: For each document, null ones left out.
        write_out: Write out a list that comes through an alias (`*`) or a merge key (`<<`). Else the list
            of the anchor is changed, for all who share it, and that of a merge key is shadowed.

    Raises:
        NotEditableError: The text is written so that the changes cannot be made in it.
    """
    # JSON has tabs and surrogate pairs where YAML forbids them. Only places matter here, and they stay.
    masked = text
    if text.lstrip().startswith("{"):
        masked = re.sub(r"\\u[0-9a-fA-F]{4}", r"\\u0041", text.replace("\t", " "))
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    nodes = [node for node in yaml.compose_all(masked, Loader=loader) if node.tag != "tag:yaml.org,2002:null"]
    if len(nodes) != len(documents):
        raise NotEditableError("PyYAML finds another number of documents in it")
    first_break = _LINE_BREAK.search(text)
    line_break = first_break.group() if first_break else "\n"
    budget = Budget()
    edits: dict[_Edit, None] = {}  # a list that two containers share is edited once
    for node, document in zip(nodes, documents, strict=True):
        for path, changes in _group(document.changes).items():
            editor = _ListEditor(text, node, path, line_break=line_break, budget=budget)
            written = editor.write_out(_look_up(document.expected, path)) if write_out else []
            edits.update(dict.fromkeys(written or editor.edit(changes)))
    parts, position = [], 0
    for edit in sorted(edits):  # of those at one place, the deepest comes first
        parts += [text[position : edit.start], edit.text]
        position = edit.end
    return "".join([*parts, text[position:]])


def _group(changes: Sequence[Change]) -> dict[Path, list[Change]]:
    groups: dict[Path, list[Change]] = {}
    for change in changes:
        groups.setdefault(change.path, []).append(change)
    return groups


class _ListEditor:
    """Edits one list of one document."""

    def __init__(self, text: str, root: yaml.Node, path: Path, *, line_break: str, budget: Budget) -> None:
        self._text = text
        self._path = path
        self._indent = 2
        self._dash = 0
        self._width = 2
        node = root
        for step in path[:-1]:
            self._observe(node)
            node = _get(node, step)
        self._observe(node)
        if not isinstance(node, yaml.MappingNode) or not node.value:
            raise self._refuse("is not in a mapping")
        self._parent = node
        first_key, first_value = root.value[0]
        is_quoted = first_key.style == '"'
        is_compact = text[first_key.end_mark.index : first_value.start_mark.index] == ":"
        self._renderer = Renderer(
            is_quoted=is_quoted, is_compact=is_quoted and is_compact, line_break=line_break, budget=budget
        )
        self._break = line_break

    def edit(self, changes: Sequence[Change]) -> list[_Edit]:
        """The edits that make the changes, all of them to this list."""
        added = [change.entry for change in changes if change.index is None and change.entry]
        removed = {change.index for change in changes if change.entry is None}
        key, node = self._find_list()
        if key is None or node is None:
            return [self._add_list(added)]
        if isinstance(node, yaml.ScalarNode):
            return self._fill(node, added, _NULL)
        if not isinstance(node, yaml.SequenceNode):
            raise self._refuse("is not a list")
        if not node.value:
            return self._fill(node, added, _EMPTY_LIST)
        edits = [
            self._replace(node, change.index, change.entry)
            for change in changes
            if change.index is not None and change.entry
        ]
        if not added:
            return [*edits, *self._remove(key, node, removed)]
        is_first = any(change.is_first for change in changes)
        return [*edits, self._prepend(key, node, added) if is_first else self._append(node, added)]

    def write_out(self, entries: Sequence[Entry]) -> list[_Edit]:
        """The edits that write the list where it only comes from elsewhere; none where it stands."""
        key, node = self._find_list()
        if key is None or node is None:
            return [self._add_list(entries)]
        if node.start_mark.index >= key.end_mark.index:
            return []
        end = self._find_end_after(node, key.end_mark.index)
        start = self._text.rindex("*", 0, end)
        if self._parent.flow_style:
            return [
                _Edit(start, end, self._renderer.render_list(entries, self._find_layout(key, self._parent)))
            ]
        return [
            _Edit(_skip_back(self._text, start, " \t\r\n"), end, ""),
            self._insert(end, self._render_items(entries)),
        ]

    def _find_list(self) -> tuple[yaml.Node | None, yaml.Node | None]:
        """The list, and the key before it."""
        pairs = (pair for pair in self._parent.value if pair[0].value == self._path[-1])
        return next(pairs, (None, None))

    def _observe(self, node: yaml.Node) -> None:
        """Learn how mappings and lists are indented in this part of the document."""
        for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
            is_block = isinstance(value, yaml.CollectionNode) and not value.flow_style and value.value
            if not is_block or value.start_mark.index < key.end_mark.index:
                continue
            if isinstance(value, yaml.SequenceNode):
                self._dash = self._find_dash(value) - key.start_mark.column
                self._width = self._find_width(value)
            else:
                self._indent = value.value[0][0].start_mark.column - key.start_mark.column

    def _find_dash(self, node: yaml.SequenceNode) -> int:
        """The column of a block list's dashes."""
        start: int = node.start_mark.index
        if self._text[start] == "-":
            return int(node.start_mark.column)
        dash = self._text.rfind("-", start, node.value[0].start_mark.index)  # after an anchor or tag
        return dash - len(self._text[:dash].rstrip(" "))

    def _find_width(self, node: yaml.SequenceNode) -> int:
        """Columns from a block list's dashes to its entries."""
        first: yaml.Node = node.value[0]
        width: int = first.start_mark.column - self._find_dash(node)
        return width if first.start_mark.line == node.start_mark.line and width > 1 else 2

    def _append(self, node: yaml.SequenceNode, added: Sequence[Entry]) -> _Edit:
        end = self._find_end_of_last(node)
        if node.flow_style:
            separator, rendered = self._render_flow_items(node, node.value[-1], added)
            return _Edit(end, end, "".join(separator + text for text in rendered))
        dash, width = self._find_dash(node), self._find_width(node)
        return self._insert(end, [line for entry in added for line in self._render_item(entry, dash, width)])

    def _prepend(self, key: yaml.Node, node: yaml.SequenceNode, added: Sequence[Entry]) -> _Edit:
        if node.flow_style:
            first = node.value[0]
            start = self._check_stands_in(node, first)
            separator, rendered = self._render_flow_items(node, first, added)
            return _Edit(start, start, "".join(text + separator for text in rendered))
        dash, width = self._find_dash(node), self._find_width(node)
        lines = [line for entry in added for line in self._render_item(entry, dash, width)]
        return self._insert(key.end_mark.index + 1, lines)

    def _remove(self, key: yaml.Node, node: yaml.SequenceNode, indexes: Container[int | None]) -> list[_Edit]:
        """The edits that remove entries; comments before them stay."""
        kept = [index for index in range(len(node.value)) if index not in indexes]
        if node.flow_style and not kept:
            return [_Edit(self._check_stands_in(node, node.value[0]), self._find_end_of_last(node), "")]
        edits = []
        if not kept:
            colon = self._text.index(":", key.end_mark.index) + 1
            edits.append(_Edit(colon, colon, " []"))
        for index, item in enumerate(node.value):
            if index not in indexes:
                continue
            start, end = self._check_stands_in(node, item), self._find_end(item)
            if not node.flow_style:
                start = self._text.rindex("-", 0, start)
                start -= len(self._text[:start]) - len(self._text[:start].rstrip(" "))
                if self._text[end - 1] not in "\r\n":  # block text ends with its line
                    line_end = _BREAK.search(self._text, end)
                    end = line_end.end() if line_end else len(self._text)
            elif kept[0] < index:
                start = self._find_end(node.value[index - 1])
            else:
                end = node.value[index + 1].start_mark.index
            edits.append(_Edit(start, end, ""))
        return edits

    def _check_stands_in(self, node: yaml.SequenceNode, item: yaml.Node) -> int:
        """Where an item starts, which must not be an alias."""
        start: int = item.start_mark.index
        if start < node.start_mark.index:
            raise self._refuse(f"has an alias to line {item.start_mark.line + 1} as an entry")
        return start

    def _replace(self, node: yaml.SequenceNode, index: int, entry: Entry) -> _Edit:
        item = node.value[index]
        start, end = self._check_stands_in(node, item), self._find_end(item)
        if item.flow_style:
            is_tall = item.start_mark.line != item.end_mark.line
            layout = self._find_layout(item, node) if is_tall else None
            return _Edit(start, end, self._renderer.render_flow(entry, layout))
        end = _skip_back(self._text, end, "\r\n")
        lines = self._renderer.render_block(entry, item.start_mark.column, self._indent)
        return _Edit(start, end, self._break.join(lines).lstrip(" "))

    def _fill(self, node: yaml.Node, added: Sequence[Entry], pattern: re.Pattern[str]) -> list[_Edit]:
        """Put entries into a list that is empty or null."""
        end: int = node.end_mark.index
        empty = pattern.search(self._text, node.start_mark.index, end)
        if empty is None:  # a comment between the brackets
            start = self._text.index("[", node.start_mark.index) + 1
            return [
                _Edit(start, start, ", ".join(self._renderer.render_flow(entry, None) for entry in added))
            ]
        if self._parent.flow_style:
            key = next(key for key, value in self._parent.value if value is node)
            rendered = self._renderer.render_list(added, self._find_layout(key, self._parent))
            space = " " if empty.start() == end and self._text[end - 1] == ":" else ""
            return [_Edit(empty.start(), end, space + rendered)]
        start = _skip_back(self._text, empty.start(), " \t\r\n")
        filled = self._insert(end, self._render_items(added))
        return [filled] if start == end else [_Edit(start, end, ""), filled]

    def _add_list(self, added: Sequence[Entry]) -> _Edit:
        """Put the list, which is missing, behind all else in its mapping."""
        key = self._renderer.render_text(str(self._path[-1]))
        if self._parent.flow_style:
            end = self._find_end_of_last(self._parent)
            layout = self._find_layout(self._parent.value[-1][0], self._parent)
            separator = "," + self._break + layout.margin if layout else self._renderer.comma
            rendered = self._renderer.render_list(added, layout)
            return _Edit(end, end, f"{separator}{key}{self._renderer.colon}{rendered}")
        column = self._parent.value[0][0].start_mark.column
        lines = [f"{' ' * column}{key}:", *self._render_items(added)]
        return self._insert(self._find_end(self._parent), lines)

    def _insert(self, position: int, lines: Sequence[str]) -> _Edit:
        """Insert lines below the one where something ends."""
        if self._text[position - 1] in "\r\n":  # block text ends with its line
            return _Edit(position, position, "".join(line + self._break for line in lines))
        line_end = _BREAK.search(self._text, position)
        end = line_end.start() if line_end else len(self._text)
        return _Edit(end, end, "".join(self._break + line for line in lines))

    def _find_end(self, node: yaml.Node) -> int:
        return self._find_end_after(node, node.start_mark.index)

    def _find_end_after(self, node: yaml.Node, position: int) -> int:
        """Where a node's text ends; the parser's mark of a block's end is behind the comments that follow."""
        if node.start_mark.index < position:
            alias = _ALIAS.match(self._text, position)
            if alias is None:
                raise self._refuse("stands beside an alias that cannot be found in the text")
            return alias.end()
        if not isinstance(node, yaml.CollectionNode) or node.flow_style:
            return int(node.end_mark.index)
        return self._find_end_of_last(node)

    def _find_end_of_last(self, node: yaml.Node) -> int:
        """Where the last entry of a mapping or list ends."""
        end: int = node.start_mark.index
        for child in node.value:
            for part in child if isinstance(child, tuple) else (child,):
                end = self._find_end_after(part, end)
        return end

    def _find_layout(self, child: yaml.Node, parent: yaml.Node) -> Layout | None:
        """How the entries of a flow mapping or list are laid out; None when they share a line."""
        margin = _find_margin(self._text, child)
        if margin.strip():
            return None
        outer = _find_margin(self._text, parent)
        outer = outer[: len(outer) - len(outer.lstrip())]
        return Layout(margin, margin.removeprefix(outer))

    def _render_flow_items(
        self, node: yaml.SequenceNode, beside: yaml.Node, added: Sequence[Entry]
    ) -> tuple[str, list[str]]:
        """What separates entries of a flow list, and new ones in the layout of one that is there."""
        layout = self._find_layout(beside, node)
        is_tall = beside.start_mark.line != beside.end_mark.line
        separator = "," + self._break + layout.margin if layout else self._renderer.comma
        return separator, [self._renderer.render_flow(entry, layout if is_tall else None) for entry in added]

    def _render_items(self, entries: Sequence[Entry]) -> list[str]:
        """The entries of a list that is new to its mapping."""
        dash = self._parent.value[0][0].start_mark.column + self._dash
        return [line for entry in entries for line in self._render_item(entry, dash, self._width)]

    def _render_item(self, entry: Entry, dash: int, width: int) -> list[str]:
        first, *others = self._renderer.render_block(entry, dash + width, self._indent)
        return [f"{' ' * dash}-{first[dash + 1 :]}", *others]

    def _refuse(self, why: str) -> NotEditableError:
        return NotEditableError(f"{render_path(self._path)} {why}")


def _skip_back(text: str, position: int, characters: str) -> int:
    while text[position - 1] in characters:
        position -= 1
    return position


def _find_margin(text: str, node: yaml.Node) -> str:
    """The text before a node on its line."""
    return text[node.start_mark.index - node.start_mark.column : node.start_mark.index]


def _get(node: yaml.Node, step: str | int) -> yaml.Node:
    """A mapping's value or a list's item."""
    if isinstance(step, int):
        item: yaml.Node = node.value[step]
        return item
    for key, value in node.value:
        if key.value == step:
            found: yaml.Node = value
            return found
    raise NotEditableError(f"{step} comes from a merge key (<<)")


def _look_up(document: Any, path: Path) -> Sequence[Entry]:  # noqa: ANN401 (any document)
    for step in path:
        document = document[step]
    entries: Sequence[Entry] = document
    return entries
