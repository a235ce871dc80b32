"""The credentials of a run: issued, stored and renewed all together, and expected at the components."""

import asyncio
from collections.abc import Mapping

from hcpcreds.up.plan import Plan
from hcpcreds.up.record import CertificateUse, ComponentRecord
from hcpcreds.up.service_owner import Issued, ServiceOwner


class Rotation:
    """Issues, stores and renews the credentials of all identities.

    Args:
        owner: Calls the data plane and the vault.
        plan: The identities, and the pods that use them.
        records: By workload; each gets the certificates that its component has to use.
    """

    def __init__(self, owner: ServiceOwner, plan: Plan, records: Mapping[str, ComponentRecord]) -> None:
        self._owner = owner
        self._plan = plan
        self._records = records
        self._issued: dict[str, Issued] = {}
        """The newest credentials, by the name of their secret."""

    async def issue(self, identity_url: str) -> None:
        """Have the first credentials issued; `store` stores them."""
        identities = self._plan.identities
        resource_ids = [str(identity.resource_id) for identity in identities.values()]
        issued = await asyncio.to_thread(self._owner.issue, identity_url, resource_ids)
        self._issued = dict(zip(identities, issued, strict=True))

    async def renew(self) -> None:
        """Have every credential renewed; `store` stores them."""
        renewed = await asyncio.gather(
            *(asyncio.to_thread(self._owner.renew, issued) for issued in self._issued.values())
        )
        self._issued = dict(zip(self._issued, renewed, strict=True))

    async def store(self) -> None:
        """Store the newest credentials; from now on, the components are expected to use them."""
        await asyncio.gather(*(self._store(name, issued) for name, issued in self._issued.items()))

    async def _store(self, name: str, issued: Issued) -> None:
        pods = [pod for pod in self._plan.pods if pod.secret_name == name]
        uses = [CertificateUse.expect(issued) for _ in pods]
        for pod, use in zip(pods, uses, strict=True):
            self._records[pod.name].certificates.append(use)
        version = await asyncio.to_thread(self._owner.store, pods[0].identity, issued)
        for use in uses:
            use.version = version
