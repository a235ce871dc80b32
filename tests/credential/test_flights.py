"""Requests in progress: each one ends whatever happens, and no caller waits endlessly."""

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from tests.credential.conftest import OTHER_SCOPE, SCOPE, Identity, Make, list_requests
from tests.credential.files import Clock, Steps
from tests.support.waiting import wait_until

import hcpcreds
from hcpcreds.credential import UserAssignedIdentityCredential
from hcpcreds.errors import InputError, SourceClosedError, TokenRefusedError, TokenUnavailableError
from hcpcreds.local.azure.azure import LocalAzure

PACKAGE = str(Path(hcpcreds.__file__).parent)
CHALLENGE = '{"access_token": {}}'


class Interruption(BaseException):
    """Raised at any place by a signal handler or a killed greenlet; not an Exception."""


def interrupt(work: Callable[[], object], *, at: int) -> bool:
    """Call a function and raise at the n-th line of the package; return whether it got there."""
    left = at

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        left -= event == "line"
        if left == 0:
            sys.settrace(None)
            raise Interruption
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except Interruption:
        return True
    finally:
        sys.settrace(before)
    return left <= 0


@pytest.mark.parametrize("claims", [None, CHALLENGE])
def test_next_call_returns_when_an_exception_hits_a_call_at_any_line(identity: Identity, claims: str | None):
    identity.rotate()
    steps = Steps()
    with (
        UserAssignedIdentityCredential(
            identity.mount.path, connection_verify=str(identity.azure.ca_file), monotonic=steps
        ) as credential,
        ThreadPoolExecutor(1) as pool,
    ):
        credential.get_token(SCOPE)
        line = 1
        while interrupt(lambda: credential.get_token(SCOPE, claims=claims), at=line):
            next_call = pool.submit(credential.get_token, SCOPE, claims=claims)
            assert next_call.result(8), f"the one after line {line}"
            line += 1
            steps.now += (3400, 3600)[line % 2]  # the cached token is due for refresh, or has expired
        assert line > 20
        assert credential.get_token(OTHER_SCOPE)


def test_every_caller_gets_a_token_when_the_first_one_is_interrupted(identity: Identity):
    identity.rotate()
    identity.azure.faults.latency("entra", 0.05)
    with (
        UserAssignedIdentityCredential(
            identity.mount.path, connection_verify=str(identity.azure.ca_file)
        ) as credential,
        ThreadPoolExecutor(9) as pool,
    ):
        for line in (20, 40, 60, 80):
            first = pool.submit(interrupt, lambda: credential.get_token(SCOPE, claims=CHALLENGE), at=line)
            others = [pool.submit(credential.get_token, SCOPE, claims=CHALLENGE) for _ in range(8)]
            assert all(other.result(8) for other in others)
            first.result(8)


def test_caller_gets_an_error_when_the_response_exceeds_the_time_limit(
    identity: Identity, make: Make, azure: LocalAzure
):
    steps = Steps()
    identity.rotate()
    credential = make(monotonic=steps, retry_total=0, read_timeout=3)
    azure.faults.add("entra", hang=True)
    steps.step = 119.9
    begun = time.perf_counter()
    with pytest.raises(TokenUnavailableError):
        credential.get_token(SCOPE)
    assert time.perf_counter() - begun < 10
    steps.step = 0.0
    azure.faults.clear()
    assert credential.get_token(SCOPE), "whatever the first one still waits for"


def test_caller_sends_a_new_request_when_the_one_in_progress_is_overdue(
    identity: Identity, make: Make, azure: LocalAzure
):
    steps = Steps()
    identity.rotate()
    credential = make(monotonic=steps, read_timeout=3, retry_total=0)
    hung = azure.faults.add("entra", hang=True, times=1)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(credential.get_token, SCOPE)
        wait_until(lambda: hung.met)
        steps.now = 119.0
        second = pool.submit(credential.get_token, SCOPE)
        assert wait([second], timeout=0.2).not_done, "it waits for the same one"
        assert identity.count_requests() == 1
        steps.now = 120.0
        token = credential.get_token(SCOPE)
        assert identity.count_requests() == 2
        for overdue in (first, second):
            error = overdue.exception(8)
            if error is None:  # it looked only after the new token had come
                assert overdue.result() == token
            else:
                assert "no response after 120 s" in str(error)


@pytest.mark.parametrize("retry_after", ["3600", "inf", "Fri, 31 Dec 2100 23:59:59 GMT", "1e9"])
def test_caller_does_not_wait_for_a_delayed_refresh_when_its_token_ends(
    identity: Identity, make: Make, azure: LocalAzure, clock: Clock, retry_after: str
):
    identity.rotate()
    credential = make(clock=clock)
    first = credential.get_token(SCOPE)
    throttled = azure.faults.add("entra", status=429, headers={"Retry-After": retry_after}, times=1)
    clock.ahead = 3400
    assert credential.get_token(SCOPE) == first
    wait_until(lambda: throttled.met)
    clock.ahead = 3600
    begun = time.perf_counter()
    assert credential.get_token(SCOPE) != first
    assert time.perf_counter() - begun < 5
    assert identity.count_requests() == 3


def test_caller_sends_its_own_request_when_the_refresh_it_waited_for_fails(
    identity: Identity, make: Make, azure: LocalAzure, clock: Clock
):
    identity.rotate()
    credential = make(clock=clock)
    first = credential.get_token(SCOPE)
    slow = azure.faults.add("entra", delay=0.5, status=503, times=1)
    clock.ahead = 3400
    assert credential.get_token(SCOPE) == first
    wait_until(lambda: slow.met)
    clock.ahead = 3600
    assert credential.get_token(SCOPE) != first


def test_caller_gets_the_token_in_memory_when_the_request_it_waited_for_fails(
    identity: Identity, make: Make, azure: LocalAzure
):
    identity.rotate()
    credential = make(read_timeout=3, retry_total=0)
    hung = azure.faults.add("entra", hang=True, times=1)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(credential.get_token, SCOPE)
        wait_until(lambda: hung.met)
        token = credential.get_token(SCOPE, claims=CHALLENGE)
        assert waiting.result(8) == token


def test_waiting_callers_are_released_when_the_credential_is_closed(
    identity: Identity, make: Make, azure: LocalAzure
):
    identity.rotate()
    credential = make(read_timeout=3, retry_total=0)
    hung = azure.faults.add("entra", hang=True)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(credential.get_token, SCOPE) for _ in range(2)]
        wait_until(lambda: hung.met)
        credential.close()
        assert all(isinstance(each.exception(8), SourceClosedError) for each in waiting)


def test_request_is_not_retried_when_the_credential_was_closed_meanwhile(
    identity: Identity, make: Make, azure: LocalAzure
):
    identity.rotate()
    credential = make()
    others = list_requests()
    throttled = azure.faults.add("entra", status=429, retry_after=1)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(credential.get_token, SCOPE)
        wait_until(lambda: throttled.met)
        credential.close()
        asked = identity.count_requests()  # more than one if this machine took a second to get here
        assert isinstance(waiting.exception(8), SourceClosedError)
    wait_until(lambda: list_requests() <= others)
    assert identity.count_requests() == asked


@pytest.mark.parametrize(
    ("fails", "after", "asked"),
    [(3400, 3429, 2), (3400, 3431, 3), (3585, 3589, 2), (3585, 3593, 3)],
    ids=["for 30 s", "after 30 s", "for half of what is left", "after half of what is left"],
)
def test_refresh_is_postponed_when_it_failed(  # noqa: PLR0913, PLR0917 (fixtures and parameters)
    identity: Identity,
    make: Make,
    azure: LocalAzure,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    fails: int,
    after: int,
    asked: int,
):
    identity.rotate()
    credential = make(clock=clock, retry_total=0)
    first = credential.get_token(SCOPE)
    azure.faults.add("entra", status=503)
    clock.ahead = fails
    assert credential.get_token(SCOPE) == first
    wait_until(lambda: "HTTP 503" in caplog.text)
    clock.ahead = after
    assert credential.get_token(SCOPE) == first
    wait_until(lambda: identity.count_requests() >= asked)
    with pytest.raises(TokenUnavailableError):
        credential.get_token(OTHER_SCOPE)
    assert identity.count_requests() == asked + 1


def test_token_is_not_used_after_its_end_when_the_wall_clock_was_ahead(
    identity: Identity, make: Make, clock: Clock
):
    identity.rotate()
    steps = Steps()
    credential = make(clock=clock, monotonic=steps)
    clock.ahead = 250.0  # within the skew that the authority accepts
    wrong = credential.get_token(SCOPE)
    clock.ahead = 0.0
    steps.now = 3594.0
    assert credential.get_token(SCOPE) == wrong
    wait_until(lambda: identity.count_requests() == 2)
    assert credential.get_token(SCOPE, claims=CHALLENGE) != wrong
    right = credential.get_token(SCOPE)
    steps.now = 2 * 3594.0 + 3600
    assert credential.get_token(SCOPE) not in (wrong, right)


def test_token_is_refreshed_when_only_the_monotonic_clock_advances(identity: Identity, make: Make):
    identity.rotate()
    steps = Steps()
    credential = make(monotonic=steps)
    first = credential.get_token(SCOPE)
    steps.now = 3299.0
    assert credential.get_token(SCOPE) == first
    assert identity.count_requests() == 1
    steps.now = 3301.0
    assert credential.get_token(SCOPE) == first
    wait_until(lambda: credential.get_token(SCOPE) != first)


def test_requests_become_rare_when_the_identity_is_gone(
    identity: Identity,
    make: Make,
    azure: LocalAzure,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
):
    identity.rotate()
    credential = make(clock=clock, monotonic=Steps())
    gone = b'{"error": "unauthorized_client", "error_description": "AADSTS700016: Not found."}'
    azure.faults.add("entra", status=400, body=gone)
    asked_at = []
    for second in range(0, 1800, 5):
        clock.ahead = second
        before = identity.count_requests()
        with pytest.raises(TokenRefusedError, match="AADSTS700016"):
            credential.get_token((SCOPE, OTHER_SCOPE)[second % 2])
        if identity.count_requests() > before:
            asked_at.append(second)
    pauses = [later - earlier for earlier, later in pairwise(asked_at)]
    assert pauses[:5] == pytest.approx([10, 20, 40, 80, 160], abs=5)
    assert set(pauses[5:]) <= {300, 305}
    assert "AADSTS700016" in str(credential.status().gone)
    logged = [record.getMessage() for record in caplog.records if "AADSTS700016" in record.getMessage()]
    assert len([text for text in logged if identity.client_id in text]) == 1

    azure.faults.clear()
    clock.ahead += 301
    assert credential.get_token(SCOPE)
    assert credential.status().gone is None
    assert credential.get_token(OTHER_SCOPE)


def test_request_for_a_gone_identity_is_sent_at_once_when_a_new_certificate_comes(
    identity: Identity, make: Make, azure: LocalAzure
):
    identity.rotate()
    credential = make()
    azure.faults.add("entra", status=400, body=b'{"error": "x", "error_description": "AADSTS90002"}', times=1)
    for _ in range(2):
        with pytest.raises(TokenRefusedError):
            credential.get_token(SCOPE)
    assert identity.count_requests() == 1
    identity.rotate()
    wait_until(lambda: credential.status().generation == 2)
    assert credential.get_token(SCOPE)


def test_token_is_used_and_refreshed_rarely_when_its_identity_is_gone(
    identity: Identity, make: Make, azure: LocalAzure, clock: Clock
):
    identity.rotate()
    credential = make(clock=clock)
    token = credential.get_token(SCOPE)
    azure.faults.add("entra", status=400, body=b'{"error": "x", "error_description": "AADSTS7000229"}')
    clock.ahead = 3350
    assert credential.get_token(SCOPE) == token
    wait_until(lambda: credential.status().gone)
    for _ in range(20):
        assert credential.get_token(SCOPE) == token
    assert identity.count_requests() == 2


def test_identity_is_not_gone_when_another_tenant_does_not_know_it(
    identity: Identity, make: Make, azure: LocalAzure
):
    identity.rotate()
    credential = make()
    for _ in range(2):
        with pytest.raises(TokenRefusedError, match="AADSTS700016"):
            credential.get_token(SCOPE, tenant_id=azure.settings.tenant_ids[1])
    assert credential.status().gone is None
    assert credential.get_token(SCOPE)
    assert identity.count_requests() == 3


@pytest.mark.parametrize(
    "claims",
    [
        '{"access_token": 5}',
        '{"access_token": null}',
        '{"access_token": []}',
        '{"a": NaN}',
        '{"a": "\ud800"}',
        '{"a":' * 100_000,
        '{"a":' * 100_000 + "1" + "}" * 100_000,
        "null",
        "{",
        5,
    ],
    ids=lambda claims: str(claims)[:20].encode("ascii", "replace").decode(),
)
@pytest.mark.parametrize("options", [{}, {"enable_cae": True}], ids=["plain", "cae"])
def test_claims_are_refused_when_they_are_malformed(
    identity: Identity, make: Make, claims: Any, options: dict[str, bool]
):
    identity.rotate()
    with pytest.raises(InputError, match="claims"):
        make().get_token(SCOPE, claims=claims, **options)
    assert identity.count_requests() == 0


@pytest.mark.parametrize(
    ("scopes", "options", "message"),
    [
        (("a b",), {}, "scopes"),
        (("https://é/.default",), {}, "scopes"),
        (("https://x/\n.default",), {}, "scopes"),
        ((5,), {}, "scopes"),
        ((SCOPE,), {"tenant_id": ".."}, "tenant_id"),
        ((SCOPE,), {"tenant_id": 5}, "tenant_id"),
    ],
)
def test_scope_or_tenant_is_refused_when_it_is_malformed(
    identity: Identity, make: Make, scopes: tuple[Any, ...], options: dict[str, Any], message: str
):
    identity.rotate()
    with pytest.raises(InputError, match=message):
        make().get_token(*scopes, **options)
    assert identity.count_requests() == 0
