"""The sync credential alone: threads that refresh, and callers that take over from them."""

import sys
import threading
from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ChainedTokenCredential
from tests.credential.conftest import SCOPE, Identity
from tests.credential.files import Clock
from tests.support.volume import Mount
from tests.support.waiting import no_new_threads, wait_until

from hcpcreds.credential import UserAssignedIdentityCredential
from hcpcreds.local.azure.azure import LocalAzure


def make(identity: Identity, **options: object) -> UserAssignedIdentityCredential:
    return UserAssignedIdentityCredential(
        identity.mount.path,
        connection_verify=str(identity.azure.ca_file),
        **options,  # type: ignore[arg-type]
    )


def test_callers_send_their_own_requests_when_every_refresh_thread_hangs(
    identity: Identity, azure: LocalAzure, clock: Clock
):
    identity.rotate()
    hanging = [make(identity, clock=clock, read_timeout=1, retry_total=0) for _ in range(4)]
    late = make(identity, clock=clock)
    for credential in (*hanging, late):
        credential.get_token(SCOPE)
    hung = azure.faults.add("entra", hang=True, times=len(hanging))
    clock.ahead = 3400
    for credential in hanging:
        credential.get_token(SCOPE)
    wait_until(lambda: hung.met == len(hanging))
    old = late.get_token(SCOPE)
    assert sum(thread.name == "hcpcreds-refresh" for thread in threading.enumerate()) == len(hanging)
    clock.ahead = 3600
    assert late.get_token(SCOPE) != old
    for credential in (*hanging, late):
        credential.close()


def test_chain_continues_when_nothing_is_mounted_and_stops_when_the_file_is_invalid(
    identity: Identity, azure: LocalAzure
):
    other = Identity(azure, Mount(identity.mount.directory.parent / "other"))
    other.rotate()
    with make(identity) as absent, make(other) as present:
        assert ChainedTokenCredential(absent, present).get_token(SCOPE).token
        identity.mount.swap(b"bad")
        wait_until(lambda: absent.status().rejected)
        with pytest.raises(ClientAuthenticationError, match="expected a JSON object"):
            ChainedTokenCredential(absent, present).get_token(SCOPE)


def test_token_is_used_when_no_thread_can_be_started_to_refresh_it(
    identity: Identity, azure: LocalAzure, clock: Clock
):
    identity.rotate()
    azure.tokens.lifetime = 3600.0
    with make(identity, clock=clock) as credential:
        token = credential.get_token(SCOPE)
        clock.ahead = 3400.0
        wait_until(lambda: not has_thread(), seconds=40)  # an earlier test's request may hang
        with no_new_threads():
            assert credential.get_token(SCOPE) == token
            assert credential.get_token(SCOPE) == token
        assert identity.count_requests() == 1
        clock.ahead = 3440.0
        assert credential.get_token(SCOPE) == token
        wait_until(lambda: identity.count_requests() == 2)


def test_token_is_requested_when_no_thread_can_be_started(identity: Identity):
    identity.rotate()
    with make(identity) as credential:
        wait_until(lambda: not has_thread(), seconds=40)  # an earlier test's request may hang
        with no_new_threads():
            assert credential.get_token(SCOPE)


def has_thread() -> bool:
    return any(thread.name in {"hcpcreds-token", "hcpcreds-refresh"} for thread in threading.enumerate())


@pytest.mark.parametrize("options", [None, {}, {"enable_cae": False}, {"tenant_id": None}], ids=str)
def test_cached_token_takes_one_call_when_requested_with_its_times(identity: Identity, options: Any):
    identity.rotate()
    with make(identity) as credential:
        token = credential.get_token(SCOPE)
        calls = []
        sys.setprofile(
            lambda frame, event, _: calls.append(frame.f_code.co_name) if event == "call" else None
        )
        try:
            info = credential.get_token_info(SCOPE, options=options)
        finally:
            sys.setprofile(None)
        assert info.token == token.token
        assert calls == ["get_token_info"], "azure-core's policies call this one for each request"
