"""A stream of manifests, split into the text of each document.

kubectl's YAML reader splits at lines of `---` before it parses anything (k8s.io/apimachinery,
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

_BLOCK: Final = 1 << 16
_MARK: Final = BYTE_ORDER_MARK.encode()
_MAY_BEGIN: Final = re.compile(rb"^(?:\xef\xbb\xbf)?(?:---(?=[ \t\r\n]|\Z)|\{)|^\xef\xbb\xbf", re.MULTILINE)
"""The beginning of a line that another document may begin with."""
_NO_CONTENT: Final = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:(?:---)?[ \t\r]*(?:#[^\n]*)?\n|%(?:YAML|TAG)[ \t][^\n]*\n)*(?:---)?[ \t\r]*"
)
_ENCODINGS: Final = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


class Chunk(msgspec.Struct, frozen=True):
    """The text of one document, with the `---` and the comments before it."""

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
    collected = _Collected(1)
    try:
        for block, begins_line in _read_blocks(stream, detect_encoding(stream)):
            start = 0
            for found in _MAY_BEGIN.finditer(block):
                if found.start() == 0 and not begins_line:
                    continue
                collected.add(block[start : found.start()])
                start = found.start()
                if collected.ends_before(found[0]):
                    yield collected.finish()
                    collected = _Collected(collected.first_line + collected.lines)
            collected.add(block[start:])
            if collected.size > MAX_CHUNK:
                yield Chunk("", collected.first_line, f"larger than {MAX_CHUNK // 1024**2} MiB")
                return
    except UnicodeDecodeError:
        yield Chunk("", collected.first_line, "not text: it is not UTF-16, as its byte order mark says")
        return
    if collected.size:
        yield collected.finish()


def _read_blocks(stream: io.BufferedReader, encoding: str) -> Iterator[tuple[bytes, bool]]:
    """Read whole lines as UTF-8, very long ones in parts; and whether each block begins a line."""
    begins_line, rest = True, b""
    for block in _decode_blocks(stream, encoding):
        end = block.rfind(b"\n") + 1
        if end or len(rest) > _BLOCK:
            end = end or len(block)
            yield rest + block[:end], begins_line
            begins_line, rest = block[:end].endswith(b"\n"), block[end:]
        else:
            rest += block
    if rest:
        yield rest, begins_line


def _decode_blocks(stream: io.BufferedReader, encoding: str) -> Iterator[bytes]:
    if encoding == "utf-8":
        while block := stream.read(_BLOCK):
            yield block
    else:
        text = io.TextIOWrapper(stream, encoding, newline="")
        while part := text.read(_BLOCK):
            yield part.encode("utf-8", "surrogatepass")


class _Collected:
    """The part of a document that has been read so far."""

    def __init__(self, first_line: int) -> None:
        self.first_line = first_line
        self.lines = 0
        self.size = 0
        self._pieces: list[bytes] = []
        self._has_content = False
        self._is_json = False

    def add(self, piece: bytes) -> None:
        if not piece:
            return
        self._pieces.append(piece)
        self.size += len(piece)
        self.lines += piece.count(b"\n")
        if not self._has_content:
            found = _NO_CONTENT.match(piece)
            end = found.end() if found else 0
            self._has_content = end < len(piece)
            self._is_json = piece.startswith(b"{", end)

    def ends_before(self, beginning: bytes) -> bool:
        """Whether a line that begins so begins another document."""
        if not self._has_content:  # a byte order mark counts only where a text begins
            return bool(self._pieces) and beginning.startswith(_MARK)
        if beginning.endswith(b"---"):
            return True
        return beginning.endswith(b"{") and self._is_json and self._pieces[-1].rstrip().endswith(b"}")

    def finish(self) -> Chunk:
        content = b"".join(self._pieces)
        try:
            return Chunk(content.decode(), self.first_line)
        except UnicodeDecodeError as error:
            line = self.first_line + content.count(b"\n", 0, error.start)
            text = content.decode("utf-8", "surrogateescape")
            return Chunk(text, self.first_line, "not text: it is not UTF-8", line)
