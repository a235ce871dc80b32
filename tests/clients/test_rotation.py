"""Unmodified SDKs against `hcpcreds serve`: each program goes on through a rotation, and no call fails."""

import base64
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.clients.clients import LANGUAGES, Client, run_client
from tests.docs.snippets import read_blocks
from tests.endpoint.endpoints import ARM, SECRET, VAULT, Identity
from tests.support.golang import MAY_BUILD, find_program
from tests.support.java import find_command, write_trust
from tests.support.npm import find_packages
from tests.support.processes import start
from tests.support.waiting import wait_until

from hcpcreds.constants import MANAGED_AZURE_CREDENTIALS_FILE_PATH
from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.local.azure.settings import AzureSettings

pytestmark = MAY_BUILD

SCOPES = (f"{ARM}/.default", f"{VAULT}/.default")
ENDPOINTS: dict[str, tuple[str, ...]] = {"app_service": (), "imds": ("go",)}
"""The token endpoints, and whose SDK cannot be pointed at one: Go's asks 169.254.169.254 only."""
LIFE = 2.0
"""Seconds of a token. SDKs count one with less than five minutes left as none, so that each call asks for
another; the endpoint asks the authority for another after half of its life."""


class Sidecar:
    """`hcpcreds serve`, which serves one identity in every way."""

    def __init__(self, identity: Identity, addresses: dict[str, str], assertion: Path) -> None:
        azure = identity.azure
        self.identity = identity
        self.certificate = ""
        """The thumbprint of the mounted one."""
        self.environments = {
            "app_service": {
                "IDENTITY_ENDPOINT": f"http://{addresses['App Service']}/msi/token",
                "IDENTITY_HEADER": SECRET,
            },
            "imds": {
                "AZURE_POD_IDENTITY_AUTHORITY_HOST": f"http://{addresses['instance metadata service']}",
                "AZURE_CLIENT_ID": identity.client_id,
            },
            "assertion": {
                "AZURE_CLIENT_ID": identity.client_id,
                "AZURE_TENANT_ID": azure.tenant_id,
                "AZURE_AUTHORITY_HOST": azure.authority,
                "AZURE_FEDERATED_TOKEN_FILE": str(assertion),
            },
            "file": {MANAGED_AZURE_CREDENTIALS_FILE_PATH: str(identity.path)},
        }
        """What a program is told, by the way in which it gets its tokens; with `file` it has the key."""

    def rotate(self) -> str:
        self.certificate = self.identity.rotate()
        return self.certificate


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    directory = tmp_path_factory.mktemp("sidecar")
    with LocalAzure(AzureSettings(token_lifetime=LIFE, refuse_replayed_assertions=False)) as azure:
        identity = Identity(azure, directory / "mounted", "ingress")
        certificate = identity.rotate()
        environment = {
            "HCPCREDS_CREDENTIAL": str(identity.path),
            "HCPCREDS_CA_FILE": str(azure.ca_file),
            "HCPCREDS_AUTHORITY": azure.authority,
            "HCPCREDS_ASSERTION_DIRECTORY": str(directory),
            "HCPCREDS_APP_SERVICE_ADDRESS": "127.0.0.1:0",
            "HCPCREDS_IMDS_ADDRESS": "127.0.0.1:0",
            "HCPCREDS_SECRET": SECRET,
        }
        with start(sys.executable, "-m", "hcpcreds", "serve", env=environment) as process:
            sidecar = Sidecar(identity, read_addresses(process), directory / "ingress")
            sidecar.certificate = certificate
            wait_until((directory / "ingress").exists, seconds=30)
            yield sidecar


def read_addresses(process: "subprocess.Popen[str]") -> dict[str, str]:
    """Read in the log where tokens are served."""
    assert process.stderr is not None
    names = ("App Service", "instance metadata service")
    found: dict[str, str] = {}
    for line in process.stderr:
        if told := re.search(rf"({'|'.join(names)})'s protocol is served at (127\.0\.0\.1:[0-9]+)", line):
            found[told[1]] = told[2]
        if len(found) == len(names):
            return found
    raise AssertionError("nothing is served")


@pytest.fixture
def client(request: pytest.FixtureRequest, sidecar: Sidecar) -> Iterator[Client]:
    language, way = request.param
    ca_file = sidecar.identity.azure.ca_file
    with run_client(language, ca_file=ca_file, **sidecar.environments[way]) as running:
        yield running


@pytest.mark.parametrize("client", [(each, "assertion") for each in LANGUAGES], ids="-".join, indirect=True)
def test_program_with_an_assertion_file_gets_every_token_through_a_rotation(client: Client, sidecar: Sidecar):
    first = sidecar.certificate
    wait_until(lambda: client.ask(SCOPES[0], new=True) == first, seconds=30)
    second = sidecar.rotate()
    # Most credentials keep a file that they have read for minutes: the certificate of that has to serve on.
    wait_until(
        lambda: client.ask(SCOPES[0]) in {first, second} and client.ask(SCOPES[1], new=True) == second,
        seconds=30,
    )
    assert {client.ask(scope) for scope in SCOPES} == {second}


@pytest.mark.parametrize(
    "client",
    [(each, protocol) for protocol in ENDPOINTS for each in LANGUAGES if each not in ENDPOINTS[protocol]],
    ids="-".join,
    indirect=True,
)
def test_program_with_the_token_endpoint_gets_every_token_through_a_rotation(
    client: Client, sidecar: Sidecar
):
    def is_served(certificate: str) -> bool:
        return {client.ask(scope) for scope in SCOPES} == {certificate}

    wait_until(lambda: is_served(sidecar.certificate), seconds=30, every=0.05)
    second = sidecar.rotate()
    wait_until(lambda: is_served(second), seconds=30, every=0.05)
    assert {client.ask(scope, new=True) for scope in SCOPES} == {second}


@pytest.mark.parametrize("language", [each for each in LANGUAGES if each != "python-aio"])
def test_program_with_a_certificate_uses_a_new_one_only_when_it_makes_a_new_credential(
    language: str, sidecar: Sidecar, tmp_path: Path
):
    azure = sidecar.identity.azure
    identity = Identity(azure, tmp_path, "certificate")

    def rotate() -> str:
        content, thumbprint = identity.issue()
        identity.mount.swap(base64.b64decode(json.loads(content)["client_secret"]))
        return thumbprint

    first = rotate()
    with run_client(
        language,
        ca_file=azure.ca_file,
        AZURE_CLIENT_ID=identity.client_id,
        AZURE_TENANT_ID=azure.tenant_id,
        AZURE_AUTHORITY_HOST=azure.authority,
        AZURE_CLIENT_CERTIFICATE_PATH=str(identity.path),
    ) as client:
        assert client.ask(SCOPES[0]) == first
        second = rotate()
        assert {client.ask(scope) for scope in SCOPES} == {first}
        assert client.ask(SCOPES[0], new=True) == second


@pytest.mark.parametrize(
    ("language", "name"), [("go", "main.go"), ("java", "Shop.java"), ("javascript", "shop.cjs")]
)
def test_program_on_the_page_gets_tokens(language: str, name: str, sidecar: Sidecar, tmp_path: Path):
    [program] = read_blocks("docs/keyless.md", language)
    (tmp_path / name).write_text(program)
    ca_file = sidecar.identity.azure.ca_file
    trust = {name: str(ca_file) for name in ("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")}
    if language == "javascript":
        node, modules = find_packages(Path(__file__).with_name(language))
        command: list[str | Path] = [node, tmp_path / name]
        trust["NODE_PATH"] = str(modules)
    else:
        for needed in ("go.mod", "go.sum") if language == "go" else ("pom.xml",):
            shutil.copy(Path(__file__).with_name(language) / needed, tmp_path)
        command = [*find_command(tmp_path)] if language == "java" else [find_program(tmp_path)]
        trust["JAVA_TOOL_OPTIONS"] = write_trust(ca_file, tmp_path / "trust.p12")
    with start(*command, env=trust | sidecar.environments["assertion"]) as process:
        assert process.stdout is not None
        expires = process.stdout.readline()
        assert re.match(r"\d{4}-\d\d-\d\d", expires), expires


def test_library_of_the_components_uses_a_new_key_only_when_it_reads_the_file_by_itself(sidecar: Sidecar):
    ca_file, environment = sidecar.identity.azure.ca_file, sidecar.environments["file"]
    with (
        run_client("go", ca_file=ca_file, **environment) as unmodified,
        run_client("go", "-backstop", "10ms", ca_file=ca_file, **environment) as often,
    ):
        first = sidecar.certificate
        assert {each.ask(SCOPES[0]) for each in (unmodified, often)} == {first}
        second = sidecar.rotate()
        wait_until(lambda: often.ask(SCOPES[0]) == second)
        # It waits for somebody who writes to the file, which the CSI driver never does; else six hours.
        assert unmodified.ask(SCOPES[0]) == first
        assert unmodified.ask(SCOPES[0], new=True) == second
