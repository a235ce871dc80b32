"""How long an answer may be, counted while it is unpacked."""

import zlib
from typing import Any, Final

from hcpcreds.http.failures import UnusableAnswerError

MAX_TOKEN_ANSWER: Final = 1024 * 1024
"""Bytes of a token answer, unpacked; real ones have some 2 kB."""
MAX_ANSWER: Final = 4 * 1024 * 1024
"""Bytes of an answer of the data plane or of Key Vault, unpacked; real ones have less than 100 kB."""
CHUNK: Final = 64 * 1024
"""Bytes that are read at a time."""
ACCEPT_ENCODING: Final = "gzip, deflate"
"""What is understood. The HTTP libraries would ask for more, as far as more is installed."""


class Unpacker:
    """Collects an answer's body piece by piece, and unpacks it.

    Args:
        encoding: The answer's Content-Encoding, if any.
        limit: Bytes that the body may have, packed and unpacked.

    Raises:
        UnusableAnswerError: It is packed in a way that was not asked for.
    """

    def __init__(self, encoding: str | None, *, limit: int) -> None:
        encoding = (encoding or "identity").strip().lower()
        if encoding not in {"identity", "gzip", "x-gzip", "deflate"}:
            raise UnusableAnswerError("no usable answer: its Content-Encoding was not asked for")
        self._encoding = encoding
        self._unpack: Any = None
        self._head = b""
        self._limit = limit
        self._read = 0
        self._body = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Take the next piece.

        Raises:
            UnusableAnswerError: The body is too long, or not packed as it says.
        """
        self._read += len(chunk)
        self._body += chunk if self._encoding == "identity" else self._decompress(chunk)
        if max(self._read, len(self._body)) > self._limit:
            raise UnusableAnswerError(f"no usable answer: it is longer than {self._limit // 1024} KiB")

    def finish(self) -> bytes:
        """Say the whole body.

        Raises:
            UnusableAnswerError: Its end is missing.
        """
        if self._encoding != "identity" and self._read and not (self._unpack and self._unpack.eof):
            raise UnusableAnswerError("no usable answer: it ends too early")
        return bytes(self._body)

    def _decompress(self, chunk: bytes) -> bytes:
        if self._unpack is None:
            chunk = self._head = self._head + chunk
            if len(chunk) < 2:  # noqa: PLR2004 (what the header of zlib has)
                return b""
            self._unpack = zlib.decompressobj(self._choose_format(chunk))
        # One more than there may be, so that too much is seen.
        room = self._limit - len(self._body) + 1
        try:
            unpacked: bytes = self._unpack.decompress(chunk, room)
        except zlib.error:
            raise UnusableAnswerError("no usable answer: it cannot be unpacked") from None
        return unpacked

    def _choose_format(self, head: bytes) -> int:
        if self._encoding != "deflate":
            return zlib.MAX_WBITS | 16
        # By RFC 9110 it is zlib's format; some servers leave the header of that out.
        has_header = head[0] & 0x0F == zlib.DEFLATED and int.from_bytes(head[:2]) % 31 == 0
        return zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS
