"""Has newer credentials issued for stored ones."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from hcpcreds.dataplane.aio import (
    ManagedIdentityDataPlaneClient,
    ManagedIdentityDataPlaneClientFactory,
)
from hcpcreds.errors import InputError, IssueError
from hcpcreds.renewal.acceptance import accept_answer, build_renewal_request, check_renewable
from hcpcreds.renewal.possession import KeyProver
from hcpcreds.vault.secret import LoadedSecret, VaultSecret


class Issuer:
    """Renews stored credentials through their `client_secret_url`; stores nothing.

    Args:
        data_plane: Makes the clients that renew; stays open.
        prover: Proves the stored keys; stays open.
        now: Clock giving an aware UTC time.
    """

    def __init__(
        self,
        data_plane: ManagedIdentityDataPlaneClientFactory,
        prover: KeyProver,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._data_plane = data_plane
        self._prover = prover
        self._now = now

    async def check(self, current: LoadedSecret) -> None:
        """Check that a stored credential may be renewed, and have its key prove its identity.

        Raises:
            IssueError: It may not be renewed, or the authority could not be reached.
        """
        now = self._now()
        # In a thread: opening a PKCS#12 takes 36 ms.
        file = await asyncio.to_thread(check_renewable, current, now=now)
        self._create_client(current)  # raises when the URL may not be called
        if file.certificate.not_after > now:
            await self._prover.prove(file, where=current.where)

    async def issue(self, current: LoadedSecret) -> VaultSecret | None:
        """Have a newer credential issued, or return None when the data plane has none yet.

        Raises:
            IssueError: The data plane did not answer, or not with a renewal that a pod could use.
        """
        client = self._create_client(current)
        request = build_renewal_request(current.credential)
        try:
            answer = (
                await client.get_system_assigned_identity_credentials()
                if request is None
                else await client.get_user_assigned_identities_credentials(request)
            )
        except IssueError as error:
            raise type(error)(f"{current.where}: {error.message}", hint=error.hint) from None
        return await asyncio.to_thread(
            accept_answer, current, answer, now=self._now(), hosts=self._data_plane.hosts
        )

    def _create_client(self, current: LoadedSecret) -> ManagedIdentityDataPlaneClient:
        try:
            return self._data_plane.create_client(current.credential.client_secret_url or "")
        except InputError as error:
            raise IssueError(
                f"{current.where}: client_secret_url: {error.problems[0]}", hint=error.hint
            ) from None
