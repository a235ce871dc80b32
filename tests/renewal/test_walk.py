"""Walks over a vault in which nothing goes wrong, or only one credential is unusual."""

import asyncio
import base64
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.local.clients import make_key
from tests.renewal.renewals import DAY, HOUR, Renewals, get_outcome, list_results, parse_time, render_time
from typing_extensions import override

from hcpcreds.renewal.outcomes import Observer, Outcome, Result, Walk
from hcpcreds.vault.secret import StoredCredential


def test_walk_renews_only_what_is_due(renewals: Renewals, tmp_path: Path):
    by_name = renewals.add()
    by_tags = renewals.add("control-plane-cert")
    current = [renewals.add(due=False), renewals.add("another-cert", due=False)]
    renewals.vault.set_secret("a-password", "none of our business", tags={"renew_after": "always"})
    before = renewals.read()
    walk = renewals.walk()
    assert walk.complete
    assert list_results(walk) == {by_name: Result.RENEWED, by_tags: Result.RENEWED}
    assert sorted(walk.credentials) == sorted([by_name, by_tags, *current])
    after = renewals.check_kept(before)
    for name in (by_name, by_tags):
        assert len(after[name].versions) == 2
        assert after[name].latest.parse().not_before > before[name].latest.parse().not_before
        assert walk.credentials[name].expires_on == after[name].latest.expires_on
        assert get_outcome(walk, name).credential.expires_on == after[name].latest.expires_on
        renewals.check_token(name, tmp_path)
    for name in current:
        assert after[name] == before[name]
    assert renewals.vault.get_secret("a-password").value == "none of our business"


def test_walk_renews_nothing_when_it_is_repeated(renewals: Renewals):
    names = [renewals.add() for _ in range(3)]

    async def walk_twice() -> tuple[Walk, Walk]:
        async with renewals.renewer() as renewer:
            return await renewer.walk(), await renewer.walk()

    first, second = asyncio.run(walk_twice())
    assert first.count(Result.RENEWED) == 3
    assert second.outcomes == []
    assert second.complete
    assert sorted(second.credentials) == sorted(names)
    assert second.credentials == first.credentials


def test_walk_renews_a_secret_when_its_name_has_the_longest_allowed_length(renewals: Renewals):
    name = renewals.add("a" * 127)
    assert list_results(renewals.walk()) == {name: Result.RENEWED}


def test_walk_is_complete_when_the_vault_is_empty(renewals: Renewals):
    walk = renewals.walk()
    assert walk.complete
    assert (walk.credentials, walk.outcomes) == ({}, [])
    assert walk.started_at <= walk.finished_at


def test_walk_sees_every_credential_when_there_are_several_pages(renewals: Renewals):
    first, second = renewals.fill_two_pages()
    walk = renewals.walk()
    assert len(walk.credentials) == 30
    assert list_results(walk) == dict.fromkeys(first + second, Result.RENEWED)


@pytest.mark.parametrize("encoding", ["utf-8", "hex", "base64"])
def test_new_version_keeps_name_encoding_tags_and_content_type_when_it_is_renewed(
    renewals: Renewals, encoding: str
):
    name = renewals.add(
        "Its-Own-Name", encoding=encoding, tags={"owner": "team-a", "cost": "7"}, content_type="text/x-json"
    )
    before = renewals.read()
    assert renewals.walk().count(Result.RENEWED) == 1
    latest = renewals.check_kept(before)[name].latest
    said = latest.decode()
    assert latest.content_type == "text/x-json"
    assert latest.tags == {
        "owner": "team-a",
        "cost": "7",
        "renew_after": said["renew_after"],
        "cannot_renew_after": said["cannot_renew_after"],
    }
    assert latest.not_before == parse_time(said["not_before"])
    assert latest.expires_on == parse_time(said["not_after"])
    first_character = {"utf-8": "{", "hex": "7", "base64": "e"}[encoding]
    assert latest.value.startswith(first_character)


def test_new_version_is_pkcs12_when_the_old_one_was(make_renewals: Callable[..., Renewals], tmp_path: Path):
    renewals = make_renewals(secret_format="pkcs12")
    name = renewals.add()
    before = renewals.read()
    assert renewals.walk().count(Result.RENEWED) == 1
    renewals.check_kept(before)
    renewals.check_token(name, tmp_path)


def test_new_version_keeps_the_surroundings_when_the_secret_holds_a_whole_answer(renewals: Renewals):
    name = renewals.add(whole=True)
    before = renewals.read()
    walk = renewals.walk()
    assert list_results(walk) == {name: Result.RENEWED}
    latest = renewals.check_kept(before)[name].latest
    assert '"internal_id":"the resource\'s"' in latest.value
    assert latest.decode()["client_id"] == renewals.client_ids[name]


def test_walk_renews_the_top_of_the_value_when_the_identity_is_system_assigned(renewals: Renewals):
    name = renewals.add(system_assigned=True)
    before = renewals.read()
    assert list_results(renewals.walk()) == {name: Result.RENEWED}
    latest = renewals.check_kept(before)[name].latest
    assert latest.decode()["client_id"] == renewals.client_ids[name]
    assert not latest.decode().get("explicit_identities")


@pytest.mark.parametrize("whole", [False, True])
def test_walk_requests_custom_claims_again_when_the_credential_has_them(renewals: Renewals, whole: bool):  # noqa: FBT001 (a parameter)
    claims = {"xms_az_nwperimid": ["a", "b"], "xms_az_tm": "user"}
    name = renewals.add(whole=whole, custom_claims=claims)
    before = renewals.read()
    assert list_results(renewals.walk()) == {name: Result.RENEWED}
    renewals.check_kept(before)
    assert renewals.latest(name)["custom_claims"] == claims
    own = renewals.client_ids[name]
    assert renewals.azure.requests.count("data_plane", match=own, method="POST") == 1
    assert renewals.azure.requests.count("data_plane", match=own, method="GET") == 0


def test_walk_renews_ahead_of_time_when_told_how_long_before(renewals: Renewals):
    soon, later = renewals.add(due=False), renewals.add(renew_after=render_time(renewals.now() + 30 * DAY))
    assert renewals.walk(before=9 * DAY).outcomes == []
    assert list_results(renewals.walk(before=11 * DAY)) == {soon: Result.RENEWED}
    assert list_results(renewals.walk(before=31 * DAY, dry_run=True)) == {later: Result.DUE}


def test_credential_is_unchanged_when_the_data_plane_has_no_newer_one_yet(
    make_renewals: Callable[..., Renewals],
):
    renewals = make_renewals(renew_early=False)
    name = renewals.add(due=False)
    before = renewals.read()
    walk = renewals.walk(before=11 * DAY)
    assert list_results(walk) == {name: Result.UNCHANGED}
    assert walk.complete
    assert renewals.check_kept(before) == before


def test_walk_changes_nothing_when_it_is_a_dry_run(renewals: Renewals):
    due, untagged = renewals.add(), renewals.add(renew_after=None)
    renewals.add(due=False)
    before = renewals.read()
    renewals.azure.requests.clear()
    walk = renewals.walk(dry_run=True)
    assert list_results(walk) == {due: Result.DUE, untagged: Result.DUE}
    assert renewals.azure.requests.count("vault", method="PUT") == 0
    assert renewals.azure.requests.count("data_plane", match="managedIdentity") == 0
    assert renewals.read() == before


def test_walk_does_not_load_a_secret_when_it_is_disabled(renewals: Renewals):
    name = renewals.add()
    renewals.vault.update_secret_properties(name, enabled=False)
    renewals.azure.requests.clear()
    walk = renewals.walk()
    assert list_results(walk) == {name: Result.DISABLED}
    assert not walk.credentials[name].enabled
    assert renewals.azure.requests.count("vault", match=name) == 0


def test_walk_loads_a_secret_when_it_has_no_tags(renewals: Renewals):
    due, current = renewals.add(), renewals.add(due=False)
    for name in (due, current):
        renewals.vault.update_secret_properties(name, tags={})
    walk = renewals.walk()
    assert list_results(walk) == {due: Result.RENEWED}
    held = renewals.look(due)
    assert held is not None
    assert held.latest.tags["renew_after"] == renewals.latest(due)["renew_after"]


def test_walk_loads_a_secret_when_its_tags_are_unreadable(renewals: Renewals):
    name = renewals.add(due=False)
    renewals.vault.update_secret_properties(
        name, tags={"renew_after": "soon", "cannot_renew_after": "much later"}
    )
    assert renewals.walk().outcomes == []


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "unreadable"),
        ("no JSON", "not a credential"),
        ("[]", "not a credential"),
        ('{"client_secret": 7}', "client_secret"),
        ('{"client_id": "a"}', "client_secret_url"),
        ("{" * 10_000, "not a credential"),
    ],
)
def test_walk_renews_the_others_when_a_value_is_not_a_credential(renewals: Renewals, value: str, reason: str):
    good = renewals.add()
    renewals.vault.set_secret("uamsi-bad", value)
    walk = renewals.walk(attempts=2)
    assert list_results(walk) == {good: Result.RENEWED, "uamsi-bad": Result.FAILED}
    said = get_outcome(walk, "uamsi-bad").reason or ""
    assert "uamsi-bad" in said
    assert reason in said
    assert [each.version for each in renewals.vault.list_properties_of_secret_versions("uamsi-bad")] == [
        renewals.vault.get_secret("uamsi-bad").properties.version
    ]


def test_renewal_fails_when_a_secret_holds_several_identities(renewals: Renewals):
    good = renewals.add()
    several = [renewals.issue(good), renewals.issue(good)]
    renewals.vault.set_secret("msi-several", f'{{"explicit_identities": {several}}}'.replace("'", '"'))
    walk = renewals.walk()
    assert list_results(walk) == {good: Result.RENEWED, "msi-several": Result.FAILED}
    assert "2 identities" in (get_outcome(walk, "msi-several").reason or "")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (None, "no client_secret_url"),
        ("http://insecure.example/credentials", "https"),
        ("https:///", "url"),
        ("https://elsewhere.example/credentials", "elsewhere.example"),
        ("https://127.0.0.1:9/nobody", "127.0.0.1:9"),
    ],
)
def test_renewal_fails_with_the_reason_when_the_url_cannot_be_called(
    renewals: Renewals, url: str | None, reason: str
):
    name, good = renewals.add(client_secret_url=url), renewals.add()
    before = renewals.read()
    walk = renewals.walk(attempts=2)
    assert list_results(walk) == {name: Result.FAILED, good: Result.RENEWED}
    said = get_outcome(walk, name).reason or ""
    assert name in said
    assert reason in said.lower()
    assert renewals.check_kept(before)[name] == before[name]
    assert get_outcome(walk, name).credential.expires_on == before[name].latest.expires_on


def test_secret_is_unchanged_when_the_certificate_can_no_longer_be_renewed(
    make_renewals: Callable[..., Renewals],
):
    at = datetime(2026, 1, 1, tzinfo=UTC)
    clock = [at]
    renewals = make_renewals(now=lambda: clock[0], token_lifetime=400 * 86400.0)
    name = renewals.add()
    before = renewals.read()
    clock[0] = at + 200 * DAY
    walk = renewals.walk()
    assert list_results(walk) == {name: Result.FAILED}
    assert "can no longer be renewed" in (get_outcome(walk, name).reason or "")
    assert renewals.check_kept(before) == before


def test_walk_renews_an_expired_credential_when_it_can_still_be_renewed(
    make_renewals: Callable[..., Renewals],
):
    clock = [datetime(2026, 1, 1, tzinfo=UTC)]
    renewals = make_renewals(now=lambda: clock[0])
    name = renewals.add()
    before = renewals.read()
    clock[0] += 100 * DAY
    assert list_results(renewals.walk()) == {name: Result.RENEWED}
    assert renewals.check_kept(before)[name].latest.parse().not_after > clock[0]


class Notes(Observer):
    """Records every event."""

    def __init__(self) -> None:
        self.notes: list[Any] = []

    @override
    def walk_started(self, vault_url: str) -> None:
        self.notes.append(("started", vault_url))

    @override
    def listed(self, vault_url: str, credential: StoredCredential, *, due: bool) -> None:
        self.notes.append(("listed", credential.name, due))

    @override
    def settled(self, vault_url: str, outcome: Outcome) -> None:
        self.notes.append(("settled", outcome.credential.name, outcome.result))

    @override
    def walk_finished(self, walk: Walk) -> None:
        self.notes.append(walk)


def test_observer_receives_every_event_in_order_when_a_walk_runs(renewals: Renewals):
    due, current = renewals.add("cert-a"), renewals.add("cert-b", due=False)
    notes = Notes()
    walk = renewals.walk(observers=[notes])
    url = renewals.vault.vault_url
    assert notes.notes == [
        ("started", url),
        ("listed", due, True),
        ("listed", current, False),
        ("settled", due, Result.RENEWED),
        walk,
    ]


def test_walk_renews_the_most_urgent_first_when_several_are_due(renewals: Renewals):
    names = {
        days: renewals.add(not_after=render_time(renewals.now() + days * DAY)) for days in (30, 2, 20, 3)
    }
    walk = renewals.walk(concurrency=1)
    # The worker begins after the whole first page was listed.
    assert [outcome.credential.name for outcome in walk.outcomes] == [names[days] for days in sorted(names)]


def test_walk_renews_the_others_when_one_meets_an_unexpected_error(
    renewals: Renewals, caplog: pytest.LogCaptureFixture
):
    bad, good = renewals.add(), renewals.add()
    before = renewals.read()

    async def fail() -> None:
        raise LookupError(before[bad].latest.value)

    renewals.meanwhile("PUT", bad, fail)
    walk = renewals.walk()
    assert list_results(walk) == {bad: Result.FAILED, good: Result.RENEWED}
    assert get_outcome(walk, bad).reason == (
        f"secret {bad} in {renewals.vault.vault_url}: LookupError; see the log"
    )
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert f"secret {bad} in {renewals.vault.vault_url}: LookupError" in record.getMessage()
    assert renewals.check_kept(before)[bad] == before[bad]


def test_walk_renews_the_listed_ones_when_listing_meets_an_unexpected_error(renewals: Renewals):
    first, second = renewals.fill_two_pages()

    async def fail() -> None:
        raise LookupError

    renewals.meanwhile("GET", "/secrets", fail, nth=2, whole=True)
    walk = renewals.walk()
    assert walk.problem == f"vault {renewals.vault.vault_url}: LookupError; see the log"
    assert list_results(walk) == dict.fromkeys(first, Result.RENEWED)
    assert list_results(renewals.walk()) == dict.fromkeys(second, Result.RENEWED)


def test_walk_finishes_renewals_in_progress_when_it_is_stopped(renewals: Renewals):
    names = [renewals.add(not_after=render_time(renewals.now() + days * DAY)) for days in (1, 2, 3, 4, 5)]
    before = renewals.read()

    async def walk() -> tuple[Walk, Walk]:
        stop = asyncio.Event()

        async def request_stop() -> None:
            stop.set()

        renewals.meanwhile("GET", renewals.client_ids[names[1]], request_stop)
        async with renewals.renewer(concurrency=2) as renewer:
            return await renewer.walk(stop), await renewer.walk()

    stopped, next_one = asyncio.run(walk())
    assert stopped.problem == "stopped before its end"
    assert not stopped.complete
    done = [outcome.credential.name for outcome in stopped.outcomes]
    assert names[1] in done
    assert len(done) in {2, 3}
    assert stopped.count(Result.RENEWED) == len(done)
    assert next_one.complete
    assert next_one.count(Result.RENEWED) == 5 - len(done)
    after = renewals.check_kept(before)
    assert all(len(held.versions) == 2 for held in after.values())


def test_walk_does_not_wait_for_another_attempt_when_it_is_stopped(renewals: Renewals):
    name = renewals.add()
    renewals.azure.faults.add("data_plane", match=renewals.client_ids[name], status=500)

    async def walk() -> Walk:
        stop = asyncio.Event()

        async def request_stop() -> None:
            stop.set()

        renewals.meanwhile("GET", renewals.client_ids[name], request_stop, after=True)
        async with renewals.renewer(backoff_seconds=3600.0, attempts=9) as renewer:
            return await renewer.walk(stop)

    assert list_results(asyncio.run(walk())) == {name: Result.FAILED}
    assert renewals.azure.requests.count("data_plane", match=renewals.client_ids[name], method="GET") == 1


def test_walk_lists_nothing_when_it_was_stopped_before(renewals: Renewals):
    renewals.add()
    renewals.azure.requests.clear()
    stop = asyncio.Event()
    stop.set()
    walk = renewals.walk(stop=stop)
    assert not walk.complete
    assert renewals.azure.requests.count("vault") == 0


@pytest.mark.parametrize("ahead", [-HOUR * 3, -timedelta(minutes=4), timedelta(minutes=4), 3 * HOUR])
def test_walk_stores_nothing_unusable_when_the_clock_is_wrong(renewals: Renewals, ahead: timedelta):
    name = renewals.add()
    before = renewals.read()
    # Issued by Azure's clock, valid from now.
    renewals.answer(name, renewals.issue(name))
    walk = renewals.walk(now=lambda: datetime.now(UTC) + ahead)
    too_slow = ahead < -timedelta(minutes=5)
    # It became due an hour ago, so it is not due by a clock that is three hours slow.
    assert list_results(walk) == ({} if too_slow else {name: Result.RENEWED})
    renewals.check_kept(before)


def test_renewal_fails_when_the_clock_is_years_ahead(renewals: Renewals):
    name = renewals.add()
    before = renewals.read()
    walk = renewals.walk(now=lambda: datetime.now(UTC) + 400 * DAY, attempts=2)
    assert list_results(walk) == {name: Result.FAILED}
    assert "is this machine's clock right?" in (get_outcome(walk, name).reason or "")
    assert renewals.check_kept(before) == before


def test_renewal_fails_when_the_clock_is_hours_slow(renewals: Renewals):
    name = renewals.add(renew_after=render_time(renewals.now() - DAY))
    before = renewals.read()
    walk = renewals.walk(now=lambda: datetime.now(UTC) - 3 * HOUR, attempts=2)
    assert list_results(walk) == {name: Result.FAILED}
    assert "not valid before" in (get_outcome(walk, name).reason or "")
    assert renewals.check_kept(before) == before


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"client_id": "aaaaaaaa-0000-0000-0000-000000000009"}, "client_id"),
        ({"tenant_id": "aaaaaaaa-0000-0000-0000-000000000009"}, "tenant_id"),
        ({"not_before": "2020-01-01T00:00:00Z"}, "not_before"),
        ({"not_after": "2020-01-01T00:00:00Z"}, "expired"),
        ({"not_before": "2999-01-01T00:00:00Z", "not_after": "2999-02-01T00:00:00Z"}, "not valid before"),
        ({"not_after": None}, "not_after"),
        ({"renew_after": "soon"}, "renew_after"),
        ({"client_secret": "AAAA"}, "client_secret"),
        ({"client_secret": None}, "client_secret"),
        ({"authentication_endpoint": "http://insecure.example/"}, "authentication_endpoint"),
    ],
)
def test_renewal_fails_when_the_answer_is_not_a_renewal(
    renewals: Renewals, changes: dict[str, Any], reason: str
):
    name, good = renewals.add(), renewals.add()
    before = renewals.read()
    renewals.answer(name, renewals.issue(name, **changes))
    walk = renewals.walk(attempts=2)
    assert list_results(walk) == {name: Result.FAILED, good: Result.RENEWED}
    said = get_outcome(walk, name).reason or ""
    assert name in said
    assert reason in said
    assert renewals.check_kept(before)[name] == before[name]


def test_renewal_fails_when_the_key_belongs_to_another_certificate(renewals: Renewals):
    name = renewals.add()
    before = renewals.read()
    fresh = renewals.issue(name)
    other = renewals.azure.issue(renewals.client_ids[name], private_key=make_key(2))
    mixed = _mix(fresh["client_secret"], other["client_secret"])
    renewals.answer(name, {**fresh, "client_secret": mixed})
    walk = renewals.walk(attempts=2)
    assert list_results(walk) == {name: Result.FAILED}
    assert "client_secret" in (get_outcome(walk, name).reason or "")
    assert renewals.check_kept(before) == before


def _mix(certificate_of: str, key_of: str) -> str:
    certificate = base64.b64decode(certificate_of).partition(b"-----BEGIN PRIVATE KEY")[0]
    _, head, key = base64.b64decode(key_of).partition(b"-----BEGIN PRIVATE KEY")
    return base64.b64encode(certificate + head + key).decode()
