"""Rotations under load: no call fails, every token is from a valid certificate, nothing accumulates."""

import asyncio
import resource
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.credential.conftest import SCOPE, Identity, get_signer
from tests.support.waiting import wait_until

import hcpcreds.aio
import hcpcreds.credential
from hcpcreds.local.azure.azure import LocalAzure

CALLERS = 64
ROTATIONS = 1000
CHALLENGE = '{"access_token": {}}'


@pytest.mark.unmeasured
def test_no_call_fails_when_the_file_rotates_a_thousand_times_under_load(
    identity: Identity, azure: LocalAzure
):
    azure.tokens.lifetime = 1.0
    start = datetime.now(UTC) - timedelta(seconds=2 * ROTATIONS)
    first, *contents = (
        identity.issue(not_before=start + timedelta(seconds=number)) for number in range(ROTATIONS + 1)
    )
    identity.mount.swap(first)
    application = azure.directory.find_application(identity.client_id)
    assert application is not None
    done = threading.Event()
    tokens: set[str] = set()
    options: dict[str, Any] = {"connection_verify": str(azure.ca_file)}

    def call(credential: hcpcreds.credential.UserAssignedIdentityCredential) -> int:
        calls = 0
        while not done.wait(0.05):
            claims = CHALLENGE if calls % 50 == 1 else None
            tokens.add(credential.get_token(SCOPE, claims=claims).token)
            calls += 1
        return calls

    async def call_aio(credential: hcpcreds.aio.UserAssignedIdentityCredential) -> int:
        calls = 0
        while not done.is_set():
            claims = CHALLENGE if calls % 50 == 1 else None
            tokens.add((await credential.get_token(SCOPE, claims=claims)).token)
            calls += 1
            await asyncio.sleep(0.05)
        return calls

    async def call_in_tasks() -> list[int]:
        async with hcpcreds.aio.UserAssignedIdentityCredential(identity.mount.path, **options) as credential:
            return await asyncio.gather(*(call_aio(credential) for _ in range(CALLERS)))

    with (
        hcpcreds.credential.UserAssignedIdentityCredential(identity.mount.path, **options) as credential,
        ThreadPoolExecutor(CALLERS + 1) as pool,
    ):
        try:
            threads = [pool.submit(call, credential) for _ in range(CALLERS)]
            tasks = pool.submit(asyncio.run, call_in_tasks())
            wait_until(lambda: tokens)
            for content in contents[: ROTATIONS // 4]:
                identity.mount.swap(content)
            memory, descriptors = measure()
            for content in contents[ROTATIONS // 4 :]:
                identity.mount.swap(content)
            latest = list(application.certificates)[-1]
            wait_until(lambda: credential.status().thumbprint == latest)
            more_memory, more_descriptors = measure()
        finally:
            done.set()
        calls = [thread.result() for thread in threads] + tasks.result()
    assert min(calls) >= 1
    signers = {get_signer(token) for token in tokens}
    assert len(signers) > 1
    assert signers <= set(application.certificates)
    assert more_memory - memory < 16 << 20
    assert more_descriptors - descriptors <= CALLERS


def measure() -> tuple[int, int]:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10, len(
        list(Path("/proc/self/fd").iterdir())
    )
