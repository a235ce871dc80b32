"""What the page of `hcpcreds up --web` says of components."""

from datetime import UTC, datetime, timedelta

from hcpcreds.page import Role, State, Subject
from hcpcreds.page.document import render_page
from hcpcreds.up.record import CertificateUse, ComponentRecord
from hcpcreds.up.web import describe_chain

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def make_record(*thumbprints: str, taken: int = 0) -> ComponentRecord:
    """Make a record with expected certificates, of which the component has taken the first ones."""
    record = ComponentRecord("ingress", "ingress-operator", "certs", "spc", "/mnt/certs/ingress")
    for thumbprint in thumbprints:
        record.expect(
            CertificateUse(
                thumbprint, NOW + timedelta(days=90), valid_from=NOW, renew_from=NOW + timedelta(days=46)
            )
        )
    for generation, thumbprint in enumerate(thumbprints[:taken], 1):
        record.reloaded(thumbprint, generation, NOW.timestamp())
    return record


def describe(record: ComponentRecord) -> Subject:
    (subject,) = describe_chain([record], now=NOW.timestamp(), events=()).subjects
    return subject


def list_roles(record: ComponentRecord) -> list[tuple[str, Role]]:
    return [(each.thumbprint, each.role) for each in describe(record).certificates]


def test_page_shows_the_certificates_around_the_one_that_the_component_has_taken():
    assert list_roles(make_record("a")) == [("a", Role.NEXT)]
    assert list_roles(make_record("a", "b", taken=1)) == [("a", Role.IN_USE), ("b", Role.NEXT)]
    assert list_roles(make_record("a", "b", "c", taken=3)) == [("b", Role.PREVIOUS), ("c", Role.IN_USE)]


def test_page_says_that_calls_failed_and_shows_their_error_as_text_without_its_secret():
    record = make_record("a", taken=1)
    record.called("a", NOW.timestamp())
    record.failed("<script>x</script> Bearer eyJhbGciOiJIUzI1NiJ9.e30.c2ln", NOW.timestamp())
    subject = describe(record)
    assert (subject.state, subject.problems[0].text) == (State.WARNING, "1 of 2 calls failed.")
    document = render_page(describe_chain([record], now=NOW.timestamp(), events=()), seconds=1)
    assert "<script>x" not in document
    assert "eyJ" not in document
    assert "Bearer ***" in document
