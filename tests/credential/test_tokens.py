"""The contract of the sync and the asyncio credential, tested against the local Azure over HTTPS."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import jwt
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CredentialUnavailableError
from tests.credential.conftest import OTHER_SCOPE, SCOPE, Identity, Make, get_signer
from tests.credential.files import Clock, wait_for_generation
from tests.support.waiting import wait_until

from hcpcreds.errors import (
    CredentialExpiredError,
    InputError,
    MountFormatError,
    MountNotReadyError,
    SourceClosedError,
    TokenRefusedError,
    TokenUnavailableError,
)
from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.local.azure.settings import AzureSettings


def test_credential_signs_with_the_new_certificate_when_the_file_has_rotated(identity: Identity, make: Make):
    first = identity.rotate()
    credential = make()
    token = credential.get_token(SCOPE)
    assert get_signer(token.token) == first
    second = identity.rotate()
    wait_for_generation(credential, 2)
    assert credential.status().thumbprint == second
    assert credential.get_token(SCOPE) == token, "a rotation keeps the tokens it has"
    assert get_signer(credential.get_token(OTHER_SCOPE).token) == second
    previous = credential.status().previous
    assert previous is not None
    assert previous.thumbprint == first


def test_credential_is_unavailable_when_nothing_is_mounted_yet(identity: Identity, make: Make):
    credential = make()
    with pytest.raises(CredentialUnavailableError, match="does not exist") as raised:
        credential.get_token(SCOPE)
    assert isinstance(raised.value, MountNotReadyError)
    thumbprint = identity.rotate()
    wait_for_generation(credential, 1)
    assert get_signer(credential.get_token(SCOPE).token) == thumbprint


def test_credential_reports_the_problem_when_the_first_file_is_invalid(
    identity: Identity, make_identity: Make
):
    identity.mount.swap(b"{}")
    credential = make_identity()
    with pytest.raises(ClientAuthenticationError, match="client_id: missing") as raised:
        credential.get_token(SCOPE)
    assert isinstance(raised.value, MountFormatError)
    assert CredentialUnavailableError not in type(raised.value).mro(), "a chain must not go on to another"
    identity.rotate()
    wait_for_generation(credential, 1)
    assert credential.get_token(SCOPE)
    assert credential.status().last_error is None


def test_tokens_are_valid_when_they_live_for_a_second(
    identity: Identity, make: Make, azure: LocalAzure, clock: Clock
):
    identity.rotate()
    azure.tokens.lifetime = 1.0
    credential = make(clock=clock)
    seen = set()
    begun = clock()
    while (asked := clock()) < begun + 2.2:
        token = credential.get_token(SCOPE).token
        assert jwt.decode(token, options={"verify_signature": False})["exp"] > asked
        seen.add(token)
        clock.ahead += 0.01
    assert 2 <= len(seen) <= 6
    assert identity.count_requests() <= len(seen) + 1


def test_token_info_has_the_refresh_time_when_the_authority_gives_one(mount: Any, make_identity: Make):
    with LocalAzure(AzureSettings(refresh_in=600)) as azure:
        identity = Identity(azure, mount)
        identity.rotate()
        credential = make_identity(connection_verify=str(azure.ca_file))
        info = credential.get_token_info(SCOPE)
        credential.close()
    assert info.refresh_on is not None
    assert 2990 <= info.expires_on - info.refresh_on <= 3010
    assert info.token_type == "Bearer"


@pytest.mark.parametrize(("lifetime", "fresh"), [(86400.0, 43200), (3600.0, 3300), (100.0, 50)])
def test_token_is_refreshed_in_the_background_when_it_nears_its_end(  # noqa: PLR0913, PLR0917 (fixtures and parameters)
    identity: Identity, make: Make, azure: LocalAzure, clock: Clock, lifetime: float, fresh: float
):
    identity.rotate()
    azure.tokens.lifetime = lifetime
    credential = make(clock=clock)
    first = credential.get_token(SCOPE)
    clock.ahead = fresh - 5
    assert credential.get_token(SCOPE) == first
    assert identity.count_requests() == 1
    clock.ahead = fresh + 2
    slow = azure.faults.add("entra", delay=0.3, times=1)
    assert credential.get_token(SCOPE) == first
    wait_until(lambda: slow.met)
    assert credential.get_token(SCOPE) == first, "the old one is used while the new one is requested"
    wait_until(lambda: credential.get_token(SCOPE) != first)
    assert identity.count_requests() == 2


def test_old_token_is_used_until_it_expires_when_the_refresh_fails(
    identity: Identity, make: Make, azure: LocalAzure, clock: Clock
):
    identity.rotate()
    credential = make(clock=clock, retry_total=0)
    first = credential.get_token(SCOPE)
    azure.faults.add("entra", status=503)
    clock.ahead = 3400
    for _ in range(20):
        assert credential.get_token(SCOPE) == first
    wait_until(lambda: identity.count_requests() == 2)
    assert credential.get_token(SCOPE) == first
    clock.ahead = 3600
    with pytest.raises(TokenUnavailableError, match="HTTP 503"):
        credential.get_token(SCOPE)
    azure.faults.clear()
    assert credential.get_token(SCOPE) != first


def test_one_request_is_sent_when_many_callers_need_the_same_token(
    identity: Identity, make: Make, azure: LocalAzure
):
    identity.rotate()
    credential = make()
    azure.faults.latency("entra", 0.2)
    try:
        with ThreadPoolExecutor(32) as pool:
            tokens = set(pool.map(lambda _: credential.get_token(SCOPE), range(32)))
    finally:
        azure.faults.clear()
    assert len(tokens) == 1
    assert identity.count_requests() == 1


def test_failure_reaches_every_caller_when_many_need_the_same_token(
    identity: Identity, make: Make, azure: LocalAzure
):
    identity.rotate()
    credential = make(retry_total=0)
    azure.faults.add("entra", status=500, delay=0.2)
    with ThreadPoolExecutor(8) as pool:
        errors = [
            future.exception() for future in [pool.submit(credential.get_token, SCOPE) for _ in range(8)]
        ]
    assert all(isinstance(error, TokenUnavailableError) for error in errors)
    assert len({id(error) for error in errors}) == len(errors), "each caller gets an error of its own"
    assert identity.count_requests() < len(errors)


def test_other_scopes_and_rotations_continue_when_the_authority_hangs_for_one_scope(
    identity: Identity, make: Make, azure: LocalAzure
):
    identity.rotate()
    credential = make(read_timeout=3, retry_total=0)
    cached = credential.get_token(SCOPE)
    hung = azure.faults.add("entra", hang=True, times=1)
    pool = ThreadPoolExecutor(1)
    waiting = pool.submit(credential.get_token, OTHER_SCOPE)
    wait_until(lambda: hung.met)
    assert credential.get_token(SCOPE) == cached
    thumbprint = identity.rotate()
    wait_until(lambda: credential.status().thumbprint == thumbprint)
    renewed = credential.get_token(SCOPE, claims='{"access_token": {}}')
    assert get_signer(renewed.token) == thumbprint
    assert not waiting.done(), "none of these has waited for it"
    assert isinstance(waiting.exception(), TokenUnavailableError)
    pool.shutdown()


@pytest.mark.parametrize(
    ("fault", "slept"),
    [
        ({"status": 500}, 0),
        ({"status": 503}, 0),
        ({"status": 429, "retry_after": 1}, 1),
        ({"drop": True}, 0),
        ({"drop": True, "when": "after"}, 0),
    ],
)
def test_request_is_retried_when_the_authority_fails_once(
    identity: Identity, make: Make, azure: LocalAzure, fault: dict[str, Any], slept: float
):
    identity.rotate()
    credential = make()
    azure.faults.add("entra", times=1, **fault)
    begun = time.monotonic()
    assert credential.get_token(SCOPE)
    assert time.monotonic() - begun >= slept
    assert identity.count_requests() == 2


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ({"status": 500}, TokenUnavailableError, "HTTP 500"),
        ({"status": 429, "retry_after": 0}, TokenUnavailableError, "HTTP 429"),
        ({"status": 408}, TokenUnavailableError, "HTTP 408"),
        ({"status": 409}, TokenRefusedError, "temporarily_unavailable"),
        ({"status": 401}, TokenRefusedError, "temporarily_unavailable"),
        ({"hang": True}, TokenUnavailableError, "Timeout|timed out|timeout"),
        ({"drop": True}, TokenUnavailableError, "Service"),
        ({"body": b"<html>Welcome to the hotel</html>"}, TokenUnavailableError, "not a JSON object"),
        ({"body": b"\xff\xfe\x00"}, TokenUnavailableError, "not a JSON object"),
        ({"body": b"[]"}, TokenUnavailableError, "not a JSON object"),
        ({"body": b'{"access_token": "t"}'}, TokenUnavailableError, "expires_in"),
        ({"body": b'{"access_token": "t", "expires_in": "soon"}'}, TokenUnavailableError, "expires_in"),
        ({"body": b'{"access_token": "t", "expires_in": -1}'}, TokenUnavailableError, "expires_in"),
        ({"body": b'{"access_token": "", "expires_in": 60}'}, TokenUnavailableError, "access_token"),
        ({"body": b'{"expires_in": 60}'}, TokenUnavailableError, "access_token"),
    ],
)
def test_failure_names_identity_authority_and_reason_when_there_is_no_token(  # noqa: PLR0913, PLR0917 (fixtures and parameters)
    identity: Identity,
    make: Make,
    azure: LocalAzure,
    fault: dict[str, Any],
    error: type[Exception],
    message: str,
):
    identity.rotate()
    credential = make(retry_total=0, read_timeout=1 if "hang" in fault else 30)
    azure.faults.add("entra", **fault)
    with pytest.raises(ClientAuthenticationError, match=message) as raised:
        credential.get_token(SCOPE)
    assert isinstance(raised.value, error)
    assert identity.client_id in str(raised.value)
    assert azure.authority in str(raised.value)
    azure.faults.clear()
    assert credential.get_token(SCOPE), "the next call asks again"


def test_failure_reports_the_connection_when_the_authority_is_down(identity: Identity, make: Make):
    identity.rotate()
    credential = make(authority="https://127.0.0.1:1", retry_total=0)
    with pytest.raises(TokenUnavailableError, match=r"https://127\.0\.0\.1:1/"):
        credential.get_token(SCOPE)


def test_failure_names_the_code_and_the_next_step_when_the_certificate_is_not_registered(
    identity: Identity, make: Make
):
    identity.rotate(registration_delay=3600)
    with pytest.raises(TokenRefusedError, match="AADSTS700027") as raised:
        make().get_token(SCOPE)
    assert raised.value.hint is not None
    assert "not registered" in raised.value.hint


def test_previous_certificate_is_used_when_the_new_one_is_not_registered_yet(
    identity: Identity,
    make: Make,
    azure: LocalAzure,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
):
    first = identity.rotate()
    credential = make(clock=clock)
    credential.get_token(SCOPE)
    identity.rotate(registration_delay=3600)
    wait_for_generation(credential, 2)
    second = credential.status().thumbprint
    challenge = '{"access_token": {}}'
    assert get_signer(credential.get_token(SCOPE, claims=challenge).token) == first
    status = credential.status()
    assert status.refused
    assert status.previous is not None
    assert (status.thumbprint, status.previous.thumbprint) == (second, first)
    assert "refuses certificate" in caplog.text
    before = identity.count_requests()
    credential.get_token(SCOPE, claims=challenge)
    assert identity.count_requests() == before + 1, "the new one is not tried again at once"

    application = azure.directory.find_application(identity.client_id)
    assert application is not None
    assert second is not None
    azure.directory.register(identity.client_id, application.certificates[second].certificate)
    clock.ahead = 31
    assert get_signer(credential.get_token(SCOPE, claims=challenge).token) == second
    assert not credential.status().refused


def test_proven_certificate_is_used_when_several_new_ones_are_not_registered(identity: Identity, make: Make):
    proven = identity.rotate()
    credential = make()
    credential.get_token(SCOPE)
    for generation in (2, 3, 4):
        identity.rotate(registration_delay=3600)
        wait_for_generation(credential, generation)
    assert get_signer(credential.get_token(OTHER_SCOPE).token) == proven


def test_earlier_credential_is_accepted_when_the_current_one_is_refused(
    identity: Identity, make: Make, clock: Clock
):
    start = clock.now().replace(microsecond=0) - timedelta(hours=1)
    earlier = identity.issue(not_before=start)
    identity.rotate(not_before=start + timedelta(minutes=1), registration_delay=3600)
    credential = make()
    with pytest.raises(TokenRefusedError):
        credential.get_token(SCOPE)
    assert credential.status().refused
    identity.mount.swap(earlier)
    wait_for_generation(credential, 2)
    assert credential.get_token(SCOPE)
    assert not credential.status().refused


def test_new_token_is_requested_when_claims_challenge_the_old_one(identity: Identity, make: Make):
    identity.rotate()
    credential = make()
    old = credential.get_token(SCOPE)
    challenge = '{"access_token": {"nbf": {"essential": true, "value": "1604106651"}}}'
    new = credential.get_token(SCOPE, claims=challenge)
    assert new != old
    assert credential.get_token(SCOPE) == new
    info = credential.get_token_info(SCOPE, options={"claims": challenge})
    assert info.token not in (old.token, new.token)


def test_token_is_separate_when_cae_is_enabled(identity: Identity, make: Make):
    identity.rotate()
    credential = make()
    plain, aware = credential.get_token(SCOPE), credential.get_token(SCOPE, enable_cae=True)
    assert plain != aware
    claims = jwt.decode(aware.token, options={"verify_signature": False})
    assert "CP1" in str(claims.get("xms_cc"))
    assert credential.get_token_info(SCOPE, options={"enable_cae": True}).token == aware.token


def test_request_goes_to_another_tenant_when_the_caller_names_one(
    identity: Identity, make: Make, azure: LocalAzure
):
    identity.rotate()
    credential = make()
    with pytest.raises(TokenRefusedError, match="AADSTS700016"):
        credential.get_token(SCOPE, tenant_id=azure.settings.tenant_ids[1])
    assert azure.requests.count("entra", match=azure.settings.tenant_ids[1]) == 1


def test_token_is_shared_when_the_caller_names_the_identitys_own_tenant(
    identity: Identity, make: Make, azure: LocalAzure
):
    identity.rotate()
    credential = make()
    assert credential.get_token(SCOPE) == credential.get_token(SCOPE, tenant_id=azure.tenant_id.upper())
    assert identity.count_requests() == 1


@pytest.mark.parametrize(
    ("scopes", "options", "message"),
    [
        ((), {}, "scopes"),
        (("",), {}, "scopes"),
        ((SCOPE,), {"tenant_id": "a/../b"}, "tenant_id"),
        ((SCOPE,), {"claims": "nonsense"}, "claims"),
        ((SCOPE,), {"claims": "[]", "enable_cae": True}, "claims"),
    ],
)
def test_invalid_argument_is_refused_when_requesting_a_token(
    identity: Identity, make: Make, scopes: tuple[str, ...], options: dict[str, str], message: str
):
    identity.rotate()
    with pytest.raises(InputError, match=message):
        make().get_token(*scopes, **options)
    assert identity.count_requests() == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"authority": "http://login.example"}, "https"),
        ({"cloud": "Nimbus"}, "unknown cloud"),
        ({"backstop": timedelta(0)}, "backstop"),
    ],
)
def test_invalid_argument_is_refused_when_creating_a_credential(
    make: Make, options: dict[str, Any], message: str
):
    with pytest.raises(InputError, match=message):
        make(**options)


def test_no_request_is_sent_when_the_certificate_has_expired(identity: Identity, make: Make, clock: Clock):
    identity.rotate(not_after=clock.now() + timedelta(hours=2))
    credential = make(clock=clock)
    credential.get_token(SCOPE)
    clock.ahead = 2 * 3600 + 301
    before = identity.count_requests()
    with pytest.raises(CredentialExpiredError, match=identity.client_id) as raised:
        credential.get_token(SCOPE)
    assert isinstance(raised.value, ClientAuthenticationError)
    assert identity.count_requests() == before
    clock.ahead = 2 * 3600 + 299
    with pytest.raises(TokenRefusedError, match="AADSTS700027"):
        credential.get_token(SCOPE)
    assert identity.count_requests() == before + 1, "within the clocks' skew the authority decides"
    clock.ahead = 0
    assert credential.get_token(OTHER_SCOPE), "a clock that jumps back does no harm"


def test_on_reload_is_called_once_on_the_watchers_thread_when_the_file_rotates(
    identity: Identity, make: Make
):
    calls = []
    identity.rotate()
    credential = make(on_reload=lambda status: calls.append((status, threading.current_thread().name)))
    credential.get_token(SCOPE)
    for generation in (2, 3):
        identity.rotate()
        wait_for_generation(credential, generation)
    wait_until(lambda: len(calls) == 2)
    assert calls[-1] == (credential.status(), "hcpcreds-watcher")
    assert [status.generation for status, _ in calls] == [2, 3], "the first credential is not a reload"


def test_on_reload_is_not_called_when_the_first_credential_comes_late(identity: Identity, make: Make):
    calls = []
    credential = make(on_reload=lambda status: calls.append(status.generation))
    identity.rotate()
    wait_for_generation(credential, 1)
    identity.rotate()
    wait_until(lambda: calls)
    assert calls == [2]


def test_reloads_continue_when_on_reload_fails(
    identity: Identity, make: Make, caplog: pytest.LogCaptureFixture
):
    identity.rotate()
    credential = make(on_reload=lambda status: status.nonsense)
    credential.get_token(SCOPE)
    for generation in (2, 3):
        identity.rotate()
        wait_for_generation(credential, generation)
    wait_until(lambda: "on_reload failed" in caplog.text)
    assert credential.get_token(SCOPE)


def test_credential_raises_when_it_is_used_after_close(identity: Identity, make: Make):
    identity.rotate()
    credential = make()
    credential.get_token(SCOPE)
    credential.close()
    credential.close()
    with pytest.raises(SourceClosedError, match=r"after its close.*Close it after the last client"):
        credential.get_token(SCOPE)
    assert identity.count_requests() == 1, "nobody is asked any more"


def test_given_authority_takes_precedence_when_the_file_names_another(
    identity: Identity, make_identity: Make, azure: LocalAzure
):
    content = identity.issue().replace(azure.authority.encode(), b"https://login.invalid/")
    assert b"login.invalid" in content
    identity.mount.swap(content)
    assert make_identity(authority=azure.authority, cloud="AzureChinaCloud").get_token(SCOPE)
