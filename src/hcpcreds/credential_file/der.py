"""DER, read one level at a time: enough to look into a secret before anything expensive opens it."""

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
    """A value with its tag."""

    tag: int
    content: bytes

    @override
    def __repr__(self) -> str:
        return f"Element(tag={self.tag}, {len(self.content)} bytes)"


class IndefiniteLengthError(ValueError):
    """BER: the length is left open."""


def read_elements(data: bytes) -> Iterator[Element]:
    """Read the elements that stand one after the other, without looking into them.

    Raises:
        ValueError: What comes next is not DER.
    """
    at = 0
    while at < len(data):
        if len(data) - at < 2:  # noqa: PLR2004 (tag and length)
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
    """Read the content of the first element; what follows it does not matter.

    Raises:
        ValueError: It has another tag, or is not DER.
    """
    for element in read_elements(data):
        if element.tag == tag:
            return element.content
        break
    raise ValueError("another type")


def read_all(data: bytes, *tags: int) -> list[bytes]:
    """Read the contents of elements that must begin with these tags; more may follow.

    Raises:
        ValueError: They do not, or what is there is not DER.
    """
    elements = list(read_elements(data))
    if tuple(each.tag for each in elements[: len(tags)]) != tags:
        raise ValueError("another type")
    return [each.content for each in elements]
