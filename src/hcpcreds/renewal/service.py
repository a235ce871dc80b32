"""Renews in several vaults, once or until stopped, alone or as one of several replicas."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

from typing_extensions import override

from hcpcreds.dataplane.aio import ManagedIdentityDataPlaneClientFactory
from hcpcreds.errors import HcpCredsError
from hcpcreds.http.answers import MAX_ANSWER
from hcpcreds.renewal.attempts import pause
from hcpcreds.renewal.issuance import Issuer
from hcpcreds.renewal.lease_names import render_lease_name
from hcpcreds.renewal.opening import VaultAccess, open_vaults
from hcpcreds.renewal.outcomes import Observer, Walk
from hcpcreds.renewal.throttle import ThrottleGate
from hcpcreds.renewal.walk import RenewalSettings, VaultRenewer

if TYPE_CHECKING:
    from hcpcreds.kubernetes.lease import Leases

_JITTER: Final = 0.1
"""The fraction of the interval by which the walks of replicas and vaults drift apart."""


@dataclass(frozen=True, kw_only=True)
class Access(VaultAccess):
    """The vaults and the data plane of a renewer, and its own credential."""

    audience: str
    """The audience of the data plane, as configured."""
    data_plane_hosts: Sequence[str] | None = None
    """The hosts that a token for the data plane may be sent to; by default the host of the audience."""


@asynccontextmanager
async def open_renewers(
    access: Access,
    settings: RenewalSettings,
    *,
    observers: Sequence[Observer] = (),
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> AsyncIterator[list[VaultRenewer]]:
    """Open a renewer for each vault; their connections are closed on exit.

    Raises:
        InputError: A value of `Access` cannot be used.
    """
    async with (
        open_vaults(access) as opened,
        ManagedIdentityDataPlaneClientFactory(
            opened.credential,
            access.audience,
            hosts=access.data_plane_hosts,
            per_retry_policies=[ThrottleGate()],
            transport=opened.make_transport(MAX_ANSWER),
            retry_total=0,
        ) as data_plane,
    ):
        issuer = Issuer(data_plane, opened.prover, now=now)
        yield [VaultRenewer(vault, issuer, settings, observers=observers, now=now) for vault in opened.vaults]


@asynccontextmanager
async def open_leases(namespace: str | None) -> "AsyncIterator[Leases | None]":
    """Open the Leases by which replicas share the vaults, or yield None outside a cluster.

    Args:
        namespace: Namespace of the Leases; by default the pod's own namespace in a cluster.

    Raises:
        InputError: A namespace was given, but no cluster can be reached.
    """
    if namespace is None and "KUBERNETES_SERVICE_HOST" not in os.environ:
        yield None
        return
    from hcpcreds.kubernetes.lease import Leases  # noqa: PLC0415 (only this needs lightkube)

    async with Leases.open(namespace) as leases:
        yield leases


async def renew_once(
    renewers: Sequence[VaultRenewer], *, leases: "Leases | None", stop: asyncio.Event
) -> list[Walk]:
    """Walk over each vault once, all of them concurrently.

    Args:
        renewers: One for each vault.
        leases: Shares the vaults among replicas: a vault whose Lease another replica holds is skipped.
        stop: Ends the walks early; renewals in progress finish.

    Returns:
        The walks over the vaults that were not skipped.

    Raises:
        LeaseError: The API server refused a Lease or could not be reached.
    """

    async def walk(renewer: VaultRenewer) -> Walk | None:
        if leases is None:
            return await renewer.walk(stop)
        held = await leases.try_hold(render_lease_name(renewer.vault_url), stop)
        if held is None:
            return None
        async with held:
            return await renewer.walk(_Either(stop, held.lost))

    walks = await asyncio.gather(*map(walk, renewers))
    return [walk for walk in walks if walk is not None]


async def renew_until_stopped(
    renewers: Sequence[VaultRenewer],
    *,
    interval: float,
    leases: "Leases | None",
    stop: asyncio.Event,
    on_lost: Callable[[str], None] = lambda _: None,
) -> None:
    """Walk over each vault repeatedly until stopped.

    Args:
        renewers: One for each vault.
        interval: Approximate seconds from the end of one walk to the start of the next.
        leases: Shares the vaults among replicas: a vault is walked over only while its Lease is held.
        stop: Ends the walks; renewals in progress finish.
        on_lost: Called with the URL of a vault whose Lease was lost.

    Raises:
        LeaseRefusedError: The API server refused a Lease.
    """

    async def repeat(renewer: VaultRenewer, either: asyncio.Event) -> None:
        while not either.is_set():
            await renewer.walk(either)
            await pause(interval * random.uniform(1 - _JITTER, 1 + _JITTER), either)  # noqa: S311 (not a secret)

    async def keep(renewer: VaultRenewer) -> None:
        if leases is None:
            await repeat(renewer, stop)
            return
        while not stop.is_set():
            held = await leases.hold(render_lease_name(renewer.vault_url), stop)
            if held is not None:
                async with held:
                    await repeat(renewer, _Either(stop, held.lost))
                on_lost(renewer.vault_url)

    try:
        async with asyncio.TaskGroup() as tasks:
            for renewer in renewers:
                tasks.create_task(keep(renewer))
    except* HcpCredsError as group:  # a Lease that is refused for one vault is refused for all
        raise group.exceptions[0] from None


class _Either(asyncio.Event):
    """Is set once one of several events is."""

    def __init__(self, *events: asyncio.Event) -> None:
        super().__init__()
        self._events = events

    @override
    def is_set(self) -> bool:
        return any(event.is_set() for event in self._events)

    @override
    async def wait(self) -> Literal[True]:
        waits = [asyncio.create_task(event.wait()) for event in self._events]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return True
