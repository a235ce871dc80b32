"""Limits the length of responses while they are decompressed."""

import zlib
from typing import Any, Final

from hcpcreds.http.failures import UnusableAnswerError

MAX_TOKEN_ANSWER: Final = 1024 * 1024
"""Bytes of a decompressed token response; real ones have about 2 kB."""
MAX_ANSWER: Final = 4 * 1024 * 1024
"""Bytes of a decompressed response of the data plane or Key Vault; real ones have less than 100 kB."""
CHUNK: Final = 64 * 1024
"""Bytes to read at a time."""
ACCEPT_ENCODING: Final = "gzip, deflate"
"""The supported encodings. The HTTP libraries would add others, depending on what is installed."""


class Unpacker:
    """Collects the body of a response in chunks, and decompresses it.

    Args:
        encoding: The response's Content-Encoding, if any.
        limit: Maximum number of bytes in the body, both compressed and decompressed.

    Raises:
        UnusableAnswerError: The request did not allow this encoding.
    """

    def __init__(self, encoding: str | None, *, limit: int) -> None:
        encoding = (encoding or "identity").strip().lower()
        if encoding not in {"identity", "gzip", "x-gzip", "deflate"}:
            raise UnusableAnswerError("unusable response: the request did not allow its Content-Encoding")
        self._encoding = encoding
        self._unpack: Any = None
        self._head = b""
        self._limit = limit
        self._read = 0
        self._body = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Add the next chunk.

        Raises:
            UnusableAnswerError: The body is too long, or does not have its encoding.
        """
        self._read += len(chunk)
        self._body += chunk if self._encoding == "identity" else self._decompress(chunk)
        if max(self._read, len(self._body)) > self._limit:
            raise UnusableAnswerError(f"unusable response: it is longer than {self._limit // 1024} KiB")

    def finish(self) -> bytes:
        """Return the complete body.

        Raises:
            UnusableAnswerError: The end of the body is missing.
        """
        if self._encoding != "identity" and self._read and not (self._unpack and self._unpack.eof):
            raise UnusableAnswerError("unusable response: it is truncated")
        return bytes(self._body)

    def _decompress(self, chunk: bytes) -> bytes:
        if self._unpack is None:
            chunk = self._head = self._head + chunk
            if len(chunk) < 2:  # noqa: PLR2004 (the length of zlib's header)
                return b""
            self._unpack = zlib.decompressobj(self._choose_format(chunk))
        # One byte more than the limit, so that `feed` notices.
        room = self._limit - len(self._body) + 1
        try:
            unpacked: bytes = self._unpack.decompress(chunk, room)
        except zlib.error:
            raise UnusableAnswerError("unusable response: it cannot be decompressed") from None
        return unpacked

    def _choose_format(self, head: bytes) -> int:
        if self._encoding != "deflate":
            return zlib.MAX_WBITS | 16
        # By RFC 9110 this is zlib's format, but some servers omit its header.
        has_header = head[0] & 0x0F == zlib.DEFLATED and int.from_bytes(head[:2]) % 31 == 0
        return zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS
