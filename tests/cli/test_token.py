"""`hcpcreds token` as its user runs it against a local Azure."""

import base64
import json
import math
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tests.credential.files import Issued, encrypt_pem
from tests.test_no_secrets import assert_shows_none

from hcpcreds.cli.root import hcpcreds
from hcpcreds.cli.token import parse_claims

VAULT = "https://vault.azure.net/.default"


@pytest.fixture
def issue(tmp_path: Path, local_azure) -> Callable[..., Path]:
    def issue(**options: Any) -> Path:
        file = tmp_path / str(uuid.uuid4())
        file.write_text(json.dumps(local_azure.issue(file.name, **options)))
        return file

    return issue


@pytest.fixture
def run(local_azure) -> Callable[..., Result]:
    def run(*arguments: str | Path) -> Result:
        command = ["token", "--ca-file", local_azure.ca_file, *arguments]
        return CliRunner().invoke(hcpcreds, list(map(str, command)))

    return run


def test_token_shows_claims_certificate_and_time_but_neither_token_nor_secret(run, issue, local_azure):
    file = issue()
    result = run("--scope", VAULT, file)
    assert result.exit_code == 0, result.output
    (thumbprint,) = local_azure.directory.find_application(file.name).certificates
    for text in (
        f"token        Bearer for {VAULT}",
        f"identity     {file.name} in tenant {local_azure.tenant_id}",
        f"certificate  {thumbprint} (SHA-256)",
        "generation 1, valid until 20",
        "claims, decoded but not verified",
        '"https://vault.azure.net"',
    ):
        assert text in result.output
    assert re.search(r"took +\d+ ms", result.output)
    assert re.search(r"expires +20.* UTC  in \d+ minutes", result.output)
    assert re.search(r"exp +\d+(\.\d+)?  20.* UTC  in \d+ minutes", result.output)
    assert_shows_none(result.output, file.read_bytes())


def test_token_is_for_the_clouds_arm_unless_a_scope_is_given(run, issue):
    file = issue()
    document = json.loads(run("--output", "json", file).stdout)
    assert document["scope"] == "https://management.core.windows.net//.default"
    assert document["claims"]["aud"] == "https://management.core.windows.net/"
    result = run("--output", "json", "--cloud", "AzureUSGovernment", file)
    assert json.loads(result.stdout)["scope"] == "https://management.core.usgovcloudapi.net//.default"


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_token_trusts_whom_the_component_trusts(issue, local_azure, monkeypatch, variable):
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    file = str(issue())
    result = CliRunner().invoke(hcpcreds, ["token", file])
    assert result.exit_code == 1
    assert "the trusted CA certificates are those of" in result.stderr
    monkeypatch.setenv(variable, str(local_azure.ca_file))
    result = CliRunner().invoke(hcpcreds, ["token", file])
    assert result.exit_code == 0, result.output


def test_token_refuses_a_proxy_that_cannot_be_used(issue, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://user:pq7#zkx@proxy:3128")
    monkeypatch.delenv("https_proxy", raising=False)
    result = CliRunner().invoke(
        hcpcreds, ["token", "--authority", "https://login.example.test", str(issue())]
    )
    assert result.exit_code == 2
    assert "HTTPS_PROXY: unusable proxy URL" in result.stderr
    assert "pq7" not in result.output
    assert "zkx" not in result.output


def test_token_gives_a_program_one_document(run, issue):
    file = issue()
    result = run("--output", "json", file)
    document = json.loads(result.stdout)
    assert document["ok"] is True
    assert document["client_id"] == document["claims"]["appid"] == file.name
    assert document["claims_verified"] is False
    assert 0 < document["took_seconds"] < 10
    assert len(document["certificate"]["sha256"]) == 64
    assert_shows_none(result.output, file.read_bytes())


def test_raw_prints_the_token_and_nothing_else(run, issue):
    file = issue()
    result = run("--raw", file)
    assert result.exit_code == 0
    assert result.stderr == ""
    assert jwt.decode(result.stdout.strip(), options={"verify_signature": False})["appid"] == file.name


def test_refusal_says_the_code_and_what_to_do_once(run, issue):
    file = issue(registration_delay=math.inf)
    result = run("--output", "json", file)
    assert result.exit_code == 1
    assert result.stderr.startswith("hcpcreds token: no token for identity ")
    assert result.stderr.count("AADSTS700027") == 1
    assert "This certificate is not registered for the identity" in result.stderr
    document = json.loads(result.stdout)
    assert document["ok"] is False
    assert "AADSTS700027" in document["error"]
    assert document["hint"].startswith("This certificate is not registered")
    assert_shows_none(result.output, file.read_bytes())


def test_refusal_by_another_tenant_is_shown(run, issue):
    result = run("--tenant", str(uuid.uuid4()), issue())
    assert result.exit_code == 1
    assert "AADSTS90002" in result.stderr


def test_token_gives_up_when_the_time_is_over(run, issue, local_azure):
    local_azure.faults.add("entra", match="/token", hang=True)
    result = run("--timeout", "0.2", issue())
    assert result.exit_code == 1
    assert "no token for https://management.core.windows.net//.default within 0.2 s" in result.stderr


def test_token_asks_the_authority_that_it_is_given(run, issue):
    result = run("--authority", "https://127.0.0.1:9", "--timeout", "0.5", issue())
    assert result.exit_code == 1
    result = run("--authority", "http://127.0.0.1:9", issue())
    assert result.exit_code == 2
    assert "expected an https URL" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none"], "does not exist"),
        (["."], "is not a regular file"),
        (["--cloud", "Sky", "none"], "unknown cloud 'Sky'"),
        (["--raw", "--output", "json", "none"], "--raw and --output json are mutually exclusive"),
        (["--timeout", "0", "none"], "--timeout"),
        (["--ca-file", "none", "none"], "--ca-file"),
        ([], "Missing argument"),
    ],
)
def test_token_refuses_wrong_usage_and_what_is_not_a_file(tmp_path, run, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert message in result.stderr


def test_token_says_what_is_wrong_with_the_file_and_exits_with_one(tmp_path, run):
    file = tmp_path / "credential"
    file.write_text("{}")
    result = run(file)
    assert result.exit_code == 1
    assert "client_id: missing" in result.stderr


@pytest.mark.parametrize("token", ["opaque", "a.b.c", "a.e30", "a.W10.c", "a.eyJ9.c", "..", "a.\xff.c"])
def test_claims_are_none_for_a_token_that_cannot_be_read(token):
    assert parse_claims(token) is None


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "expires_in", ["1e13", "1e400", '"inf"', "NaN", "-1", "1e300", "9" * 400, "[" * 5000]
)
def test_token_fails_in_a_line_when_the_answer_has_a_time_that_is_none(run, issue, local_azure, expires_in):
    body = f'{{"access_token": "secret", "token_type": "Bearer", "expires_in": {expires_in}}}'
    local_azure.faults.add("entra", match="token", body=body.encode())
    result = run("--timeout", "5", issue())
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("hcpcreds token: ")
    assert result.stderr.count("\n") == 1
    assert "secret" not in result.stderr


@pytest.fixture
def principal(tmp_path, local_azure) -> list[str | Path]:
    """The arguments for a service principal's certificate, which is encrypted."""
    client_id = str(uuid.uuid4())
    secret = base64.b64decode(local_azure.issue(client_id)["client_secret"])
    issued = Issued(x509.load_pem_x509_certificate(secret), load_pem_private_key(secret, None))
    (tmp_path / "app.pem").write_bytes(encrypt_pem(issued, password="secret-sentinel"))
    (tmp_path / "password").write_text("secret-sentinel\n")
    where = [
        "--client-id",
        client_id,
        "--tenant",
        local_azure.tenant_id,
        "--authority",
        local_azure.authority,
    ]
    return [*where, "--password-file", tmp_path / "password", tmp_path / "app.pem"]


def test_token_is_got_with_the_certificate_of_a_service_principal(run, principal):
    result = run("--output", "json", *principal)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["client_id"] == principal[1]
    assert "secret-sentinel" not in result.output


@pytest.mark.parametrize(
    ("cut", "problem"),
    [
        (slice(2, 4), "--client-id needs --tenant"),
        (slice(0, 2), "--password-file needs --client-id and --tenant"),
    ],
)
def test_token_refuses_the_half_of_what_a_certificate_needs(run, principal, cut, problem):
    del principal[cut]
    result = run(*principal)
    assert result.exit_code == 2
    assert problem in result.stderr


def test_token_says_what_a_certificate_lacks(run, principal, tmp_path):
    (tmp_path / "password").write_text("wrong-sentinel")
    result = run(*principal)
    assert result.exit_code == 1
    assert "the password does not decrypt the private key" in result.stderr
    assert "sentinel" not in result.output
    result = run(tmp_path / "app.pem")
    assert result.exit_code == 1
    assert "the file holds PEM, as of a service principal" in result.stderr
    result = run(*principal[:1], "no-uuid", *principal[2:])
    assert result.exit_code == 2
    assert "client_id: expected a UUID" in result.stderr
