"""How a credential stands, for people and for metrics; never a secret."""

from dataclasses import dataclass
from datetime import datetime

from hcpcreds.watch import WatchMode


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviousCertificate:
    """The certificate before the current one, kept while it is valid."""

    thumbprint: str
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How a source stands. All but `path` and `watch_mode` is empty until a first good file was read."""

    path: str
    client_id: str | None
    tenant_id: str | None
    thumbprint: str | None
    """SHA-256 of the current certificate, lower-case hex."""
    not_before: datetime | None
    not_after: datetime | None
    generation: int
    """1 for the first credential taken, one more for each reload; 0 when there is none yet."""
    last_reload: datetime | None
    last_error: str | None
    """Why the file as it is now is not the current credential; None when it is."""
    rejected: int
    """How many contents of the file were not taken."""
    watch_mode: WatchMode
    previous: PreviousCertificate | None
    refused: bool
    """The authority refuses the current certificate, and the previous one serves while it is valid."""
    gone: str | None = None
    """What the authority says since it does not know the identity or its tenant; None while it knows both."""
