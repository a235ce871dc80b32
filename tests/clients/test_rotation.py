"""Unmodified SDKs against `hcpcreds serve`: each program goes on through a rotation, and no call fails."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.clients.clients import LANGUAGES, Client, run_client
from tests.endpoint.endpoints import ARM, SECRET, VAULT, Identity
from tests.support.processes import start
from tests.support.waiting import wait_until

from hcpcreds.local.azure.azure import LocalAzure

SCOPES = (f"{ARM}/.default", f"{VAULT}/.default")
ENDPOINTS: dict[str, tuple[str, ...]] = {"app_service": (), "imds": ("go",)}
"""The token endpoints, and whose SDK cannot be pointed at one: Go's asks 169.254.169.254 only."""
LIFE = 4.0
"""Seconds of a token. SDKs count one with less than five minutes left as none, so that each call asks for
another; the endpoint asks the authority for another after half of its life."""


@pytest.fixture
def identity(make_azure: Callable[..., LocalAzure], tmp_path: Path) -> Identity:
    azure = make_azure(token_lifetime=LIFE, refuse_replayed_assertions=False)
    identity = Identity(azure, tmp_path / "mounted", "ingress")
    identity.rotate()
    return identity


@contextmanager
def serve(identity: Identity, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    """Run the command for the length of a block, with what it serves named in its environment."""
    environment |= {
        "HCPCREDS_CREDENTIAL": str(identity.path),
        "HCPCREDS_CA_FILE": str(identity.azure.ca_file),
        "HCPCREDS_AUTHORITY": identity.azure.authority,
        "HCPCREDS_DRAIN": "0s",
    }
    with start(sys.executable, "-m", "hcpcreds", "serve", env=environment) as process:
        yield process


def read_address(process: "subprocess.Popen[str]") -> str:
    """Read in the log where tokens are served."""
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"served at (127\.0\.0\.1:[0-9]+)", line):
            return f"http://{found[1]}"
    raise AssertionError("nothing is served")


@pytest.fixture
def assertion(identity: Identity, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a program that is given the assertion file."""
    file = tmp_path / "assertions" / "ingress"
    file.parent.mkdir()
    with serve(identity, HCPCREDS_ASSERTION_DIRECTORY=str(file.parent)):
        wait_until(file.exists, seconds=30)
        yield {
            "AZURE_CLIENT_ID": identity.client_id,
            "AZURE_TENANT_ID": identity.azure.tenant_id,
            "AZURE_AUTHORITY_HOST": identity.azure.authority,
            "AZURE_FEDERATED_TOKEN_FILE": str(file),
        }


@pytest.fixture
def app_service(identity: Identity) -> Iterator[dict[str, str]]:
    """The environment of a program that asks App Service's endpoint."""
    with serve(identity, HCPCREDS_APP_SERVICE_ADDRESS="127.0.0.1:0", HCPCREDS_SECRET=SECRET) as process:
        yield {"IDENTITY_ENDPOINT": f"{read_address(process)}/msi/token", "IDENTITY_HEADER": SECRET}


@pytest.fixture
def imds(identity: Identity) -> Iterator[dict[str, str]]:
    """The environment of a program that asks the instance metadata service."""
    with serve(identity, HCPCREDS_IMDS_ADDRESS="127.0.0.1:0") as process:
        yield {
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": read_address(process),
            "AZURE_CLIENT_ID": identity.client_id,
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
    wait_until(
        lambda: client.ask(SCOPES[0]) == first and client.ask(SCOPES[1], new=True) == second, seconds=30
    )
    assert {client.ask(scope) for scope in SCOPES} == {second}


@pytest.mark.parametrize(
    "client",
    [(each, protocol) for protocol in ENDPOINTS for each in LANGUAGES if each not in ENDPOINTS[protocol]],
    ids="-".join,
    indirect=True,
)
def test_program_with_the_token_endpoint_gets_every_token_through_a_rotation(
    client: Client, identity: Identity
):
    (first,) = identity.certificates
    assert {client.ask(scope) for scope in SCOPES} == {first}
    second = identity.rotate()
    wait_until(lambda: [client.ask(scope) for scope in SCOPES] == [second, second], seconds=30)
    assert {client.ask(scope, new=True) for scope in SCOPES} == {second}
