"""The gate that holds back a client's requests while its service throttles."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import pytest
from azure.core.pipeline import AsyncPipeline, PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import AsyncHTTPPolicy
from azure.core.rest import HttpRequest
from azure.keyvault.secrets.aio import SecretClient
from tests.local.clients import AsyncCaller
from tests.renewal import virtual_time
from tests.renewal.renewals import Renewals, list_results
from tests.renewal.virtual_time import Unreachable
from typing_extensions import override

from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.renewal.outcomes import Result
from hcpcreds.renewal.throttle import ThrottleGate

Answer = tuple[int, dict[str, str]]
OK: Answer = (200, {})


class Service(AsyncHTTPPolicy[Any, Any]):
    """A service behind a gate: sends its answers in order, then the last one again and again."""

    def __init__(self, *answers: Answer) -> None:
        super().__init__()
        self._answers = list(answers)
        self.asked: list[float] = []
        """When each request arrived, in seconds of virtual time."""

    @override
    async def send(self, request: PipelineRequest[Any]) -> Any:
        self.asked.append(virtual_time.now())
        status, headers = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        response = SimpleNamespace(status_code=status, headers=headers)
        return PipelineResponse(request, response, request.context)


def ask(*answers: Answer, at: tuple[float, ...] = (0.0,)) -> tuple[list[int], list[float]]:
    """Send requests through one gate; returns their final statuses, and when the service was asked."""
    service = Service(*answers)
    pipeline = AsyncPipeline[Any, Any](Unreachable(), [ThrottleGate(), service])

    async def send(seconds: float) -> int:
        await asyncio.sleep(seconds)
        answer = await pipeline.run(HttpRequest("GET", "https://vault.example/"))
        return int(answer.http_response.status_code)

    async def send_all() -> list[int]:
        return await asyncio.gather(*map(send, at))

    return virtual_time.run(send_all()), service.asked


@pytest.mark.parametrize("header", ["Retry-After", "retry-after-ms", "x-ms-retry-after-ms"])
def test_throttled_request_is_sent_again_when_its_retry_after_is_over(local_azure: LocalAzure, header: str):
    """The real client of a vault, over HTTPS."""

    async def get() -> str | None:
        async with SecretClient(
            local_azure.vault_url(),
            AsyncCaller(local_azure),
            verify_challenge_resource=False,
            per_retry_policies=[ThrottleGate()],
            connection_verify=str(local_azure.ca_file),
            retry_total=0,
        ) as vault:
            return (await vault.get_secret("throttled")).value

    local_azure.vault().put("throttled", "a value")
    value = "0.1" if header == "Retry-After" else "100"
    fault = local_azure.faults.add("vault", status=429, headers={header: value}, times=5)
    assert asyncio.run(get()) == "a value"
    assert fault.met == 5


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (429, {}, 2.0),
        (429, {"Retry-After": "soon"}, 2.0),
        (429, {"Retry-After": "nan"}, 2.0),
        (429, {"Retry-After": "7"}, 7.0),
        (429, {"Retry-After": "0"}, 0.1),
        (429, {"Retry-After": "-5"}, 0.1),
        (429, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.1),
        (429, {"Retry-After": "300"}, 60.0),
        (503, {"Retry-After": "7"}, 7.0),
        (429, {"retry-after-ms": "250"}, 0.25),
        (429, {"x-ms-retry-after-ms": "250"}, 0.25),
    ],
)
def test_throttled_request_waits_as_long_as_requested_when_it_is_less_than_a_minute(
    spread: Callable[[float, float], float], status: int, headers: dict[str, str], seconds: float
):
    statuses, asked = ask((status, headers), OK)
    assert statuses == [200]
    assert asked == [0, pytest.approx(spread(seconds, 1.1 * seconds))]


@pytest.mark.usefixtures("spread")
def test_throttled_request_waits_until_a_date_when_retry_after_is_one():
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    statuses, asked = ask((429, {"Retry-After": at}), OK)
    assert statuses == [200]
    assert 20 < asked[1] <= 33


@pytest.mark.usefixtures("spread")
def test_every_request_waits_when_one_is_throttled():
    later = [float(number) for number in range(1, 21)]
    statuses, asked = ask((429, {"Retry-After": "30"}), OK, at=(0.0, *later))
    assert statuses == [200] * 21
    assert len(asked) == 22
    assert asked[0] == 0
    assert min(asked[1:]) >= 30


@pytest.mark.parametrize("seconds", ["301", "86400", "1e400", "inf"])
def test_throttled_request_is_given_up_when_it_would_wait_for_more_than_five_minutes(seconds: str):
    # The second request is not held back by the first.
    assert ask((429, {"Retry-After": seconds}), OK, at=(0.0, 1.0)) == ([429, 200], [0, 1])


@pytest.mark.usefixtures("spread")
def test_throttled_request_is_given_up_after_five_minutes_when_it_is_throttled_repeatedly():
    statuses, asked = ask((429, {"Retry-After": "50"}))
    assert statuses == [429]
    assert 250 <= asked[-1] <= 300
    assert len(asked) in {6, 7}


def test_request_does_not_wait_when_an_unavailable_service_sends_no_retry_after():
    assert ask((503, {})) == ([503], [0])


def test_walk_renews_everything_when_the_vault_throttles(renewals: Renewals):
    names = [renewals.add() for _ in range(15)]
    before = renewals.read()
    renewals.azure.requests.clear()
    limit = renewals.azure.faults.limit("vault", requests=31, seconds=1.0)
    walk = renewals.walk(concurrency=8)
    renewals.azure.faults.clear()
    assert walk.complete
    assert list_results(walk) == dict.fromkeys(names, Result.RENEWED)
    assert all(len(held.versions) == 2 for held in renewals.check_kept(before).values())
    # The challenge, one list, and four requests for each secret: load, look again, write, list the versions.
    assert renewals.azure.requests.count("vault") == 2 + 15 * 4 + limit.refused
    # At most one refusal for each request that is sent at the same time, whenever the limit is reached.
    assert limit.refused <= 8 * 2


def test_walk_renews_everything_when_the_data_plane_throttles(renewals: Renewals):
    names = [renewals.add() for _ in range(8)]
    before = renewals.read()
    limit = renewals.azure.faults.limit("data_plane", requests=6, seconds=1.0)
    walk = renewals.walk(concurrency=8)
    renewals.azure.faults.clear()
    assert list_results(walk) == dict.fromkeys(names, Result.RENEWED)
    assert limit.refused <= 8 * 2
    renewals.check_kept(before)
