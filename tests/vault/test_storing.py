"""One contract for both twins: credentials stored, loaded and listed through the real SDK's clients."""

import asyncio
import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from azure.keyvault.secrets import SecretClient
from azure.keyvault.secrets.aio import SecretClient as AsyncSecretClient
from tests.dataplane.credentials import make_fields
from tests.local.clients import AsyncCaller, Caller
from tests.support.twins import describe, list_pairs

from hcpcreds import vault
from hcpcreds.credential import UserAssignedIdentityCredential
from hcpcreds.credential_file.encoding import Encoding
from hcpcreds.dataplane import ManagedIdentityCredentials, UserAssignedIdentityCredentials
from hcpcreds.dataplane.models import parse_model, render_model
from hcpcreds.errors import (
    InputError,
    SecretNotFoundError,
    StoreError,
    StoreRefusedError,
    StoreUnavailableError,
)
from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.vault import aio as aio_vault
from hcpcreds.vault.naming import render_identifier
from hcpcreds.vault.secret import StoredCredential

CREDENTIALS = UserAssignedIdentityCredentials(**make_fields())

JSON = {"Content-Type": "application/json"}


class Twin:
    """Calls a function of either twin, each time with a new client."""

    def __init__(self, azure: LocalAzure, kind: str) -> None:
        self.azure = azure
        self.kind = kind
        self.options: Any = {
            "vault_url": azure.vault_url(),
            "connection_verify": str(azure.ca_file),
            "verify_challenge_resource": False,
            "retry_total": 0,
        }

    def call(self, function: str, /, *given: Any, **options: Any) -> Any:
        if self.kind == "sync":
            with SecretClient(credential=Caller(self.azure), **self.options) as client:
                answer = getattr(vault, function)(client, *given, **options)
                return list(answer) if function == "list_stored" else answer

        async def call() -> Any:
            async with AsyncSecretClient(credential=AsyncCaller(self.azure), **self.options) as client:
                answer = getattr(aio_vault, function)(client, *given, **options)
                return [found async for found in answer] if function == "list_stored" else await answer

        return asyncio.run(call())


@pytest.mark.parametrize(
    ("sync_one", "aio_one"), list_pairs(vault, aio_vault, "store", "load", "list_stored")
)
def test_function_has_the_same_signature_and_documentation_when_it_is_the_twin(sync_one: Any, aio_one: Any):
    assert describe(sync_one) == describe(aio_one)


@pytest.fixture(params=["sync", "aio"])
def twin(local_azure: LocalAzure, request: pytest.FixtureRequest) -> Twin:
    return Twin(local_azure, request.param)


def test_load_returns_the_credential_when_store_wrote_it(twin: Twin):
    stored = twin.call("store", CREDENTIALS)
    assert stored.name == "uamsi-" + render_identifier(CREDENTIALS.object_id or "")
    assert stored.version
    assert stored.not_before == datetime(2026, 11, 23, 10, tzinfo=UTC)
    assert stored.expires_on == datetime(2027, 2, 21, 10, tzinfo=UTC)
    assert stored.tags == {
        "renew_after": CREDENTIALS.renew_after,
        "cannot_renew_after": CREDENTIALS.cannot_renew_after,
    }
    assert twin.call("load", stored.name).credentials == CREDENTIALS


@pytest.mark.parametrize("encoding", ["utf-8", "hex", "base64"])
def test_store_uses_the_given_name_and_encoding(twin: Twin, encoding: Encoding):
    name = f"cpo-cert-{encoding}-{twin.kind}"
    assert twin.call("store", CREDENTIALS, name=name, encoding=encoding).name == name
    loaded = twin.call("load", name)
    assert (loaded.credentials, loaded.encoding) == (CREDENTIALS, encoding)


def test_store_writes_every_secret_when_a_new_client_stores_several_at_once(make_azure: Any):
    azure: LocalAzure = make_azure()
    names = [f"uamsi-{number}" for number in range(8)]
    options = Twin(azure, "sync").options
    with SecretClient(credential=Caller(azure), **options) as client, ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: vault.store(client, CREDENTIALS, name=name), names))
        assert [stored.name for stored in vault.list_stored(client)] == names


def test_load_returns_an_older_version_when_it_is_named(twin: Twin):
    first = twin.call("store", CREDENTIALS, name="versions")
    twin.call(
        "store",
        UserAssignedIdentityCredentials(**make_fields(not_after="2028-01-01T00:00:00Z")),
        name="versions",
    )
    loaded = twin.call("load", "versions", version=first.version)
    assert (loaded.version, loaded.credentials) == (first.version, CREDENTIALS)
    assert loaded.tags == first.tags
    assert loaded.stored.expires_on == first.expires_on


def test_store_writes_the_whole_answer_when_it_is_given_one(local_azure: LocalAzure, twin: Twin):
    issued = parse_model(
        render_model(ManagedIdentityCredentials(explicit_identities=(CREDENTIALS,))),
        ManagedIdentityCredentials,
    )
    stored = twin.call("store", issued)
    assert stored.name.startswith("msi-")
    assert twin.call("load", stored.name).credentials == issued
    assert local_azure.requests.count("vault", match=stored.name, method="PUT") > 0


def test_store_writes_nothing_when_the_credential_is_incomplete(local_azure: LocalAzure, twin: Twin):
    with pytest.raises(InputError, match="2 problems") as caught:
        twin.call(
            "store", UserAssignedIdentityCredentials(**{**as_fields(), "not_after": None, "client_id": None})
        )
    assert caught.value.problems == ("client_id: missing", "not_after: missing")
    assert local_azure.requests.count("vault") == 0


def as_fields() -> dict[str, Any]:
    return {name: getattr(CREDENTIALS, name) for name in CREDENTIALS.__struct_fields__}


@pytest.mark.parametrize(
    "fault", [{"status": 403}, {"status": 500}, {"status": 400, "body": b"sentinel"}, {"drop": True}]
)
@pytest.mark.parametrize("call", ["store", "load", "list_stored"])
def test_call_names_the_vault_when_it_refuses(
    local_azure: LocalAzure, twin: Twin, call: str, fault: dict[str, Any]
):
    given: dict[str, list[Any]] = {
        "store": [CREDENTIALS],
        "load": ["absent"],
        "list_stored": [],
    }
    local_azure.faults.add("vault", **fault)
    with pytest.raises(StoreError, match=r"127\.0\.0\.1") as caught:
        twin.call(call, *given[call])
    assert str(CREDENTIALS.client_secret) not in str(caught.value)


@pytest.mark.parametrize("content_type", ["application/json", "text/html"])
@pytest.mark.parametrize(
    "body", [b"", b"sentinel", b'"sentinel"', b'["sentinel"]', b'{"value": ["sentinel"]}', b'{"value": null}']
)
def test_load_never_shows_the_answer_when_it_is_garbage(
    local_azure: LocalAzure, twin: Twin, body: bytes, content_type: str
):
    twin.call("store", CREDENTIALS, name="garbage")
    local_azure.faults.add(
        "vault", method="GET", match="/secrets/garbage", body=body, headers={"Content-Type": content_type}
    )
    with pytest.raises(StoreError, match="secret garbage in https://127") as caught:
        twin.call("load", "garbage")
    assert "sentinel" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[1]",
        pytest.param(b"[" * 100_000, id="nested too deep"),
        b'{"value": 5}',
        b'{"value": [{"id": 5}]}',
    ],
)
def test_list_stored_raises_when_the_answer_is_garbage(local_azure: LocalAzure, twin: Twin, body: bytes):
    local_azure.faults.add("vault", body=body, headers={"Content-Type": "application/json"})
    with pytest.raises(StoreError, match="vault https://127"):
        twin.call("list_stored")


def test_load_raises_when_the_secret_does_not_exist(twin: Twin):
    with pytest.raises(SecretNotFoundError, match=r"secret absent in .*SecretNotFound"):
        twin.call("load", "absent")


def test_list_stored_returns_every_credential_when_there_are_several_pages(make_azure: Any):
    azure = make_azure()
    sync, aio = Twin(azure, "sync"), Twin(azure, "aio")
    with SecretClient(credential=Caller(azure), **sync.options) as client:
        client.set_secret("unrelated", "value")
        client.set_secret(
            "msi-untagged", "value", tags={"renew_after": "0001-01-01T00:00:00+12:00"}, enabled=False
        )
        for number in range(30):  # more than a page
            vault.store(client, CREDENTIALS, name=f"cert-{number:02}")
    vault_name = sync.call("store", CREDENTIALS).name

    listed = sync.call("list_stored")
    assert listed == aio.call("list_stored")
    assert {found.name for found in listed} == {
        "msi-untagged", vault_name, *(f"cert-{number:02}" for number in range(30))
    }  # fmt: skip
    by_name = {found.name: found for found in listed}
    assert by_name["cert-07"] == StoredCredential(
        name="cert-07",
        enabled=True,
        not_before=datetime(2026, 11, 23, 10, tzinfo=UTC),
        expires_on=datetime(2027, 2, 21, 10, tzinfo=UTC),
        renew_after=datetime(2027, 1, 7, 9, tzinfo=UTC),
        cannot_renew_after=datetime(2027, 5, 22, 10, tzinfo=UTC),
    )
    untagged = by_name["msi-untagged"]
    assert (untagged.enabled, untagged.renew_after, untagged.cannot_renew_after) == (False, None, None)


def test_list_stored_returns_the_first_page_when_the_second_fails(make_azure: Any):
    azure = make_azure()
    with SecretClient(credential=Caller(azure), **Twin(azure, "sync").options) as client:
        for number in range(30):
            vault.store(client, CREDENTIALS, name=f"cert-{number:02}")
        listing = vault.list_stored(client)
        assert next(listing).name == "cert-00"
        azure.faults.add("vault", status=500)
        with pytest.raises(StoreError, match="vault https://127"):
            list(listing)


@pytest.mark.parametrize(
    ("status", "inner", "hint"),
    [
        (401, None, "check that it belongs to the vault's tenant"),
        (403, None, "needs to get, list and set secrets (Key Vault Secrets Officer)"),
        (403, "ForbiddenByRbac", "needs to get, list and set secrets (Key Vault Secrets Officer)"),
        (403, "SecretDisabled", "The secret is disabled. Enable it, or delete it"),
        (403, "ForbiddenByFirewall", "firewall rejects this address; a role would not help"),
        (403, "ForbiddenByConnection", "only accepts private connections; a role would not help"),
        (400, None, ""),
    ],
)
def test_refusal_of_the_vault_has_a_hint_when_the_code_tells_the_cause(
    local_azure: LocalAzure, twin: Twin, status: int, inner: str | None, hint: str
):
    error = {"code": "Some", "message": "said", **({"innererror": {"code": inner}} if inner else {})}
    local_azure.faults.add("vault", status=status, body=msgspec.json.encode({"error": error}), headers=JSON)
    with pytest.raises(StoreRefusedError) as caught:
        twin.call("load", "absent")
    assert str(caught.value).startswith("secret absent in https://127")
    assert "(Some) said" in str(caught.value)
    assert hint in (caught.value.hint or "")
    assert bool(caught.value.hint) == bool(hint)


@pytest.mark.parametrize("body", [b"<html>sentinel</html>", b"", b'{"message": "sentinel"}', b"[]"])
@pytest.mark.parametrize("status", [302, 400, 403, 404, 407])
def test_error_suspects_a_firewall_when_the_answer_is_not_key_vaults(
    local_azure: LocalAzure, twin: Twin, status: int, body: bytes
):
    local_azure.faults.add("vault", status=status, body=body, headers=JSON)
    with pytest.raises(StoreUnavailableError) as caught:
        twin.call("load", "absent")
    assert f"HTTP {status}, but not from Key Vault" in str(caught.value)
    assert "proxy or firewall" in str(caught.value)
    assert "sentinel" not in str(caught.value)


def test_error_does_not_suspect_a_firewall_when_the_authority_refuses(
    local_azure: LocalAzure, tmp_path: Path
):
    client_id = str(uuid.uuid4())
    file = tmp_path / "credential"
    file.write_text(json.dumps(local_azure.issue(client_id)))
    local_azure.directory.remove_application(client_id)
    options: Any = {"connection_verify": str(local_azure.ca_file)}
    with (
        UserAssignedIdentityCredential(file, **options) as credential,
        SecretClient(
            local_azure.vault_url(), credential, verify_challenge_resource=False, **options
        ) as client,
        pytest.raises(StoreRefusedError, match="AADSTS") as caught,
    ):
        vault.load(client, "absent")
    assert "firewall" not in str(caught.value)


def test_message_of_the_vault_is_safe_when_it_is_hostile(local_azure: LocalAzure, twin: Twin):
    message = f"\x1b[2J Bearer opaque-token eyJhbGciOiJSUzI1NiJ9.e30.c2ln \u202e {'m' * 5000}"
    body = msgspec.json.encode({"error": {"code": "Bad", "message": message}})
    local_azure.faults.add("vault", status=400, body=body, headers=JSON)
    with pytest.raises(StoreRefusedError) as caught:
        twin.call("load", "absent")
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 500
    assert "opaque-token" not in str(caught.value)
    assert "eyJ" not in str(caught.value)
