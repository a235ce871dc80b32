"""Concurrent writers, and vaults with an unreliable list."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec
import pytest
from tests.renewal.renewals import Renewals, get_outcome, list_results, render_time
from typing_extensions import override

from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.local.azure.vault_store import Secret
from hcpcreds.renewal.outcomes import Result, Walk

DAY = timedelta(days=1)


def get_last(renewals: Renewals, name: str) -> dict[str, Any]:
    latest: dict[str, Any] = renewals.latest(name)
    return latest


def test_newest_version_is_on_top_when_two_renewers_run_at_once(renewals: Renewals):
    names = [renewals.add() for _ in range(5)]
    before = renewals.read()

    async def walk() -> list[Walk]:
        async with renewals.renewer() as one, renewals.renewer() as other:
            return list(await asyncio.gather(one.walk(), other.walk()))

    walks = asyncio.run(walk())
    after = renewals.check_kept(before)
    for name in names:
        held = after[name]
        starts = [version.not_before for version in held.versions.values() if version.not_before]
        assert held.latest.not_before == max(starts)
        results = {get_outcome(walk, name).result for walk in walks if name in list_results(walk)}
        assert Result.RENEWED in results
        assert results <= {Result.RENEWED, Result.SUPERSEDED}


def test_newer_version_stays_on_top_when_it_was_stored_meanwhile(renewals: Renewals):
    name = renewals.add()
    before = renewals.read()
    renewals.when_asked(name, lambda: renewals.store(name))
    walk = renewals.walk()
    held = renewals.check_kept(before)[name]
    assert list_results(walk) == {name: Result.SUPERSEDED}
    assert len(held.versions) == 2
    assert get_outcome(walk, name).credential.expires_on == held.latest.expires_on


def test_older_version_stays_on_top_when_it_was_stored_meanwhile(renewals: Renewals):
    name = renewals.add()
    renewals.when_asked(name, lambda: renewals.store(name, age=70 * DAY))
    assert list_results(renewals.walk()) == {name: Result.SUPERSEDED}
    held = renewals.look(name)
    assert held is not None
    assert len(held.versions) == 2


def test_secret_keeps_its_new_identity_when_it_was_changed_meanwhile(renewals: Renewals):
    name, other = renewals.add(), renewals.add(due=False)
    renewals.when_asked(name, lambda: renewals.write(name, renewals.issue(other)))
    assert list_results(renewals.walk()) == {name: Result.SUPERSEDED}
    assert get_last(renewals, name)["client_id"] == renewals.client_ids[other]


def test_newer_version_is_put_on_top_when_a_write_buried_it(renewals: Renewals):
    name = renewals.add(tags={"owner": "harbour"})
    before = renewals.read()
    newest = renewals.issue(name)

    async def store() -> None:
        # Between the second look at the secret and the write.
        await asyncio.to_thread(
            renewals.write, name, newest, tags={"owner": "another"}, content_type="application/json"
        )

    renewals.answer(name, renewals.issue(name, age=timedelta(hours=1)))
    renewals.meanwhile("PUT", name, store)
    walk = renewals.walk()
    held = renewals.check_kept(before)[name]
    assert list_results(walk) == {name: Result.SUPERSEDED}
    assert len(held.versions) == 4
    assert held.latest.decode()["client_secret"] == newest["client_secret"]
    assert (held.latest.tags["owner"], held.latest.content_type) == ("another", "application/json")
    assert get_outcome(walk, name).credential.expires_on == held.latest.expires_on


def test_newer_version_is_not_written_again_when_it_is_on_top(renewals: Renewals):
    name = renewals.add()
    newest = renewals.issue(name, age=-timedelta(minutes=1))

    async def store() -> None:
        await asyncio.to_thread(renewals.write, name, newest)

    renewals.meanwhile("PUT", name, store, after=True)
    assert list_results(renewals.walk()) == {name: Result.SUPERSEDED}
    held = renewals.look(name)
    assert held is not None
    assert len(held.versions) == 3
    assert held.latest.decode()["client_secret"] == newest["client_secret"]


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock can jump, as if the process had been suspended."""

    ahead = 0.0

    @override
    def time(self) -> float:
        return super().time() + self.ahead

    def jump(self, seconds: float) -> None:
        self.ahead += seconds


class Paused:
    """A walk that is about to store an older credential when it is interrupted."""

    def __init__(self, renewals: Renewals) -> None:
        self.renewals = renewals
        self.loop = JumpingLoop()
        self.stop = asyncio.Event()
        self.name = renewals.add()
        self.newest = renewals.issue(self.name)
        renewals.answer(self.name, renewals.issue(self.name, age=timedelta(hours=1)))

    def interrupt(self, method: str, nth: int, *, jump: float = 0.0, lose: bool = False) -> None:
        """After the nth request, store the newest version, and let time pass or lose the Lease."""

        async def do() -> None:
            await asyncio.to_thread(self.renewals.write, self.name, self.newest)
            self.loop.jump(jump)
            if lose:
                self.stop.set()

        match = f"/secrets/{self.name}" + ("/" if method == "GET" else "")
        self.renewals.meanwhile(method, match, do, nth=nth, after=True)

    def walk(self, **options: Any) -> Walk:
        async def walk() -> Walk:
            async with self.renewals.renewer(**options) as renewer:
                return await renewer.walk(self.stop)

        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            return runner.run(walk())

    def count_versions(self) -> int:
        held = self.renewals.look(self.name)
        assert held is not None
        return len(held.versions)


@pytest.mark.parametrize("how", [{"jump": 5.1}, {"lose": True}])
def test_walk_looks_again_before_it_writes_when_it_paused_or_lost_its_lease(
    renewals: Renewals, how: dict[str, Any]
):
    paused = Paused(renewals)
    paused.interrupt("GET", 2, **how)
    assert list_results(paused.walk()) == {paused.name: Result.SUPERSEDED}
    # The older one was never on top.
    assert paused.count_versions() == 2
    assert get_last(renewals, paused.name)["client_secret"] == paused.newest["client_secret"]


def test_walk_looks_again_before_it_writes_when_it_was_throttled_for_long(renewals: Renewals):
    paused = Paused(renewals)
    renewals.azure.faults.add("vault", method="PUT", status=429, retry_after=0.1, times=1)
    paused.interrupt("PUT", 1, jump=5.0)
    assert list_results(paused.walk()) == {paused.name: Result.SUPERSEDED}
    assert paused.count_versions() == 2


def test_walk_writes_when_it_has_looked_recently(renewals: Renewals):
    name = renewals.add()
    loop = JumpingLoop()

    async def jump() -> None:
        loop.jump(4.0)

    async def walk() -> Walk:
        async with renewals.renewer() as renewer:
            return await renewer.walk()

    renewals.azure.requests.clear()
    renewals.meanwhile("GET", f"/secrets/{name}/", jump, nth=2, after=True)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        assert list_results(runner.run(walk())) == {name: Result.RENEWED}
    assert renewals.azure.requests.count("vault", match=f"/secrets/{name}/", method="GET") == 3


def test_walk_looks_again_before_it_restores_a_version_when_it_paused(renewals: Renewals):
    paused = Paused(renewals)
    buried = renewals.issue(paused.name, age=timedelta(minutes=30))

    async def store() -> None:
        await asyncio.to_thread(renewals.write, paused.name, buried)

    renewals.meanwhile("PUT", paused.name, store)
    # Load, look again, list the versions, load the buried one, look again before restoring it.
    paused.interrupt("GET", 5, jump=5.1)
    assert list_results(paused.walk()) == {paused.name: Result.SUPERSEDED}
    assert paused.count_versions() == 4
    assert get_last(renewals, paused.name)["client_secret"] == paused.newest["client_secret"]


def test_renewal_fails_with_the_reason_when_every_write_comes_too_late(renewals: Renewals):
    name = renewals.add()
    before = renewals.read()
    loop = JumpingLoop()

    async def jump() -> None:
        loop.jump(5.1)

    async def walk() -> Walk:
        async with renewals.renewer(attempts=2) as renewer:
            return await renewer.walk()

    for nth in (2, 3):
        renewals.meanwhile("GET", f"/secrets/{name}/", jump, nth=nth, after=True)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        walked = runner.run(walk())
    assert list_results(walked) == {name: Result.FAILED}
    assert "read too long ago" in (get_outcome(walked, name).reason or "")
    assert renewals.check_kept(before) == before


@pytest.mark.parametrize("what", ["garbage", "foreign", "disabled", "of the future", "expired"])
def test_later_version_is_not_put_on_top_when_it_is_not_the_identitys(renewals: Renewals, what: str):
    name, other = renewals.add(), renewals.add(due=False)
    later = renewals.issue(other if what == "foreign" else name, age=-timedelta(minutes=1))
    if what == "expired":  # began after the answer's and has ended already
        renewals.answer(name, renewals.issue(name, age=timedelta(hours=2)))
        over = renewals.now() - timedelta(minutes=5)
        later |= {
            "not_before": render_time(over - timedelta(hours=1)),
            "not_after": render_time(over),
        }
    if what == "garbage":
        later["client_id"] = 5
    if what == "of the future":
        later |= {"not_before": "2099-01-01T00:00:00Z", "not_after": "2099-02-01T00:00:00Z"}

    async def store() -> None:
        await asyncio.to_thread(renewals.write, name, later, enabled=what != "disabled")

    renewals.meanwhile("PUT", name, store)
    assert list_results(renewals.walk()) == {name: Result.RENEWED}
    held = renewals.look(name)
    assert held is not None
    assert len(held.versions) == 3
    assert held.latest.parse().client_id == renewals.client_ids[name]


def test_secret_has_no_outcome_when_it_was_deleted_meanwhile(renewals: Renewals):
    name, other = renewals.add(), renewals.add()
    renewals.meanwhile(
        "GET", f"/secrets/{name}", lambda: asyncio.to_thread(lambda: renewals.vault.begin_delete_secret(name))
    )
    walk = renewals.walk()
    assert list_results(walk) == {other: Result.RENEWED}
    assert set(walk.credentials) == {other}
    assert walk.complete


def test_walk_renews_the_others_when_secrets_are_deleted_during_the_listing(renewals: Renewals):
    ends = render_time(renewals.now() + 40 * DAY)
    names = sorted(renewals.add(f"cert-{number:02}", not_after=ends) for number in range(8))
    others = [renewals.add(f"cert-{number:02}", due=number > 27) for number in range(8, 30)]

    async def delete() -> None:
        for name in names[:4]:
            await asyncio.to_thread(renewals.vault.begin_delete_secret, name)

    async def wait() -> None:
        await all_loaded.wait()

    async def note(name: str) -> None:
        loaded.add(name)
        if len(loaded) == 4:
            all_loaded.set()

    loaded: set[str] = set()
    all_loaded = asyncio.Event()
    for name in names[:4]:
        renewals.meanwhile("GET", f"/secrets/{name}/", partial(note, name), after=True)
    renewals.meanwhile("GET", "/secrets", delete, after=True, whole=True)
    renewals.meanwhile("GET", "/secrets", wait, nth=2, whole=True)
    walk = renewals.walk(concurrency=2)
    assert walk.complete
    assert list_results(walk) == dict.fromkeys([*names[4:], *others[-2:]], Result.RENEWED)


JSON = {"Content-Type": "application/json"}


def change_list(azure: LocalAzure, change: Callable[[list[Any]], list[Any]]) -> None:
    """Change the vault's answer to the next listing, of one page."""

    def describe(secret: Secret) -> dict[str, Any]:
        latest = secret.latest
        attributes = {"enabled": True, "nbf": latest.not_before, "exp": latest.expires}
        url = f"{azure.vault_url()}/secrets/{secret.name}"
        return {"id": url, "attributes": attributes, "tags": latest.tags}

    entries = [describe(secret) for secret in azure.vault()._store.list_after("", 25)]
    page = msgspec.json.encode({"value": change(entries)})
    azure.faults.add("vault", method="GET", path="/secrets", body=page, headers=JSON)


def test_secret_is_renewed_once_when_it_is_listed_twice(renewals: Renewals):
    names = {renewals.add() for _ in range(3)}
    before = renewals.read()
    change_list(renewals.azure, lambda entries: [*entries, *entries])
    walk = renewals.walk()
    assert list_results(walk) == dict.fromkeys(names, Result.RENEWED)
    assert all(len(held.versions) == 2 for held in renewals.check_kept(before).values())


def test_secret_is_loaded_and_renewed_when_the_list_lacks_it(renewals: Renewals):
    names = [renewals.add(due=False) for _ in range(3)]
    gone = renewals.add(due=False)

    async def walk() -> tuple[Walk, Walk]:
        async with renewals.renewer() as renewer:
            first = await renewer.walk()
            await asyncio.to_thread(lambda: renewals.vault.begin_delete_secret(gone))
            # Due now, but not listed.
            due = {**renewals.latest(names[0]), "renew_after": "2026-01-01T00:00:00Z"}
            await asyncio.to_thread(renewals.write, names[0], due)
            change_list(
                renewals.azure, lambda entries: [each for each in entries if names[0] not in each["id"]]
            )
            return first, await renewer.walk()

    first, second = asyncio.run(walk())
    assert set(first.credentials) == {*names, gone}
    assert set(second.credentials) == set(names)
    assert list_results(second) == {names[0]: Result.RENEWED}


def test_walk_is_incomplete_when_the_list_never_ends(renewals: Renewals):
    name = renewals.add()
    link = f"{renewals.azure.vault_url()}/secrets?api-version=7.6&$skiptoken=again"
    entries = msgspec.json.encode({"value": [], "nextLink": link})
    renewals.azure.faults.add("vault", method="GET", path="/secrets", body=entries, headers=JSON)
    walk = renewals.walk()
    assert walk.problem is not None
    assert "never ends" in walk.problem
    renewals.azure.faults.clear()
    assert list_results(renewals.walk()) == {name: Result.RENEWED}


def test_walk_renews_the_listed_ones_when_the_list_breaks_off(renewals: Renewals):
    first, second = renewals.fill_two_pages()
    before = renewals.read()

    async def fail() -> None:
        renewals.azure.faults.add("vault", method="GET", path="/secrets", status=500)

    renewals.meanwhile("GET", "/secrets", fail, after=True)
    walk = renewals.walk()
    assert walk.problem is not None
    assert "Fault500" in walk.problem or "500" in walk.problem
    assert list_results(walk) == dict.fromkeys(first, Result.RENEWED)
    renewals.azure.faults.clear()
    renewals.check_kept(before)
    assert list_results(renewals.walk()) == dict.fromkeys(second, Result.RENEWED)


def test_walk_remembers_every_credential_when_it_cannot_list(renewals: Renewals):
    names = {renewals.add(due=False) for _ in range(3)}

    async def walk() -> Walk:
        async with renewals.renewer(attempts=1) as renewer:
            await renewer.walk()
            renewals.azure.faults.add("vault", method="GET", path="/secrets", status=500)
            return await renewer.walk()

    second = asyncio.run(walk())
    assert not second.complete
    assert set(second.credentials) == names
