"""The renewer's Prometheus metrics."""

import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from hcpcreds.renewal.outcomes import Observer, Outcome, Result, Walk
from hcpcreds.serving import Limits, ListenAddress, Route, Server, ServingCertificate, serve
from hcpcreds.serving.metrics import build_metrics_page
from hcpcreds.vault.naming import get_host
from hcpcreds.vault.secret import StoredCredential

_LIMITS: Final = Limits(connections=32, header_seconds=10.0, request_seconds=10.0, idle_seconds=0.0)


@dataclass(slots=True)
class _Vault:
    """The state of a vault that this process walks over."""

    completed_at: datetime
    """When the last complete walk ended; before that, when the first walk began."""
    credentials: dict[str, StoredCredential] = field(default_factory=dict)
    """By the secret's name in lower case, because names are case-insensitive."""


class RenewalMetrics(Observer, Collector):
    """Collects the results of walks. Times are Unix seconds, as those of Prometheus' `time()`.

    - `hcpcreds_credential_not_after_timestamp_seconds{vault,secret}` and
      `hcpcreds_credential_renewable_until_timestamp_seconds{vault,secret}`.
    - `hcpcreds_credentials{vault,state}`: the number of `dated`, `undated` and `disabled` ones.
    - `hcpcreds_last_complete_walk_timestamp_seconds{vault}`: when the last complete walk ended; before
      that, when the first walk began, so that the age grows from the start even if no walk completes.
    - `hcpcreds_renewals_total{vault,result}`: one for each `Result`, from the first walk over the vault.

    `vault` is the host of the vault. Unknown dates and disabled secrets, which nobody can use, have no
    series; `hcpcreds_credentials` counts them. A deleted secret is shown until the next complete walk.

    Call the observer's methods on one event loop; `collect` may run in any thread.

    Args:
        now: Clock giving an aware UTC time, the same as that of the renewers.
    """

    def __init__(self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._lock = threading.Lock()  # held only to change or copy a dictionary
        self._vaults: dict[str, _Vault] = {}
        self._renewals: dict[str, Counter[Result]] = {}
        self.registry: Final = CollectorRegistry(auto_describe=True)
        """Holds these metrics and those of the process."""
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    @override
    def walk_started(self, vault_url: str) -> None:
        with self._lock:
            self._vaults.setdefault(vault_url, _Vault(self._now()))
            self._renewals.setdefault(vault_url, Counter())

    @override
    def listed(self, vault_url: str, credential: StoredCredential, *, due: bool) -> None:
        with self._lock:
            if vault := self._vaults.get(vault_url):
                vault.credentials[credential.name.lower()] = credential

    @override
    def settled(self, vault_url: str, outcome: Outcome) -> None:
        with self._lock:
            self._renewals.setdefault(vault_url, Counter())[outcome.result] += 1
            if vault := self._vaults.get(vault_url):
                vault.credentials[outcome.credential.name.lower()] = outcome.credential

    @override
    def walk_finished(self, walk: Walk) -> None:
        credentials = {name.lower(): credential for name, credential in walk.credentials.items()}
        with self._lock:
            vault = self._vaults.get(walk.vault_url)
            if vault is None:
                return
            if walk.complete:
                vault.credentials = credentials
                vault.completed_at = walk.finished_at
            else:  # the walk did not reach all of them
                vault.credentials.update(credentials)

    def forget(self, vault_url: str) -> None:
        """Stop showing a vault that another replica walks over now, until a walk over it begins again.

        Its counters stay, and renewals in progress are still counted.
        """
        with self._lock:
            self._vaults.pop(vault_url, None)

    @override
    def collect(self) -> Iterable[Metric]:
        with self._lock:
            vaults = [
                (get_host(url), vault.completed_at, list(vault.credentials.values()))
                for url, vault in self._vaults.items()
            ]
            renewals = [(get_host(url), counts.copy()) for url, counts in self._renewals.items()]
        yield from _collect_credentials(vaults)
        walked = GaugeMetricFamily(
            "hcpcreds_last_complete_walk_timestamp_seconds",
            "When the last complete walk over the vault ended; before that, when the first walk began.",
            labels=["vault"],
        )
        for host, completed_at, _ in vaults:
            walked.add_metric([host], completed_at.timestamp())
        yield walked
        total = CounterMetricFamily(
            "hcpcreds_renewals",
            "Credentials that were due or could not be loaded, by result.",
            labels=["vault", "result"],
        )
        for host, counts in renewals:
            for result in Result:
                total.add_metric([host, result.value], counts[result])
        yield total


def _collect_credentials(
    vaults: list[tuple[str, datetime, list[StoredCredential]]],
) -> Iterator[GaugeMetricFamily]:
    expiry = GaugeMetricFamily(
        "hcpcreds_credential_not_after_timestamp_seconds",
        "When the stored credential expires.",
        labels=["vault", "secret"],
    )
    renewable = GaugeMetricFamily(
        "hcpcreds_credential_renewable_until_timestamp_seconds",
        "When the stored credential can no longer be renewed.",
        labels=["vault", "secret"],
    )
    number = GaugeMetricFamily(
        "hcpcreds_credentials",
        "Stored credentials by state: both dates known, a date unknown, or disabled.",
        labels=["vault", "state"],
    )
    for host, _, credentials in vaults:
        states = Counter(dict.fromkeys(("dated", "undated", "disabled"), 0))
        for credential in credentials:
            states[_get_state(credential)] += 1
            if not credential.enabled:
                continue
            for family, at in ((expiry, credential.expires_on), (renewable, credential.cannot_renew_after)):
                if at is not None:
                    family.add_metric([host, credential.name], at.timestamp())
        for state, count in states.items():
            number.add_metric([host, state], count)
    yield from (expiry, renewable, number)


def _get_state(credential: StoredCredential) -> str:
    if not credential.enabled:
        return "disabled"
    return "dated" if credential.expires_on and credential.cannot_renew_after else "undated"


@asynccontextmanager
async def serve_metrics(
    address: ListenAddress,
    metrics: RenewalMetrics,
    *,
    certificate: ServingCertificate | None = None,
    is_draining: Callable[[], bool] = lambda: False,
    monotonic: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Server]:
    """Serve `/metrics`, `/healthz` and `/readyz` until the context is left.

    At most 32 connections are open at once, each for one request and 10 seconds at most: otherwise anyone who
    can reach the port could hold them all.

    Args:
        address: Where to listen.
        metrics: The metrics to serve.
        certificate: Serve HTTPS with it instead of HTTP.
        is_draining: Whether the process is about to end, so that `/readyz` fails.
        monotonic: Clock of the connections, in seconds.

    Raises:
        InputError: Nothing can listen at the address.
    """
    routes = {"/metrics": Route(build_metrics_page(metrics.registry))}
    async with serve(
        address, routes, certificate=certificate, limits=_LIMITS, is_draining=is_draining, monotonic=monotonic
    ) as server:
        yield server
