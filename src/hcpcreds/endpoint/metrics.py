"""The metrics of `hcpcreds serve`: those of its credentials, and of what it serves."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from hcpcreds.endpoint.service import Endpoint
from hcpcreds.metrics import CredentialMetrics


def build_registry(endpoint: Endpoint) -> CollectorRegistry:
    """Build a registry with all of an endpoint's metrics, and those of the process."""
    registry = CollectorRegistry(auto_describe=True)
    credentials = CredentialMetrics(registry)
    for each in endpoint.served:
        credentials.add(each.name, each.credential)
    registry.register(_EndpointMetrics(endpoint))
    ProcessCollector(registry=registry)
    return registry


class _EndpointMetrics(Collector):
    """Collects what is served. Times are Unix seconds.

    - `hcpcreds_ready{credential}`: whether programs can rely on it.
    - `hcpcreds_assertion_expiry_timestamp_seconds{credential}`: when the assertion expires.
    - `hcpcreds_assertion_written_timestamp_seconds{credential}`: when it was last written.
    - `hcpcreds_assertion_certificate_info{credential,thumbprint}`: 1; the certificate that signs it.
    - `hcpcreds_assertion_certificate_timestamp_seconds{credential}`: when the first one that this certificate
      signed was written.
    - `hcpcreds_assertion_writes_total{credential}`.
    - `hcpcreds_assertion_failures_total{credential,reason}`: proofs that were refused, by AADSTS number, that
      got no answer (`unavailable`), and writes that failed (`unwritable`).
    - `hcpcreds_endpoint_requests_total{protocol,result}`: `cached`, `fetched`, or why there was no token.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    @override
    def collect(self) -> Iterable[Metric]:
        label = ["credential"]
        ready = GaugeMetricFamily("hcpcreds_ready", "Whether programs can rely on it.", labels=label)
        expiry = GaugeMetricFamily(
            "hcpcreds_assertion_expiry_timestamp_seconds", "When the assertion expires.", labels=label
        )
        written = GaugeMetricFamily(
            "hcpcreds_assertion_written_timestamp_seconds", "When it was last written.", labels=label
        )
        signer = GaugeMetricFamily(
            "hcpcreds_assertion_certificate_info",
            "The certificate that signs the assertion, by the SHA-256 of its DER.",
            labels=[*label, "thumbprint"],
        )
        signing = GaugeMetricFamily(
            "hcpcreds_assertion_certificate_timestamp_seconds",
            "When the first assertion that this certificate signed was written.",
            labels=label,
        )
        writes = CounterMetricFamily("hcpcreds_assertion_writes", "How often it was written.", labels=label)
        failures = CounterMetricFamily(
            "hcpcreds_assertion_failures",
            "Proofs of a certificate and writes of an assertion that failed, by reason.",
            labels=[*label, "reason"],
        )
        for each in self._endpoint.served:
            ready.add_metric([each.name], not any(kept.find_unready() for kept in each.kept))
            file = each.file
            if file is None:
                continue
            if file.written is not None:
                expiry.add_metric([each.name], file.written.expires_at)
                written.add_metric([each.name], file.written.at)
                signer.add_metric([each.name, file.written.snapshot.certificate.thumbprint], 1)
                signing.add_metric([each.name], file.written.since)
            writes.add_metric([each.name], file.writes)
            for reason, count in file.refusals.copy().items():
                failures.add_metric([each.name, reason], count)
        requests = CounterMetricFamily(
            "hcpcreds_endpoint_requests",
            "Requests of programs for tokens, by result.",
            labels=["protocol", "result"],
        )
        if self._endpoint.tokens is not None:
            for labels, count in self._endpoint.tokens.results.copy().items():
                requests.add_metric(labels, count)
        return [ready, expiry, written, signer, signing, writes, failures, requests]
