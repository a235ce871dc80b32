"""Pauses between attempts and between walks, with the default settings, in virtual time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from azure.keyvault.secrets.aio import SecretClient
from tests.renewal import virtual_time
from tests.renewal.virtual_time import Unreachable

from hcpcreds.aio import UserAssignedIdentityCredential
from hcpcreds.dataplane.aio import ManagedIdentityDataPlaneClientFactory
from hcpcreds.renewal.issuance import Issuer
from hcpcreds.renewal.possession import KeyProver
from hcpcreds.renewal.service import renew_until_stopped
from hcpcreds.renewal.walk import RenewalSettings, VaultRenewer


@asynccontextmanager
async def open_renewer(
    network: Unreachable, settings: RenewalSettings | None = None
) -> AsyncIterator[VaultRenewer]:
    """A renewer without a network."""
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


def test_step_is_attempted_four_times_with_doubling_pauses_when_it_fails(
    spread: Callable[[float, float], float],
):
    network = Unreachable()

    async def walk() -> str | None:
        async with open_renewer(network) as renewer:
            return (await renewer.walk()).problem

    problem = virtual_time.run(walk())
    assert "there is no network" in (problem or "")
    # Each pause is between zero and 2, 4 and 8 seconds.
    pauses = [0.0, 0.0, 0.0] if spread is min else [2.0, 4.0, 8.0]
    assert network.tried == pytest.approx([sum(pauses[:number]) for number in range(4)])


@pytest.mark.usefixtures("spread")
def test_step_is_attempted_as_often_when_it_could_be_stopped():
    network = Unreachable()

    async def walk() -> None:
        async with open_renewer(network) as renewer:
            await renewer.walk(stop=asyncio.Event())

    virtual_time.run(walk())
    assert len(network.tried) == 4


def test_walks_are_an_interval_apart_within_a_tenth_when_they_repeat(
    spread: Callable[[float, float], float],
):
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
