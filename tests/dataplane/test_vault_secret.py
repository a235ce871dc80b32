"""What a credential looks like as a secret of Key Vault, before anything is sent."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcpcreds.dataplane import ManagedIdentityCredentials, UserAssignedIdentityCredentials
from hcpcreds.dataplane.vault import Encoding, build_secret, parse_secret, render_identifier
from hcpcreds.errors import InputError, StoreError

OBJECT_ID = "11111111-2222-3333-4444-555555555555"
WHOLE: dict[str, Any] = {
    "authentication_endpoint": "https://login.microsoftonline.com/",
    "client_id": "b1b1b1b1-0000-0000-0000-000000000000",
    "client_secret": "c2VudGluZWw=",
    "tenant_id": "72f988bf-86f1-41af-91ab-2d7cd011db47",
    "object_id": OBJECT_ID,
    "not_before": "2026-11-23T10:00:00Z",
    "not_after": "2027-02-21T10:00:00Z",
    "renew_after": "2027-01-07T10:00:00+00:00",
    "cannot_renew_after": "2027-05-22T10:00:00Z",
}
NEEDED = sorted(set(WHOLE) - {"object_id"})


def test_render_identifier_is_the_sha_224_in_base_36():
    # printf abc | sha224sum = 23097d22 3405d822 8642a477 bda255b3 2aadbce4 bda0b3f7 e36c9da7
    number = 0x23097D22_3405D822_8642A477_BDA255B3_2AADBCE4_BDA0B3F7_E36C9DA7
    assert int(render_identifier("abc"), 36) == number
    assert render_identifier("abc").islower()


@given(object_id=st.text(st.characters(exclude_categories=["Cs"])))
def test_render_identifier_makes_a_name_that_key_vault_takes(object_id: str):
    assert len("uamsi-" + render_identifier(object_id)) <= 127
    assert render_identifier(object_id).isalnum()


def test_build_secret_records_the_times_where_the_renewer_and_the_vault_look():
    secret = build_secret(UserAssignedIdentityCredentials(**WHOLE))
    assert secret.name == "uamsi-" + render_identifier(OBJECT_ID)
    assert secret.not_before == datetime(2026, 11, 23, 10, tzinfo=UTC)
    assert secret.expires_on == datetime(2027, 2, 21, 10, tzinfo=UTC)
    assert secret.tags == {
        "renew_after": "2027-01-07T10:00:00+00:00",
        "cannot_renew_after": "2027-05-22T10:00:00Z",
    }
    assert msgspec.json.decode(secret.value) == WHOLE
    assert WHOLE["client_secret"] not in repr(secret)


def test_build_secret_takes_a_whole_answer_with_none_or_one_explicit_identity():
    assert build_secret(ManagedIdentityCredentials(**WHOLE)).name == "msi-" + render_identifier(OBJECT_ID)

    one = ManagedIdentityCredentials(explicit_identities=(UserAssignedIdentityCredentials(**WHOLE),))
    secret = build_secret(one)
    assert secret.name == "msi-" + render_identifier(OBJECT_ID)
    assert secret.tags["renew_after"] == WHOLE["renew_after"]
    assert parse_secret(secret.value, ManagedIdentityCredentials, where="here") == one

    two = UserAssignedIdentityCredentials(**WHOLE)
    with pytest.raises(InputError, match="explicit_identities: 2 of them"):
        build_secret(ManagedIdentityCredentials(explicit_identities=(two, two)))


@given(missing=st.sets(st.sampled_from(NEEDED), min_size=1), nested=st.booleans())
def test_build_secret_names_every_missing_field(missing: set[str], *, nested: bool):
    fields = {name: value for name, value in WHOLE.items() if name not in missing}
    one = UserAssignedIdentityCredentials(**fields)
    credentials = ManagedIdentityCredentials(explicit_identities=(one,)) if nested else one
    with pytest.raises(InputError) as caught:
        build_secret(credentials)
    prefix = "explicit_identities[0]." if nested else ""
    assert caught.value.problems == tuple(
        f"{prefix}{name}: missing" for name in NEEDED_ORDER if name in missing
    )


NEEDED_ORDER = [
    "authentication_endpoint", "client_id", "client_secret", "tenant_id",
    "not_before", "not_after", "renew_after", "cannot_renew_after",
]  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("not_before", "2026-11-23T10:00:00", "no RFC 3339 time with a zone"),
        ("not_after", "tomorrow", "no RFC 3339 time with a zone"),
        ("not_after", "9999-12-31T23:59:59-12:00", "no RFC 3339 time with a zone"),
        ("renew_after", "2026-02-30T00:00:00Z", "no RFC 3339 time with a zone"),
        ("not_after", "2026-11-23T10:00:00Z", "later than not_before"),
        ("client_secret", "-----BEGIN PRIVATE KEY-----", "not base64"),
    ],
)
def test_build_secret_refuses_an_unusable_field_without_showing_secrets(field: str, value: str, said: str):
    with pytest.raises(InputError, match=rf"{field}: .*{said}") as caught:
        build_secret(UserAssignedIdentityCredentials(**{**WHOLE, field: value}))
    assert "BEGIN" not in str(caught.value)


def test_build_secret_needs_an_object_id_or_a_name():
    nameless = UserAssignedIdentityCredentials(**{**WHOLE, "object_id": None})
    with pytest.raises(InputError, match="object_id"):
        build_secret(nameless)
    assert build_secret(nameless, name="cpo-cert").name == "cpo-cert"


@pytest.mark.parametrize("name", ["", "a_b", "a/b", "x" * 128, "ü"])
def test_build_secret_refuses_a_name_that_key_vault_has_not(name: str):
    with pytest.raises(InputError, match="name: "):
        build_secret(UserAssignedIdentityCredentials(**WHOLE), name=name)


@pytest.mark.parametrize("encoding", ["utf-8", "hex", "base64"])
def test_parse_secret_gives_back_what_was_built_in_any_encoding(encoding: Encoding):
    credentials = UserAssignedIdentityCredentials(**WHOLE)
    secret = build_secret(credentials, encoding=encoding)
    parsed = parse_secret(secret.value, UserAssignedIdentityCredentials, where="here", encoding=encoding)
    assert parsed == credentials


@pytest.mark.parametrize("encoding", ["utf-8", "hex", "base64"])
@pytest.mark.parametrize("value", [None, "", "sentinel{", '{"client_id": ["sentinel"]}'])
def test_parse_secret_names_the_secret_and_not_its_value_when_unreadable(
    value: str | None, encoding: Encoding
):
    with pytest.raises(StoreError, match="secret here") as caught:
        parse_secret(value, UserAssignedIdentityCredentials, where="secret here", encoding=encoding)
    assert "sentinel" not in str(caught.value)
