"""Answers that may replace a stored credential, and the requests for them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from azure.keyvault.secrets import KeyVaultSecret, SecretProperties
from hypothesis import given
from hypothesis import strategies as st
from tests.dataplane.credentials import make_client_secret, make_fields

from hcpcreds.dataplane import (
    CustomClaims,
    ManagedIdentityCredentials,
    UserAssignedIdentitiesRequest,
    UserAssignedIdentityCredentials,
)
from hcpcreds.dataplane.models import parse_model, render_model
from hcpcreds.errors import IssueUnavailableError
from hcpcreds.renewal.acceptance import CLOCK_TOLERANCE, accept_answer, build_renewal_request
from hcpcreds.vault.secret import Credentials, LoadedSecret, parse_time, read_secret

NOW = datetime(2027, 1, 8, tzinfo=UTC)
WHERE = "secret uamsi-a in https://vault.example"
RESOURCE_ID = (
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/one"
)
ANOTHER = "aaaaaaaa-0000-0000-0000-000000000009"
STORED = UserAssignedIdentityCredentials(
    **make_fields(client_secret_url="https://dp.example/one", resource_id=RESOURCE_ID)
)
LATER: dict[str, Any] = {
    "client_secret": make_client_secret(certificate_of=1, key_of=1),
    "not_before": "2027-01-07T23:55:00Z",
    "not_after": "2027-04-08T00:00:00Z",
    "renew_after": "2027-02-23T00:00:00Z",
    "cannot_renew_after": "2027-07-07T00:00:00Z",
}


def make_answer(**changes: Any) -> ManagedIdentityCredentials:
    same = {name: getattr(STORED, name) for name in ("client_id", "tenant_id", "object_id", "resource_id")}
    fields = {**same, **LATER, **changes}
    return ManagedIdentityCredentials(explicit_identities=(UserAssignedIdentityCredentials(**fields),))


def make_top() -> ManagedIdentityCredentials:
    """An answer for the resource's own identity, which has no resource id."""
    same = {name: getattr(STORED, name) for name in ("client_id", "tenant_id", "object_id")}
    return ManagedIdentityCredentials(**same, **LATER)


def load(credentials: Credentials) -> LoadedSecret:
    """Load a secret, as if from a vault."""
    name = "msi-a" if isinstance(credentials, ManagedIdentityCredentials) else "uamsi-a"
    properties = SecretProperties(name=name, vault_id=f"https://vault.example/secrets/{name}/1")
    return read_secret(KeyVaultSecret(properties, render_model(credentials).decode()), where=WHERE)


def accept(
    answer: ManagedIdentityCredentials, stored: Any = STORED, now: datetime = NOW, **options: Any
) -> Any:
    """Return the new value of a secret."""
    current = load(stored)
    secret = accept_answer(current, answer, now=now, **options)
    return secret and parse_model(secret.value.encode(), type(current.credentials))


def test_accept_answer_keeps_stored_fields_when_the_answer_lacks_them():
    renewed = accept(make_answer())
    assert isinstance(renewed, UserAssignedIdentityCredentials)
    assert {name: getattr(renewed, name) for name in LATER} == LATER
    for name in (
        "client_id",
        "tenant_id",
        "object_id",
        "resource_id",
        "client_secret_url",
        "authentication_endpoint",
    ):
        assert getattr(renewed, name) == getattr(STORED, name)


def test_accept_answer_takes_a_field_when_the_answer_changes_it():
    renewed = accept(make_answer(client_secret_url="https://dp.example/two"))
    assert renewed.client_secret_url == "https://dp.example/two"


def test_accept_answer_finds_the_identity_when_the_case_of_its_ids_differs():
    assert accept(make_answer(client_id=(STORED.client_id or "").upper())) is not None
    assert accept(make_answer(resource_id=RESOURCE_ID.upper())) is not None


def test_accept_answer_finds_the_identity_when_there_are_others():
    other = UserAssignedIdentityCredentials(**{**make_fields(), "client_id": "someone else's"})
    own = make_answer().explicit_identities or ()
    assert (
        accept(ManagedIdentityCredentials(explicit_identities=(other, *own))).not_after == LATER["not_after"]
    )
    at_the_top = make_top()
    assert accept(at_the_top).not_after == LATER["not_after"]


def test_accept_answer_returns_none_when_the_answer_is_stored_already():
    answer = make_answer(not_before=STORED.not_before, not_after=STORED.not_after)
    assert accept(answer) is None


def test_accept_answer_keeps_the_surroundings_when_the_secret_holds_a_whole_answer():
    stored = ManagedIdentityCredentials(internal_id="its own", explicit_identities=(STORED,))
    renewed = accept(make_answer(), stored=stored)
    assert isinstance(renewed, ManagedIdentityCredentials)
    assert renewed.internal_id == "its own"
    (one,) = renewed.explicit_identities or ()
    assert one.not_after == LATER["not_after"]
    assert one.resource_id == STORED.resource_id


def test_accept_answer_uses_the_top_of_the_answer_when_the_identity_is_system_assigned():
    stored = ManagedIdentityCredentials(**make_fields())
    renewed = accept(make_top(), stored=stored)
    assert isinstance(renewed, ManagedIdentityCredentials)
    assert renewed.not_after == LATER["not_after"]
    assert renewed.object_id == stored.object_id


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"client_id": ANOTHER}, f"client_id: expected {STORED.client_id}, got {ANOTHER}"),
        ({"client_id": "another"}, f"client_id: expected {STORED.client_id}, got (7 characters)"),
        ({"client_id": None}, f"client_id: expected {STORED.client_id}, got none"),
        ({"tenant_id": ANOTHER}, f"tenant_id: expected {STORED.tenant_id}, got {ANOTHER}"),
        ({"object_id": ANOTHER}, f"object_id: expected {STORED.object_id}, got {ANOTHER}"),
        ({"resource_id": "/a/c"}, f"resource_id: expected {RESOURCE_ID}, got (4 characters)"),
        ({"tenant_id": None}, f"tenant_id: expected {STORED.tenant_id}, got nothing"),
        ({"object_id": None}, f"object_id: expected {STORED.object_id}, got nothing"),
        ({"resource_id": None}, f"resource_id: expected {RESOURCE_ID}, got nothing"),
        ({"authentication_endpoint": "https://evil.example/x"}, "authentication_endpoint: evil.example is"),
        ({"client_secret_url": "https://evil.example/x"}, "client_secret_url: evil.example is"),
        ({"mtls_authentication_endpoint": "https://evil.example/x"}, "mtls_authentication_endpoint: evil"),
        ({"client_secret_url": "http://dp.example/one"}, "client_secret_url: expected an https URL"),
        ({"client_secret_url": "https://dp.example.evil.example/"}, "client_secret_url: dp.example.evil"),
        (
            {"not_before": STORED.not_before},
            "not_before: 2026-11-23T10:00:00Z is not later than that of the stored credential",
        ),
        (
            {"not_after": STORED.not_after},
            "not_after: 2027-02-21T10:00:00Z is not later than that of the stored credential",
        ),
        ({"not_before": "2020-01-01T00:00:00Z"}, "not_before: 2020-01-01T00:00:00Z is not later"),
        ({"not_before": "2027-01-08T00:05:01Z"}, "not_before: not valid before 2027-01-08T00:05:01Z"),
        *(({name: value}, f"{name}: missing") for name in LATER for value in (None, "")),
    ],
)
def test_accept_answer_raises_when_the_answer_is_not_a_renewal(changes: dict[str, Any], problem: str):
    with pytest.raises(IssueUnavailableError) as caught:
        accept(make_answer(**changes))
    assert str(caught.value).startswith(
        f"{WHERE}: the answer of the data plane is not a renewal of the stored credential: {problem}"
    )
    assert str(caught.value).endswith("The stored secret was not changed.")
    assert LATER["client_secret"] not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"authentication_endpoint": "https://login.microsoftonline.com/"},
        {"authentication_endpoint": "https://westus2.login.microsoft.com/"},
        {"mtls_authentication_endpoint": "https://eastus.mtlsauth.microsoft.com/"},
        {"client_secret_url": "https://dp.example/two?a=b"},
        {"client_secret_url": "https://east.identity.azure.net/one"},
    ],
)
def test_accept_answer_takes_urls_when_their_hosts_are_stored_or_azures(changes: dict[str, Any]):
    assert accept(make_answer(**changes), hosts=("identity.azure.net",)) is not None


def test_refusal_shows_no_value_when_it_could_be_a_secret():
    sentinel = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC" * 100
    for name in ("client_id", "tenant_id", "object_id", "resource_id"):
        stored = msgspec.structs.replace(STORED, **{name: sentinel})
        for answer, old in ((make_answer(**{name: sentinel}), STORED), (make_answer(), stored)):
            with pytest.raises(IssueUnavailableError) as caught:
                accept(answer, stored=old)
            assert "MII" not in str(caught.value)
            assert len(str(caught.value)) < 400


def test_refusal_names_three_identities_when_there_are_many():
    many = ManagedIdentityCredentials(
        explicit_identities=tuple(UserAssignedIdentityCredentials(client_id=ANOTHER) for _ in range(10_000))
    )
    with pytest.raises(IssueUnavailableError) as caught:
        accept(many)
    assert str(caught.value).count(ANOTHER) == 3


def test_accept_answer_raises_when_the_answer_has_expired():
    with pytest.raises(IssueUnavailableError, match="not_after: expired at 2027-04-08"):
        accept(make_answer(), now=datetime(2027, 4, 8, tzinfo=UTC))


def test_refusal_names_every_problem_when_there_are_several():
    with pytest.raises(IssueUnavailableError) as caught:
        accept(make_answer(tenant_id=ANOTHER, client_secret=None, not_before="2020-01-01T00:00:00Z"))
    assert str(caught.value).count(";") == 2


def test_accept_answer_tolerates_the_difference_when_azures_clock_is_five_minutes_ahead():
    assert accept(make_answer(not_before="2027-01-08T00:05:00Z"), now=NOW) is not None


def test_accept_answer_compares_no_times_when_the_stored_ones_are_unreadable():
    stored = UserAssignedIdentityCredentials(**make_fields(not_before=None, not_after="soon"))
    assert accept(make_answer(), stored=stored) is not None


@pytest.mark.parametrize("time", ["soon", "2027-01-07T23:55:00"])
def test_accept_answer_names_the_time_when_it_is_unreadable(time: str):
    reason = "not usable by a pod: not_before: expected an RFC 3339 time with a zone"
    with pytest.raises(IssueUnavailableError, match=reason):
        accept(make_answer(not_before=time))


YEARS = (datetime(2026, 1, 1), datetime(2028, 1, 1))  # noqa: DTZ001 (hypothesis adds the zone)
TIMES = st.datetimes(*YEARS, timezones=st.just(UTC)).map(lambda time: f"{time:%Y-%m-%dT%H:%M:%SZ}")


@given(
    old=st.tuples(TIMES, TIMES),
    new=st.tuples(TIMES, TIMES),
    now=TIMES,
    client_id=st.sampled_from([STORED.client_id, "another", None]),
)
def test_accept_answer_never_takes_an_older_foreign_or_expired_credential_when_given_any(
    old: tuple[str, str], new: tuple[str, str], now: str, client_id: str | None
):
    stored = msgspec.structs.replace(STORED, not_before=old[0], not_after=old[1])
    answer = make_answer(client_id=client_id, not_before=new[0], not_after=new[1])
    at = parse_time(now)
    assert at is not None
    good = client_id == STORED.client_id and old[0] < new[0] <= render(at + CLOCK_TOLERANCE)
    good = good and max(old[1], now) < new[1]
    try:
        renewed = accept_answer(load(stored), answer, now=at)
    except IssueUnavailableError:
        assert not good
    else:
        assert good if renewed is not None else new == old


def render(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


@pytest.mark.parametrize("model", [UserAssignedIdentityCredentials, ManagedIdentityCredentials])
def test_build_renewal_request_returns_none_when_there_are_no_custom_claims(model: Any):
    assert build_renewal_request(model(**make_fields())) is None


def test_build_renewal_request_names_the_identity_when_there_are_custom_claims():
    claims = CustomClaims(xms_az_tm="user")
    one = UserAssignedIdentityCredentials(**make_fields(custom_claims=claims, resource_id="/a/b"))
    wanted = UserAssignedIdentitiesRequest(identity_ids=("/a/b",), custom_claims=claims)
    assert build_renewal_request(one) == wanted
    whole = load(ManagedIdentityCredentials(explicit_identities=(one,)))
    assert build_renewal_request(whole.credential) == wanted
    own = ManagedIdentityCredentials(**make_fields(custom_claims=claims))
    assert build_renewal_request(own) == UserAssignedIdentitiesRequest(custom_claims=claims)


def test_clock_tolerance_is_that_of_entra_id():
    assert timedelta(minutes=5) == CLOCK_TOLERANCE
