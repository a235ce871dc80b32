"""The limits of a server."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of a server. A client that exceeds one is refused; the others are served."""

    connections: int = 1000
    """Maximum number of open connections; additional ones are closed immediately."""
    header_bytes: int = 16 * 1024
    body_bytes: int = 64 * 1024
    header_seconds: float = 10.0
    """From the beginning of a connection (with its TLS handshake) or request to the end of the headers."""
    request_seconds: float = 30.0
    """From the beginning of a request to the last byte of its response."""
    idle_seconds: float = 120.0
    """How long a connection stays open between two requests; 0 closes it after the first response. Longer
    than the 90 s after which Go's clients, the API server among them, close idle connections: otherwise
    requests would arrive on connections that are being closed."""
