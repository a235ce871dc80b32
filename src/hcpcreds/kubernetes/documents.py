"""YAML and JSON streams, read as Kubernetes' own tools read them, one document after another.

A document that cannot be read is reported and does not stop the others. In JSON the last of repeated keys
wins, as in Go.
"""

import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

import msgspec
from typing_extensions import override

from hcpcreds.errors import InputError
from hcpcreds.kubernetes.objects import is_object
from hcpcreds.kubernetes.placeholders import is_template_line
from hcpcreds.kubernetes.streams import BYTE_ORDER_MARK, open_stream, split_stream
from hcpcreds.kubernetes.yaml_reader import (
    MAX_BYTES,
    TOO_DEEP,
    Mark,
    PlainScalar,
    UnusableError,
    YamlReader,
)

__all__ = ["MAX_BYTES", "TEMPLATE", "Document", "Mark", "PlainScalar", "parse_documents", "read_documents"]

TEMPLATE: Final = "a template: render it first"
"""The problem of a document that is not YAML yet."""

_BARE_LIST: Final = "a bare list of objects, which kubectl does not read: put them into a List"
_JSON_OBJECT: Final = msgspec.json.Decoder(dict[str, Any])
_ESCAPE: Final = re.compile(r"\\.")
_FORBIDDEN: Final = re.compile(r"[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TOKEN: Final = re.compile(r"(?<=[:-] )#(?=\{[^\s{}]+\})")
_HEAD: Final = re.compile(r"(?:(?:---)?[ \t]*(?:#.*)?\r?\n)*(?:---)?\s*")
_BLANK: Final = re.compile(r"\s*")


class Document(msgspec.Struct, frozen=True):
    """One document of a stream, and the lines that it stands on.

    Args:
        value: The document in the Kubernetes API's JSON shape; None when it cannot be read.
        file: Name of its file in findings.
        path: Where it stands within another: `("items", 0)` in a List, or the path of a text that holds it.
        first_line: Where it begins; of one that cannot be read, where the problem is.
        marks: Of the entries of each mapping and list in it, by the `id` of that.
        problem: Why it cannot be read; empty when it can.
        is_partial: Whether it is not a whole object yet: a patch, or the base of one.
    """

    value: Any
    file: str = "-"
    path: tuple[str | int, ...] = ()
    first_line: int = 1
    marks: Mapping[int, Mapping[str | int, Mark | int]] = {}
    problem: str = ""
    is_partial: bool = False

    @override
    def __repr__(self) -> str:
        # A Secret is a manifest too: its content is never shown.
        return f"Document(file={self.file!r}, path={self.path!r})"

    def at(self, path: tuple[str | int, ...]) -> "Document":
        """The document that an object within this one would be by itself."""
        value = self.value
        for key in path:
            value = value[key]
        return msgspec.structs.replace(
            self, value=value, path=(*self.path, *path), first_line=self.find(path).line
        )

    def find(self, path: tuple[str | int, ...]) -> Mark:
        """Find where the value at a path begins, or the part of the path that exists."""
        value, found = self.value, Mark(self.first_line, 0)
        for key in path:
            mark = self.marks.get(id(value), {}).get(key)
            if mark is None:
                return Mark(found.line, 0)
            value, found = value[key], Mark(mark, 0) if isinstance(mark, int) else mark
        return found


def read_source(path: str | Path) -> bytes:
    """Read a file of YAML or JSON; of one that is too large for one object, only the beginning.

    Raises:
        InputError: It cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise _cannot_be_read(path, error) from None


def open_source(path: str | Path) -> io.BufferedReader:
    """Open a file of YAML or JSON, to be read as a stream.

    Raises:
        InputError: It cannot be opened.
    """
    try:
        return Path(path).open("rb")
    except (OSError, ValueError) as error:
        raise _cannot_be_read(path, error) from None


def _cannot_be_read(path: str | Path, error: OSError | ValueError) -> InputError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return InputError(str(path), [f"cannot be read: {reason}"])


def parse_documents(source: str | bytes, *, where: str) -> list[Any]:
    """Parse a stream of YAML documents or JSON objects; empty documents are left out.

    Args:
        source: The stream; bytes are UTF-8, or UTF-16 with a byte order mark.
        where: Name of the stream in error messages.

    Returns:
        Mappings, lists, text and None as in the source; YAML's numbers and booleans as PlainScalar.

    Raises:
        InputError: A document cannot be read; the message has the line. Or YAML, and PyYAML is not installed:
            it comes with the extra `manifests`.
    """
    documents = list(read_documents(source, file=where))
    problems = [f"line {found.first_line}: {found.problem}" for found in documents if found.problem]
    if problems:
        raise InputError(where, problems)
    return [document.value for document in documents]


def read_documents(
    source: str | bytes | io.BufferedReader, *, file: str, first_line: int = 1
) -> Iterator[Document]:
    """Read a stream of YAML documents or JSON objects, one by one, in as little memory as the largest takes.

    Args:
        source: The stream; bytes are UTF-8, or UTF-16 with a byte order mark.
        file: Name of the stream in findings and error messages.
        first_line: The line of its file that it begins on.

    Yields:
        Each document that is not empty, in order. One that cannot be read has its problem. A List that is
        larger than an object may be comes as its objects.

    Raises:
        InputError: The stream cannot be read; or YAML, and PyYAML is not installed: it comes with the extra
            `manifests`.
    """
    stream = source if isinstance(source, io.BufferedReader) else open_stream(source)
    try:
        for chunk in split_stream(stream):
            line = chunk.first_line + first_line - 1
            if chunk.problem:
                yield _report(file, chunk.problem_line or line, chunk.problem)
            else:
                yield from read_text(chunk.text, file=file, first_line=line)
    except OSError as error:
        raise _cannot_be_read(file, error) from None


def read_text(text: str, *, file: str, first_line: int) -> Iterator[Document]:
    """Read the text of one document, or the few that share a line of `---`; see `read_documents`."""
    text = text.removeprefix(BYTE_ORDER_MARK)
    head = _HEAD.match(text)
    start = head.end() if head else 0
    if len(text) <= MAX_BYTES and text.startswith("{", start):
        documents = _read_json(text[start:], file, first_line + text.count("\n", 0, start))
        if documents:
            return iter(documents)
    return _read_yaml(text, file, first_line)


def _report(file: str, line: int, problem: str) -> Document:
    return Document(None, file, (), line, problem=problem)


def _read_json(text: str, file: str, first_line: int) -> list[Document]:
    """Read JSON objects; none where there are none, for braces are YAML too, whose messages have the line."""
    try:
        whole = _JSON_OBJECT.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return _read_json_objects(text, file, first_line)
    return [_mark_json(whole, text, file, first_line)]


def _read_json_objects(text: str, file: str, first_line: int) -> list[Document]:
    """Read objects that follow each other, as kubectl does."""
    found: list[Document] = []
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    position = _skip_blanks(text, 0)
    while position < len(text):
        line = first_line + text.count("\n", 0, position)
        try:
            value, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            if not found:
                return []
            reason = error.msg if isinstance(error, json.JSONDecodeError) else "not a value of JSON"
            place = error.pos if isinstance(error, json.JSONDecodeError) else position
            line = first_line + text.count("\n", 0, place)
            return [*found, _report(file, line, f"not JSON: {reason}")]
        found.append(_mark_json(value, text[position:end], file, line))
        position = _skip_blanks(text, end)
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _skip_blanks(text: str, position: int) -> int:
    found = _BLANK.match(text, position)
    return found.end() if found else position


def _mark_json(value: Any, text: str, file: str, first_line: int) -> Document:  # noqa: ANN401 (any JSON)
    line = first_line + text.count("\n", 0, _skip_blanks(text, 0))
    return Document(value, file, (), line, _JsonMarks(value, text, first_line))


class _JsonMarks(Mapping[int, Mapping[str | int, Mark | int]]):
    """The lines of a JSON object, found by the YAML reader when somebody asks for the first."""

    def __init__(self, value: object, text: str, first_line: int) -> None:
        self._value = value
        self._text = text
        self._first_line = first_line
        self._found: dict[int, Mapping[str | int, Mark | int]] | None = None

    @override
    def __getitem__(self, key: int) -> Mapping[str | int, Mark | int]:
        return self._find()[key]

    @override
    def __iter__(self) -> Iterator[int]:
        return iter(self._find())

    @override
    def __len__(self) -> int:
        return len(self._find())

    def _find(self) -> dict[int, Mapping[str | int, Mark | int]]:
        if self._found is None:
            # JSON may hold tabs and escapes that YAML does not take: neither moves a line.
            masked = _ESCAPE.sub("__", self._text).replace("\t", " ")
            try:
                [twin] = _read_yaml(masked, "", self._first_line)
                self._found = _align(self._value, twin)
            except (InputError, ValueError):  # no PyYAML here: its lines stay unknown
                self._found = {}
        return self._found


def _align(value: object, twin: Document) -> dict[int, Mapping[str | int, Mark | int]]:
    """The marks of a document for another that holds the same."""
    marks: dict[int, Mapping[str | int, Mark | int]] = {}
    pairs = [(value, twin.value)]
    while pairs:
        one, other = pairs.pop()
        if isinstance(one, dict) and isinstance(other, dict) and len(one) == len(other):
            marks[id(one)] = dict(zip(one, twin.marks[id(other)].values(), strict=True))
            pairs += zip(one.values(), other.values(), strict=True)
        elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
            marks[id(one)] = twin.marks[id(other)]
            pairs += zip(one, other, strict=True)
    return marks


def _read_yaml(text: str, file: str, first_line: int) -> Iterator[Document]:
    try:
        import yaml  # noqa: PLC0415 (a pod does without it)
    except ImportError:
        hint = "Install it with: pip install 'hcpcreds[manifests]'"
        raise InputError(file, ["reading YAML needs PyYAML, which is not installed"], hint=hint) from None
    # A token of Azure Pipelines would begin a comment in YAML.
    text = _TOKEN.sub("$", text) if "#{" in text else text
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
        reader = YamlReader(iter(loader.get_event, None), first_line)
        found = reader.read_documents() if len(text) <= MAX_BYTES else reader.read_items()
        for value, path, line, marks in found:
            if isinstance(value, list) and any(map(is_object, value)):
                yield _report(file, line, _BARE_LIST)
            else:
                yield Document(value, file, path, line, marks)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        places = [place.line for place in (mark, error.context_mark) if place] or [0]
        column = f" (column {mark.column + 1})" if mark else ""
        # libyaml looks ahead on a line, so it can reach a limit of its own before it reports the first level.
        is_deep = "nest" in (error.problem or "")
        problem = TOO_DEEP if is_deep else f"not YAML: {error.problem or error.context}{column}"
        yield _report(file, places[0] + first_line, _explain(problem, text, places))
    except UnusableError as error:
        yield _report(file, error.line + first_line, _explain(str(error), text, [error.line]))
    except (yaml.YAMLError, ValueError, OverflowError):  # the latter two from \U escapes of no character
        forbidden = _FORBIDDEN.search(text)
        line = text.count("\n", 0, forbidden.start()) if forbidden else 0
        yield _report(file, line + first_line, "not YAML: there are characters in it that YAML forbids")


def _explain(problem: str, text: str, places: list[int]) -> str:
    """Explain a problem with YAML: where there are placeholders, they have to be filled in first."""
    lines = text.splitlines() if len(text) <= MAX_BYTES else []
    is_template = any(is_template_line(lines[place]) for place in places if place < len(lines))
    return TEMPLATE if is_template else problem
