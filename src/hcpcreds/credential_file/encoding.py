"""The encoding of a secret's value (HyperShift's `objectEncoding`), and how to recognize it."""

import base64
import binascii
import functools
from collections.abc import Callable
from typing import Final, Literal

Encoding = Literal["utf-8", "base64", "hex"]

DER: Final = b"\x30\x82"
"""A SEQUENCE of 256 bytes to 64 KiB."""


def undo_encoding(content: bytes) -> tuple[Encoding, bytes]:
    """Recognize the encoding of JSON, PEM or DER and decode it; other content counts as utf-8."""
    text = b"".join(content.split())
    decoders: tuple[tuple[Encoding, Callable[[bytes], bytes]], ...] = (
        ("hex", binascii.unhexlify),
        ("base64", functools.partial(base64.b64decode, validate=True)),
    )
    for encoding, decode in decoders:
        try:
            decoded = decode(text)
        except (binascii.Error, ValueError):
            continue
        if decoded.startswith(DER) or decoded.lstrip().startswith((b"{", b"-----BEGIN ")):
            return encoding, decoded
    return "utf-8", content
