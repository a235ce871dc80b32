from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from hcpcreds.up.record import CertificateUse, ComponentRecord

EXPIRES = datetime(2027, 2, 21, tzinfo=UTC)


def make_record(*thumbprints: str) -> ComponentRecord:
    record = ComponentRecord(
        component="ingress-operator",
        workload="ingress-operator",
        volume="ingress-cert",
        secret_provider_class="managed-azure-ingress",
        file="/mnt/certs/ingress",
    )
    record.certificates += [
        CertificateUse(thumbprint, EXPIRES, f"v-{thumbprint}") for thumbprint in thumbprints
    ]
    return record


def test_record_times_a_rotation_from_the_swap_whatever_order_the_news_comes_in():
    swapped, reloaded, called = (
        lambda record: record.swapped("v-b", 100.0),
        lambda record: record.reloaded("b", 2, 100.0015),
        lambda record: record.called("b", 100.25),
    )
    for order in ((swapped, reloaded, called), (reloaded, called, swapped), (called, swapped, reloaded)):
        record = make_record("a", "b")
        for tell in order:
            tell(record)
        newest = record.certificates[-1]
        assert (record.reload_milliseconds(newest), record.first_call_milliseconds(newest)) == (1.5, 250.0)


def test_record_has_no_rotation_time_for_the_first_certificate():
    record = make_record("a")
    record.swapped("v-a", 1.0)
    record.reloaded("a", 1, 2.0)
    record.called("a", 3.0)
    assert record.reload_milliseconds(record.certificates[0]) is None
    assert record.describe_newest() == "certificate a, generation 1: first call"


def test_record_reports_failed_calls_and_unused_certificates():
    record = make_record("a", "b")
    record.called("a", 1.0)
    record.failed("ARM said no", 2.0)
    assert record.problems(ended_early=False) == [
        "ingress-operator: 1 failed calls, the last one: ARM said no",
        "ingress-operator: no call with a token from certificate 2",
    ]


def test_record_forgives_the_newest_certificate_when_the_run_was_stopped_before_its_turn():
    record = make_record("a", "b")
    record.called("a", 1.0)
    assert record.problems(ended_early=True) == []


def test_record_reports_a_certificate_that_was_never_issued_to_the_component():
    record = make_record("a")
    record.called("a", 1.0)
    assert not record.called("stranger", 2.0)
    assert record.problems(ended_early=False) == [
        "ingress-operator: used a certificate that was not issued to it: stranger"
    ]


def test_record_learns_late_of_a_certificate_that_is_in_use_already():
    record = make_record("a")
    record.swapped("v-b", 100.0)
    record.reloaded("b", 2, 100.0015)
    assert not record.called("b", 100.25)
    assert not record.called("b", 101.0)
    assert record.expect(CertificateUse("b", EXPIRES, "v-b"))
    newest = record.certificates[-1]
    assert (newest.generation, newest.calls, record.calls, record.rotations) == (2, 2, 2, 1)
    assert (record.reload_milliseconds(newest), record.first_call_milliseconds(newest)) == (1.5, 250.0)
    assert record.problems(ended_early=False) == ["ingress-operator: no call with a token from certificate 1"]


def test_record_learns_the_version_of_a_certificate_that_it_expects_already():
    record = make_record("a")
    record.certificates[0].version = None
    assert not record.expect(CertificateUse("a", EXPIRES, "v-1"))
    assert record.knows("v-1")
    assert len(record.certificates) == 1


@given(st.lists(st.sampled_from(["a", "b", "c"])))
def test_record_counts_every_call_once(thumbprints: list[str]):
    record = make_record("a", "b", "c")
    firsts = [record.called(thumbprint, float(at)) for at, thumbprint in enumerate(thumbprints)]
    assert record.calls == len(thumbprints)
    assert sum(firsts) == len(set(thumbprints))
    assert [certificate.calls for certificate in record.certificates] == [thumbprints.count(t) for t in "abc"]


def test_record_reports_ways_to_log_in_that_are_not_those_of_the_component():
    record = make_record("a")
    record.logins = ("assertion", "key")
    record.called("a", 1.0)
    record.calls_by_login["key"] += 1
    assert record.problems(ended_early=True) == []
    assert record.problems(ended_early=False) == ["ingress-operator: no call with its assertion"]
    record.logins = ("assertion",)
    record.calls_by_login["assertion"] += 1
    assert record.problems(ended_early=False) == [
        "ingress-operator: 1 calls with its key, which it was not to use"
    ]
