"""`hcpcreds.metrics`: what a program that uses the library shows of its credentials."""

import json
import math
import time
from collections.abc import Mapping
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tests.credential.conftest import OTHER_SCOPE, SCOPE, Identity, Make
from tests.credential.files import wait_for_generation
from tests.support.waiting import wait_until

from hcpcreds.credential.base import CredentialBase
from hcpcreds.errors import InputError, TokenRefusedError
from hcpcreds.metrics import CredentialMetrics


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> CredentialMetrics:
    return CredentialMetrics(registry)


def get_credential(subject: Any) -> CredentialBase:
    credential: CredentialBase = getattr(subject, "credential", subject)
    return credential


def read(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    """Read a sample, as Prometheus does."""
    page = exposition.generate_latest(registry).decode()
    wanted: Mapping[str, str] = {"credential": "ingress", **labels}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name == name and sample.labels == wanted:
                return float(sample.value)
    return None


def test_metrics_follow_a_credential_through_its_life(
    identity: Identity, make: Make, metrics: CredentialMetrics, registry: CollectorRegistry
):
    subject = make()
    metrics.add("ingress", get_credential(subject))
    assert read(registry, "hcpcreds_certificate_generation") == 0
    assert read(registry, "hcpcreds_certificate_not_after_timestamp_seconds") is None
    before = time.time()
    identity.rotate()
    wait_for_generation(subject, 1)
    status = subject.status()
    assert status.not_after is not None
    assert status.not_before is not None
    assert read(registry, "hcpcreds_certificate_not_after_timestamp_seconds") == status.not_after.timestamp()
    assert (
        read(registry, "hcpcreds_certificate_not_before_timestamp_seconds") == status.not_before.timestamp()
    )
    assert read(registry, "hcpcreds_certificate_first_token_timestamp_seconds") is None
    subject.get_token(SCOPE)
    subject.get_token(SCOPE)
    subject.get_token_info(SCOPE)
    loaded = read(registry, "hcpcreds_certificate_loaded_timestamp_seconds")
    first = read(registry, "hcpcreds_certificate_first_token_timestamp_seconds")
    assert read(registry, "hcpcreds_certificate_info", thumbprint=str(status.thumbprint)) == 1
    assert loaded is not None
    assert first is not None
    assert before - 1 < loaded <= first < time.time() + 1
    assert read(registry, "hcpcreds_authority_requests_total", result="granted") == 1
    assert read(registry, "hcpcreds_authority_request_seconds_count") == 1
    assert read(registry, "hcpcreds_authority_request_seconds_bucket", le="30.0") == 1
    assert read(registry, "hcpcreds_token_cache_hits_total") == 2
    assert read(registry, "hcpcreds_watch_mode", mode="watching") == 1
    identity.rotate()
    wait_for_generation(subject, 2)
    assert read(registry, "hcpcreds_certificate_generation") == 2
    assert read(registry, "hcpcreds_certificate_info", thumbprint=str(status.thumbprint)) is None
    assert read(registry, "hcpcreds_certificate_first_token_timestamp_seconds") is None
    subject.get_token(OTHER_SCOPE)
    assert read(registry, "hcpcreds_certificate_first_token_timestamp_seconds") is not None


def test_metrics_tell_when_the_previous_certificate_is_used(
    identity: Identity, make: Make, metrics: CredentialMetrics, registry: CollectorRegistry
):
    identity.rotate()
    subject = make()
    metrics.add("ingress", get_credential(subject))
    subject.get_token(SCOPE)
    assert read(registry, "hcpcreds_certificate_refused") == 0
    identity.rotate(registration_delay=math.inf)
    wait_for_generation(subject, 2)
    subject.get_token(OTHER_SCOPE)
    assert read(registry, "hcpcreds_certificate_refused") == 1
    assert read(registry, "hcpcreds_certificate_first_token_timestamp_seconds") is None


def test_metrics_count_what_was_not_accepted_by_reason(
    identity: Identity, make: Make, metrics: CredentialMetrics, registry: CollectorRegistry
):
    identity.rotate()
    subject = make()
    metrics.add("ingress", get_credential(subject))
    subject.get_token(SCOPE)
    assert read(registry, "hcpcreds_file_faulty") == 0
    identity.mount.swap(b"{")
    wait_until(lambda: read(registry, "hcpcreds_file_rejections_total", reason="unusable") == 1)
    assert read(registry, "hcpcreds_file_faulty") == 1
    assert read(registry, "hcpcreds_file_rejections_total", reason="expired") == 0


def test_metrics_count_refusals_and_outages_of_the_authority(
    identity: Identity, make: Make, metrics: CredentialMetrics, registry: CollectorRegistry
):
    identity.rotate()
    subject = make(retry_total=0)
    metrics.add("ingress", get_credential(subject))
    refusal = {"error": "invalid_scope", "error_description": "AADSTS70011: no"}
    identity.azure.faults.add("entra", status=400, body=json.dumps(refusal).encode(), times=1)
    with pytest.raises(TokenRefusedError):
        subject.get_token(SCOPE)
    assert read(registry, "hcpcreds_authority_requests_total", result="refused") == 1
    identity.azure.faults.add("entra", status=503, times=1)
    with pytest.raises(Exception, match="HTTP 503"):
        subject.get_token(SCOPE)
    assert read(registry, "hcpcreds_authority_requests_total", result="unavailable") == 1


def test_closed_credential_is_not_shown_and_leaves_its_name_to_another(
    identity: Identity, make: Make, metrics: CredentialMetrics, registry: CollectorRegistry
):
    identity.rotate()
    subject, other = make(), make()
    metrics.add("ingress", get_credential(subject))
    with pytest.raises(InputError, match="another credential"):
        metrics.add("ingress", get_credential(other))
    subject.close()
    metrics.add("ingress", get_credential(other))
    assert read(registry, "hcpcreds_certificate_generation") is not None
    other.close()
    assert read(registry, "hcpcreds_certificate_generation") is None
    assert b'credential="ingress"' not in generate_latest(registry)
