"""A DER reader, one level at a time: enough to inspect a secret before an expensive parser opens it."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from typing_extensions import override

INTEGER: Final = 0x02
OCTET_STRING: Final = 0x04
OID: Final = 0x06
SEQUENCE: Final = 0x30

_INDEFINITE: Final = 0x80
_MAX_LENGTH_BYTES: Final = 4


class Element(NamedTuple):
    """A tag with its content."""

    tag: int
    content: bytes

    @override
    def __repr__(self) -> str:
        return f"Element(tag={self.tag}, {len(self.content)} bytes)"


class IndefiniteLengthError(ValueError):
    """The encoding is BER with an indefinite length."""


def read_elements(data: bytes) -> Iterator[Element]:
    """Read consecutive elements, without parsing their contents.

    Raises:
        ValueError: The data is not DER.
    """
    at = 0
    while at < len(data):
        if len(data) - at < 2:  # noqa: PLR2004 (a tag and a length)
            raise ValueError("cut off")
        tag, length = data[at], data[at + 1]
        at += 2
        if length == _INDEFINITE:
            raise IndefiniteLengthError
        if length > _INDEFINITE:
            count = length - _INDEFINITE
            if count > _MAX_LENGTH_BYTES:
                raise ValueError("too long")
            length = int.from_bytes(data[at : at + count])
            at += count
        if at + length > len(data):
            raise ValueError("cut off")
        yield Element(tag, data[at : at + length])
        at += length


def read_first(data: bytes, tag: int) -> bytes:
    """Read the content of the first element, and ignore the rest.

    Raises:
        ValueError: The element has another tag, or the data is not DER.
    """
    for element in read_elements(data):
        if element.tag == tag:
            return element.content
        break
    raise ValueError("another type")


def read_all(data: bytes, *tags: int) -> list[bytes]:
    """Read the contents of all elements, the first of which must have these tags.

    Raises:
        ValueError: The elements have other tags, or the data is not DER.
    """
    elements = list(read_elements(data))
    if tuple(each.tag for each in elements[: len(tags)]) != tags:
        raise ValueError("another type")
    return [each.content for each in elements]


def encode_oid(text: str) -> bytes:
    """Encode the content of an OBJECT IDENTIFIER from its dotted form."""
    first, second, *numbers = map(int, text.split("."))
    encoded = bytearray([40 * first + second])
    for number in numbers:
        groups = [number & 0x7F]
        while number := number >> 7:
            groups.append(number & 0x7F | 0x80)
        encoded += bytes(groups[::-1])
    return bytes(encoded)
