"""The local Key Vault: what the Azure SDK's own clients see of it."""

import asyncio
import json
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.keyvault.secrets import SecretClient
from azure.keyvault.secrets.aio import SecretClient as AioSecretClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.local.clients import ARM, VAULT, AsyncCaller, Caller, Clock, bearer, send
from typing_extensions import override

from hcpcreds.local.azure.azure import LocalAzure


def make_client(azure: LocalAzure, credential: Caller | None = None, **options: Any) -> SecretClient:
    return SecretClient(
        azure.vault_url(),
        credential or Caller(azure),
        verify_challenge_resource=False,
        connection_verify=str(azure.ca_file),
        **options,
    )


@pytest.fixture
def client(local_azure: LocalAzure) -> Iterator[SecretClient]:
    with make_client(local_azure) as client:
        yield client


@pytest.fixture
def name() -> str:
    return f"test-{uuid.uuid4()}"


def test_vault_returns_the_stored_secret(client: SecretClient, name: str):
    begins = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    ends = datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)
    client.set_secret(
        name, "old", tags={"a": "b"}, content_type="text/plain", not_before=begins, expires_on=ends
    )
    old = client.get_secret(name)
    new = client.set_secret(name, "new")
    assert (old.value, old.properties.tags, old.properties.content_type) == ("old", {"a": "b"}, "text/plain")
    assert (old.properties.not_before, old.properties.expires_on) == (begins, ends)
    assert old.properties.enabled
    assert old.properties.created_on is not None
    assert old.properties.recovery_level == "Recoverable+Purgeable"
    assert client.get_secret(name).value == "new"
    assert client.get_secret(name, old.properties.version).value == "old"
    assert client.get_secret(name.upper(), new.properties.version).value == "new"


def test_vault_lists_newest_secrets_and_all_versions_page_by_page(make_azure: Callable[..., LocalAzure]):
    azure = make_azure()
    with make_client(azure) as client:
        names = [f"secret-{number:03}" for number in range(60)]
        for each in reversed(names):
            client.set_secret(each, "value", tags={"of": each})
        versions = {client.set_secret("secret-030", str(number)).properties.version for number in range(30)}
        azure.requests.clear()
        listed = list(client.list_properties_of_secrets())
        assert [found.name for found in listed] == names
        assert listed[1].tags == {"of": names[1]}
        assert azure.requests.count("vault", match="/secrets") == 3
        found = {found.version for found in client.list_properties_of_secret_versions("secret-030")}
        assert found > versions
        assert len(found) == 31
        assert list(client.list_properties_of_secret_versions("unknown")) == []
        assert len(list(client.list_properties_of_secrets(max_page_size=7).by_page())) == 9


def test_vault_page_continues_after_the_last_one_when_secrets_come_and_go(
    make_azure: Callable[..., LocalAzure],
):
    with make_client(make_azure()) as client:
        for number in range(30):
            client.set_secret(f"s{number:02}", "")
        pages = client.list_properties_of_secrets(max_page_size=10).by_page()
        first = [found.name for found in next(pages)]
        client.begin_delete_secret("s00")
        client.set_secret("s05-new", "")
        assert first == [f"s{number:02}" for number in range(10)]
        assert [found.name for found in next(pages)] == [f"s{number:02}" for number in range(10, 20)]


def test_vault_refuses_only_a_disabled_secret_and_not_an_expired_one(client: SecretClient, name: str):
    ago, ahead = datetime.now(UTC) - timedelta(days=2), datetime.now(UTC) + timedelta(days=2)
    client.set_secret(name, "value", not_before=ago, expires_on=ago)
    assert client.get_secret(name).value == "value"
    client.update_secret_properties(name, not_before=ahead, expires_on=ahead)
    assert client.get_secret(name).value == "value"
    properties = client.update_secret_properties(name, enabled=False, tags={"x": "y"})
    assert (properties.enabled, properties.tags, properties.not_before) == (
        False,
        {"x": "y"},
        ahead.replace(microsecond=0),
    )
    with pytest.raises(HttpResponseError, match="not allowed on a disabled secret") as caught:
        client.get_secret(name)
    assert caught.value.status_code == 403
    assert next(found for found in client.list_properties_of_secrets() if found.name == name).enabled is False


def test_vault_takes_and_shows_secrets_without_http(local_azure: LocalAzure, client: SecretClient, name: str):
    expires_on = datetime(2027, 2, 21, tzinfo=UTC)
    vault = local_azure.vault()
    first = vault.put(name, "one", tags={"a": "b"}, content_type="text/plain", expires_on=expires_on)
    got = client.get_secret(name)
    assert (got.value, got.properties.version) == ("one", first)
    assert (got.properties.tags, got.properties.content_type) == ({"a": "b"}, "text/plain")
    assert got.properties.expires_on == expires_on
    second = client.set_secret(name, "two").properties.version
    vault.put(name, "three", enabled=False)
    assert [(each.value, each.enabled) for each in vault.list_versions(name)] == [
        ("one", True), ("two", True), ("three", False)
    ]  # fmt: skip
    assert vault.list_versions(name)[1].version == second
    assert vault.list_versions("absent") == []


def test_vault_returns_404_when_the_secret_was_never_stored(client: SecretClient, name: str):
    with pytest.raises(ResourceNotFoundError, match="SecretNotFound"):
        client.get_secret(name)
    client.set_secret(name, "value")
    with pytest.raises(ResourceNotFoundError, match="SecretNotFound"):
        client.get_secret(name, "0" * 32)


def test_vault_keeps_a_deleted_secrets_name_until_it_is_recovered_or_purged(client: SecretClient, name: str):
    client.set_secret(name, "value")
    client.begin_delete_secret(name).wait()
    with pytest.raises(ResourceNotFoundError):
        client.get_secret(name)
    with pytest.raises(ResourceExistsError, match="deleted but recoverable"):
        client.set_secret(name, "again")
    assert client.get_deleted_secret(name).name == name
    client.begin_recover_deleted_secret(name).wait()
    assert client.get_secret(name).value == "value"
    client.begin_delete_secret(name).wait()
    client.purge_deleted_secret(name)
    with pytest.raises(ResourceNotFoundError):
        client.purge_deleted_secret(name)
    assert client.set_secret(name, "again").value == "again"


def test_vault_challenges_for_its_tenant_and_resource(local_azure: LocalAzure, name: str):
    credential = Caller(local_azure)
    answer = send(local_azure, "GET", f"{local_azure.vault_url()}/secrets?api-version=7.6")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == (
        f'Bearer authorization="{local_azure.authority}{local_azure.tenant_id}", resource="{VAULT}"'
    )
    with make_client(local_azure, credential) as client:
        client.set_secret(name, "value")
    assert {scopes for scopes, _ in credential.asked} == {(f"{VAULT}/.default",)}
    assert {tenant for _, tenant in credential.asked} == {local_azure.tenant_id}


def test_vault_refuses_a_token_that_is_wrong_in_one_thing(make_azure: Callable[..., LocalAzure]):
    clock = Clock()
    tenants = (str(uuid.uuid4()), str(uuid.uuid4()))
    azure = make_azure(now=clock, token_lifetime=60, tenant_ids=tenants)
    azure.add_application("foreigner", tenant_id=tenants[1])
    good = bearer(azure, VAULT, client_id="c")
    url = f"{azure.vault_url()}/secrets?api-version=7.6"

    def refuse(headers: dict[str, str]) -> tuple[int, str]:
        answer = send(azure, "GET", url, headers=headers)
        return answer.status_code, str(answer.json()["error"]["message"])

    assert refuse({}) == (401, "AKV10000: Request is missing a Bearer or PoP token.")
    assert refuse(bearer(azure, ARM))[1].startswith("AKV10022: Invalid audience.")
    assert refuse(bearer(azure, VAULT, client_id="foreigner"))[1].startswith("AKV10032: Invalid issuer.")
    assert refuse({"Authorization": "Bearer x"})[0] == 401
    assert send(azure, "GET", url, headers=good).status_code == 200
    assert send(azure, "GET", url.partition("?")[0], headers=good).status_code == 400
    clock.advance(60)
    assert refuse(good) == (401, "The token is not accepted: expired.")
    clock.advance(-60)
    azure.directory.remove_application("c")
    assert refuse(good)[0] == 403


def test_vault_sdk_tells_a_caller_that_was_refused(local_azure: LocalAzure):
    class Wrong(Caller):
        @override
        def get_token(self, *scopes: str, tenant_id: str | None = None, **_: Any) -> AccessToken:
            return AccessToken("nonsense", 2**40)

    with make_client(local_azure, Wrong(local_azure)) as client, pytest.raises(ClientAuthenticationError):
        client.get_secret("any")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "not as expected"),
        pytest.param(b'{"x":' * 100_000, "not JSON", id="nested too deep"),
        (b'{"value": "\\ud800"}', "not as expected"),
        ("text", "Expected `object`, got `str`"),
        ({}, "missing required field `value`"),
        ({"value": 7}, "$.value"),
        ({"value": "x" * 25_601}, "larger"),
        ({"value": "x", "contentType": 7}, "$.contentType"),
        ({"value": "x", "tags": []}, "$.tags"),
        ({"value": "x", "tags": {str(n): "" for n in range(16)}}, "<= 15 - at `$.tags`"),
        ({"value": "x", "tags": {"a": 1}}, "$.tags"),
        ({"value": "x", "attributes": {"exp": "soon"}}, "$.attributes.exp"),
        ({"value": "x", "attributes": {"nbf": True}}, "$.attributes.nbf"),
        ({"value": "x", "attributes": {"nbf": 10**20}}, "$.attributes.nbf"),
        ({"value": "x", "attributes": {"enabled": "yes"}}, "$.attributes.enabled"),
    ],
)
def test_vault_refuses_a_body_that_it_cannot_store(
    local_azure: LocalAzure, name: str, body: Any, message: str
):
    url = f"{local_azure.vault_url()}/secrets/{name}?api-version=7.6"
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = send(local_azure, "PUT", url, content=content, headers=bearer(local_azure, VAULT))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BadParameter")
    assert message in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["secrets/under_score", f"secrets/{'x' * 128}"])
def test_vault_refuses_a_name_outside_its_alphabet(local_azure: LocalAzure, path: str):
    url = f"{local_azure.vault_url()}/{path}?api-version=7.6"
    answer = send(local_azure, "PUT", url, json={"value": "x"}, headers=bearer(local_azure, VAULT))
    assert answer.status_code == 400


@pytest.mark.parametrize("query", ["maxresults=0", "maxresults=26", "maxresults=x", "$skiptoken=%2"])
def test_vault_refuses_a_page_that_it_cannot_give(local_azure: LocalAzure, query: str):
    url = f"{local_azure.vault_url()}/secrets?api-version=7.6&{query}"
    assert send(local_azure, "GET", url, headers=bearer(local_azure, VAULT)).status_code == 400


def test_vaults_hold_secrets_of_their_own(make_azure: Callable[..., LocalAzure]):
    azure = make_azure(vaults=("one", "two"))
    headers = bearer(azure, VAULT)
    for vault in ("one", "two"):
        url = f"{azure.vault_url(vault)}/secrets/same?api-version=7.6"
        assert send(azure, "PUT", url, json={"value": vault}, headers=headers).status_code == 200
    for vault in ("one", "two"):
        url = f"{azure.vault_url(vault)}/secrets/same?api-version=7.6"
        assert send(azure, "GET", url, headers=headers).json()["value"] == vault
    with pytest.raises(KeyError):
        azure.vault_url("three")


def test_vault_serves_the_asyncio_client(local_azure: LocalAzure, name: str):
    async def use() -> list[str | None]:
        async with AioSecretClient(
            local_azure.vault_url(),
            AsyncCaller(local_azure),
            verify_challenge_resource=False,
            connection_verify=str(local_azure.ca_file),
        ) as client:
            await client.set_secret(name, "value")
            found = await asyncio.gather(*(client.get_secret(name) for _ in range(20)))
            assert name in [listed.name async for listed in client.list_properties_of_secrets()]
            return [secret.value for secret in found]

    assert asyncio.run(use()) == ["value"] * 20


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    value=st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
    tags=st.dictionaries(
        st.text("abcXYZ_-/. é", min_size=1, max_size=20), st.text("x é", max_size=20), max_size=15
    ),
)
def test_vault_gives_back_any_value_and_tags(client: SecretClient, value: str, tags: dict[str, str]):
    stored = client.set_secret("any-value", value, tags=tags)
    found = client.get_secret("any-value", stored.properties.version)
    assert (found.value, found.properties.tags) == (value, tags)
