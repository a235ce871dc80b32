"""Leases: the real lightkube over HTTPS against a small API server; time is a test's own."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightkube import AsyncClient

from hcpcreds.errors import InputError, LeaseRefusedError, LeaseUnavailableError
from hcpcreds.kubernetes.client import open_client
from hcpcreds.kubernetes.lease import DEADLINE_SECONDS, DURATION_SECONDS, Leases, Sighting, check_sighting
from hcpcreds.local.kubernetes.api import KubernetesApi

EAST, WEST = "east.vault.azure.net", "west.vault.azure.net"


class Time:
    """A clock that goes on only while somebody sleeps by it; every replica has the same one."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.calls = 0
        """How many are under way to the API server, over real sockets."""
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now + seconds, id(woken), woken))
        await woken

    async def advance(self, seconds: float) -> None:
        """Let time go by, each sleeper woken when its time has come, and what it then does done."""
        until = self.now + seconds
        while True:
            await self._settle()
            due = [sleeper for sleeper in self._sleepers if sleeper[0] <= until and not sleeper[2].done()]
            if not due:
                break
            first = min(due)
            self._sleepers.remove(first)
            self.now = max(self.now, first[0])
            first[2].set_result(None)
        self.now = until
        await self._settle()

    async def _settle(self) -> None:
        quiet = 0
        while quiet < 20:
            await asyncio.sleep(0)
            quiet = 0 if self.calls else quiet + 1


class CountedClient:
    """lightkube's client, whose calls a clock waits for."""

    def __init__(self, client: AsyncClient, time: Time) -> None:
        self._client = client
        self._time = time

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any, **options: Any) -> Any:
            self._time.calls += 1
            try:
                return await getattr(self._client, name)(*arguments, **options)
            finally:
                self._time.calls -= 1

        return call


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with KubernetesApi(tmp_path) as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig))
        yield server


Opened = Callable[[], Awaitable[Leases]]


def run(test: Callable[[Opened, Time], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        time = Time()
        async with AsyncExitStack() as stack:

            async def open_leases() -> Leases:
                client = open_client()
                stack.push_async_callback(client.close)
                counted: Any = CountedClient(client, time)
                return Leases(counted, client.namespace, clock=time.clock, sleep=time.sleep)

            await test(open_leases, time)

    asyncio.run(main())


def get_holder(api: KubernetesApi, work: str = EAST) -> str | None:
    holder: str | None = api.find_all("leases")[work]["spec"].get("holderIdentity")
    return holder


def test_first_replica_takes_the_lease_and_the_second_stands_by_until_it_is_given_back(api: KubernetesApi):
    async def test(open_leases: Opened, time: Time) -> None:
        first, second = await open_leases(), await open_leases()
        stop = asyncio.Event()
        held = await first.hold(EAST, stop)
        assert held is not None
        async with held:
            waiting = asyncio.create_task(second.hold(EAST, stop))
            await time.advance(60)
            assert not waiting.done()
            assert not held.lost.is_set()
            assert get_holder(api) == first.identity
        await time.advance(3)
        taken = await waiting
        assert taken is not None
        async with taken:
            assert get_holder(api) == second.identity
            assert api.find_all("leases")[EAST]["spec"]["leaseTransitions"] == 1
        assert get_holder(api) is None

    run(test)


def test_lease_of_a_replica_that_died_is_taken_after_its_duration_and_not_before(api: KubernetesApi):
    async def test(open_leases: Opened, time: Time) -> None:
        dead, heir = await open_leases(), await open_leases()
        assert await dead.write(EAST)
        waiting = asyncio.create_task(heir.hold(EAST, asyncio.Event()))
        await time.advance(DURATION_SECONDS - 1)
        assert not waiting.done()
        await time.advance(6)
        assert waiting.done()
        assert get_holder(api) == heir.identity

    run(test)


def test_holder_gives_up_before_anyone_else_may_take_when_the_api_is_gone(api: KubernetesApi):
    async def test(open_leases: Opened, time: Time) -> None:
        held = await (await open_leases()).hold(EAST, asyncio.Event())
        assert held is not None
        async with held:
            await time.advance(4)
            api.faults.add("kubernetes", drop=True)
            await time.advance(DEADLINE_SECONDS - 5)
            assert not held.lost.is_set()
            await time.advance(5)
            assert held.lost.is_set()

    run(test)


def test_holder_survives_a_short_outage(api: KubernetesApi):
    async def test(open_leases: Opened, time: Time) -> None:
        held = await (await open_leases()).hold(EAST, asyncio.Event())
        assert held is not None
        async with held:
            api.faults.add("kubernetes", status=503, times=3)
            await time.advance(30)
            assert not held.lost.is_set()

    run(test)


def test_holder_knows_its_own_lease_again_when_the_answer_to_its_write_was_lost(api: KubernetesApi):
    async def test(open_leases: Opened, time: Time) -> None:
        leases = await open_leases()
        api.faults.add("kubernetes", method="POST", when="after", drop=True, times=1)
        waiting = asyncio.create_task(leases.hold(EAST, asyncio.Event()))
        await time.advance(5)
        assert waiting.done()
        assert get_holder(api) == leases.identity

    run(test)


def test_holder_notices_that_another_took_its_lease(api: KubernetesApi):
    async def test(open_leases: Opened, time: Time) -> None:
        held = await (await open_leases()).hold(EAST, asyncio.Event())
        assert held is not None
        async with held:
            spec = api.find_all("leases")[EAST]["spec"]
            spec["holderIdentity"] = "an impostor"
            api.find_all("leases")[EAST]["metadata"]["resourceVersion"] = "999"
            await time.advance(5)
            assert held.lost.is_set()
        assert get_holder(api) == "an impostor"

    run(test)


def test_replicas_that_start_together_share_many_vaults(api: KubernetesApi):
    vaults = [f"vault-{number}.vault.azure.net" for number in range(8)]

    async def test(open_leases: Opened, time: Time) -> None:
        replicas = [await open_leases(), await open_leases()]
        waits = [
            asyncio.create_task(replica.hold(vault, asyncio.Event()))
            for replica in replicas
            for vault in vaults
        ]
        holders: list[str | None] = []
        async with AsyncExitStack() as stack:
            for _ in range(12):
                await time.advance(2)
                for wait in [wait for wait in waits if wait.done()]:
                    waits.remove(wait)
                    held = await wait
                    assert held is not None
                    await stack.enter_async_context(held)
            holders = [get_holder(api, vault) for vault in vaults]
            for wait in waits:
                wait.cancel()
        assert {replica.identity for replica in replicas} == set(holders)
        assert 2 <= holders.count(replicas[0].identity) <= 6

    run(test)


@pytest.mark.usefixtures("api")
def test_try_hold_leaves_a_vault_to_the_replica_that_is_alive():
    async def test(open_leases: Opened, time: Time) -> None:
        held = await (await open_leases()).hold(EAST, asyncio.Event())
        assert held is not None
        async with held:
            other = await open_leases()
            trying = asyncio.create_task(other.try_hold(EAST, asyncio.Event()))
            await time.advance(6)
            assert trying.done()
            assert await trying is None
            west = await other.try_hold(WEST, asyncio.Event())
            assert west is not None

    run(test)


def test_try_hold_takes_over_from_a_replica_that_died(api: KubernetesApi):
    async def test(open_leases: Opened, time: Time) -> None:
        assert await (await open_leases()).write(EAST)
        heir = await open_leases()
        trying = asyncio.create_task(heir.try_hold(EAST, asyncio.Event()))
        await time.advance(20)
        assert await trying is not None
        assert get_holder(api) == heir.identity

    run(test)


@pytest.mark.usefixtures("api")
def test_hold_ends_without_a_lease_when_told_to_stop():
    async def test(open_leases: Opened, time: Time) -> None:
        assert await (await open_leases()).write(EAST)
        stop = asyncio.Event()
        waiting = asyncio.create_task((await open_leases()).hold(EAST, stop))
        await time.advance(3)
        stop.set()
        assert await asyncio.wait_for(waiting, 5) is None

    run(test)


REFUSALS = {
    "no role": (
        {"status": 403},
        "answered 403 to get: This fault was injected",
        "It takes the verb get on leases in coordination.k8s.io",
    ),
    "no valid token": ({"status": 401}, "answered 401 to get", "It does not accept the token of the service"),
    "no namespace": (
        {"status": 404, "method": "POST"},
        "answered 404 to create",
        "Is there a namespace hcpcreds?",
    ),
    "proxy's page": (
        {"status": 403, "body": b"<h1>no</h1>", "headers": {"Content-Type": "text/html"}},
        "answered 403 to get: no Status of Kubernetes, so a proxy",
        "It takes the verb get",
    ),
    "JSON of another": (
        {"status": 401, "body": b"[1]", "headers": {"Content-Type": "application/json"}},
        "answered 401 to get: no Status of Kubernetes",
        "It does not accept",
    ),
    "nothing": ({"status": 403, "body": b""}, "answered 403 to get: no Status of Kubernetes", "It takes"),
}


@pytest.mark.parametrize(("fault", "problem", "hint"), REFUSALS.values(), ids=REFUSALS)
def test_hold_waits_for_two_durations_then_ends_with_the_reason_when_the_api_refuses(
    api: KubernetesApi, caplog: pytest.LogCaptureFixture, fault: dict[str, Any], problem: str, hint: str
):
    async def test(open_leases: Opened, time: Time) -> None:
        api.faults.add("kubernetes", **fault)
        waiting = asyncio.create_task((await open_leases()).hold(EAST, asyncio.Event()))
        await time.advance(2 * DURATION_SECONDS - 2)
        assert not waiting.done()
        await time.advance(6)
        with pytest.raises(LeaseRefusedError) as caught:
            await waiting
        assert problem in caught.value.message
        assert caught.value.hint is not None
        assert hint in caught.value.hint
        assert len(caplog.records) == 1
        assert problem in caplog.text

    run(test)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_hold_takes_the_lease_when_an_api_that_starts_no_longer_refuses(api: KubernetesApi, status: int):
    async def test(open_leases: Opened, time: Time) -> None:
        fault = api.faults.add("kubernetes", status=status)
        leases = await open_leases()
        waiting = asyncio.create_task(leases.hold(EAST, asyncio.Event()))
        await time.advance(20)
        fault.times = 0
        await time.advance(3)
        assert await waiting is not None
        assert get_holder(api) == leases.identity

    run(test)


def test_hold_counts_refusals_anew_when_the_api_answered_in_between(api: KubernetesApi):
    async def test(open_leases: Opened, time: Time) -> None:
        other = await open_leases()
        await other.write(EAST)
        waiting = asyncio.create_task((await open_leases()).hold(EAST, asyncio.Event()))
        for _ in range(3):
            fault = api.faults.add("kubernetes", status=403)
            await time.advance(20)
            fault.times = 0
            await other.write(EAST)
            await time.advance(3)
        assert not waiting.done()
        waiting.cancel()

    run(test)


def test_lease_that_vanishes_while_it_is_taken_is_made_anew(api: KubernetesApi):
    async def test(open_leases: Opened, time: Time) -> None:
        await (await open_leases()).write(EAST)
        heir = await open_leases()
        waiting = asyncio.create_task(heir.hold(EAST, asyncio.Event()))
        await time.advance(4)
        api.faults.add("kubernetes", method="PUT", status=404, times=1)
        del api.find_all("leases")[EAST]["spec"]["holderIdentity"]
        await time.advance(3)
        del api.find_all("leases")[EAST]
        await time.advance(3)
        assert await waiting is not None
        assert get_holder(api) == heir.identity

    run(test)


def test_refusal_is_told_safely(api: KubernetesApi):
    async def test(open_leases: Opened, _: Time) -> None:
        message = "\x1b]0;owned\x07 eyJhbGciOiJQUzI1NiJ9.eyJhdWQiOiIxIn0.c2ln\nforged " + "a b" * 5000
        body = json.dumps({"kind": "Status", "message": message}).encode()
        api.faults.add("kubernetes", status=403, body=body)
        with pytest.raises(LeaseRefusedError) as caught:
            await (await open_leases()).write(EAST)
        assert caught.value.message.isprintable()
        assert "owned" in caught.value.message
        assert "eyJ" not in caught.value.message
        assert len(caught.value.message) < 500
        assert caught.value.__context__ is None, "its frames hold the answer"

    run(test)


@pytest.mark.parametrize("said", [2147483647, 61, 0, None])
def test_lease_of_a_dead_holder_is_taken_within_a_minute_whatever_it_says(
    api: KubernetesApi, said: int | None
):
    async def test(open_leases: Opened, time: Time) -> None:
        await (await open_leases()).write(EAST)
        api.find_all("leases")[EAST]["spec"].update(leaseDurationSeconds=said, leaseTransitions=2147483647)
        heir = await open_leases()
        waiting = asyncio.create_task(heir.hold(EAST, asyncio.Event()))
        await time.advance(DURATION_SECONDS - 1)
        assert not waiting.done()
        await time.advance(60 + 4 - DURATION_SECONDS)
        assert waiting.done()
        assert get_holder(api) == heir.identity

    run(test)


def test_try_hold_says_when_the_api_cannot_be_asked(api: KubernetesApi):
    async def test(open_leases: Opened, _: Time) -> None:
        api.faults.add("kubernetes", drop=True)
        with pytest.raises(LeaseUnavailableError, match=r"Lease hcpcreds/east\S+: the API server"):
            await (await open_leases()).try_hold(EAST, asyncio.Event())

    run(test)


def test_service_account_is_used_in_a_pod_and_its_token_read_again_when_it_has_changed(
    api: KubernetesApi, monkeypatch: pytest.MonkeyPatch
):
    host, port = api.url.removeprefix("https://").split(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    # The API server's own address needs no proxy in a cluster.
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.delenv("no_proxy")

    @asynccontextmanager
    async def open_as_pod() -> Any:
        async with Leases.open(None, service_account=str(api.service_account)) as leases:
            yield leases

    async def main() -> None:
        async with open_as_pod() as leases:
            assert await leases.write(EAST)
            api.token = "the-second-token"
            api.write_files()
            assert await leases.write(EAST)

    asyncio.run(main())


def test_open_says_that_there_is_no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    async def main() -> None:
        async with Leases.open("hcpcreds"):
            pass

    with pytest.raises(InputError, match="no way to a cluster"):
        asyncio.run(main())


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (["absent", "kubeconfig"], None),
        (["kubeconfig", "absent", "kubeconfig", ""], None),
        (["kubeconfig", "other"], "KUBECONFIG: it names 2 files, .*, and they are not merged here"),
        (["absent", "missing"], "no way to a cluster: Configuration file .*absent not found"),
        (["broken"], "no way to a cluster: the kubeconfig cannot be used: ScannerError"),
        (["empty"], "the kubeconfig cannot be used: AttributeError"),
        (["strange"], "the kubeconfig cannot be used: "),
        (["without-context"], "no way to a cluster: No current context"),
    ],
    ids=lambda value: ":".join(value) if isinstance(value, list) else "",
)
def test_kubeconfig_is_the_only_one_that_exists_or_what_is_wrong_is_told(
    api: KubernetesApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: list[str], problem: str | None
):
    (tmp_path / "other").write_bytes(api.kubeconfig.read_bytes())
    (tmp_path / "broken").write_text("users: [{user: {token: 'the secret token}}]")
    (tmp_path / "empty").write_text("")
    (tmp_path / "strange").write_text("clusters: 5\ncontexts: [the secret token]")
    (tmp_path / "without-context").write_text("clusters: []\ncontexts: []")
    monkeypatch.setenv("KUBECONFIG", ":".join(str(tmp_path / file) if file else "" for file in files))

    async def main() -> None:
        async with Leases.open(None) as leases:
            assert await leases.write(EAST)

    if problem is None:
        asyncio.run(main())
        return
    with pytest.raises(InputError, match=problem) as caught:
        asyncio.run(main())
    assert "secret" not in str(caught.value)


@given(
    events=st.lists(
        st.tuples(st.floats(0, 8), st.sampled_from(["write", "look"]), st.floats(0, 12)), max_size=40
    )
)
def test_no_lease_is_judged_free_while_its_holder_may_go_on(events: list[tuple[float, str, float]]):
    """A holder writes now and then, each write done some time after it was begun; another looks on."""
    now, version, confirmed = 0.0, 1, 0.0
    pending: tuple[float, float] | None = None
    seen: Sighting | None = None
    for passed, what, delay in events:
        now += passed
        if pending is not None and now >= pending[1]:
            version += 1
            # It goes on for so long after it began the last write that it knows to be done.
            confirmed = pending[0] if pending[1] <= confirmed + DEADLINE_SECONDS else confirmed
            pending = None
        goes_on = now <= confirmed + DEADLINE_SECONDS
        if what == "write" and pending is None and goes_on:
            pending = now, now + delay
        if what == "look":
            seen, free = check_sighting(seen, Sighting(str(version), "holder", DURATION_SECONDS, since=now))
            assert not (free and goes_on)


def test_lease_without_a_holder_is_free_at_once():
    _, free = check_sighting(None, Sighting("1", "", DURATION_SECONDS, since=0.0))
    assert free
