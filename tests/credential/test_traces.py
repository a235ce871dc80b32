"""What a program that uses OpenTelemetry sees of a rotation."""

import pytest
from tests.credential.conftest import OTHER_SCOPE, SCOPE, Identity, Make
from tests.credential.files import wait_for_generation
from tests.support.waiting import wait_until

pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is not installed")

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

EXPORTER = InMemorySpanExporter()
PROVIDER = TracerProvider()
PROVIDER.add_span_processor(SimpleSpanProcessor(EXPORTER))


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    if trace.get_tracer_provider() is not PROVIDER:  # there is one for the process
        trace.set_tracer_provider(PROVIDER)
    EXPORTER.clear()
    return EXPORTER


def test_rotation_is_one_trace_from_the_swap_to_the_first_token(
    identity: Identity, make: Make, exporter: InMemorySpanExporter
):
    identity.rotate()
    credential = make()
    credential.get_token(SCOPE)
    thumbprint = identity.rotate()
    wait_for_generation(credential, 2)
    assert exporter.get_finished_spans() == ()
    with trace.get_tracer("program").start_as_current_span("program"):
        token = credential.get_token(OTHER_SCOPE).token
    credential.get_token(OTHER_SCOPE)
    wait_until(lambda: len(exporter.get_finished_spans()) >= 4)
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert spans.keys() == {"program", "hcpcreds.rotation", "hcpcreds.judge", "hcpcreds.prove"}
    rotation, judge, prove = (spans[f"hcpcreds.{name}"] for name in ("rotation", "judge", "prove"))
    assert rotation.parent is None
    assert rotation.context.trace_id == judge.context.trace_id == prove.context.trace_id
    assert judge.parent == prove.parent
    assert judge.parent is not None
    assert judge.parent.span_id == rotation.context.span_id
    assert rotation.start_time == judge.start_time
    assert judge.end_time == prove.start_time
    assert prove.end_time == rotation.end_time
    assert rotation.attributes is not None
    assert rotation.attributes["hcpcreds.thumbprint"] == thumbprint
    assert rotation.attributes["hcpcreds.generation"] == 2
    assert token not in "".join(span.to_json() for span in spans.values())


def test_rotation_is_traced_when_its_certificate_gets_a_token_after_all(
    identity: Identity, make: Make, exporter: InMemorySpanExporter
):
    identity.rotate()
    credential = make()
    credential.get_token(SCOPE)
    identity.rotate(registration_delay=float("inf"))
    wait_for_generation(credential, 2)
    credential.get_token(OTHER_SCOPE)  # with the previous certificate
    assert exporter.get_finished_spans() == ()
    identity.rotate()
    wait_for_generation(credential, 3)
    credential.get_token(SCOPE, claims='{"access_token": {}}')
    wait_until(lambda: len(exporter.get_finished_spans()) == 3)
    (generation,) = {
        span.attributes["hcpcreds.generation"] for span in exporter.get_finished_spans() if span.attributes
    }
    assert generation == 3
