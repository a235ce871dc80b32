"""The renewer's Prometheus metrics."""

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from socket import AI_PASSIVE, SHUT_RDWR, SOCK_STREAM, getaddrinfo, has_dualstack_ipv6
from socketserver import ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from hcpcreds.errors import InputError
from hcpcreds.renewal.outcomes import Observer, Outcome, Result, Walk
from hcpcreds.vault.naming import get_host
from hcpcreds.vault.secret import StoredCredential

_HIGHEST_PORT: Final = 65535
_REQUEST_SECONDS: Final = 10
_MOST_CONNECTIONS: Final = 32
_BACKLOG: Final = 128


@dataclass(slots=True)
class _Vault:
    """The state of a vault that this process walks over."""

    completed_at: datetime
    """When the last complete walk ended; before that, when the first walk began."""
    credentials: dict[str, StoredCredential] = field(default_factory=dict)
    """By the secret's name in lower case, because names are case-insensitive."""


class RenewalMetrics(Observer, Collector):
    """Collects the results of walks. Times are Unix seconds, as those of Prometheus' `time()`.

    - ``hcpcreds_credential_not_after_timestamp_seconds{vault,secret}`` and
      ``hcpcreds_credential_renewable_until_timestamp_seconds{vault,secret}``.
    - ``hcpcreds_credentials{vault,state}``: the number of ``dated``, ``undated`` and ``disabled`` ones.
    - ``hcpcreds_last_complete_walk_timestamp_seconds{vault}``: when the last complete walk ended; before
      that, when the first walk began, so that the age grows from the start even if no walk completes.
    - ``hcpcreds_renewals_total{vault,result}``: one for each `Result`, from the first walk over the vault.

    ``vault`` is the host of the vault. Unknown dates and disabled secrets, which nobody can use, have no
    series; ``hcpcreds_credentials`` counts them. A deleted secret is shown until the next complete walk.

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


class _Handler(WSGIRequestHandler):
    @override
    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(ThreadingMixIn, WSGIServer):
    """Takes few connections, each for a short time: whoever can reach the port could hold them all else."""

    daemon_threads = True
    request_queue_size = _BACKLOG

    def __init__(self, host: str, port: int, monotonic: Callable[[], float]) -> None:
        self.address_family, _, _, _, address = getaddrinfo(host, port, type=SOCK_STREAM, flags=AI_PASSIVE)[0]
        self._deadlines: dict[Any, float] = {}
        """Until when each open connection may last, by its socket."""
        self._monotonic = monotonic
        super().__init__((str(address[0]), int(address[1])), _Handler)

    @override
    def verify_request(self, request: Any, client_address: Any) -> bool:
        return len(self._deadlines) < _MOST_CONNECTIONS

    @override
    def process_request(self, request: Any, client_address: Any) -> None:
        self._deadlines[request] = self._monotonic() + _REQUEST_SECONDS
        super().process_request(request, client_address)

    @override
    def shutdown_request(self, request: Any) -> None:
        self._deadlines.pop(request, None)
        super().shutdown_request(request)

    @override
    def service_actions(self) -> None:
        # Called twice a second. Bytes that drip in or out one by one do not put off the end.
        now = self._monotonic()
        for connection, deadline in list(self._deadlines.items()):
            if deadline < now:
                with suppress(OSError):  # it has ended meanwhile
                    connection.shutdown(SHUT_RDWR)

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # whoever asked has gone


@contextmanager
def serve_metrics(
    address: str, metrics: RenewalMetrics, *, monotonic: Callable[[], float] = time.monotonic
) -> Iterator[int]:
    """Serve metrics over HTTP, from a thread of its own, until the context is left.

    At most 32 connections are open at once, each for 10 seconds at most. Opening and closing block for a
    moment, so both belong outside of an event loop.

    Args:
        address: ``HOST:PORT``, ``[IPV6]:PORT``, or ``:PORT`` for every address of this machine; port 0 picks
            one.
        metrics: What is served, under any path.
        monotonic: Clock of the connections, in seconds.

    Yields:
        The port.

    Raises:
        InputError: The address cannot be read, or nothing can listen there.
    """
    host, port = _parse_address(address)
    try:
        server = _Server(host, port, monotonic)
    except (OSError, UnicodeError) as error:  # a name of impossible labels is the latter
        reason = getattr(error, "strerror", None) or "this is no host's name"
        raise InputError(
            "metrics address",
            [f"cannot listen on {address}: {reason}"],
            hint="Choose a free port of an address of this machine.",
        ) from None
    server.set_app(make_wsgi_app(metrics.registry))
    thread = threading.Thread(target=server.serve_forever, name="hcpcreds-metrics", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _parse_address(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    readable = re.fullmatch("[0-9]{1,5}", port) and int(port) <= _HIGHEST_PORT
    if ":" not in address or not readable or (":" in host and not bracketed):
        raise InputError(
            "metrics address",
            [f"{address} is not HOST:PORT"],
            hint="Examples: :9090, 127.0.0.1:9090, [::1]:9090.",
        )
    everywhere = "::" if has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104 - asked for
    return (host[1:-1] if bracketed else host) or everywhere, int(port)
