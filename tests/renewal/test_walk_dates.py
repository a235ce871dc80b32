"""Dates that a secret's writer sets: whatever they are, they neither stop nor silence a renewal."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from azure.keyvault.secrets import SecretProperties
from hypothesis import given
from hypothesis import strategies as st
from tests.renewal.renewals import DAY, HOUR, Renewals, get_outcome, list_results, parse_time, render_time
from tests.renewal.test_metrics import NOT_AFTER, read
from tests.renewal.test_walk_races import JSON, change_list

from hcpcreds.renewal.metrics import RenewalMetrics
from hcpcreds.renewal.outcomes import Result, Walk
from hcpcreds.vault.secret import read_properties, read_stored

FAR = "9999-12-31T23:59:59Z"
BEYOND = 253402300800  # the year 10000


@pytest.mark.parametrize("attribute", ["exp", "nbf", "created"])
@pytest.mark.parametrize("value", [BEYOND, -(10**12), 10**400, "soon", True])
def test_renewal_fails_for_one_secret_when_its_listed_date_is_impossible(
    renewals: Renewals, attribute: str, value: Any
):
    bad, good = renewals.add("uamsi-bad-one"), renewals.add()
    before = renewals.read()
    entry = {"attributes": {"enabled": True, attribute: value}}
    change_list(
        renewals.azure, lambda entries: [each | entry if bad in each["id"] else each for each in entries]
    )
    walk = renewals.walk()
    assert walk.complete
    assert get_outcome(walk, good).result is Result.RENEWED
    outcome = get_outcome(walk, bad)
    if value is True:  # the SDK takes it for the first second of 1970
        assert outcome.result is Result.RENEWED
    else:
        assert outcome.result is Result.FAILED
        assert f"its {attribute} is not a time" in (outcome.reason or "")
        assert "a new credential issued" in (outcome.reason or "")
        assert renewals.check_kept(before)[bad] == before[bad]


def test_walk_does_not_load_a_secret_when_its_name_is_impossible(renewals: Renewals):
    good = renewals.add()
    url = f"{renewals.vault.vault_url}/secrets/uamsi-\x1b[2J"
    change_list(renewals.azure, lambda entries: [*entries, {"id": url, "attributes": {}}])
    walk = renewals.walk()
    assert get_outcome(walk, good).result is Result.RENEWED
    (failed,) = [outcome for outcome in walk.outcomes if outcome.result is Result.FAILED]
    assert "Key Vault does not allow its name" in (failed.reason or "")
    assert "\x1b" not in f"{failed.credential.name}{failed.reason}"


def test_renewal_fails_for_one_secret_when_its_loaded_date_is_impossible(renewals: Renewals):
    bad, good = renewals.add("uamsi-bad-one"), renewals.add()
    body = {
        "id": f"{renewals.vault.vault_url}/secrets/{bad}/0123",
        "value": msgspec.json.encode(renewals.latest(bad)).decode(),
        "attributes": {"enabled": True, "exp": BEYOND},
    }
    renewals.azure.faults.add(
        "vault", method="GET", match=f"/secrets/{bad}", body=msgspec.json.encode(body), headers=JSON
    )
    walk = renewals.walk()
    assert list_results(walk) == {bad: Result.FAILED, good: Result.RENEWED}
    assert "its exp is not a time" in (get_outcome(walk, bad).reason or "")


def test_newer_version_is_put_on_top_when_another_version_has_an_impossible_date(renewals: Renewals):
    name = renewals.add()
    newest = renewals.issue(name, age=-timedelta(minutes=1))
    url = f"{renewals.vault.vault_url}/secrets/{name}"

    async def bury() -> None:
        await asyncio.to_thread(renewals.write, name, newest)
        begins = parse_time(newest["not_before"])
        listed = renewals.vault.list_properties_of_secret_versions(name)
        (version,) = [each.version for each in listed if each.not_before == begins]
        newer = {
            "id": f"{url}/{version}",
            "attributes": {
                "enabled": True,
                "nbf": int(begins.timestamp()),
                "exp": int(parse_time(newest["not_after"]).timestamp()),
            },
        }
        bad = {"id": f"{url}/0123", "attributes": {"enabled": True, "nbf": BEYOND}}
        body = msgspec.json.encode({"value": [bad, newer]})
        renewals.azure.faults.add(
            "vault", method="GET", match=f"/secrets/{name}/versions", body=body, headers=JSON
        )

    renewals.meanwhile("PUT", name, bury)
    assert list_results(renewals.walk()) == {name: Result.SUPERSEDED}
    renewals.azure.faults.clear()
    assert renewals.latest(name)["client_secret"] == newest["client_secret"]


ATTRIBUTES: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just([])
)


@given(
    attributes=st.dictionaries(st.sampled_from(["exp", "nbf", "created", "enabled"]), ATTRIBUTES),
    tags=ATTRIBUTES,
)
def test_read_properties_never_raises_when_given_any_properties(attributes: dict[str, Any], tags: Any):
    from azure.keyvault.secrets._generated.models import SecretAttributes  # noqa: PLC0415 (as the SDK does)

    properties = SecretProperties(
        attributes=SecretAttributes(attributes), vault_id="https://v.example/secrets/uamsi-a/1", tags=tags
    )
    stored = read_stored(properties)
    assert stored == read_properties(properties)
    assert stored is not None
    for time in (stored.not_before, stored.expires_on, stored.created_on, stored.renew_after):
        assert time is None or isinstance(time, datetime)


def lie(renewals: Renewals, name: str, *, renew_after: str = FAR, expires_on: str = FAR) -> None:
    """Set the dates of a stored credential to the far future."""
    tags = {"renew_after": renew_after, "cannot_renew_after": FAR}
    renewals.vault.update_secret_properties(name, tags=tags, expires_on=parse_time(expires_on))


@pytest.mark.parametrize("renew_after_days", [91, 365 * 1000])
def test_walk_renews_a_due_credential_when_its_tags_name_the_far_future(
    renewals: Renewals, renew_after_days: int
):
    name = renewals.add()
    lie(renewals, name, renew_after=render_time(renewals.now() + renew_after_days * DAY))
    assert list_results(renewals.walk()) == {name: Result.RENEWED}


def test_walk_renews_a_due_credential_when_its_tag_is_later_than_its_expiry(renewals: Renewals):
    name = renewals.add()
    lie(
        renewals,
        name,
        renew_after=render_time(renewals.now() + 3 * DAY),
        expires_on=render_time(renewals.now() + 2 * DAY),
    )
    assert list_results(renewals.walk()) == {name: Result.RENEWED}


def test_walk_reports_the_expiry_of_the_value_when_the_listed_one_is_implausible(renewals: Renewals):
    name = renewals.add(due=False)
    said = renewals.latest(name)
    lie(
        renewals,
        name,
        renew_after=said["renew_after"],
        expires_on=render_time(renewals.now() + 401 * DAY),
    )
    assert renewals.walk().credentials[name].expires_on == parse_time(said["not_after"])


def test_walk_loads_a_version_once_when_its_listed_dates_are_implausible(renewals: Renewals):
    name = renewals.add(due=False)
    said = renewals.latest(name)
    lie(renewals, name)
    renewals.azure.requests.clear()
    metrics = RenewalMetrics(now=renewals.now)

    async def walk() -> list[Walk]:
        async with renewals.renewer(observers=[metrics]) as renewer:
            walks = [await renewer.walk() for _ in range(3)]
            await asyncio.to_thread(renewals.store, name, renew_after=FAR, not_after=said["not_after"])
            await asyncio.to_thread(lie, renewals, name)
            return [*walks, await renewer.walk(), await renewer.walk()]

    walks = asyncio.run(walk())
    assert [each.outcomes for each in walks] == [[]] * 5
    assert renewals.azure.requests.count("vault", match=f"/secrets/{name}/", method="GET") == 2
    for each in walks:
        assert each.credentials[name].expires_on == parse_time(said["not_after"])
    assert set(read(metrics, NOT_AFTER).values()) == {parse_time(said["not_after"]).timestamp()}


def test_walk_renews_a_credential_when_its_loaded_value_becomes_due(make_renewals: Callable[..., Renewals]):
    start = datetime.fromisoformat("2026-01-01T00:00:00Z")
    clock = [start]
    renewals = make_renewals(now=lambda: clock[0])
    name = renewals.add(due=False)
    lie(renewals, name)

    async def walk() -> list[Walk]:
        async with renewals.renewer() as renewer:
            first = await renewer.walk()
            clock[0] = start + 10 * DAY + HOUR
            return [first, await renewer.walk()]

    first, second = asyncio.run(walk())
    assert first.outcomes == []
    assert list_results(second) == {name: Result.RENEWED}


@pytest.mark.parametrize("not_after", [89, 399])
def test_walk_does_not_load_a_credential_when_its_listed_dates_are_plausible(
    renewals: Renewals, not_after: int
):
    days = {"renew_after": 88, "not_after": not_after}
    dates: Any = {field: render_time(renewals.now() + number * DAY) for field, number in days.items()}
    name = renewals.add(due=False, **dates)
    renewals.azure.requests.clear()
    assert renewals.walk().outcomes == []
    assert renewals.azure.requests.count("vault", match=f"/secrets/{name}") == 0


def test_outcome_has_the_dates_of_the_value_when_the_listed_ones_are_later(renewals: Renewals):
    name = renewals.add(client_secret_url=None)
    said = renewals.latest(name)
    lie(renewals, name)
    outcome = get_outcome(renewals.walk(), name)
    assert outcome.result is Result.FAILED
    assert outcome.credential.expires_on == parse_time(said["not_after"])
    assert outcome.credential.cannot_renew_after == parse_time(said["cannot_renew_after"])
