"""No secret in a repr, a text, a log, an error or a traceback.

Real secrets pass through every public type; then everything that was shown is searched for pieces of them.
"""

import asyncio
import base64
import dataclasses
import importlib
import inspect
import json
import logging
import pkgutil
import re
import time
import traceback
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from azure.keyvault.secrets import KeyVaultSecret, SecretProperties

import hcpcreds
from hcpcreds import UserAssignedIdentityCredential
from hcpcreds import aio as hcpcreds_aio
from hcpcreds.cluster.facts import Listing
from hcpcreds.credential.authority import Attempt, Moment, Token
from hcpcreds.credential.state import Snapshot
from hcpcreds.credential_file.certificate import parse_certificate
from hcpcreds.credential_file.content import Content
from hcpcreds.credential_file.der import Element
from hcpcreds.credential_file.file import parse_credential_file
from hcpcreds.credential_file.pkcs12 import Contents
from hcpcreds.credential_file.service_principal import ServicePrincipal
from hcpcreds.dataplane.models import (
    DelegatedResource,
    ManagedIdentityCredentials,
    UserAssignedIdentityCredentials,
)
from hcpcreds.dataplane.protocol import Answer
from hcpcreds.endpoint.service import TokenSettings
from hcpcreds.errors import HcpCredsError
from hcpcreds.kubernetes.documents import Document
from hcpcreds.kubernetes.nodes import Node
from hcpcreds.kubernetes.reading import PODS
from hcpcreds.local.azure.identity_certificates import IssuedCertificate
from hcpcreds.local.azure.vault import _NewSecret
from hcpcreds.local.azure.vault_store import SecretVersion
from hcpcreds.local.node.atomic_writer import PayloadFile
from hcpcreds.local.node.provider import FetchedObject
from hcpcreds.manifests import check
from hcpcreds.manifests.check.flags import Flag
from hcpcreds.renewal.outcomes import Walk
from hcpcreds.up.service_owner import Issued, OwnIdentity
from hcpcreds.vault.secret import build_secret, read_secret

SCOPE = "https://management.azure.com/.default"
SECRET_WORDS = {
    "client_secret",
    "content",
    "credentials",
    "key",
    "password",
    "private_key",
    "secret",
    "token",
    "value",
}
"""Names of the fields that hold secrets."""
HARMLESS = {
    "Challenge": "token: what a server asks for, in the open",
    "ExtraObject": "content: which object a component needs",
    "Fact": "value: something that the page shows",
    "Row": "secret: its name in the vault",
    "Served": "token: what keeps one ready, and holds none",
    "Login": "key: the path of a file",
    "Pod": "token: which volume a service account token is in",
    "Use": "secret: its name in the vault",
    "Variable": "value: a template in the component table",
    "_Vault": "credentials: dates, by the names of secrets",
}


@pytest.fixture
def content(local_azure) -> bytes:
    return json.dumps(local_azure.issue(str(uuid.uuid4()))).encode()


def shreds_of(content: bytes) -> list[str]:
    """Return pieces of a credential file's secret in every form in which they could leak."""
    secret = json.loads(content)["client_secret"]
    pem = base64.b64decode(secret).decode()
    key = re.search(r"BEGIN PRIVATE KEY-----\n(.*?)\n-----END PRIVATE", pem, re.DOTALL)
    assert key is not None
    lines = key[1].splitlines()
    return [line[8:28] for line in lines if len(line) >= 28] + [
        secret[at : at + 20] for at in range(0, len(secret) - 20, 20)
    ]


def assert_shows_none(shown: str, content: bytes) -> None:
    assert [shred for shred in shreds_of(content) if shred in shown] == []
    assert re.findall(r"eyJ[\w-]{8,}\.[\w-]{8,}", shown) == [], "a token or an assertion"


def make_values(content: bytes) -> dict[str, Any]:
    """Create a value of every type that holds a secret, by the name of the type."""
    fields = json.loads(content)
    pem = base64.b64decode(fields["client_secret"])
    file = parse_credential_file(content, path="/mnt/certs/ingress")
    snapshot = Snapshot(file, b"digest", 1)
    credentials = msgspec.json.decode(content, type=UserAssignedIdentityCredentials)
    whole = ManagedIdentityCredentials(
        client_secret=fields["client_secret"],
        explicit_identities=(credentials,),
        delegated_resources=(DelegatedResource(implicit_identity=credentials),),
    )
    certificate = parse_certificate(pem)
    now = datetime.now(UTC)
    properties = SecretProperties(name="cert", vault_id="https://v.vault.azure.net/secrets/cert/0123456789")
    loaded = read_secret(KeyVaultSecret(properties, content.decode()), where="here")
    values = [
        file,
        certificate,
        snapshot,
        credentials,
        whole,
        build_secret(credentials),
        loaded,
        Walk(vault_url="https://v", started_at=now, finished_at=now, credentials={"cert": loaded.stored}),
        Token(token=pem.decode(), token_type="Bearer", requested=Moment(0, 0), expires_in=0, refresh_in=0),
        Attempt(url="https://login/", form={}, snapshot=snapshot, now=lambda: Moment(0, 0)),
        Issued(credentials, certificate.thumbprint, now),
        OwnIdentity("tenant", "client", b"", certificate.key),
        IssuedCertificate(object(), pem, now, now),  # type: ignore[arg-type]
        PayloadFile(content),
        FetchedObject("secret/ingress", "1", "ingress", 0o644, content),
        SecretVersion("1", content.decode(), 0, 0),
        Answer(200, content),
        Element(4, pem),
        Contents((pem,), (pem,)),
        Content(pem, pem),
        TokenSettings(secret=pem.decode()),
        ServicePrincipal(tenant_id="t", client_id="c", authority="https://a", password=pem),
        _NewSecret(value=content.decode()),
        Document({"kind": "Secret", "stringData": {"ingress": content.decode()}}),
        Listing(PODS, ({"spec": {"containers": [{"env": [{"name": "KEY", "value": content.decode()}]}]}},)),
        Flag(Node(Document(None), (), content.decode()), content.decode()),
    ]
    return {type(value).__name__: value for value in values}


def find_types() -> Iterator[type]:
    """Yield every dataclass, struct and named tuple of the package."""
    for module in pkgutil.walk_packages(hcpcreds.__path__, "hcpcreds."):
        if module.name == "hcpcreds.__main__":
            continue
        for _, found in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            is_value = dataclasses.is_dataclass(found) or issubclass(found, msgspec.Struct | tuple)
            if is_value and found.__module__ == module.name:
                yield found


def test_every_type_with_a_secret_field_is_covered_here(content):
    holders = {found.__name__ for found in find_types() if SECRET_WORDS & set(inspect.get_annotations(found))}
    assert holders - set(HARMLESS) - set(make_values(content)) == set()


def test_no_value_shows_its_secret(content):
    for name, value in make_values(content).items():
        shown = f"{value!r} {value} {[value]} {format(value)}"
        assert_shows_none(shown, content)
        assert name in shown


@pytest.mark.parametrize(
    "key",
    [
        "authentication_endpoint",
        "client_id",
        "tenant_id",
        "client_secret",
        "not_before",
        "not_after",
        "cloud",
    ],
)
@pytest.mark.parametrize("wrap", [lambda secret: secret, lambda secret: [secret], lambda secret: secret[:-9]])
def test_no_error_shows_a_secret_when_it_was_pasted_anywhere(tmp_path, caplog, content, key, wrap):
    fields = json.loads(content)
    file = tmp_path / "credential"
    file.write_text(json.dumps({**fields, "renew_after": "", key: wrap(fields["client_secret"])}))
    caplog.set_level(logging.DEBUG)

    with UserAssignedIdentityCredential(file, authority="https://127.0.0.1:9/", retry_total=0) as credential:
        shown = f"{credential!r} {credential.status()!r}"
        try:
            credential.get_token(SCOPE)
        except HcpCredsError as error:
            shown += "".join(traceback.format_exception(error)) + repr(error)
        else:
            raise AssertionError("nothing listens there")

    assert_shows_none(shown + caplog.text, content)


def test_no_log_shows_a_secret_when_credentials_rotate_and_are_refused(tmp_path, caplog, local_azure):
    client_id = str(uuid.uuid4())
    first, second = (
        json.dumps(local_azure.issue(client_id, registration_delay=delay)).encode()
        for delay in (0.0, float("inf"))
    )
    file = tmp_path / "credential"
    caplog.set_level(logging.DEBUG)
    options: Any = {"connection_verify": str(local_azure.ca_file), "logging_enable": True}

    async def use_asyncio() -> str:
        async with hcpcreds_aio.UserAssignedIdentityCredential(file, **options) as credential:
            token = await credential.get_token(SCOPE)
            return token.token

    file.write_bytes(first)
    with UserAssignedIdentityCredential(file, **options) as credential:
        tokens = [credential.get_token(SCOPE).token, asyncio.run(use_asyncio())]
        replacement = tmp_path / "replacement"
        replacement.write_bytes(second)
        replacement.rename(file)
        deadline = time.monotonic() + 10
        while credential.status().generation == 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        tokens.append(credential.get_token(SCOPE, claims="{}").token)
        shown = f"{credential!r} {credential.status()!r} {vars(credential)}"
        assert credential.status().refused, "the new certificate was not registered"

    assert "generation=2" in shown
    for content in (first, second):
        assert_shows_none(shown + caplog.text, content)
    assert [token for token in tokens if token in shown + caplog.text] == []


def test_no_finding_shows_the_content_of_a_secret(content):
    secret = json.loads(content)["client_secret"]
    cloud_config = {"aadClientSecret": secret, "aadMSIDataPlaneIdentityPath": secret, "cloud": secret}
    manifest = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "azure-cloud-config", "namespace": "clusters"},
        "stringData": {"cloud.conf": json.dumps(cloud_config), "azure.json": secret},
    }
    findings = check([Document(manifest)])
    assert findings
    assert_shows_none(repr(findings), content)
