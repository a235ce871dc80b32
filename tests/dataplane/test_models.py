"""The models against the service's description, field by field."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcpcreds.dataplane import (
    CustomClaims,
    DelegatedResource,
    ManagedIdentityCredentials,
    MoveIdentityRequest,
    MoveIdentityResponse,
    UserAssignedIdentitiesRequest,
    UserAssignedIdentityCredentials,
)
from hcpcreds.dataplane.models import ErrorResponse, Model, parse_model, render_model
from hcpcreds.errors import InputError

# Names and types of every property in the definitions of the service's description, api-version 2024-01-01
# (Azure/msi-dataplane, msi-credentials-data-plane.openapi.v2.json); all others there are strings.
_IDENTITY = """client_id client_secret client_secret_url tenant_id object_id authentication_endpoint
    mtls_authentication_endpoint not_before not_after renew_after cannot_renew_after"""
DEFINITIONS: dict[type[Model], dict[str, Any]] = {
    CustomClaims: {"xms_az_tm": str, "xms_az_nwperimid": [str]},
    UserAssignedIdentitiesRequest: {
        "identityIds": [str],
        "delegatedResources": [str],
        "customClaims": CustomClaims,
    },
    MoveIdentityRequest: {"targetResourceId": str},
    MoveIdentityResponse: {"identityUrl": str},
    UserAssignedIdentityCredentials: {
        **dict.fromkeys(_IDENTITY.split(), str),
        "resource_id": str,
        "custom_claims": CustomClaims,
    },
    DelegatedResource: {
        **dict.fromkeys(["resource_id", "delegation_id", "delegation_url", "internal_id"], str),
        "implicit_identity": UserAssignedIdentityCredentials,
        "explicit_identities": [UserAssignedIdentityCredentials],
    },
    ManagedIdentityCredentials: {
        **dict.fromkeys(_IDENTITY.split(), str),
        "internal_id": str,
        "delegation_url": str,
        "explicit_identities": [UserAssignedIdentityCredentials],
        "delegated_resources": [DelegatedResource],
        "custom_claims": CustomClaims,
    },
}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def build_strategy(kind: Any) -> st.SearchStrategy[Any]:
    if kind is str:
        return TEXTS
    if isinstance(kind, list):
        return st.lists(build_strategy(kind[0]), max_size=2)
    return st.fixed_dictionaries(
        {}, optional={name: build_strategy(field) for name, field in DEFINITIONS[kind].items()}
    )


@pytest.mark.parametrize("model", DEFINITIONS)
@given(data=st.data())
def test_model_keeps_every_field_when_the_value_is_as_described(model: type[Model], data: st.DataObject):
    described = data.draw(build_strategy(model))
    parsed = parse_model(msgspec.json.encode(described), model)
    assert msgspec.json.decode(render_model(parsed)) == described


@pytest.mark.parametrize("model", DEFINITIONS)
def test_model_has_exactly_the_described_fields(model: type[Model]):
    assert {field.encode_name for field in msgspec.structs.fields(model)} == set(DEFINITIONS[model])


@pytest.mark.parametrize(
    ("model", "name"), [(model, name) for model, fields in DEFINITIONS.items() for name in fields]
)
def test_parse_model_names_the_field_when_its_type_is_wrong(model: type[Model], name: str):
    with pytest.raises(InputError, match=rf"\$\.{name}"):
        parse_model(msgspec.json.encode({name: 5}), model)


@given(code=TEXTS, message=TEXTS)
def test_error_response_is_parsed_when_it_is_as_described(code: str, message: str):
    described = {"error": {"code": code, "message": message, "innererror": {"of": ["the future"]}}}
    error = parse_model(msgspec.json.encode(described), ErrorResponse).error
    assert error is not None
    assert (error.code, error.message) == (code, message)


def test_parse_model_ignores_unknown_keys_when_they_are_nested():
    inner = {"client_id": "known", "of_the_future": [{"deep": 1}]}
    content = {
        "explicit_identities": [inner],
        "delegated_resources": [{"implicit_identity": inner, "new": 1}],
        "custom_claims": {"xms_az_tm": "user", "xms_az_new": "claim"},
    }
    known = UserAssignedIdentityCredentials(client_id="known")
    assert parse_model(
        msgspec.json.encode(content), ManagedIdentityCredentials
    ) == ManagedIdentityCredentials(
        explicit_identities=(known,),
        delegated_resources=(DelegatedResource(implicit_identity=known),),
        custom_claims=CustomClaims(xms_az_tm="user"),
    )


@pytest.mark.parametrize("model", DEFINITIONS)
def test_parse_model_returns_an_empty_model_when_every_field_is_null(model: type[Model]):
    content = {**dict.fromkeys(DEFINITIONS[model]), "of_the_future": {"deep": [1]}}
    assert parse_model(msgspec.json.encode(content), model) == model()
    assert render_model(model()) == b"{}"


@pytest.mark.parametrize("model", [UserAssignedIdentityCredentials, ManagedIdentityCredentials])
def test_credentials_hide_the_client_secret_when_they_are_shown(model: Any):
    inner = UserAssignedIdentityCredentials(client_secret="sentinel", client_id="shown")
    outer = model(client_secret="sentinel", client_id="shown")
    whole = ManagedIdentityCredentials(
        explicit_identities=(inner,), delegated_resources=(DelegatedResource(implicit_identity=inner),)
    )
    for text in (repr(outer), str(outer), f"{outer!r}", repr(outer.__rich_repr__()), repr(whole)):
        assert "sentinel" not in text
        assert "shown" in text


@pytest.mark.parametrize("field", ["client_id", "object_id", "resource_id", "client_secret_url"])
def test_credentials_hide_a_key_when_it_is_in_another_field(field: Any):
    key: Any = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC" * 50
    one = UserAssignedIdentityCredentials(**{field: key})
    request = UserAssignedIdentitiesRequest(identity_ids=(key, "\x1b[2J"))
    for text in map(repr, (one, ManagedIdentityCredentials(explicit_identities=(one,)), request)):
        assert "MII" not in text
        assert text.isprintable()


@pytest.mark.parametrize(
    "content",
    [
        b'{"client_secret": "sentinel\xff"}',
        b'{"client_secret": "sentinel"',
        b'{"client_secret": ["sentinel"]}',
        pytest.param(b'{"sentinel":' * 100_000, id="nested too deep"),
        b'"sentinel"',
        b"",
    ],
)
def test_parse_model_never_shows_the_content_when_it_is_malformed(content: bytes):
    with pytest.raises(InputError) as caught:
        parse_model(content, ManagedIdentityCredentials)
    assert "sentinel" not in str(caught.value)
    assert caught.value.__suppress_context__
