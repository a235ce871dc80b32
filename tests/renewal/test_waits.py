"""How long is waited and how often tried, as shipped, on a clock that does not wait."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from azure.core.pipeline import AsyncPipeline, PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import AsyncHTTPPolicy
from azure.core.rest import HttpRequest
from azure.keyvault.secrets.aio import SecretClient
from tests.renewal import virtual_time
from tests.renewal.virtual_time import Unreachable
from typing_extensions import override

from hcpcreds.aio import UserAssignedIdentityCredential
from hcpcreds.dataplane.aio import ManagedIdentityDataPlaneClientFactory
from hcpcreds.renewal.issuance import Issuer
from hcpcreds.renewal.possession import KeyProver
from hcpcreds.renewal.service import renew_until_stopped
from hcpcreds.renewal.throttle import ThrottleGate
from hcpcreds.renewal.walk import RenewalSettings, VaultRenewer

Spread = Callable[[float, float], float]


@pytest.fixture(params=[min, max], ids=["shortest", "longest"])
def spread(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Spread:
    """Every random wait is the shortest there can be, or the longest."""
    choose: Spread = request.param
    monkeypatch.setattr(random, "uniform", choose)
    return choose


class Answers(AsyncHTTPPolicy[Any, Any]):
    """Stands for the service behind a gate: answers the next status and headers, the last for ever."""

    def __init__(self, *answers: tuple[int, dict[str, str]]) -> None:
        super().__init__()
        self.answers = list(answers)
        self.asked: list[float] = []

    @override
    async def send(self, request: PipelineRequest[Any]) -> Any:
        self.asked.append(virtual_time.now())
        status, headers = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return PipelineResponse(
            request, SimpleNamespace(status_code=status, headers=headers), request.context
        )


def ask(*answers: tuple[int, dict[str, str]]) -> tuple[int, list[float]]:
    """Ask once through a gate: the last status, and when the service was asked."""
    service = Answers(*answers)

    async def run() -> int:
        pipeline = AsyncPipeline[Any, Any](Unreachable(), [ThrottleGate(), service])
        answer = await pipeline.run(HttpRequest("GET", "https://vault.example/"))
        return int(answer.http_response.status_code)

    return virtual_time.run(run()), service.asked


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (429, {}, 2.0),
        (429, {"Retry-After": "soon"}, 2.0),
        (429, {"Retry-After": "7"}, 7.0),
        (429, {"Retry-After": "0"}, 0.1),
        (429, {"Retry-After": "-1"}, 0.1),
        (429, {"Retry-After": "300"}, 60.0),
        (503, {"Retry-After": "7"}, 7.0),
        (429, {"retry-after-ms": "250"}, 0.25),
    ],
)
def test_throttled_request_waits_as_long_as_requested_when_it_is_less_than_a_minute(
    spread: Spread, status: int, headers: dict[str, str], seconds: float
):
    answer, asked = ask((status, headers), (200, {}))
    assert answer == 200
    assert asked == [0, pytest.approx(spread(seconds, 1.1 * seconds))]


@pytest.mark.parametrize(
    "headers", [{"Retry-After": "301"}, {"Retry-After": "86400"}, {"Retry-After": "inf"}]
)
def test_throttled_request_is_given_up_when_it_would_wait_for_more_than_five_minutes(headers: dict[str, str]):
    assert ask((429, headers)) == (429, [0])


@pytest.mark.usefixtures("spread")
def test_throttled_request_is_given_up_after_five_minutes_when_it_is_throttled_repeatedly():
    status, asked = ask((429, {"Retry-After": "50"}))
    assert status == 429
    assert 250 <= asked[-1] <= 300
    assert len(asked) in {6, 7}


def test_request_does_not_wait_when_an_unavailable_service_sends_no_retry_after():
    assert ask((503, {})) == (503, [0])


@asynccontextmanager
async def open_renewer(
    network: Unreachable, settings: RenewalSettings | None = None
) -> AsyncIterator[VaultRenewer]:
    """A renewer as shipped, without a network."""
    options: dict[str, Any] = {"transport": network, "retry_total": 0}
    credential = UserAssignedIdentityCredential("/nowhere", transport=network)
    async with (
        credential,
        SecretClient("https://one.vault.azure.net", credential, **options) as vault,
        ManagedIdentityDataPlaneClientFactory(
            credential, "https://identity.azure.net", **options
        ) as data_plane,
        KeyProver("https://management.azure.com/.default", **options) as prover,
    ):
        yield VaultRenewer(vault, Issuer(data_plane, prover), settings or RenewalSettings())


def test_step_is_attempted_four_times_with_doubling_pauses_when_it_fails(spread: Spread):
    network = Unreachable()

    async def walk() -> str | None:
        async with open_renewer(network) as renewer:
            return (await renewer.walk()).problem

    problem = virtual_time.run(walk())
    assert "there is no network" in (problem or "")
    # Between nothing and 2, 4 and 8 seconds.
    pauses = [0.0, 0.0, 0.0] if spread is min else [2.0, 4.0, 8.0]
    assert network.tried == pytest.approx([sum(pauses[:number]) for number in range(4)])


def test_walks_are_an_interval_apart_within_a_tenth_when_they_repeat(spread: Spread):
    network = Unreachable()
    stop = asyncio.Event()

    async def renew() -> None:
        async with open_renewer(network, RenewalSettings(attempts=1)) as renewer:
            asyncio.get_running_loop().call_at(10_000, stop.set)
            await renew_until_stopped([renewer], interval=3600, leases=None, stop=stop)

    virtual_time.run(renew())
    interval = spread(3240.0, 3960.0)
    assert network.tried == pytest.approx([number * interval for number in range(len(network.tried))])
    assert len(network.tried) == 10_000 // interval + 1


def test_settings_have_their_documented_defaults():
    settings = RenewalSettings()
    assert (settings.concurrency, settings.dry_run, settings.before.total_seconds()) == (32, False, 0)
