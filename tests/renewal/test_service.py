"""Renewers opened from the settings of a command line, with the SDK's real credentials."""

import asyncio
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.local.clients import make_key
from tests.renewal.renewals import Renewals, list_results

from hcpcreds.renewal.outcomes import Result, Walk
from hcpcreds.renewal.service import Access, open_renewers, renew_once
from hcpcreds.renewal.walk import RenewalSettings


@pytest.fixture
def access(renewals: Renewals, tmp_path: Path) -> Access:
    """The vault of the test, with an application's own credential file."""
    own = tmp_path / "own.json"
    own.write_text(json.dumps(renewals.azure.issue(str(uuid.uuid4()), private_key=make_key())))
    return Access(
        vault_urls=[renewals.vault.vault_url],
        audience=renewals.azure.settings.data_plane_audience,
        data_plane_hosts=["127.0.0.1"],
        credential_file=str(own),
        ca_file=str(renewals.azure.ca_file),
    )


def walk(access: Access, stop: asyncio.Event | None = None, **settings: Any) -> Walk:
    async def renew() -> Walk:
        async with open_renewers(
            access, RenewalSettings(**{"backoff_seconds": 0.01, **settings})
        ) as renewers:
            (walked,) = await renew_once(renewers, leases=None, stop=stop or asyncio.Event())
            return walked

    return asyncio.run(renew())


def test_renewer_renews_as_the_application_when_it_has_a_credential_file(renewals: Renewals, access: Access):
    name = renewals.add()
    assert list_results(walk(access)) == {name: Result.RENEWED}


@pytest.mark.parametrize("service", ["vault", "data_plane", "entra"])
def test_renewer_leaves_retries_to_the_walk_when_a_service_fails(
    renewals: Renewals, access: Access, service: str
):
    name = renewals.add()
    warm_up = walk(access, dry_run=True)
    assert list_results(warm_up) == {name: Result.DUE}
    fault = renewals.azure.faults.add(service, status=500)
    walk(access, attempts=2)
    # The SDK itself would send each request four times.
    assert fault.met == 2


def test_renewer_lists_nothing_when_it_was_stopped_before(renewals: Renewals, access: Access):
    renewals.add()
    stop = asyncio.Event()
    stop.set()
    assert walk(access, stop).problem == "stopped before its end"
    assert renewals.azure.requests.count("vault") == 0


def test_renewer_trusts_its_own_authority_when_a_stored_credential_names_it(
    make_renewals: Callable[..., Renewals], access: Access
):
    """The local authority is not a host of Entra ID: only the renewer's own credential makes it trusted."""
    renewals = make_renewals()
    name = renewals.add()
    foreign = renewals.add("a-cert", authentication_endpoint="https://evil.example/")
    assert list_results(walk(access)) == {name: Result.RENEWED, foreign: Result.FAILED}
