"""The token endpoint: what Azure's own ManagedIdentityCredential gets there, and who gets nothing."""

import asyncio
import http.client
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CredentialUnavailableError, ManagedIdentityCredential
from azure.identity.aio import ManagedIdentityCredential as AioManagedIdentityCredential
from tests.endpoint.endpoints import (
    ANY_PORT,
    ARM,
    SECRET,
    TOKENS,
    VAULT,
    Identity,
    RunningEndpoint,
    get_signer,
    read_claims,
)
from tests.support.waiting import wait_until

from hcpcreds.credential_file.content import MANAGED_IDENTITY
from hcpcreds.endpoint.credential import ServedCredential
from hcpcreds.endpoint.guard import open_secret
from hcpcreds.endpoint.service import TokenSettings
from hcpcreds.errors import InputError
from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.serving import ListenAddress, parse_address

Start = Callable[..., RunningEndpoint]
Ask = Callable[..., str]
IMDS = "/metadata/identity/oauth2/token"
APP_SERVICE = "/msi/token"
ADMITTED = {APP_SERVICE: {"X-IDENTITY-HEADER": SECRET}, IMDS: {"Metadata": "true"}}
VERSIONS = {APP_SERVICE: "2019-08-01", IMDS: "2018-02-01"}


class Reply:
    """What a program is answered."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.retry_after = response.headers["Retry-After"]
        self.content_type = response.headers["Content-Type"]
        self.text = response.read().decode()

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.text)
        return body


def ask(
    running: RunningEndpoint,
    path: str = IMDS,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    **query: str,
) -> Reply:
    """Ask as a program does that has no SDK; a parameter of None is left out."""
    known = next((each for each in ADMITTED if each in path), IMDS)
    values = {"api_version": VERSIONS[known], "resource": ARM, **query}
    given = urlencode({name.replace("api_v", "api-v"): value for name, value in values.items() if value})
    host = urlsplit(running.imds_host).netloc
    connection = http.client.HTTPConnection(host, timeout=20)
    try:
        connection.request(method, f"{path}?{given}", headers=ADMITTED[known] if headers is None else headers)
        return Reply(connection.getresponse())
    finally:
        connection.close()


def wait_until_ready(running: RunningEndpoint) -> None:
    wait_until(lambda: not running.find_unready())


@pytest.fixture(params=["app-service", "imds"])
def told(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[[RunningEndpoint], None]:
    """Tells programs of an endpoint by their environment, in one of the two ways."""

    def tell(running: RunningEndpoint) -> None:
        if request.param == "imds":
            monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", running.imds_host)
        else:
            monkeypatch.setenv("IDENTITY_ENDPOINT", running.app_service_url)
            monkeypatch.setenv("IDENTITY_HEADER", SECRET)

    return tell


@pytest.fixture(params=["sync", "aio"])
def get_token(request: pytest.FixtureRequest) -> Ask:
    """Get a token as a program that starts now."""

    def get(resource: str = ARM, **identity: Any) -> str:
        with ManagedIdentityCredential(retry_total=0, **identity) as credential:
            token: str = credential.get_token(f"{resource}/.default").token
            return token

    async def get_aio(resource: str, identity: Any) -> str:
        config = identity.get("identity_config", {})
        if "resource_id" in config:  # which goes into the query as it is
            config["mi_res_id"] = config.pop("resource_id")
        async with AioManagedIdentityCredential(retry_total=0, **identity) as credential:
            token: str = (await credential.get_token(f"{resource}/.default")).token
            return token

    if request.param == "sync":
        return get
    return lambda resource=ARM, **identity: asyncio.run(get_aio(resource, identity))


def test_managed_identity_credential_gets_tokens_through_a_rotation(
    identity: Identity, start: Start, told: Callable[[RunningEndpoint], None], get_token: Ask
):
    (first,) = identity.certificates
    running = start(identity, tokens=TOKENS)
    told(running)
    wait_until_ready(running)
    token = get_token()
    assert (get_signer(token), read_claims(token)["aud"]) == (first, ARM)
    assert get_token() == token
    second = identity.rotate()
    wait_until(lambda: running.endpoint.served[0].credential.status().generation == 2)
    assert get_token() == token
    assert get_signer(get_token(VAULT)) == second
    assert running.find_unready() == []


def test_program_names_the_credential_that_it_wants_when_there_are_many(
    local_azure: LocalAzure,
    start: Start,
    told: Callable[[RunningEndpoint], None],
    get_token: Ask,
    tmp_path: Path,
):
    identities = [Identity(local_azure, tmp_path / name, name) for name in ("ingress", "registry", "kms")]
    files = {}
    for identity in identities:
        identity.rotate()
        files[identity.client_id] = json.loads(identity.path.read_bytes())
    running = start(*identities, tokens=TOKENS)
    told(running)
    wait_until_ready(running)
    for client_id, file in files.items():
        ways: list[dict[str, Any]] = [
            {"client_id": client_id},
            {"client_id": client_id.upper()},
            {"identity_config": {"object_id": file["object_id"]}},
            {"identity_config": {"resource_id": file["resource_id"]}},
        ]
        assert {read_claims(get_token(**way))["appid"] for way in ways} == {client_id}
    with pytest.raises((CredentialUnavailableError, ClientAuthenticationError)):
        get_token()
    with pytest.raises((CredentialUnavailableError, ClientAuthenticationError)):
        get_token(client_id="00000000-0000-0000-0000-000000000000")


@pytest.mark.parametrize("path", [APP_SERVICE, f"{APP_SERVICE}/", IMDS, f"{IMDS}/", f"/{IMDS}", f"/{IMDS}/"])
def test_answer_has_the_shape_that_every_sdk_accepts(identity: Identity, start: Start, path: str):
    running = start(identity, tokens=TOKENS)
    wait_until_ready(running)
    reply = ask(running, path, resource=f"{ARM}/")
    assert (reply.status, reply.content_type) == (200, "application/json")
    body = reply.body
    assert {type(value) for value in body.values()} == {str}
    assert body["resource"] == f"{ARM}/"
    assert (body["client_id"], body["token_type"]) == (identity.client_id, "Bearer")
    assert int(body["expires_in"]) == pytest.approx(3600, abs=30)
    assert int(body["expires_on"]) == pytest.approx(time.time() + 3600, abs=30)
    assert body["ext_expires_in"] == body["expires_in"]
    assert get_signer(body["access_token"]) in identity.certificates


@pytest.mark.parametrize("name", ["client_id", "object_id", "principal_id", "mi_res_id", "msi_res_id"])
@pytest.mark.parametrize("path", [APP_SERVICE, IMDS])
def test_every_name_for_an_identity_is_understood(identity: Identity, start: Start, path: str, name: str):
    file = json.loads(identity.path.read_bytes())
    value = {"client_id": "client_id", "object_id": "object_id", "principal_id": "object_id"}.get(
        name, "resource_id"
    )
    running = start(identity, tokens=TOKENS)
    wait_until_ready(running)
    known: dict[str, Any] = {name: file[value].upper()}
    assert ask(running, path, **known).status == 200
    unknown: dict[str, Any] = {name: "another"}
    reply = ask(running, path, **unknown)
    assert reply.status == 400
    assert "found" in reply.text


@pytest.mark.parametrize(
    ("path", "given", "answer"),
    [
        (IMDS, {"headers": {}}, (400, "bad_request_102")),
        (IMDS, {"headers": {"Metadata": "false"}}, (400, "bad_request_102")),
        (IMDS, {"headers": {"Metadata": "true", "X-Forwarded-For": "10.0.0.1"}}, (400, "forwarded")),
        (IMDS, {"headers": {"Metadata": "true", "Forwarded": "for=10.0.0.1"}}, (400, "forwarded")),
        (IMDS, {"headers": {"Metadata": "true", "Host": "evil.example"}}, (400, "Host")),
        (APP_SERVICE, {"headers": {}}, (401, "X-IDENTITY-HEADER is missing")),
        (APP_SERVICE, {"headers": {"X-IDENTITY-HEADER": f"{SECRET}x"}}, (401, "is not the secret")),
        (APP_SERVICE, {"headers": {"X-IDENTITY-HEADER": SECRET, "Host": "evil.example"}}, (400, "Host")),
        (APP_SERVICE, {"headers": {"X-IDENTITY-HEADER": SECRET, "X-Forwarded-For": "x"}}, (400, "forwarded")),
        (APP_SERVICE, {"api_version": "2017-09-01"}, (400, "2019-08-01 or later")),
        (IMDS, {"api_version": "2017-12-01"}, (400, "2018-02-01 or later")),
        (IMDS, {"api_version": ""}, (400, "api-version")),
        (IMDS, {"resource": ""}, (400, "invalid_resource")),
        (IMDS, {"resource": "a b"}, (400, "invalid_resource")),
        (IMDS, {"resource": "x" * 2000}, (400, "invalid_resource")),
        (IMDS, {"client_id": "no-such"}, (400, "Identity not found")),
        (
            APP_SERVICE,
            {"client_id": "no-such"},
            (400, "No User Assigned or Delegated Managed Identity found"),
        ),
        (IMDS, {"method": "POST"}, (405, "not allowed")),
        ("/metadata/identity", {}, (404, "not found")),
        ("/metadata/identity/getplatformmetadata", {}, (404, "not found")),
        ("/", {}, (404, "not found")),
    ],
)
def test_request_is_refused_in_the_protocols_own_words_when_it_is_not_a_programs(
    identity: Identity, start: Start, path: str, given: dict[str, Any], answer: tuple[int, str]
):
    status, word = answer
    running = start(identity, tokens=TOKENS)
    wait_until_ready(running)
    reply = ask(running, path, **given)
    assert (reply.status, word in reply.text) == (status, True), reply.text
    assert reply.retry_after is None
    assert "eyJ" not in reply.text
    assert SECRET not in reply.text
    if status in (400, 401):
        shape = {"statusCode", "message"} if path == APP_SERVICE else {"error", "error_description"}
        assert set(reply.body) == shape


@pytest.mark.parametrize(
    "query",
    [
        f"api-version=2018-02-01&resource={ARM}&resource={VAULT}",
        f"api-version=2018-02-01&api-version=2019-08-01&resource={ARM}",
        f"api-version=2018-02-01&resource={ARM}&client_id=a&client_id=b",
        "%ff=1",
        "&".join(["a=1"] * 30),
        "=",
    ],
)
def test_query_that_could_be_read_in_two_ways_is_refused(identity: Identity, start: Start, query: str):
    running = start(identity, tokens=TOKENS)
    connection = http.client.HTTPConnection(urlsplit(running.imds_host).netloc, timeout=20)
    connection.request("GET", f"{IMDS}?{query}", headers=ADMITTED[IMDS])
    assert Reply(connection.getresponse()).status == 400
    connection.close()


@pytest.mark.parametrize("host", ["127.0.0.1:80", "localhost", "[::1]:8081", "169.254.169.254", "10.1.2.3:9"])
def test_host_may_be_any_address_of_this_machine(identity: Identity, start: Start, host: str):
    running = start(identity, tokens=TOKENS)
    wait_until_ready(running)
    assert ask(running, headers={"metadata": "TRUE", "Host": host}).status == 200


def test_tokens_for_other_resources_than_the_allowed_ones_are_refused(identity: Identity, start: Start):
    settings = TokenSettings(imds=ANY_PORT, resources=frozenset({ARM}))
    running = start(identity, tokens=settings)
    wait_until_ready(running)
    assert ask(running).status == 200
    assert ask(running, resource=f"{ARM}/").status == 200
    reply = ask(running, resource=VAULT)
    assert (reply.status, reply.body["error"]) == (403, "invalid_resource")


@pytest.mark.parametrize("fault", [{"status": 503}, {"drop": True}, {"hang": True}])
def test_503_with_a_short_retry_after_comes_within_seconds_while_the_authority_is_away(
    identity: Identity, start: Start, fault: dict[str, Any]
):
    identity.azure.faults.add("entra", **fault)
    running = start(identity, tokens=TOKENS)
    began = time.monotonic()
    reply = ask(running)
    assert time.monotonic() - began < 10
    assert (reply.status, reply.body["error"]) == (503, "temporarily_unavailable")
    assert 1 <= int(reply.retry_after) <= 5
    assert running.find_unready()
    identity.azure.faults.clear()
    if "hang" not in fault:  # that request is under way for some seconds still
        wait_until(lambda: ask(running).status == 200)
        wait_until_ready(running)


def test_token_in_memory_is_answered_while_the_authority_is_away(identity: Identity, start: Start):
    running = start(identity, tokens=TOKENS)
    token = ask(running).body["access_token"]
    wait_until_ready(running)
    identity.azure.faults.add("entra", hang=True)
    identity.rotate()
    assert ask(running).body["access_token"] == token
    assert ask(running, resource=VAULT).status == 503
    assert running.find_unready() == []


def test_503_says_that_the_file_is_missing_until_there_is_one(
    local_azure: LocalAzure, start: Start, tmp_path: Path
):
    identity = Identity(local_azure, tmp_path / "mounted", "ingress")
    running = start(identity, tokens=TOKENS)
    reply = ask(running)
    assert (reply.status, reply.retry_after) == (503, "2")
    assert ask(running, client_id=identity.client_id).status == 503
    identity.rotate()
    wait_until(lambda: ask(running, client_id=identity.client_id).status == 200)
    wait_until_ready(running)


def test_previous_certificate_gives_tokens_while_the_new_one_is_not_known_yet(
    identity: Identity, start: Start
):
    (first,) = identity.certificates
    running = start(identity, tokens=TOKENS)
    wait_until_ready(running)
    second = identity.rotate(registration_delay=float("inf"))
    reply = ask(running, resource=VAULT)
    assert reply.status == 200, reply.text
    assert get_signer(reply.body["access_token"]) == first
    identity.register(second)
    assert get_signer(ask(running, resource=ARM).body["access_token"]) in (first, second)


def test_first_request_for_arm_is_answered_from_memory_when_the_endpoint_is_ready(
    identity: Identity, start: Start
):
    running = start(identity, tokens=TOKENS)
    wait_until_ready(running)
    identity.azure.faults.add("entra", status=503, times=1000)
    assert ask(running, resource=ARM).status == 200
    assert identity.azure.requests.count("entra", match="/token") == 1


@pytest.mark.parametrize("resource", [f"{ARM}/", "https://management.core.windows.net/"])
def test_token_that_is_kept_is_for_the_name_of_arm_that_programs_use(
    identity: Identity, start: Start, resource: str
):
    running = start(identity, tokens=TOKENS)
    wait_until_ready(running)
    requests = identity.azure.requests
    assert ask(running, resource=resource).body["resource"] == resource
    assert requests.count("entra", match="/token") == 2
    new = identity.rotate()
    wait_until(lambda: get_signer(ask(running, resource=resource).body["access_token"]) == new)
    assert requests.count("entra", match="/token") == 3, "one for a rotation"
    assert running.find_unready() == []


def test_refusal_of_the_authority_is_a_400_that_says_so(identity: Identity, start: Start):
    running = start(identity, tokens=TOKENS)
    wait_until_ready(running)
    body = {"error": "invalid_resource", "error_description": "AADSTS500011: no such resource"}
    identity.azure.faults.add("entra", status=400, body=json.dumps(body).encode())
    reply = ask(running, resource="https://nothing.example")
    assert (reply.status, "AADSTS500011" in reply.text) == (400, True)
    asked = identity.azure.requests.count("entra", match="/token")
    assert ask(running, resource="https://nothing.example").status == 400
    assert identity.azure.requests.count("entra", match="/token") == asked


def test_programs_that_ask_at_the_same_time_cause_one_request(identity: Identity, start: Start):
    running = start(identity, tokens=TOKENS)
    wait_until_ready(running)
    asked = identity.azure.requests.count("entra", match="/token")
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(ask(running, resource=VAULT).body["access_token"]))
        for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(found), len(set(found))) == (12, 1)
    assert identity.azure.requests.count("entra", match="/token") == asked + 1


def test_tokens_have_ten_minutes_left_where_the_authority_gives_such_ones(
    make_azure: Callable[..., LocalAzure], tmp_path: Path
):
    passed = [0.0]
    azure = make_azure(now=lambda: datetime.now(UTC) + timedelta(seconds=passed[0]))
    identity = Identity(azure, tmp_path / "mounted", "ingress")
    identity.rotate()

    async def get() -> None:
        async with ServedCredential(
            str(identity.path),
            MANAGED_IDENTITY,
            connection_verify=str(azure.ca_file),
            clock=lambda: time.time() + passed[0],
            monotonic=lambda: time.monotonic() + passed[0],
        ) as credential:
            first = await credential.fetch_token(f"{ARM}/.default")
            passed[0] = 2650.0  # it has more than 15 minutes left
            assert credential.find_fresh_token(f"{ARM}/.default") is first
            passed[0] = 2750.0  # less than that
            assert credential.find_fresh_token(f"{ARM}/.default") is first
            second = await credential.fetch_token(f"{ARM}/.default")  # the refresh behind it
            assert credential.find_fresh_token(f"{ARM}/.default") is second is not first
            assert azure.requests.count("entra", match="/token") == 2
            passed[0] += 3050.0
            assert credential.find_fresh_token(f"{ARM}/.default") is None
            azure.faults.add("entra", status=503)
            assert await credential.fetch_token(f"{ARM}/.default") is second
            assert (
                credential.find_fresh_token(f"{ARM}/.default") is second
            )  # until the authority is asked again

    asyncio.run(get())


def test_secret_and_tokens_are_in_no_log(identity: Identity, start: Start, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    running = start(identity, tokens=TOKENS)
    wait_until_ready(running)
    token = ask(running, APP_SERVICE).body["access_token"]
    ask(running, APP_SERVICE, headers={"X-IDENTITY-HEADER": "wrong-secret"})
    shown = "".join(
        [*(record.getMessage() for record in caplog.records), repr(TOKENS), repr(running.endpoint)]
    )
    for secret in (SECRET, "wrong-secret", token, "eyJ"):
        assert secret not in shown


@pytest.mark.parametrize("address", [":8081", "0.0.0.0:8081", "10.0.0.1:8081", "example.com:80"])
def test_endpoint_listens_for_other_machines_only_when_it_is_told_to(
    identity: Identity, start: Start, address: str
):
    with pytest.raises(InputError, match="whoever reaches this machine"):
        start(identity, tokens=TokenSettings(imds=parse_address(address)))


def test_endpoint_listens_everywhere_when_it_is_told_to(identity: Identity, start: Start):
    running = start(identity, tokens=TokenSettings(imds=ListenAddress(), allow_remote=True))
    wait_until_ready(running)
    port = urlsplit(running.imds_host).port
    assert port is not None
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("secret", ["", "two\nlines", " blank ", "ü", "x" * 2000])
def test_secret_that_no_header_can_carry_is_refused(identity: Identity, start: Start, secret: str):
    with pytest.raises(InputError) as caught:
        start(identity, tokens=TokenSettings(app_service=ANY_PORT, secret=secret))
    assert not secret.strip() or secret not in str(caught.value)


def test_secret_is_made_once_for_its_owner_alone(tmp_path: Path):
    file = tmp_path / "secret"
    secret = open_secret(file)
    assert file.stat().st_mode & 0o777 == 0o400
    assert len(secret) >= 32
    assert open_secret(file) == secret == file.read_text()


def test_secret_is_the_same_for_all_that_want_to_make_it_at_the_same_time(tmp_path: Path):
    for number in range(10):
        begin = threading.Barrier(8)
        found: list[str] = []

        def run(number: int = number, begin: threading.Barrier = begin, found: list[str] = found) -> None:
            begin.wait()
            found.append(open_secret(tmp_path / f"secret-{number}"))

        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(found), len(set(found))) == (8, 1)
    assert len(list(tmp_path.iterdir())) == 10, "no draft is left"


def test_secret_of_a_file_may_end_with_a_newline(tmp_path: Path):
    (tmp_path / "secret").write_text("given\n")
    (tmp_path / "secret").chmod(0o400)
    assert open_secret(tmp_path / "secret") == "given"


@pytest.mark.parametrize(
    ("prepare", "problem"),
    [
        (lambda file: file.mkdir(), "Is a directory"),
        (lambda file: (file.write_text("x"), file.chmod(0o622)), "others may change it"),
        (lambda file: (file.write_text(""), file.chmod(0o400)), "expected a secret"),
        (lambda file: file.parent.rmdir(), "cannot be read or made: No such file"),
    ],
)
def test_file_that_holds_no_secret_is_refused(
    tmp_path: Path, prepare: Callable[[Path], object], problem: str
):
    file = tmp_path / "directory" / "secret"
    file.parent.mkdir()
    prepare(file)
    with pytest.raises(InputError, match=problem):
        open_secret(file)


def test_flood_of_different_questions_is_refused_and_the_others_are_served(identity: Identity, start: Start):
    running = start(identity, tokens=TOKENS)
    wait_until_ready(running)
    token = ask(running).body["access_token"]
    connection = http.client.HTTPConnection(urlsplit(running.imds_host).netloc, timeout=20)
    statuses = set()
    identity.azure.faults.add(
        "entra", status=400, body=b'{"error": "x", "error_description": "AADSTS500011"}'
    )
    for number in range(1000):
        query = urlencode({"api-version": "2018-02-01", "resource": f"https://{number}.example"})
        connection.request("GET", f"{IMDS}?{query}", headers=ADMITTED[IMDS])
        statuses.add(Reply(connection.getresponse()).status)
        if HTTPStatus.TOO_MANY_REQUESTS in statuses:
            break
    connection.close()
    assert statuses == {400, 429}
    assert ask(running).body["access_token"] == token
