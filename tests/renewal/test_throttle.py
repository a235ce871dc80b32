"""The gate that keeps a client's requests back while a service asks to be left alone."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import AsyncHTTPPolicy
from azure.core.rest import AsyncHttpResponse, HttpRequest
from azure.keyvault.secrets.aio import SecretClient
from tests.local.clients import AsyncCaller
from tests.renewal.renewals import Renewals, list_results
from typing_extensions import override

from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.renewal.outcomes import Result
from hcpcreds.renewal.throttle import ThrottleGate


class Recorder(AsyncHTTPPolicy[HttpRequest, AsyncHttpResponse]):
    """Notes when requests left, behind the gate."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[float] = []
        self.refused = asyncio.Event()

    @override
    async def send(
        self, request: PipelineRequest[HttpRequest]
    ) -> PipelineResponse[HttpRequest, AsyncHttpResponse]:
        self.sent.append(time.monotonic())
        response = await self.next.send(request)
        if response.http_response.status_code == 429:
            self.refused.set()
        return response


@asynccontextmanager
async def open_vault(azure: LocalAzure) -> AsyncIterator[tuple[SecretClient, Recorder]]:
    """A client behind a gate, which has done with the vault's challenge."""
    recorder = Recorder()
    options: dict[str, Any] = {"connection_verify": str(azure.ca_file), "retry_total": 0}
    async with SecretClient(
        azure.vault_url(),
        AsyncCaller(azure),
        verify_challenge_resource=False,
        per_retry_policies=[ThrottleGate(), recorder],
        **options,
    ) as vault:
        await vault.set_secret("throttled", "a value")
        recorder.sent.clear()
        yield vault, recorder


def test_throttled_request_is_sent_again_when_its_retry_after_is_over(local_azure: LocalAzure):
    async def ask() -> None:
        async with open_vault(local_azure) as (vault, recorder):
            fault = local_azure.faults.add("vault", status=429, retry_after=0.2, times=3)
            assert (await vault.get_secret("throttled")).value == "a value"
            assert fault.met == 3
            assert [
                later - earlier >= 0.2
                for earlier, later in zip(recorder.sent, recorder.sent[1:], strict=False)
            ] == [True] * 3

    asyncio.run(ask())


def test_every_request_waits_when_one_is_throttled(local_azure: LocalAzure):
    async def ask() -> None:
        async with open_vault(local_azure) as (vault, recorder):
            fault = local_azure.faults.add("vault", status=429, retry_after=0.4, times=1)
            first = asyncio.ensure_future(vault.get_secret("throttled"))
            await recorder.refused.wait()
            refused_at = time.monotonic()
            await asyncio.sleep(0)  # the gate sees it
            await asyncio.gather(first, *(vault.get_secret("throttled") for _ in range(20)))
            assert fault.met == 1
            assert len(recorder.sent) == 22
            assert all(sent - refused_at >= 0.35 for sent in recorder.sent[1:])

    asyncio.run(ask())


@pytest.mark.parametrize("header", ["retry-after-ms", "x-ms-retry-after-ms"])
def test_milliseconds_are_understood(local_azure: LocalAzure, header: str):
    async def ask() -> float:
        async with open_vault(local_azure) as (vault, recorder):
            local_azure.faults.add("vault", status=429, headers={header: "150"}, times=1)
            await vault.get_secret("throttled")
            return recorder.sent[1] - recorder.sent[0]

    assert 0.15 <= asyncio.run(ask()) < 2.0


def test_date_is_understood(local_azure: LocalAzure):
    async def ask() -> float:
        async with open_vault(local_azure) as (vault, recorder):
            at = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
            local_azure.faults.add("vault", status=429, headers={"Retry-After": at}, times=1)
            await vault.get_secret("throttled")
            return recorder.sent[1] - recorder.sent[0]

    assert 0.9 <= asyncio.run(ask()) < 4.0


@pytest.mark.parametrize("header", [None, "soon"])
def test_service_that_does_not_say_how_long_is_given_two_seconds(local_azure: LocalAzure, header: str | None):
    async def ask() -> float:
        async with open_vault(local_azure) as (vault, recorder):
            headers = {} if header is None else {"Retry-After": header}
            local_azure.faults.add("vault", status=429, headers=headers, times=1)
            await vault.get_secret("throttled")
            return recorder.sent[1] - recorder.sent[0]

    assert 2.0 <= asyncio.run(ask()) < 4.0


@pytest.mark.parametrize("header", ["0", "-5", "nan", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_no_time_at_all_is_no_reason_to_hammer(local_azure: LocalAzure, header: str):
    async def ask() -> list[float]:
        async with open_vault(local_azure) as (vault, recorder):
            local_azure.faults.add("vault", status=429, headers={"Retry-After": header}, times=3)
            await vault.get_secret("throttled")
            return recorder.sent

    sent = asyncio.run(ask())
    assert len(sent) == 4
    assert sent[3] - sent[0] >= 0.3


@pytest.mark.parametrize("seconds", ["301", "1e400", "inf"])
def test_wait_beyond_patience_is_the_callers_to_know(local_azure: LocalAzure, seconds: str):
    async def ask() -> None:
        async with open_vault(local_azure) as (vault, recorder):
            local_azure.faults.add("vault", status=429, headers={"Retry-After": seconds}, times=1)
            with pytest.raises(HttpResponseError) as caught:
                await vault.get_secret("throttled")
            assert caught.value.status_code == 429
            # The next one is not kept back for it.
            assert (await vault.get_secret("throttled")).value == "a value"
            assert len(recorder.sent) == 2

    asyncio.run(ask())


def test_service_that_is_unavailable_is_believed_when_it_says_how_long(local_azure: LocalAzure):
    async def ask() -> None:
        async with open_vault(local_azure) as (vault, recorder):
            local_azure.faults.add("vault", status=503, retry_after=0.2, times=1)
            assert (await vault.get_secret("throttled")).value == "a value"
            assert recorder.sent[1] - recorder.sent[0] >= 0.2
            local_azure.faults.add("vault", status=503, times=1)
            with pytest.raises(HttpResponseError):
                await vault.get_secret("throttled")

    asyncio.run(ask())


def test_walk_renews_everything_when_the_vault_throttles(renewals: Renewals):
    names = [renewals.add() for _ in range(15)]
    before = renewals.read()
    renewals.azure.requests.clear()
    renewals.azure.faults.limit("vault", requests=20, seconds=1.0)
    walk = renewals.walk(concurrency=8)
    asked = renewals.azure.requests.count("vault")
    renewals.azure.faults.clear()
    assert walk.complete
    assert list_results(walk) == dict.fromkeys(names, Result.RENEWED)
    # Fifteen times read, read again, write and look, and one list: what comes on top was answered 429.
    assert all(len(held.versions) == 2 for held in renewals.check_kept(before).values())
    windows = 61 // 20 + 1
    assert 0 < asked - 61 <= 8 * windows


def test_walk_renews_everything_when_the_data_plane_throttles(renewals: Renewals):
    names = [renewals.add() for _ in range(8)]
    before = renewals.read()
    renewals.azure.faults.limit("data_plane", requests=4, seconds=1.0)
    walk = renewals.walk(concurrency=8)
    renewals.azure.faults.clear()
    assert list_results(walk) == dict.fromkeys(names, Result.RENEWED)
    assert renewals.azure.requests.count("data_plane", match="ManagedIdentity") <= 8 * 3
    renewals.check_kept(before)
