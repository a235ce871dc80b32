"""Reads all facts of a rollout, again and again."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from hcpcreds.cluster.rollout.facts import Facts, SecretKey, StoredSecret
from hcpcreds.cluster.rollout.pages import ReadPage, Shown, Target, read_seen
from hcpcreds.cluster.rollout.pods import VaultNames, read_uses
from hcpcreds.cluster.rollout.vault import VaultReader
from hcpcreds.kubernetes.reading import Cluster

_AT_ONCE: Final = 16


@dataclass(frozen=True, kw_only=True)
class RolloutReader:
    """Reads the pods, what their programs show, and then the vaults: what is newer there is never missed."""

    cluster: Cluster
    namespace: str | None
    """Where pods are looked for; None means everywhere."""
    vaults: VaultNames
    readers: Mapping[str, VaultReader]
    """By the URL of the vault."""
    secrets: Collection[str] = ()
    """Only secrets of these names, in lower case; empty means all."""
    read_page: ReadPage

    async def read(self) -> Facts:
        """Read everything once.

        Raises:
            KubernetesError: The pods cannot be listed, or the API server cannot be reached.
        """
        found = await asyncio.to_thread(
            read_uses,
            self.cluster,
            namespace=self.namespace,
            vaults=self.vaults,
            secrets=self.secrets,
        )
        gate = asyncio.Semaphore(_AT_ONCE)

        async def read_shown(target: Target) -> Shown:
            async with gate:
                # In a thread, and before the next page is read: a page may be large.
                return await asyncio.to_thread(read_seen, await self.read_page(target))

        async def read_secret(key: SecretKey, name: str) -> StoredSecret:
            async with gate:
                return await self.readers[self.vaults.find_url(key[0])].read(name)

        targets = list(dict.fromkeys(target for each in found for target in each.list_targets()))
        shown = dict(zip(targets, await asyncio.gather(*map(read_shown, targets)), strict=True))
        names = {each.use.key: each.use.secret for each in found if each.use.key[0] and each.use.key[1]}
        stored = await asyncio.gather(*(read_secret(*each) for each in names.items()))
        uses = tuple(each.complete(shown) for each in found)
        return Facts(secrets=dict(zip(names, stored, strict=True)), uses=uses)
