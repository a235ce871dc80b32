"""The asyncio credential alone: cancellation, closing while callers wait, a loop that is never blocked."""

import asyncio
import contextlib
import gc
import logging
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity.aio import ChainedTokenCredential
from tests.credential.conftest import OTHER_SCOPE, SCOPE, Identity
from tests.credential.files import Clock
from tests.credential.subjects import Loop
from tests.support.volume import Mount
from tests.support.waiting import wait_until

from hcpcreds.aio import UserAssignedIdentityCredential
from hcpcreds.errors import SourceClosedError
from hcpcreds.local.azure.azure import LocalAzure

CHALLENGE = '{"access_token": {}}'


def make(
    identity: Identity, clock: Clock | None = None, *, authority: str | None = None
) -> UserAssignedIdentityCredential:
    return UserAssignedIdentityCredential(
        identity.mount.path,
        authority=authority,
        connection_verify=str(identity.azure.ca_file),
        clock=clock or Clock(),
    )


def test_other_callers_get_their_token_when_one_is_cancelled(identity: Identity, azure: LocalAzure):
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


def test_credential_is_closed_when_its_block_ends(identity: Identity):
    identity.rotate()

    async def run() -> None:
        async with make(identity) as credential:
            assert await credential.get_token(SCOPE)
        with pytest.raises(SourceClosedError):
            await credential.get_token(SCOPE)

    asyncio.run(run())


def test_event_loop_is_not_blocked_when_the_first_token_is_requested(identity: Identity):
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

    # The best of three: a busy machine stops the loop now and then.
    assert min(asyncio.run(run()) for _ in range(3)) < 0.2


def test_chain_continues_when_nothing_is_mounted_and_stops_when_the_file_is_invalid(
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


def test_first_token_arrives_when_every_thread_of_the_loop_waits_for_one(
    identity: Identity, azure: LocalAzure
):
    identity.rotate()
    by_name = azure.authority.replace("127.0.0.1", "localhost")
    azure.faults.add("entra", body=b'{"access_token": "t", "expires_in": 3600}')

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(4))
        async with make(identity, authority=by_name) as credential:

            def work() -> str:
                return asyncio.run_coroutine_threadsafe(credential.get_token(SCOPE), loop).result(10).token

            tokens = await asyncio.gather(*(asyncio.to_thread(work) for _ in range(12)))
        assert set(tokens) == {"t"}

    asyncio.run(run())


def test_error_arrives_when_every_thread_of_the_loop_waits_for_a_token(identity: Identity):
    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        async with make(identity) as absent:

            def work() -> BaseException | None:
                return asyncio.run_coroutine_threadsafe(absent.get_token(SCOPE), loop).exception(10)

            assert "does not exist" in str(await asyncio.to_thread(work))

    asyncio.run(run())


def test_several_event_loops_get_their_tokens_when_they_share_a_credential(identity: Identity):
    identity.rotate()
    credential = make(identity)

    async def use() -> set[str]:
        asked = [credential.get_token(SCOPE, claims=CHALLENGE if each % 5 else None) for each in range(40)]
        return {token.token for token in await asyncio.gather(*asked)}

    with ThreadPoolExecutor(3) as pool:
        for tokens in pool.map(lambda _: asyncio.run(use()), range(3)):
            assert tokens
    asyncio.run(credential.close())


def test_no_warning_is_shown_when_event_loops_come_and_go(
    identity: Identity, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
):
    identity.rotate()
    credential = make(identity)
    for _ in range(3):
        assert asyncio.run(credential.get_token(SCOPE, claims=CHALLENGE))
    gc.collect()
    asyncio.run(credential.close())
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING] == []
    assert [str(each.message) for each in recwarn] == []


def test_close_succeeds_when_another_event_loop_calls_it(identity: Identity, azure: LocalAzure):
    identity.rotate()
    credential = make(identity)
    hung = azure.faults.add("entra", hang=True, times=1)
    loop = Loop()
    waiting = asyncio.run_coroutine_threadsafe(credential.get_token(SCOPE), loop.loop)
    wait_until(lambda: hung.met)
    asyncio.run(credential.close())
    assert isinstance(waiting.exception(8), SourceClosedError)
    loop.close()
    asyncio.run(credential.close())


def test_close_succeeds_when_the_event_loop_of_a_request_has_ended(identity: Identity, azure: LocalAzure):
    identity.rotate()
    credential = make(identity)
    azure.faults.add("entra", hang=True, times=1)

    async def ask() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(credential.get_token(SCOPE), 0.2)

    asyncio.run(ask())
    azure.faults.clear()
    assert asyncio.run(credential.get_token(SCOPE))
    asyncio.run(credential.close())


def test_file_is_no_longer_watched_when_the_credential_is_closed(identity: Identity):
    identity.rotate()
    gc.collect()
    wait_until(lambda: not count_watchers())
    credential = make(identity)
    assert asyncio.run(credential.get_token(SCOPE))
    assert count_watchers() == 1
    asyncio.run(credential.close())
    wait_until(lambda: not count_watchers())
    assert credential.status().generation == 1, "it lives still"


def count_watchers() -> int:
    return sum(thread.name == "hcpcreds-watcher" for thread in threading.enumerate())


def test_file_is_read_in_another_thread_when_the_event_loop_requests_a_token(identity: Identity):
    identity.rotate()
    path = str(identity.mount.path)
    readers = set()

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and arguments[0] == path and not done:
            readers.add(threading.get_ident())

    done: list[bool] = []
    sys.addaudithook(note)

    async def run() -> int:
        async with make(identity) as credential:
            await credential.get_token(SCOPE)
        return threading.get_ident()

    loops = asyncio.run(run())
    done.append(True)  # a hook cannot be removed
    assert readers
    assert loops not in readers


def test_cancelled_caller_stays_cancelled_when_its_request_is_overdue_at_the_same_time(
    identity: Identity, azure: LocalAzure
):
    identity.rotate()
    hung = azure.faults.add("entra", hang=True)

    async def run() -> None:
        credential = make(identity)
        waiting = asyncio.create_task(credential.get_token(SCOPE))
        await asyncio.to_thread(wait_until, lambda: hung.met)
        waiting.cancel()
        await credential.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(run())
