"""What is asyncio's own: cancellation, closing under those who wait, a loop that is never held up."""

import asyncio
import time

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity.aio import ChainedTokenCredential
from tests.credential.conftest import OTHER_SCOPE, SCOPE, Identity
from tests.credential.files import Clock, Mount, wait_until

from hcpcreds.aio import UserAssignedIdentityCredential
from hcpcreds.errors import SourceClosedError
from hcpcreds.local.azure import LocalAzure


def make(identity: Identity, clock: Clock | None = None) -> UserAssignedIdentityCredential:
    return UserAssignedIdentityCredential(
        identity.mount.path, connection_verify=str(identity.azure.ca_file), clock=clock or Clock()
    )


def test_others_get_their_token_when_one_who_waits_is_cancelled(identity: Identity, azure: LocalAzure):
    identity.rotate()
    azure.faults.latency("entra", 0.2)

    async def run() -> None:
        async with make(identity) as credential:
            waiting = [asyncio.create_task(credential.get_token(SCOPE)) for _ in range(3)]
            await asyncio.sleep(0.05)
            waiting[0].cancel()
            first, *others = await asyncio.gather(*waiting, return_exceptions=True)
            assert isinstance(first, asyncio.CancelledError)
            assert others[0] == others[1] == await credential.get_token(SCOPE)
        assert identity.count_requests() == 1

    asyncio.run(run())


def test_those_who_wait_are_told_when_the_credential_is_closed(identity: Identity, azure: LocalAzure):
    identity.rotate()
    hung = azure.faults.add("entra", hang=True)

    async def run() -> None:
        credential = make(identity)
        waiting = asyncio.create_task(credential.get_token(SCOPE))
        await asyncio.to_thread(wait_until, lambda: hung.met)
        await credential.close()
        with pytest.raises(SourceClosedError):
            await waiting

    asyncio.run(run())


def test_event_loop_is_never_held_up_when_the_first_token_is_fetched(identity: Identity):
    identity.rotate()

    async def measure() -> float:
        longest = 0.0
        while True:
            started = time.perf_counter()
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                return longest
            longest = max(longest, time.perf_counter() - started)

    async def run() -> float:
        measuring = asyncio.create_task(measure())
        await asyncio.sleep(0)
        async with make(identity) as credential:
            await asyncio.gather(credential.get_token(SCOPE), credential.get_token(OTHER_SCOPE))
        measuring.cancel()
        return await measuring

    assert asyncio.run(run()) < 0.2


def test_chain_goes_on_when_nothing_is_mounted_and_stops_when_the_file_is_bad(
    identity: Identity, azure: LocalAzure
):
    other = Identity(azure, Mount(identity.mount.directory.parent / "other"))
    other.rotate()

    async def run() -> None:
        async with make(identity) as absent, make(other) as present:
            chain = ChainedTokenCredential(absent, present)
            assert (await chain.get_token(SCOPE)).token
            identity.mount.swap(b"bad")
            await asyncio.to_thread(wait_until, lambda: absent.status().rejected)
            with pytest.raises(ClientAuthenticationError, match="expected a JSON object"):
                await ChainedTokenCredential(absent, present).get_token(SCOPE)

    asyncio.run(run())
