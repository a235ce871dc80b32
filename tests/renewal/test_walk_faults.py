"""A fault at every step of a walk: it is overcome when it passes, and costs no identity its credential."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.renewal.renewals import Held, Renewals, get_outcome, is_credential, list_results
from typing_extensions import override

from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.renewal.outcomes import Result

FAULTS: dict[str, dict[str, Any]] = {
    "500": {"status": 500},
    "503 that says how long": {"status": 503, "retry_after": 0.1},
    "cut off": {"drop": True},
    "slow": {"delay": 0.3},
    "garbage": {"body": b'{"sentinel', "headers": {"Content-Type": "application/json"}},
    "text": {"body": b"<html>sentinel</html>", "headers": {"Content-Type": "text/html"}},
    "null": {"body": b"null", "headers": {"Content-Type": "application/json"}},
    "answer lost": {"drop": True, "when": "after"},
    "done, and 500": {"status": 500, "when": "after"},
}
THROTTLED = {"status": 429, "retry_after": 0.1}
REFUSED = {"status": 403}

Edge = Callable[[Renewals, str], tuple[str, dict[str, Any], int]]
EDGES: dict[str, Edge] = {
    "list": lambda _, __: ("vault", {"method": "GET", "path": "/secrets"}, 1),
    "read": lambda _, name: ("vault", {"method": "GET", "path": f"/secrets/{name}/"}, 1),
    "renew": lambda renewals, name: ("data_plane", {"match": renewals.client_ids[name]}, 1),
    "read again": lambda _, name: ("vault", {"method": "GET", "path": f"/secrets/{name}/"}, 2),
    "write": lambda _, name: ("vault", {"method": "PUT", "path": f"/secrets/{name}"}, 1),
    "versions": lambda _, name: ("vault", {"method": "GET", "path": f"/secrets/{name}/versions"}, 1),
}


def disturb(renewals: Renewals, edge: str, name: str, fault: dict[str, Any], *, times: int | None) -> None:
    """Let the first request of a step meet a fault, and so many after it."""
    service, matching, nth = EDGES[edge](renewals, name)

    async def add() -> None:
        renewals.azure.faults.add(service, **matching, **fault, times=times)

    text = matching.get("path") or matching["match"]
    renewals.meanwhile(matching.get("method", "GET"), text, add, nth=nth)


def count_new(before: dict[str, Held], after: dict[str, Held], name: str) -> int:
    return len(after[name].versions) - len(before[name].versions)


@pytest.mark.unmeasured
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("edge", EDGES)
def test_walk_renews_everything_when_a_fault_passes(renewals: Renewals, edge: str, fault: str):
    names = [renewals.add(), renewals.add()]
    before = renewals.read()
    disturb(renewals, edge, names[0], FAULTS[fault], times=1)
    walk = renewals.walk()
    after = renewals.check_kept(before)
    assert walk.complete
    assert list_results(walk) == dict.fromkeys(names, Result.RENEWED)
    assert [count_new(before, after, name) for name in names] == [1, 1]


@pytest.mark.parametrize("fault", ["500", "cut off", "garbage", "answer lost", "done, and 500"])
@pytest.mark.parametrize("edge", EDGES)
def test_walk_reports_a_fault_and_renews_the_others_when_it_stays(renewals: Renewals, edge: str, fault: str):
    name, other = renewals.add(), renewals.add()
    before = renewals.read()
    disturb(renewals, edge, name, FAULTS[fault], times=None)
    walk = renewals.walk(attempts=2)
    renewals.azure.faults.clear()
    after = renewals.check_kept(before)
    assert count_new(before, after, other) == (0 if edge == "list" else 1)
    assert count_new(before, after, name) <= 1
    if edge == "list":
        assert walk.problem is not None
        assert "vault https://127.0.0.1" in walk.problem
    elif edge == "versions":
        outcome = get_outcome(walk, name)
        assert outcome.result is Result.RENEWED
        assert outcome.reason is not None
        assert "may have been buried" in outcome.reason
    else:
        outcome = get_outcome(walk, name)
        assert outcome.result is Result.FAILED or (edge == "write" and outcome.result is Result.RENEWED)
        assert outcome.result is Result.RENEWED or name in (outcome.reason or "")
        assert "sentinel" not in (outcome.reason or "")
    renewals.walk()
    last = renewals.check_kept(after)
    assert [count_new(before, last, each) for each in (name, other)] == [1, 1]


@pytest.mark.parametrize("edge", EDGES)
def test_walk_waits_and_renews_everything_when_it_is_throttled(renewals: Renewals, edge: str):
    names = [renewals.add(), renewals.add()]
    before = renewals.read()
    disturb(renewals, edge, names[0], THROTTLED, times=5)  # the SDK itself gives up after three
    assert list_results(renewals.walk()) == dict.fromkeys(names, Result.RENEWED)
    after = renewals.check_kept(before)
    assert [count_new(before, after, name) for name in names] == [1, 1]


@pytest.mark.parametrize("edge", EDGES)
def test_walk_does_not_retry_when_it_is_refused(renewals: Renewals, edge: str):
    name, other = renewals.add(), renewals.add()
    before = renewals.read()
    disturb(renewals, edge, name, REFUSED, times=None)
    renewals.azure.requests.clear()
    walk = renewals.walk()
    service, matching, nth = EDGES[edge](renewals, name)
    asked = renewals.azure.requests.count(
        service, match=matching.get("path") or matching["match"], method=matching.get("method")
    )
    renewals.azure.faults.clear()
    after = renewals.check_kept(before)
    if edge != "list":
        assert asked <= nth + (2 if edge == "read" else 0)  # not retried
        assert count_new(before, after, other) == 1
        expected = Result.RENEWED if edge == "versions" else Result.FAILED
        assert get_outcome(walk, name).result is expected
        assert "403" in (get_outcome(walk, name).reason or "") or "Fault403" in (
            get_outcome(walk, name).reason or ""
        )


class Machine(RuleBasedStateMachine):
    """Renewers, other writers, faults and passing time, in any order."""

    azure: LocalAzure
    clock: Any

    def __init__(self) -> None:
        super().__init__()
        self.azure.faults.clear()
        self.renewals = Renewals(self.azure, now=self.clock)
        self.renewals.client_ids = {}
        self.before: dict[str, Held] = {}

    @override
    def teardown(self) -> None:
        self.azure.faults.clear()
        self.renewals.close()

    @precondition(lambda self: len(self.renewals.client_ids) < 3)
    @rule(due=st.booleans())
    def add(self, *, due: bool) -> None:
        self.renewals.add(due=due)

    @precondition(lambda self: self.renewals.client_ids)
    @rule(data=st.data(), edge=st.sampled_from(list(EDGES)), fault=st.sampled_from(list(FAULTS)))
    def disturb(self, data: st.DataObject, edge: str, fault: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.renewals.client_ids)))
        disturb(self.renewals, edge, name, FAULTS[fault], times=1)

    @rule(both=st.booleans())
    def walk(self, *, both: bool) -> None:
        async def walk() -> None:
            async with self.renewals.renewer() as one, self.renewals.renewer() as other:
                await asyncio.gather(*([one.walk(), other.walk()] if both else [one.walk()]))

        asyncio.run(walk())

    @precondition(lambda self: self.renewals.client_ids)
    @rule(data=st.data())
    def store_newer(self, data: st.DataObject) -> None:
        self.renewals.store(data.draw(st.sampled_from(sorted(self.renewals.client_ids))))

    @rule(days=st.integers(1, 60))
    def wait(self, days: int) -> None:
        self.clock.at += timedelta(days=days)

    @invariant()
    def nobody_has_lost_anything(self) -> None:
        self.before = self.renewals.check_kept(self.before)
        for held in self.before.values():
            assert is_credential(held.latest)


@pytest.mark.timeout(120)
def test_every_identity_keeps_its_credential_when_anything_happens_in_any_order(
    make_azure: Callable[..., LocalAzure],
):
    class Clock:
        at = datetime.now(UTC)

        def __call__(self) -> datetime:
            return self.at

    clock = Clock()
    azure = make_azure(now=clock, key_pool=2, token_lifetime=10**9)

    class Bound(Machine):
        pass

    Bound.azure, Bound.clock = azure, clock
    run_state_machine_as_test(
        Bound,
        settings=settings(
            max_examples=8, stateful_step_count=10, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
