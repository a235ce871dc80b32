"""The local IMDS: what azure-identity's ManagedIdentityCredential gets from it."""

import asyncio
import time
import uuid
from collections.abc import Callable

import jwt
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ChainedTokenCredential, CredentialUnavailableError, ManagedIdentityCredential
from azure.identity.aio import ManagedIdentityCredential as AioManagedIdentityCredential
from azure.keyvault.secrets import SecretClient
from tests.local.clients import VAULT, send

from hcpcreds.local.azure.azure import LocalAzure

NODE = "dddddddd-0000-0000-0000-000000000001"
RESOURCE_ID = (
    "/subscriptions/s/resourcegroups/r/providers/Microsoft.ManagedIdentity/userAssignedIdentities/node"
)
HEADERS = {"Metadata": "true"}


@pytest.fixture
def node(make_azure: Callable[..., LocalAzure], monkeypatch: pytest.MonkeyPatch) -> LocalAzure:
    azure = make_azure(node_identities=())
    azure.assign_to_node(NODE, resource_id=RESOURCE_ID)
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", azure.instance_metadata)
    return azure


def test_managed_identity_credential_gets_a_token_of_the_nodes_identity(node: LocalAzure):
    with ManagedIdentityCredential(client_id=NODE) as credential:
        token = credential.get_token(f"{VAULT}/.default")
    claims = jwt.decode(token.token, options={"verify_signature": False})
    assert (claims["appid"], claims["aud"], claims["tid"]) == (NODE, VAULT, node.tenant_id)
    assert token.expires_on == pytest.approx(time.time() + 3600, abs=5)

    async def ask() -> str:
        async with AioManagedIdentityCredential(client_id=NODE) as aio:
            token: str = (await aio.get_token(f"{VAULT}/.default")).token
            return token

    assert jwt.decode(asyncio.run(ask()), options={"verify_signature": False})["appid"] == NODE


def test_managed_identity_credential_opens_the_vault(node: LocalAzure):
    with (
        ManagedIdentityCredential(client_id=NODE) as credential,
        SecretClient(
            node.vault_url(),
            credential,
            verify_challenge_resource=False,
            connection_verify=str(node.ca_file),
        ) as client,
    ):
        client.set_secret("name", "value")
        assert client.get_secret("name").value == "value"


def test_managed_identity_credential_is_unavailable_at_once_when_the_identity_is_not_assigned(
    node: LocalAzure,
):
    began = time.monotonic()
    with (
        ManagedIdentityCredential(client_id=str(uuid.uuid4())) as credential,
        pytest.raises(CredentialUnavailableError, match="Identity not found"),
    ):
        credential.get_token(f"{VAULT}/.default")
    assert time.monotonic() - began < 2
    assert node.requests.count("instance_metadata") == 1


@pytest.mark.usefixtures("node")
def test_chained_credential_continues_at_once_when_the_identity_is_not_assigned():
    first = ManagedIdentityCredential(client_id=str(uuid.uuid4()))
    began = time.monotonic()
    with ChainedTokenCredential(first, ManagedIdentityCredential(client_id=NODE)) as chain:
        assert chain.get_token(f"{VAULT}/.default").token
    assert time.monotonic() - began < 2


@pytest.mark.usefixtures("node")
def test_managed_identity_credential_is_found_by_resource_id_or_alone():
    for credential in (
        ManagedIdentityCredential(identity_config={"resource_id": RESOURCE_ID}),
        ManagedIdentityCredential(),
    ):
        with credential:
            claims = jwt.decode(
                credential.get_token(f"{VAULT}/.default").token, options={"verify_signature": False}
            )
            assert claims["appid"] == NODE


def test_managed_identity_credential_must_say_which_when_the_node_has_two(node: LocalAzure):
    node.assign_to_node(str(uuid.uuid4()))
    with (
        ManagedIdentityCredential() as credential,
        pytest.raises(ClientAuthenticationError, match="Multiple user assigned identities"),
    ):
        credential.get_token(f"{VAULT}/.default")


@pytest.mark.parametrize("path", ["/metadata/identity/oauth2/token/", "//metadata/identity/oauth2/token"])
def test_instance_metadata_answers_the_paths_that_javascript_and_java_ask(node: LocalAzure, path: str):
    url = f"{node.instance_metadata}{path}?api-version=2018-02-01&resource={VAULT}"
    assert send(node, "GET", url, headers=HEADERS).json()["resource"] == VAULT


@pytest.mark.parametrize(
    ("headers", "query", "error"),
    [
        ({}, f"api-version=2018-02-01&resource={VAULT}", "bad_request_102"),
        ({"Metadata": "True"}, f"api-version=2018-02-01&resource={VAULT}", "bad_request_102"),
        (
            {**HEADERS, "X-Forwarded-For": "10.0.0.1"},
            f"api-version=2018-02-01&resource={VAULT}",
            "bad_request",
        ),
        ({**HEADERS, "Host": "evil.example"}, f"api-version=2018-02-01&resource={VAULT}", "bad_request"),
        (HEADERS, f"resource={VAULT}", "invalid_request"),
        (HEADERS, "api-version=2018-02-01", "invalid_request"),
        (HEADERS, "api-version=2018-02-01&resource=https://example.org", "invalid_resource"),
        (HEADERS, f"api-version=2018-02-01&resource={VAULT}&object_id=x", "invalid_request"),
    ],
)
def test_instance_metadata_refuses_with_400_and_says_why(
    node: LocalAzure, headers: dict[str, str], query: str, error: str
):
    url = f"{node.instance_metadata}/metadata/identity/oauth2/token?{query}"
    answer = send(node, "GET", url, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (400, error)
