"""Credentials as secrets of Key Vault, without a vault."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from azure.keyvault.secrets import KeyVaultSecret, SecretProperties
from hypothesis import given
from hypothesis import strategies as st
from tests.dataplane.credentials import make_client_secret, make_fields

from hcpcreds.credential_file.encoding import Encoding
from hcpcreds.dataplane import ManagedIdentityCredentials, UserAssignedIdentityCredentials
from hcpcreds.dataplane.models import render_model
from hcpcreds.errors import InputError, StoreError, StoreUnavailableError
from hcpcreds.vault.naming import get_identifier, render_identifier
from hcpcreds.vault.secret import LoadedSecret, build_secret, read_secret, read_stored

WHOLE = make_fields()
OBJECT_ID: str = WHOLE["object_id"]
NEEDED = sorted(set(WHOLE) - {"object_id"})


def test_render_identifier_returns_the_sha_224_in_base_36():
    # printf abc | sha224sum = 23097d22 3405d822 8642a477 bda255b3 2aadbce4 bda0b3f7 e36c9da7
    number = 0x23097D22_3405D822_8642A477_BDA255B3_2AADBCE4_BDA0B3F7_E36C9DA7
    assert int(render_identifier("abc"), 36) == number
    assert render_identifier("abc").islower()


@given(object_id=st.text(st.characters(exclude_categories=["Cs"])))
def test_render_identifier_makes_an_allowed_name_when_given_any_object_id(object_id: str):
    assert len("uamsi-" + render_identifier(object_id)) <= 127
    assert render_identifier(object_id).isalnum()


def test_build_secret_records_the_times_when_the_credential_is_complete():
    secret = build_secret(UserAssignedIdentityCredentials(**WHOLE))
    assert secret.name == "uamsi-" + render_identifier(OBJECT_ID)
    assert secret.not_before == datetime(2026, 11, 23, 10, tzinfo=UTC)
    assert secret.expires_on == datetime(2027, 2, 21, 10, tzinfo=UTC)
    assert secret.tags == {
        "renew_after": WHOLE["renew_after"],
        "cannot_renew_after": "2027-05-22T10:00:00Z",
    }
    assert msgspec.json.decode(secret.value) == WHOLE
    assert WHOLE["client_secret"] not in repr(secret)


def test_build_secret_holds_the_whole_answer_when_it_has_at_most_one_identity():
    assert build_secret(ManagedIdentityCredentials(**WHOLE)).name == "msi-" + render_identifier(OBJECT_ID)

    one = ManagedIdentityCredentials(explicit_identities=(UserAssignedIdentityCredentials(**WHOLE),))
    secret = build_secret(one)
    assert secret.name == "msi-" + render_identifier(OBJECT_ID)
    assert secret.tags["renew_after"] == WHOLE["renew_after"]
    assert read(secret.name, secret.value).credentials == one

    two = UserAssignedIdentityCredentials(**WHOLE)
    with pytest.raises(InputError, match=r"^ManagedIdentityCredentials: explicit_identities: 2 identities"):
        build_secret(ManagedIdentityCredentials(explicit_identities=(two, two)))


@given(missing=st.sets(st.sampled_from(NEEDED), min_size=1), nested=st.booleans())
def test_build_secret_names_every_field_when_several_are_missing(missing: set[str], *, nested: bool):
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
        ("not_before", "2026-11-23T10:00:00", "expected an RFC 3339 time with a zone"),
        ("not_after", "tomorrow", "expected an RFC 3339 time with a zone"),
        ("not_after", "9999-12-31T23:59:59-12:00", "expected an RFC 3339 time with a zone"),
        ("renew_after", "2026-02-30T00:00:00Z", "expected an RFC 3339 time with a zone"),
        ("not_after", "2026-11-23T10:00:00Z", "later than not_before"),
        ("client_secret", "-----BEGIN PRIVATE KEY-----", "expected base64"),
        ("client_secret", make_client_secret(key_of=1), "belongs to another certificate"),
        ("client_secret", "c2VudGluZWw=", "expected a PEM bundle or a PKCS#12"),
        ("client_id", "me", "expected a UUID"),
        ("not_before", "-----BEGIN PRIVATE KEY-----", "expected an RFC 3339 time with a zone"),
        ("authentication_endpoint", "http://login.example/", "expected an https URL"),
    ],
)
def test_build_secret_names_the_field_without_its_value_when_it_is_unusable(
    field: str, value: str, said: str
):
    with pytest.raises(InputError, match=rf"{field}: .*{said}") as caught:
        build_secret(UserAssignedIdentityCredentials(**{**WHOLE, field: value}))
    assert "BEGIN" not in str(caught.value)


def test_build_secret_raises_when_there_is_neither_object_id_nor_name():
    nameless = UserAssignedIdentityCredentials(**{**WHOLE, "object_id": None})
    with pytest.raises(InputError, match="object_id"):
        build_secret(nameless)
    assert build_secret(nameless, name="cpo-cert").name == "cpo-cert"


@pytest.mark.parametrize("name", ["", "a_b", "a/b", "x" * 128, "ü"])
def test_build_secret_raises_when_key_vault_does_not_allow_the_name(name: str):
    with pytest.raises(InputError, match="name: "):
        build_secret(UserAssignedIdentityCredentials(**WHOLE), name=name)


def test_build_secret_keeps_other_tags_and_the_content_type_when_they_are_given():
    credentials = UserAssignedIdentityCredentials(**WHOLE)
    secret = build_secret(
        credentials, tags={"owner": "harbour", "renew_after": "once"}, content_type="application/json"
    )
    assert secret.tags["owner"] == "harbour"
    assert secret.tags["renew_after"] == WHOLE["renew_after"]
    assert secret.as_arguments()["content_type"] == "application/json"


def test_build_secret_raises_when_a_vaults_limits_are_exceeded():
    credentials = UserAssignedIdentityCredentials(**WHOLE, resource_id="x" * 25_600)
    with pytest.raises(InputError, match="bytes long; Key Vault allows 25600") as caught:
        build_secret(credentials, tags={str(number): "" for number in range(14)})
    assert "tags: 16 tags" in caught.value.problems[1]


def read(name: str, value: str | None) -> LoadedSecret:
    identifier = f"https://harbour.vault.azure.net/secrets/{name}/0123456789abcdef"
    properties = SecretProperties(name=name, vault_id=identifier)
    return read_secret(KeyVaultSecret(properties, value), where="secret here")


@pytest.mark.parametrize("encoding", ["utf-8", "hex", "base64"])
@pytest.mark.parametrize("name", ["uamsi-1", "cpo-cert"])
def test_read_secret_returns_the_credential_when_it_was_built_in_any_encoding(encoding: Encoding, name: str):
    credentials = UserAssignedIdentityCredentials(**WHOLE)
    secret = build_secret(credentials, name=name, encoding=encoding)
    loaded = read(name, secret.value)
    assert (loaded.credentials, loaded.encoding, loaded.version) == (
        credentials, encoding, "0123456789abcdef"
    )  # fmt: skip
    assert WHOLE["client_secret"] not in repr(loaded)


@pytest.mark.parametrize("encode", [str, lambda text: text.encode().hex()])
@pytest.mark.parametrize("value", ["sentinel{", '{"client_id": ["sentinel"]}', '{"client_id": "\\ud800"}'])
def test_read_secret_names_the_secret_without_its_value_when_it_is_unreadable(value: str, encode: Any):
    with pytest.raises(StoreError, match="secret here: its value is not a credential") as caught:
        read("cert", encode(value))
    assert "sentinel" not in str(caught.value)
    assert not caught.value.retryable


@pytest.mark.parametrize("value", [None, ""])
def test_read_secret_raises_a_retryable_error_when_there_is_no_value(value: str | None):
    with pytest.raises(StoreUnavailableError, match="secret here"):
        read("cert", value)


@given(value=st.text(), name=st.sampled_from(["msi-1", "uamsi-1", "cert"]))
def test_read_secret_never_shows_the_value_when_it_is_any_text(value: str, name: str):
    said = ""
    try:
        read(name, f"{value}sentinel")
    except StoreError as error:
        said = str(error)
    assert "sentinel" not in said


def test_read_secret_tells_the_model_from_the_value_when_the_name_is_that_of_a_whole_answer():
    one = UserAssignedIdentityCredentials(**WHOLE, resource_id="/subscriptions/s/one")
    assert read("msi-1", render_model(one).decode()).credentials == one
    system_assigned = ManagedIdentityCredentials(**WHOLE)
    assert read("msi-1", render_model(system_assigned).decode()).credentials == system_assigned


def test_read_secret_raises_when_a_whole_answer_has_several_identities():
    two = ManagedIdentityCredentials(explicit_identities=(UserAssignedIdentityCredentials(**WHOLE),) * 2)
    with pytest.raises(StoreError, match="explicit_identities: 2 identities"):
        read("msi-1", render_model(two).decode())


@pytest.mark.parametrize(
    ("name", "tags", "credential"),
    [
        ("uamsi-a", None, True),
        ("UAMSI-A", None, True),
        ("Msi-a", {}, True),
        ("a-cert", {"renew_after": "", "cannot_renew_after": ""}, True),
        ("a-cert", {"renew_after": ""}, False),
        ("a-cert", ["renew_after", "cannot_renew_after"], False),
        ("my-uamsi-a", None, False),
        ("uamsi", None, False),
    ],
)
def test_read_stored_returns_a_credential_when_its_name_or_both_tags_mark_one(
    name: str, tags: Any, *, credential: bool
):
    properties = SecretProperties(vault_id=f"https://v.example/secrets/{name}", tags=tags)
    stored = read_stored(properties)
    assert (stored is not None) == credential
    assert stored is None or stored.name == name


@pytest.mark.parametrize(
    ("name", "identifier"),
    [("msi-A", "a"), ("UAMSI-a-B", "a-b"), ("uamsi-", ""), ("amsi-a", None), ("cert", None)],
)
def test_get_identifier_returns_the_text_after_the_prefix_when_there_is_one(
    name: str, identifier: str | None
):
    assert get_identifier(name) == identifier


def test_read_secret_knows_no_time_when_neither_the_vault_nor_the_value_says_it():
    times = ("not_after", "renew_after", "cannot_renew_after")
    value = json.dumps({name: value for name, value in WHOLE.items() if name not in times})
    stored = read("uamsi-1", value).stored
    assert (stored.expires_on, stored.renew_after, stored.cannot_renew_after) == (None, None, None)


def test_read_secret_takes_the_times_of_the_value_when_the_vault_says_none():
    stored = read("uamsi-1", json.dumps(WHOLE)).stored
    assert stored.expires_on == datetime(2027, 2, 21, 10, tzinfo=UTC)
    assert stored.renew_after == datetime(2027, 1, 7, 9, tzinfo=UTC)


def test_read_secret_refuses_when_the_value_holds_half_a_character():
    with pytest.raises(StoreError, match="its value is not a credential"):
        read("uamsi-1", "{\ud800}")


def test_replacement_keeps_the_whole_answer_when_its_one_identity_is_replaced():
    one = UserAssignedIdentityCredentials(**WHOLE)
    whole = ManagedIdentityCredentials(explicit_identities=(one,), client_id="kept")
    loaded = read("msi-1", render_model(whole).decode())
    newer = msgspec.structs.replace(one, not_after="2027-03-21T10:00:00Z")
    replacement = read("msi-1", loaded.build_replacement(newer).value).credentials
    assert replacement == msgspec.structs.replace(whole, explicit_identities=(newer,))


def test_replacement_is_the_credential_alone_when_the_value_is_one():
    newer = UserAssignedIdentityCredentials(**{**WHOLE, "not_after": "2027-03-21T10:00:00Z"})
    loaded = read("uamsi-1", json.dumps(WHOLE))
    assert read("uamsi-1", loaded.build_replacement(newer).value).credentials == newer


def test_build_secret_says_that_nothing_was_stored_when_it_refuses():
    with pytest.raises(InputError, match="Nothing was stored"):
        build_secret(UserAssignedIdentityCredentials())
