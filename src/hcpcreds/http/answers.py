"""How long an answer may be, counted while it is unpacked."""

import zlib
from typing import Final

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
        # 32: a zlib or gzip header, whichever comes; "deflate" means the first, by RFC 9110.
        self._unpack = None if encoding == "identity" else zlib.decompressobj(zlib.MAX_WBITS | 32)
        self._may_be_raw = encoding == "deflate"
        self._limit = limit
        self._read = 0
        self._body = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Take the next piece.

        Raises:
            UnusableAnswerError: The body is too long, or not packed as it says.
        """
        self._read += len(chunk)
        self._body += chunk if self._unpack is None else self._decompress(chunk)
        if max(self._read, len(self._body)) > self._limit:
            raise UnusableAnswerError(f"no usable answer: it is longer than {self._limit // 1024} KiB")

    def finish(self) -> bytes:
        """Say the whole body.

        Raises:
            UnusableAnswerError: Its end is missing.
        """
        if self._unpack is not None and self._read and not self._unpack.eof:
            raise UnusableAnswerError("no usable answer: it ends too early")
        return bytes(self._body)

    def _decompress(self, chunk: bytes) -> bytes:
        assert self._unpack is not None  # noqa: S101 (feed asks)
        # One more than there may be, so that too much is seen.
        room = self._limit - len(self._body) + 1
        try:
            return self._unpack.decompress(chunk, room)
        except zlib.error:
            if not self._may_be_raw or self._body or self._read > len(chunk):
                raise UnusableAnswerError("no usable answer: it cannot be unpacked") from None
        # Some servers leave the zlib header out.
        self._may_be_raw = False
        self._unpack = zlib.decompressobj(-zlib.MAX_WBITS)
        return self._decompress(chunk)
