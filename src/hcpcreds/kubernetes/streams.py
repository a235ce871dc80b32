"""A stream of manifests, split into the text of each document.

kubectl's YAML reader splits at lines of ``---`` before it parses anything (k8s.io/apimachinery,
pkg/util/yaml/decoder.go), and its JSON decoder reads one object after another. So does this one: a document
that cannot be read stops none of the others, and no more than one is in memory.
"""

import codecs
import io
import re
from collections.abc import Iterator
from typing import Final

import msgspec

MAX_CHUNK: Final = 128 * 1024 * 1024
"""A List may hold more than one object's limit, but it has to fit into memory as text."""
BYTE_ORDER_MARK: Final = "\ufeff"

_PIECE: Final = 1 << 16
_MARK: Final = BYTE_ORDER_MARK.encode()
_BEGINS: Final = re.compile(rb"(?:\xef\xbb\xbf)?---(?=[ \t\r\n]|\Z)")
_NO_CONTENT: Final = re.compile(rb"(?:\xef\xbb\xbf)?(?:(?:---)?\s*(?:#.*)?(?:\r?\n)?\Z|%(?:YAML|TAG)\s)")
_ENCODINGS: Final = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


class Chunk(msgspec.Struct, frozen=True):
    """The text of one document, with the ``---`` and the comments before it."""

    text: str
    first_line: int
    """Of the stream, from 1."""
    problem: str = ""
    """Why the text cannot be used. Joined, the texts of a stream are that stream all the same."""
    problem_line: int = 0


def open_stream(source: str | bytes) -> io.BufferedReader:
    """Open text or bytes as a stream."""
    content = source.encode("utf-8", "surrogatepass") if isinstance(source, str) else source
    return io.BufferedReader(io.BytesIO(content))


def detect_encoding(stream: io.BufferedReader) -> str:
    """The encoding of a stream that has not been read yet: UTF-16 by its byte order mark, else UTF-8."""
    return _ENCODINGS.get(stream.peek(2)[:2], "utf-8")


def split_stream(stream: io.BufferedReader) -> Iterator[Chunk]:
    """Split a stream of YAML documents or JSON objects.

    Yields:
        Every part of the stream, in order. One that is not text, or larger than `MAX_CHUNK`, has a problem;
        the latter is the last, for it may be endless.
    """
    encoding = detect_encoding(stream)
    collected = _Collected(1)
    try:
        for piece, begins_line in _read_pieces(stream, encoding):
            if begins_line and collected.ends_before(piece):
                yield collected.finish()
                collected = _Collected(collected.first_line + collected.lines)
            collected.add(piece)
            if collected.size > MAX_CHUNK:
                yield Chunk("", collected.first_line, f"larger than {MAX_CHUNK // 1024**2} MiB")
                return
    except UnicodeDecodeError:
        yield Chunk("", collected.first_line, "not text: it is not UTF-16, as its byte order mark says")
        return
    if collected.pieces:
        yield collected.finish()


def _read_pieces(stream: io.BufferedReader, encoding: str) -> Iterator[tuple[bytes, bool]]:
    """Read lines as UTF-8, long ones in pieces; and whether each piece begins a line."""
    if encoding == "utf-8":
        read = stream.readline
    else:
        text = io.TextIOWrapper(stream, encoding, newline="\n")

        def read(size: int | None = -1, /) -> bytes:
            return text.readline(-1 if size is None else size).encode("utf-8", "surrogatepass")

    begins_line = True
    while piece := read(_PIECE):
        yield piece, begins_line
        begins_line = piece.endswith(b"\n")


class _Collected:
    """What has been read of a document."""

    def __init__(self, first_line: int) -> None:
        self.first_line = first_line
        self.pieces: list[bytes] = []
        self.lines = 0
        self.size = 0
        self._has_content = False
        self._is_json = False
        self._is_closed = False

    def add(self, piece: bytes) -> None:
        self.pieces.append(piece)
        self.size += len(piece)
        self.lines += piece.endswith(b"\n")
        if not self._has_content and not _NO_CONTENT.match(piece):
            self._has_content = True
            self._is_json = piece.removeprefix(_MARK).lstrip().startswith(b"{")
        if self._is_json:
            self._is_closed = piece.rstrip().endswith(b"}") or (self._is_closed and not piece.strip())

    def ends_before(self, line: bytes) -> bool:
        """Whether a line begins another document."""
        if not self._has_content:  # a byte order mark counts only where a text begins
            return bool(self.pieces) and line.startswith(_MARK)
        return _BEGINS.match(line) is not None or (
            self._is_closed and line.removeprefix(_MARK).startswith(b"{")
        )

    def finish(self) -> Chunk:
        content = b"".join(self.pieces)
        try:
            return Chunk(content.decode(), self.first_line)
        except UnicodeDecodeError as error:
            line = self.first_line + content.count(b"\n", 0, error.start)
            text = content.decode("utf-8", "surrogateescape")
            return Chunk(text, self.first_line, "not text: it is not UTF-8", line)
