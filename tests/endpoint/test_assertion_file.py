"""Assertion files: what Azure's own WorkloadIdentityCredential gets with them, and when they are written."""

import asyncio
import base64
import grp
import logging
import math
import os
import resource
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import WorkloadIdentityCredential
from azure.identity.aio import WorkloadIdentityCredential as AioWorkloadIdentityCredential
from tests.endpoint.endpoints import ARM, VAULT, Identity, RunningEndpoint, get_signer, read_claims
from tests.support.waiting import wait_until

from hcpcreds.endpoint.assertion import AssertionSettings, Chain
from hcpcreds.endpoint.assertion_file import FileSettings
from hcpcreds.endpoint.files import replace_file
from hcpcreds.local.azure.azure import LocalAzure

Start = Callable[..., RunningEndpoint]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where assertions are written."""
    directory = tmp_path / "assertions"
    directory.mkdir()
    return directory


@pytest.fixture(params=["sync", "aio"])
def get_token(
    request: pytest.FixtureRequest, identity: Identity, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], str]:
    """Get a token as a program would that starts now, by the environment alone."""
    azure = identity.azure
    monkeypatch.setenv("AZURE_CLIENT_ID", identity.client_id)
    monkeypatch.setenv("AZURE_TENANT_ID", azure.tenant_id)
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", azure.authority)
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(directory / identity.name))
    options: dict[str, Any] = {"connection_verify": str(azure.ca_file)}

    def ask(resource: str) -> str:
        with WorkloadIdentityCredential(**options) as credential:
            return credential.get_token(f"{resource}/.default").token

    async def ask_aio(resource: str) -> str:
        async with AioWorkloadIdentityCredential(**options) as credential:
            token: str = (await credential.get_token(f"{resource}/.default")).token
            return token

    return ask if request.param == "sync" else lambda resource: asyncio.run(ask_aio(resource))


def read(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read an assertion's header and claims."""
    assertion = file.read_text()
    return jwt.get_unverified_header(assertion), read_claims(assertion)


def get_assertion_signer(file: Path) -> str:
    """Tell the thumbprint of the certificate that signed an assertion."""
    return base64.urlsafe_b64decode(read(file)[0]["x5t#S256"] + "=").hex()


def wait_until_ready(running: RunningEndpoint) -> None:
    wait_until(lambda: not running.find_unready())


def test_workload_identity_credential_gets_tokens_with_the_file_through_a_rotation(
    identity: Identity, start: Start, directory: Path, get_token: Callable[[str], str]
):
    first = identity.certificates.copy()
    running = start(identity, files=FileSettings(directory=directory))
    wait_until_ready(running)
    assert {get_signer(get_token(ARM)), get_signer(get_token(VAULT))} == set(first)
    second = identity.rotate()
    wait_until(lambda: get_assertion_signer(directory / "ingress") == second)
    token = get_token(ARM)
    assert (get_signer(token), read_claims(token)["appid"]) == (second, identity.client_id)
    assert running.find_unready() == []


def test_old_assertion_still_gets_tokens_after_a_rotation(identity: Identity, start: Start, directory: Path):
    wait_until_ready(start(identity, files=FileSettings(directory=directory)))
    with WorkloadIdentityCredential(
        client_id=identity.client_id,
        tenant_id=identity.azure.tenant_id,
        authority=identity.azure.authority,
        token_file_path=str(directory / "ingress"),
        connection_verify=str(identity.azure.ca_file),
    ) as credential:
        before = credential.get_token(f"{ARM}/.default").token
        second = identity.rotate()
        wait_until(lambda: get_assertion_signer(directory / "ingress") == second)
        # It keeps what it has read for ten minutes.
        assert get_signer(credential.get_token(f"{VAULT}/.default").token) == get_signer(before) != second


def test_program_gets_one_token_only_when_the_authority_takes_an_assertion_once(
    make_azure: Callable[..., LocalAzure], start: Start, directory: Path, tmp_path: Path
):
    # Every SDK sends what it has read again for each scope. Entra ID takes that; here the local one does not.
    identity = Identity(make_azure(refuse_replayed_assertions=True), tmp_path / "mounted", "ingress")
    identity.rotate()
    wait_until_ready(start(identity, files=FileSettings(directory=directory)))
    with WorkloadIdentityCredential(
        client_id=identity.client_id,
        tenant_id=identity.azure.tenant_id,
        authority=identity.azure.authority,
        token_file_path=str(directory / "ingress"),
        connection_verify=str(identity.azure.ca_file),
    ) as credential:
        credential.get_token(f"{ARM}/.default")
        with pytest.raises(ClientAuthenticationError, match="AADSTS50027"):
            credential.get_token(f"{VAULT}/.default")


def test_assertion_says_what_entra_wants_and_programs_stand(
    identity: Identity, start: Start, directory: Path
):
    wait_until_ready(start(identity, files=FileSettings(directory=directory)))
    header, claims = read(directory / "ingress")
    assert (header["alg"], header["typ"], len(header["x5c"])) == ("PS256", "JWT", 1)
    assert claims["aud"] == f"{identity.azure.authority}{identity.azure.tenant_id}/oauth2/v2.0/token"
    assert claims["iss"] == claims["sub"] == identity.client_id
    assert claims["exp"] - claims["iat"] == 1800
    assert claims["iat"] == pytest.approx(time.time(), abs=30)
    assert (directory / "ingress").read_bytes().strip() == (directory / "ingress").read_bytes()


def test_nothing_is_written_and_readiness_says_why_until_the_authority_takes_the_certificate(
    identity: Identity, start: Start, directory: Path
):
    thumbprint = identity.rotate(registration_delay=math.inf)
    running = start(identity, files=FileSettings(directory=directory))
    wait_until(lambda: running.get_file("ingress").problem)
    assert set(running.get_file("ingress").refusals) == {"700027"}
    assert list(directory.iterdir()) == []
    (reason,) = running.find_unready()
    assert reason.startswith("ingress: no assertion has been written yet: ")
    assert "AADSTS700027" in reason
    identity.register(thumbprint)
    wait_until_ready(running)
    assert get_assertion_signer(directory / "ingress") == thumbprint


def test_readiness_says_why_when_there_is_no_credential_file_and_ends_when_there_is(
    local_azure: LocalAzure, start: Start, directory: Path, tmp_path: Path
):
    identity = Identity(local_azure, tmp_path / "mounted", "ingress")
    running = start(identity, files=FileSettings(directory=directory))
    wait_until(lambda: running.get_file("ingress").problem)
    assert "mounted/ingress" in running.find_unready()[0]
    identity.rotate()
    wait_until_ready(running)


@pytest.mark.parametrize("fault", [None, {"drop": True}, {"status": 503}])
def test_previous_assertion_is_rewritten_while_the_new_certificate_is_not_proven(
    identity: Identity, start: Start, directory: Path, fault: dict[str, Any] | None
):
    (first,) = identity.certificates
    running = start(identity, files=FileSettings(directory=directory, rewrite_seconds=0.05))
    wait_until_ready(running)
    if fault is not None:
        identity.azure.faults.add("entra", **fault)
    second = identity.rotate(registration_delay=math.inf)
    file = running.get_file("ingress")
    wait_until(lambda: file.problem)
    before = file.writes
    wait_until(lambda: file.writes >= before + 3)
    assert get_assertion_signer(directory / "ingress") == first
    assert running.find_unready() == []
    identity.azure.faults.clear()
    identity.register(second)
    wait_until(lambda: get_assertion_signer(directory / "ingress") == second)
    wait_until(lambda: file.problem is None)


def test_assertion_is_rewritten_again_and_again(identity: Identity, start: Start, directory: Path):
    running = start(identity, files=FileSettings(directory=directory, rewrite_seconds=0.02))
    wait_until(lambda: running.get_file("ingress").writes >= 4)
    first = read(directory / "ingress")[1]["jti"]
    wait_until(lambda: read(directory / "ingress")[1]["jti"] != first)
    assert identity.azure.requests.count("entra", match="/token") == 1


def test_file_that_is_refused_changes_nothing(identity: Identity, start: Start, directory: Path):
    running = start(identity, files=FileSettings(directory=directory, rewrite_seconds=0.02))
    wait_until_ready(running)
    (first,) = identity.certificates
    identity.mount.swap(b"{}")
    before = running.get_file("ingress").writes
    wait_until(lambda: running.get_file("ingress").writes >= before + 3)
    assert get_assertion_signer(directory / "ingress") == first


@pytest.mark.parametrize("mode", [0o440, 0o400, 0o444])
def test_file_has_the_mode_and_group_that_were_asked_for_and_nothing_else_is_there(
    identity: Identity, start: Start, directory: Path, mode: int
):
    # What a process left behind that was killed while it wrote.
    (directory / ".ingress.0123456789abcdef.tmp").touch(0o400)
    (directory / "ingress").symlink_to(directory / "elsewhere")
    group = max(each.gr_gid for each in grp.getgrall()) if os.getuid() == 0 else os.getgid()
    wait_until_ready(start(identity, files=FileSettings(directory=directory, mode=mode, group=group)))
    file = directory / "ingress"
    assert (file.stat().st_mode & 0o7777, file.stat().st_gid) == (mode, group)
    assert list(directory.iterdir()) == [file]
    assert not file.is_symlink()


@pytest.mark.parametrize(("chain", "number"), [(Chain.FULL, 1), (Chain.LEAF, 1), (Chain.NONE, None)])
def test_assertion_carries_the_certificates_that_were_asked_for(
    identity: Identity, start: Start, directory: Path, chain: Chain, number: int | None
):
    assertion = AssertionSettings(chain=chain)
    wait_until_ready(start(identity, files=FileSettings(directory=directory), assertion=assertion))
    x5c = read(directory / "ingress")[0].get("x5c")
    assert (x5c and len(x5c)) == number


def test_assertion_ends_with_its_certificate_and_the_log_warns(
    identity: Identity, start: Start, directory: Path, caplog: pytest.LogCaptureFixture
):
    not_after = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=7)
    identity.rotate(not_after=not_after)
    wait_until_ready(start(identity, files=FileSettings(directory=directory, rewrite_seconds=0.02)))
    assert read(directory / "ingress")[1]["exp"] == not_after.timestamp()
    wait_until(lambda: any(record.event == "short" for record in caplog.records if hasattr(record, "event")))
    assert [record.message for record in caplog.records].count(caplog.records[-1].message) == 1


def test_unwritable_place_is_told_and_written_to_when_it_can_be(
    identity: Identity, start: Start, directory: Path, caplog: pytest.LogCaptureFixture
):
    (directory / "ingress").mkdir()
    running = start(identity, files=FileSettings(directory=directory, rewrite_seconds=0.02))
    file = running.get_file("ingress")
    wait_until(lambda: file.problem and file.refusals["unwritable"] >= 3)
    assert f"{directory / 'ingress'} cannot be written: Is a directory" in running.find_unready()[0]
    assert sum("cannot be written" in record.message for record in caplog.records) == 1
    (directory / "ingress").rmdir()
    wait_until_ready(running)


def test_file_stays_whole_and_nothing_is_left_behind_when_the_disk_is_full(tmp_path: Path):
    file = tmp_path / "file"
    replace_file(file, b"before", mode=0o440)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # like a disk with space for 100 bytes
    try:
        with pytest.raises(OSError, match="File too large"):
            replace_file(file, bytes(3000), mode=0o440)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [file]


def test_log_and_readiness_hold_no_assertion(
    identity: Identity, start: Start, directory: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    running = start(identity, files=FileSettings(directory=directory, rewrite_seconds=0.02))
    wait_until_ready(running)
    signature = (directory / "ingress").read_text().rpartition(".")[2]
    identity.azure.faults.add("entra", body=(directory / "ingress").read_bytes(), status=400)
    identity.rotate()
    wait_until(lambda: running.get_file("ingress").problem)
    shown = " ".join([*(record.getMessage() for record in caplog.records), repr(running.endpoint.served)])
    assert "eyJ" not in shown
    assert signature not in shown


def test_reader_sees_whole_files_only_while_they_are_replaced(tmp_path: Path):
    file, end = tmp_path / "file", threading.Event()
    contents = [bytes([65 + number]) * 3000 for number in range(10)]
    replace_file(file, contents[0], mode=0o440)

    def write() -> None:
        while not end.is_set():
            for content in contents:
                replace_file(file, content, mode=0o440)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert {file.read_bytes() in contents for _ in range(2000)} == {True}
    finally:
        end.set()
        thread.join()
    assert list(tmp_path.iterdir()) == [file]
