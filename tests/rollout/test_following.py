"""Following a rollout: until it is done, the time is up, or it is stopped. The clock is the test's."""

import asyncio
from collections.abc import Iterator

import pytest

from hcpcreds.cluster.rollout.facts import Facts
from hcpcreds.cluster.rollout.following import Report, build_report, follow
from hcpcreds.cluster.rollout.judgement import Row, State
from hcpcreds.errors import HcpCredsError, KubernetesRefusedError, KubernetesUnavailableError


def make_report(state: State) -> Report:
    row = Row(
        vault="harbour",
        secret="ingress",
        client_id=None,
        namespace="a",
        pod="b",
        newest=None,
        mounted_version=None,
        mounted=None,
        in_use=(),
        state=state,
        reason="",
    )
    return Report(facts=Facts(secrets={}, uses=()), rows=[row], missing=[])


class Following:
    """Follows what the test says, by a clock that only waiting moves."""

    def __init__(self, *found: State | HcpCredsError) -> None:
        self.now = 0.0
        self.stop = asyncio.Event()
        self.shown: list[State] = []
        self.problems: list[HcpCredsError] = []
        self._found: Iterator[State | HcpCredsError] = iter(found)
        self._last: State | HcpCredsError = State.OLD

    def run(self, *, within: float | None = None) -> bool:
        return asyncio.run(
            follow(
                self._read,
                lambda report: self.shown.append(report.rows[0].state),
                stop=self.stop,
                interval=10,
                within=within,
                on_problem=self.problems.append,
                clock=lambda: self.now,
                wait=self._wait,
            )
        )

    async def _read(self) -> Report:
        self._last = next(self._found, self._last)
        if isinstance(self._last, HcpCredsError):
            raise self._last
        return make_report(self._last)

    async def _wait(self, seconds: float, stop: asyncio.Event) -> None:
        self.now += seconds
        if self.now >= 1000:
            stop.set()


def test_follow_ends_when_every_pod_is_new():
    following = Following(State.OLD, State.DRAINING, State.NEW)
    assert following.run() is True
    assert (following.shown, following.now) == ([State.OLD, State.DRAINING, State.NEW], 20)


def test_follow_looks_once_more_when_the_time_is_up():
    following = Following(State.OLD)
    assert following.run(within=25) is False
    assert (len(following.shown), following.now) == (4, 25)
    assert Following(State.NEW).run(within=0) is True


def test_follow_ends_when_it_is_stopped():
    following = Following(State.UNKNOWN)
    assert following.run() is False
    assert following.now == 1000


def test_follow_goes_on_when_a_failure_may_pass():
    passing = KubernetesUnavailableError("the API server could not be asked")
    following = Following(State.OLD, passing, State.NEW)
    assert following.run() is True
    assert following.problems == [passing]


def test_follow_raises_when_a_failure_does_not_pass():
    with pytest.raises(KubernetesRefusedError):
        Following(KubernetesRefusedError("no", status=403)).run()


def test_rollout_is_not_done_when_no_pod_was_seen():
    assert not build_report(Facts(secrets={}, uses=()), ()).is_done
    assert build_report(Facts(secrets={}, uses=()), {"b", "a"}).missing == ["a", "b"]
