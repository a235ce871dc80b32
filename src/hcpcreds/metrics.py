"""Prometheus metrics of the credentials in this process. Needs the extra `metrics`.

Example:
    >>> from hcpcreds.metrics import CredentialMetrics
    >>> metrics = CredentialMetrics()  # in prometheus_client's own registry
    >>> metrics.add("ingress", credential)  # of `hcpcreds` or of `hcpcreds.aio`
"""

import weakref
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import accumulate
from typing import Final, NamedTuple

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from typing_extensions import override

from hcpcreds.credential.base import CredentialBase
from hcpcreds.credential.counts import BOUNDS, TokenCounts
from hcpcreds.credential.status import Status
from hcpcreds.errors import InputError

__all__ = ["CredentialMetrics"]

_MODES: Final = ("watching", "polling", "stopped")
_REASONS: Final = ("unusable", "expired", "not_yet_valid")
_RESULTS: Final = ("granted", "refused", "unavailable")
_LABELS: Final = ["credential"]


class CredentialMetrics(Collector):
    """Collects the state of credentials. Times are Unix seconds, as those of Prometheus' `time()`.

    Each metric has the label `credential`, the name that `add` is given.

    - `hcpcreds_certificate_not_before_timestamp_seconds`, `hcpcreds_certificate_not_after_timestamp_seconds`:
      the current credential's, as its file states them.
    - `hcpcreds_certificate_info{thumbprint}`: 1; the thumbprint is the SHA-256 of the current certificate.
    - `hcpcreds_certificate_generation`: 0 before the first credential, and one more with each.
    - `hcpcreds_certificate_loaded_timestamp_seconds`: when the current one was accepted.
    - `hcpcreds_certificate_first_token_timestamp_seconds`: when the authority first gave a token for it.
    - `hcpcreds_certificate_refused`: 1 while the authority refuses it, and the previous one is used.
    - `hcpcreds_identity_gone`: 1 while the authority does not know the identity.
    - `hcpcreds_file_faulty`: 1 while the file, as it is now, is not the current credential.
    - `hcpcreds_file_rejections_total{reason}`: contents of the file that were not accepted.
    - `hcpcreds_watch_mode{mode}`: 1 for the way in which changes of the file are noticed.
    - `hcpcreds_authority_requests_total{result}`, `hcpcreds_authority_request_seconds`: requests for tokens.
    - `hcpcreds_token_cache_hits_total`: tokens from memory.

    Values that are not known have no series. `collect` may run in any thread.

    Args:
        registry: Where to register; None registers nowhere.

    Raises:
        ValueError: The registry has such metrics already.
    """

    def __init__(self, registry: CollectorRegistry | None = REGISTRY) -> None:
        self._credentials: dict[str, weakref.ref[CredentialBase]] = {}
        if registry is not None:
            registry.register(self)

    def add(self, name: str, credential: CredentialBase) -> None:
        """Show a credential until it is closed.

        Args:
            name: Its name in the label `credential`.
            credential: The credential, of either kind, for sync or asyncio code.

        Raises:
            InputError: Another open credential has this name.
        """
        known = self._credentials.get(name)
        other = None if known is None else known()
        if other is not None and other is not credential and not other.is_closed:
            raise InputError("name", [f"{name} is the name of another credential"])
        self._credentials[name] = weakref.ref(credential)

    @override
    def collect(self) -> Iterable[Metric]:
        found = []
        for name, reference in self._credentials.copy().items():
            credential = reference()
            if credential is None or credential.is_closed:
                self._credentials.pop(name, None)
            else:
                found.append(_Row(name, credential.status(), credential.counts))
        return _collect(found)


class _Row(NamedTuple):
    name: str
    status: Status
    counts: TokenCounts


def _collect(rows: list[_Row]) -> Iterator[Metric]:
    for name, text, read in _GAUGES:
        gauge = GaugeMetricFamily(f"hcpcreds_{name}", text, labels=_LABELS)
        for row in rows:
            value = read(row.status)
            if value is not None:
                gauge.add_metric([row.name], value.timestamp() if isinstance(value, datetime) else value)
        yield gauge
    info = GaugeMetricFamily(
        "hcpcreds_certificate_info",
        "The current certificate, by the SHA-256 of its DER.",
        labels=[*_LABELS, "thumbprint"],
    )
    mode = GaugeMetricFamily(
        "hcpcreds_watch_mode", "How changes of the file are noticed.", labels=[*_LABELS, "mode"]
    )
    rejections = CounterMetricFamily(
        "hcpcreds_file_rejections",
        "Contents of the file that were not accepted, by reason.",
        labels=[*_LABELS, "reason"],
    )
    requests = CounterMetricFamily(
        "hcpcreds_authority_requests",
        "Requests to the authority for a token, by result.",
        labels=[*_LABELS, "result"],
    )
    hits = CounterMetricFamily("hcpcreds_token_cache_hits", "Tokens from memory.", labels=_LABELS)
    seconds = HistogramMetricFamily(
        "hcpcreds_authority_request_seconds", "How long requests to the authority took.", labels=_LABELS
    )
    for row in rows:
        if row.status.thumbprint is not None:
            info.add_metric([row.name, row.status.thumbprint], 1)
        for each in _MODES:
            mode.add_metric([row.name, each], row.status.watch_mode == each)
        for each in _REASONS:
            rejections.add_metric([row.name, each], row.status.rejections.get(each, 0))
        for each in _RESULTS:
            requests.add_metric([row.name, each], row.counts.results[each])
        hits.add_metric([row.name], row.counts.hits)
        bounds = (*map(str, BOUNDS), "+Inf")
        buckets = list(zip(bounds, map(float, accumulate(row.counts.buckets)), strict=True))
        seconds.add_metric([row.name], buckets, row.counts.seconds)
    yield from (info, mode, rejections, requests, hits, seconds)


_GAUGES: Final[tuple[tuple[str, str, Callable[[Status], datetime | float | None]], ...]] = (
    (
        "certificate_not_before_timestamp_seconds",
        "When the current credential becomes valid.",
        lambda status: status.not_before,
    ),
    (
        "certificate_not_after_timestamp_seconds",
        "When the current credential expires.",
        lambda status: status.not_after,
    ),
    (
        "certificate_generation",
        "0 before the first credential, and one more with each.",
        lambda status: status.generation,
    ),
    (
        "certificate_loaded_timestamp_seconds",
        "When the current credential was accepted.",
        lambda status: status.last_reload,
    ),
    (
        "certificate_first_token_timestamp_seconds",
        "When the authority first gave a token for the current credential.",
        lambda status: status.first_token,
    ),
    (
        "certificate_refused",
        "Whether the authority refuses the current credential, and the previous one is used.",
        lambda status: status.refused,
    ),
    (
        "identity_gone",
        "Whether the authority does not know the identity.",
        lambda status: status.gone is not None,
    ),
    (
        "file_faulty",
        "Whether the file, as it is now, is not the current credential.",
        lambda status: status.last_error is not None,
    ),
)
