"""`hcpcreds serve`: a process that is told everything by its environment, or by options."""

import base64
import http.client
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from azure.identity import ManagedIdentityCredential, WorkloadIdentityCredential
from click.testing import CliRunner
from tests.endpoint.endpoints import ARM, VAULT, Identity, get_signer
from tests.support.processes import start
from tests.support.waiting import wait_until

from hcpcreds.cli.root import hcpcreds
from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.manifests import CustomComponent, InjectOptions, Sidecar, inject

UNKNOWN = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def identity(local_azure: LocalAzure, tmp_path: Path) -> Identity:
    identity = Identity(local_azure, tmp_path / "mounted", "ingress")
    identity.rotate()
    return identity


@contextmanager
def serve(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run the command in a process of its own, with metrics at a free port."""
    command = (sys.executable, "-m", "hcpcreds", "serve", "--metrics-address", "127.0.0.1:0", *arguments)
    with start(*command, env=environment) as process:
        yield process


def read_port(process: subprocess.Popen[str], what: str) -> int:
    """Read in the log at which port something is served."""
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(rf"{what}.*served at 127\.0\.0\.1:([0-9]+)", line):
            return int(found[1])
    raise AssertionError(f"{what} is not served")


def ask(port: int, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def is_ready(port: int) -> bool:
    return ask(port, "/readyz")[0] == 200


def test_serve_keeps_an_assertion_that_its_environment_asks_for_until_it_is_stopped(
    identity: Identity, tmp_path: Path
):
    azure = identity.azure
    with serve(
        HCPCREDS_CREDENTIAL=f"router={identity.path}",
        HCPCREDS_CA_FILE=str(azure.ca_file),
        HCPCREDS_ASSERTION_DIRECTORY=str(tmp_path),
        HCPCREDS_ASSERTION_MODE="0400",
        HCPCREDS_ASSERTION_LIFE="1h",
    ) as process:
        port = read_port(process, "/metrics")
        wait_until(lambda: is_ready(port), seconds=30)
        assert ask(port, "/healthz") == (200, "ok\n")
        assert (tmp_path / "router").stat().st_mode & 0o777 == 0o400
        with WorkloadIdentityCredential(
            client_id=identity.client_id,
            tenant_id=azure.tenant_id,
            authority=azure.authority,
            token_file_path=str(tmp_path / "router"),
            connection_verify=str(azure.ca_file),
        ) as credential:
            token = credential.get_token(f"{ARM}/.default")
        assert get_signer(token.token) in identity.certificates
        status, page = ask(port, "/")
        assert (status, identity.client_id in page) == (200, True)
        (shown,) = json.loads(ask(port, "/status.json")[1])["credentials"]
        assert (shown["name"], shown["state"]) == ("router", "ok")
        assert f"wrote an assertion of certificate {shown['certificates'][0]['thumbprint']}" in page
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "eyJ" not in err


@pytest.mark.measured_processes
def test_serve_keeps_the_assertion_of_a_service_principal(identity: Identity, tmp_path: Path):
    azure = identity.azure
    content, thumbprint = identity.issue()
    identity.mount.swap(base64.b64decode(json.loads(content)["client_secret"]))
    principal = f"app={identity.path},tenant_id={azure.tenant_id},client_id={identity.client_id}"
    with serve(
        *("--ca-file", str(azure.ca_file), "--authority", azure.authority),
        *("--assertion-directory", str(tmp_path)),
        HCPCREDS_CREDENTIAL=principal,
    ) as process:
        port = read_port(process, "/metrics")
        wait_until(lambda: is_ready(port), seconds=30)
        with WorkloadIdentityCredential(
            client_id=identity.client_id,
            tenant_id=azure.tenant_id,
            authority=azure.authority,
            token_file_path=str(tmp_path / "app"),
            connection_verify=str(azure.ca_file),
        ) as credential:
            assert get_signer(credential.get_token(f"{ARM}/.default").token) == thumbprint
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 0


@pytest.mark.measured_processes
def test_serve_gives_tokens_until_programs_that_end_with_it_have_ended(identity: Identity, tmp_path: Path):
    with serve(
        HCPCREDS_CREDENTIAL=str(identity.path),
        HCPCREDS_CA_FILE=str(identity.azure.ca_file),
        HCPCREDS_APP_SERVICE_ADDRESS="127.0.0.1:0",
        HCPCREDS_SECRET_FILE=str(tmp_path / "secret"),
        HCPCREDS_ALLOWED_RESOURCE=f"{ARM} {VAULT}/",
        HCPCREDS_DRAIN="10m",
    ) as process:
        tokens = read_port(process, "App Service")
        port = read_port(process, "/metrics")
        wait_until(lambda: is_ready(port), seconds=30)
        secret = {"X-IDENTITY-HEADER": (tmp_path / "secret").read_text()}
        query = "/msi/token?api-version=2019-08-01&resource="
        assert ask(tokens, f"{query}{VAULT}", secret)[0] == 200
        assert ask(tokens, f"{query}https://graph.microsoft.com", secret)[0] == 403
        assert ask(tokens, f"{query}{VAULT}")[0] == 401
        metrics = ask(port, "/metrics")[1]
        assert 'hcpcreds_endpoint_requests_total{protocol="app-service",result="secret"} 1.0' in metrics
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: ask(port, "/readyz") == (503, "draining\n"))
        assert ask(tokens, f"{query}{ARM}", secret)[0] == 200
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert secret["X-IDENTITY-HEADER"] not in err
    assert "eyJ" not in err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--assertion-directory", "/tmp"], "Give at least one --credential."),
        (["--credential", "/mnt/a"], "Give --assertion-directory, --app-service-address or"),
        (["--credential", "/mnt/a", "--assertion-directory", "/tmp", "--tls-key", "k"], "--metrics-address"),
        (["--credential", "/mnt/a/x", "--credential", "/mnt/b/x"], "/mnt/a/x is named x already"),
        (["--credential", "/mnt/a/.."], "cannot be named"),
        (["--credential", "/mnt/a", "--assertion-mode", "0777"], "is not a mode for reading only"),
        (["--credential", "/mnt/a", "--assertion-mode", "rw"], "is not a mode for reading only"),
        (["--credential", "/mnt/a", "--assertion-life", "10m"], "too short"),
        (["--credential", "/mnt/a", "--assertion-group", "no such"], "not a group"),
        (["--credential", "/mnt/a", "--authority", "http://x"], "expected an https URL"),
        (["--credential", "/mnt/a,tenant_id=contoso"], "--credential /mnt/a: client_id: missing"),
        (["--credential", "a=/mnt/a,client_id=x,tenant_id=contoso"], "client_id: expected a UUID"),
        (
            ["--credential", "/mnt/a,secret=x"],
            "secret: unknown; expected tenant_id, client_id, password_file",
        ),
        (
            ["--credential", f"/mnt/a,client_id={UNKNOWN},client_id=x,tenant_id=contoso"],
            "client_id: given twice",
        ),
        (["--credential", "/mnt/a", "--app-service-address", "127.0.0.1:0"], "either --secret or"),
        (["--credential", "/mnt/a", "--secret", "x"], "need --app-service-address"),
        (["--credential", "/mnt/a", "--allowed-resource", "x"], "need --app-service-address or"),
        (["--credential", "/mnt/a", "--imds-address", ":0"], "See --allow-remote"),
        (
            ["--credential", "/mnt/a", "--assertion-directory", "/missing"],
            "/missing: expected a directory for the assertions\nSee --assertion-directory.",
        ),
        (["--credential", "/mnt/a", "--imds-address", "192.0.2.1:0", "--allow-remote"], "cannot listen on"),
    ],
)
def test_serve_starts_nothing_and_says_why_when_it_is_told_nonsense(arguments: list[str], problem: str):
    if "--assertion-directory" not in arguments and "Give" not in problem:
        arguments = [*arguments, "--assertion-directory", "/tmp"]
    done = CliRunner().invoke(hcpcreds, ["serve", *arguments])
    assert done.exit_code == 2
    assert problem in done.stderr


@pytest.mark.parametrize("endpoint", [False, True])
def test_serve_is_ready_with_the_variables_of_the_sidecar_that_inject_makes(
    identity: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, endpoint: bool
):
    azure, mounted = identity.azure, Path(identity.path)
    custom = CustomComponent(secret_provider_class="x", volume_name="x", credentials_secret_name=mounted.name)
    settings = Sidecar(image="x", client_id=identity.client_id, tenant_id=azure.tenant_id, endpoint=endpoint)
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "app"}]}}
    spec = inject(pod, InjectOptions(custom=custom, sidecar=settings))["spec"]
    here = {
        "/mnt/certs": str(mounted.parent),
        "/var/run/hcpcreds": str(tmp_path),
        "127.0.0.1:9470": "127.0.0.1:0",
    }

    def read_env(container: Any) -> dict[str, str]:
        """Read its variables as in the pod, but for the paths and the port."""
        env = {each["name"]: each.get("value", UNKNOWN) for each in container["env"]}  # else the pod's uid
        for there, path in here.items():
            env = {name: value.replace(there, path) for name, value in env.items()}
        return env

    [sidecar], [container] = spec["initContainers"], spec["containers"]
    assert sidecar["command"] == ["hcpcreds", "serve"]
    with serve(**read_env(sidecar), HCPCREDS_CA_FILE=str(azure.ca_file)) as process:
        if endpoint:
            here["127.0.0.1:9470"] = f"127.0.0.1:{read_port(process, 'App Service')}"
        port = read_port(process, "/metrics")
        wait_until(lambda: is_ready(port), seconds=30)
        for name, value in read_env(container).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", azure.authority)
        if endpoint:
            credential: Any = ManagedIdentityCredential()
        else:
            credential = WorkloadIdentityCredential(connection_verify=str(azure.ca_file))
        with credential:
            token = credential.get_token(f"{ARM}/.default")
        assert get_signer(token.token) in identity.certificates
