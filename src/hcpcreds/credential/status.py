"""The status of a credential, for people and for metrics; it never contains a secret."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from hcpcreds.watch import WatchMode


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviousCertificate:
    """The certificate that the current one replaced; kept while it is valid."""

    thumbprint: str
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The status of a credential. Before the first valid file, only `path` and `watch_mode` are set."""

    path: str
    client_id: str | None
    tenant_id: str | None
    thumbprint: str | None
    """SHA-256 of the current certificate in lower-case hex."""
    not_before: datetime | None
    not_after: datetime | None
    generation: int
    """0 before the first credential, 1 for the first, and one more after each reload."""
    last_reload: datetime | None
    last_error: str | None
    """Why the file in its present state is not the current credential; None if it is."""
    rejected: int
    """Number of contents of the file that were not accepted."""
    watch_mode: WatchMode
    previous: PreviousCertificate | None
    refused: bool
    """Whether the authority refuses the current certificate; the previous one is used while it is valid."""
    renew_after: datetime | None = None
    """When the renewal of the current certificate is due; None if the file does not say."""
    gone: str | None = None
    """The authority's message if it does not know the identity or its tenant; otherwise None."""
    rejections: Mapping[str, int] = field(default_factory=dict)
    """The same number by reason: `unusable`, `expired`, `not_yet_valid`."""
    first_token: datetime | None = None
    """When the authority first gave a token for the current certificate; None if it has not yet."""
