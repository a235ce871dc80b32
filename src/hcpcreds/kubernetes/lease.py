"""A Kubernetes Lease for each piece of work, by which replicas share it.

The rules and times are those of client-go's leader election: a holder writes its Lease again and again, and
gives the work up before anyone else may take it; another's Lease counts as abandoned when it has not been
*seen* to change for its duration by the local clock. The times in a Lease are for people: clocks differ.

Source: k8s.io/client-go/tools/leaderelection (defaults), coordination.k8s.io/v1.
"""

import asyncio
import logging
import random
import socket
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self

from lightkube import AsyncClient
from lightkube.models.coordination_v1 import LeaseSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.coordination_v1 import Lease

from hcpcreds.errors import LeaseError, LeaseRefusedError, LeaseUnavailableError
from hcpcreds.kubernetes.client import SERVICE_ACCOUNT, find_response, open_client, read_message

DURATION_SECONDS: Final = 15
"""How long others leave a Lease alone that does not change."""
DEADLINE_SECONDS: Final = 10.0
"""How long a holder continues without a write: less than the duration, so that it ends first."""
RETRY_SECONDS: Final = 2.0
"""Between two writes, or two looks at another's Lease."""
LONGEST_DURATION_SECONDS: Final = 60.0
"""How long another's Lease is left alone at most, whatever it says: ours say 15 s."""
REFUSED_SECONDS: Final = 2.0 * DURATION_SECONDS
"""How long refusals are waited out: an API server that starts refuses until it has read its roles."""

_log = logging.getLogger(__name__)
_REFUSALS: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)
_MOST_TRANSITIONS: Final = 2**31 - 1


@dataclass(frozen=True)
class Sighting:
    """Another's Lease as it was seen."""

    resource_version: str
    holder: str
    duration: float
    """Seconds."""
    since: float
    """When it was first seen like this, by the local monotonic clock."""


def check_sighting(before: Sighting | None, now_seen: Sighting) -> tuple[Sighting, bool]:
    """Check whether a Lease may be taken.

    Args:
        before: What was last seen of it.
        now_seen: What is seen now; its `since` is now.

    Returns:
        What to remember, and whether it may be taken: nobody holds it, or nobody has touched it for longer
        than its duration.
    """
    unchanged = before is not None and before.resource_version == now_seen.resource_version
    kept = before if unchanged and before is not None else now_seen
    return kept, not kept.holder or now_seen.since - kept.since > kept.duration


class Held:
    """A Lease that is held, as an async context manager: kept inside, given back at the end.

    Attributes:
        lost: Set once it can no longer be known to be held: what is done under it has to end.
    """

    def __init__(self, leases: "Leases", name: str, written_at: float) -> None:
        self.lost = asyncio.Event()
        self._leases = leases
        self._name = name
        self._written_at = written_at
        self._keeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._keeper = asyncio.create_task(self._keep(), name=f"keep the Lease {self._name}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._keeper is not None  # noqa: S101 (it was entered)
        self._keeper.cancel()
        await asyncio.wait([self._keeper])
        if not self.lost.is_set():
            await self._leases.release(self._name)

    async def _keep(self) -> None:
        leases = self._leases
        try:
            while True:
                await leases.sleep(RETRY_SECONDS)
                left = self._written_at + DEADLINE_SECONDS - leases.clock()
                began = leases.clock()
                with suppress(TimeoutError, LeaseError):
                    async with asyncio.timeout(max(0.0, left)):
                        if not await leases.write(self._name):
                            _log.warning("the Lease %s was taken by another", self._name)
                            return
                        self._written_at = began
                if leases.clock() - self._written_at >= DEADLINE_SECONDS:
                    _log.warning("the Lease %s could not be written for %.0f s", self._name, DEADLINE_SECONDS)
                    return
        finally:
            # Also when this task itself fails, as nothing would renew the Lease any more.
            if not _is_being_cancelled():
                self.lost.set()


class Leases:
    """The Leases of one namespace, for one process.

    Args:
        client: Of the API server; stays open.
        namespace: Where the Leases are.
        clock: A monotonic clock, in seconds.
        sleep: Waits so many seconds of it.
    """

    def __init__(
        self,
        client: AsyncClient,
        namespace: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.clock = clock
        self.sleep = sleep
        self.identity = f"{socket.gethostname()}_{uuid.uuid4()}"
        self._client = client
        self._namespace = namespace
        self._sightings: dict[str, Sighting] = {}
        self._next_take = 0.0

    @classmethod
    @asynccontextmanager
    async def open(
        cls, namespace: str | None, *, service_account: str = SERVICE_ACCOUNT
    ) -> AsyncIterator[Self]:
        """Open them as the environment says: in a cluster as the pod's service account, else by KUBECONFIG.

        Args:
            namespace: Where the Leases are; None means that of the pod or of the kubeconfig's context.
            service_account: The directory that a pod has of it.

        Raises:
            InputError: There is no way to a cluster.
        """
        client = open_client(service_account)
        try:
            yield cls(client, namespace or client.namespace)
        finally:
            await client.close()

    async def hold(self, name: str, stop: asyncio.Event) -> Held | None:
        """Wait until a Lease is held; returns None when stopped before.

        A process takes one at a time, with a pause after each, so that replicas that start together share.

        Raises:
            LeaseRefusedError: The API server has refused for 30 s; waiting longer would not help.
        """
        refused_since: float | None = None
        while not stop.is_set():
            began = self.clock()
            if began >= self._next_take:
                self._next_take = began + RETRY_SECONDS
                try:
                    if await self.write(name):
                        return Held(self, name, began)
                    refused_since = None
                except LeaseUnavailableError as error:
                    refused_since = None
                    _log.warning("%s", error)
                except LeaseRefusedError as error:
                    if refused_since is None:
                        refused_since = began
                        _log.warning("%s (trying again for %.0f s)", error, REFUSED_SECONDS)
                    elif self.clock() - refused_since > REFUSED_SECONDS:
                        raise
                self._next_take = began
            await self._pause(stop)
        return None

    async def _pause(self, stop: asyncio.Event) -> None:
        pause = RETRY_SECONDS * random.uniform(0.5, 1.0)  # noqa: S311 (no secret)
        waits = [asyncio.ensure_future(self.sleep(pause)), asyncio.ensure_future(stop.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    async def try_hold(self, name: str, stop: asyncio.Event) -> Held | None:
        """Take a Lease unless another replica that holds it is alive, which can take 17 s to find out.

        None also when stopped before that is known.

        Raises:
            LeaseError: The API server refuses, or cannot be reached.
        """
        patient_until = self.clock() + DURATION_SECONDS + RETRY_SECONDS
        while True:
            began = self.clock()
            before = self._sightings.get(name)
            if await self.write(name):
                return Held(self, name, began)
            if before is not None and self._sightings[name].resource_version != before.resource_version:
                return None  # its holder lives
            if stop.is_set() or self.clock() > patient_until:
                return None
            await self._pause(stop)

    async def write(self, name: str) -> bool:
        """Take a Lease or write it again; says whether it is held now.

        Raises:
            LeaseError: It cannot be known.
        """
        lease = await self._get(name)
        now = datetime.now(UTC)
        if lease is None:
            new = Lease(metadata=ObjectMeta(name=name, namespace=self._namespace), spec=LeaseSpec())
            _fill(new, self.identity, now, transitions=0)
            return await self._call("create", name, self._client.create(new)) is not None
        spec = lease.spec = lease.spec or LeaseSpec()
        if spec.holderIdentity == self.identity:
            spec.renewTime = _render_micro(now)
        else:
            sighting = Sighting(
                resource_version=str(lease.metadata.resourceVersion if lease.metadata else ""),
                holder=spec.holderIdentity or "",
                duration=min(spec.leaseDurationSeconds or DURATION_SECONDS, LONGEST_DURATION_SECONDS),
                since=self.clock(),
            )
            self._sightings[name], may_take = check_sighting(self._sightings.get(name), sighting)
            if not may_take:
                return False
            _fill(
                lease,
                self.identity,
                now,
                transitions=min((spec.leaseTransitions or 0) + 1, _MOST_TRANSITIONS),
            )
        return await self._call("update", name, self._client.replace(lease)) is not None

    async def release(self, name: str) -> None:
        """Give a Lease back, so that another takes it at once; without that it takes as long as it lasts."""
        try:
            async with asyncio.timeout(RETRY_SECONDS):
                lease = await self._get(name)
                if lease is None or lease.spec is None or lease.spec.holderIdentity != self.identity:
                    return
                lease.spec.holderIdentity = None
                lease.spec.renewTime = _render_micro(datetime.now(UTC))
                await self._call("update", name, self._client.replace(lease))
        except (TimeoutError, LeaseError) as error:
            _log.warning("the Lease %s was not given back: %s", name, error)

    async def _get(self, name: str) -> Lease | None:
        return await self._call("get", name, self._client.get(Lease, name, namespace=self._namespace))

    async def _call(self, verb: str, name: str, call: Awaitable[Lease]) -> Lease | None:
        """Make a call; None when there is no such Lease to get, or another was faster to write it."""
        where = f"Lease {self._namespace}/{name}"
        try:
            return await call
        except Exception as error:  # noqa: BLE001 (of the HTTP library's many kinds)
            response = find_response(error)
            if response is None:
                raise LeaseUnavailableError(
                    f"{where}: the API server could not be asked: {type(error).__name__}"
                ) from None
        code: int = response.status_code
        if code == HTTPStatus.CONFLICT or (code == HTTPStatus.NOT_FOUND and verb == "get"):
            return None
        kind = LeaseRefusedError if code in _REFUSALS else LeaseUnavailableError
        raise kind(
            f"{where}: the API server answered {code} to {verb}: {read_message(response)}",
            hint=self._explain(code, verb),
        )

    def _explain(self, code: int, verb: str) -> str | None:
        match code:
            case HTTPStatus.UNAUTHORIZED:
                return "It does not accept the token of the service account, or of the kubeconfig's user."
            case HTTPStatus.FORBIDDEN:
                return f"It takes the verb {verb} on leases in coordination.k8s.io, in this namespace."
            case HTTPStatus.NOT_FOUND if verb == "create":
                return f"Is there a namespace {self._namespace}?"
        return None


def _fill(lease: Lease, identity: str, now: datetime, *, transitions: int) -> None:
    lease.spec = LeaseSpec(
        holderIdentity=identity,
        leaseDurationSeconds=DURATION_SECONDS,
        acquireTime=_render_micro(now),
        renewTime=_render_micro(now),
        leaseTransitions=transitions,
    )


def _render_micro(time_: datetime) -> datetime:
    """A MicroTime has six digits of a second, which lightkube leaves out when they are zeros."""
    return time_.replace(microsecond=max(1, time_.microsecond))


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
