"""Unmodified SDKs against `hcpcreds serve`: each program goes on through a rotation, and no call fails."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.clients.clients import LANGUAGES, Client, run_client
from tests.endpoint.endpoints import ARM, VAULT, Identity
from tests.support.processes import start
from tests.support.waiting import wait_until

from hcpcreds.local.azure.azure import LocalAzure

SCOPES = (f"{ARM}/.default", f"{VAULT}/.default")
LIFE = 250.0
"""Every SDK counts a token with less than five minutes left as none, so that each call asks for another."""


@pytest.fixture
def identity(make_azure: Callable[..., LocalAzure], tmp_path: Path) -> Identity:
    azure = make_azure(token_lifetime=LIFE, refuse_replayed_assertions=False)
    identity = Identity(azure, tmp_path / "mounted", "ingress")
    identity.rotate()
    return identity


@pytest.fixture
def assertion(identity: Identity, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a program that is given the assertion file."""
    directory = tmp_path / "assertions"
    directory.mkdir()
    with ExitStack() as stack:
        environment = {
            "HCPCREDS_CREDENTIAL": str(identity.path),
            "HCPCREDS_CA_FILE": str(identity.azure.ca_file),
            "HCPCREDS_AUTHORITY": identity.azure.authority,
            "HCPCREDS_ASSERTION_DIRECTORY": str(directory),
        }
        stack.enter_context(start(sys.executable, "-m", "hcpcreds", "serve", env=environment))
        wait_until((directory / "ingress").exists, seconds=30)
        yield {
            "AZURE_CLIENT_ID": identity.client_id,
            "AZURE_TENANT_ID": identity.azure.tenant_id,
            "AZURE_AUTHORITY_HOST": identity.azure.authority,
            "AZURE_FEDERATED_TOKEN_FILE": str(directory / "ingress"),
        }


@pytest.fixture
def client(request: pytest.FixtureRequest, identity: Identity) -> Iterator[Client]:
    language, environment = request.param
    with run_client(
        language, ca_file=identity.azure.ca_file, **request.getfixturevalue(environment)
    ) as running:
        yield running


@pytest.mark.parametrize("client", [(each, "assertion") for each in LANGUAGES], ids="-".join, indirect=True)
def test_program_with_an_assertion_file_gets_every_token_through_a_rotation(
    client: Client, identity: Identity
):
    (first,) = identity.certificates
    assert {client.ask(scope) for scope in SCOPES} == {first}
    second = identity.rotate()
    # A credential keeps the file that it has read for minutes, and the certificate of that file still serves.
    wait_until(lambda: client.ask(SCOPES[0]) == first and client.ask(SCOPES[1], new=True) == second)
    assert {client.ask(scope) for scope in SCOPES} == {second}
