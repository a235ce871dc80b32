"""A credential as the endpoint needs it: one that can prove a certificate."""

import asyncio
import contextlib
import functools
from typing import Final

from hcpcreds.clouds import DEFAULT_CLOUD, find_cloud, get_cloud
from hcpcreds.credential.aio import AsyncCredential, Sender, call_in_thread
from hcpcreds.credential.authority import Failure, Token, TokenRequest, build_form, read_answer
from hcpcreds.credential.state import Snapshot
from hcpcreds.endpoint.assertion import AssertionSettings, Proof, find_token_endpoint
from hcpcreds.errors import HcpCredsError

PROOF_SECONDS: Final = 20.0
"""How long a proof may take: the previous assertion is rewritten every minute meanwhile."""


class ServedCredential(AsyncCredential):
    """A credential for somebody else's programs, of any format."""

    async def read(self) -> Snapshot:
        """Get the credential that the file holds, whatever the authority says of it.

        Raises:
            HcpCredsError: There is none that can be used; says why.
        """
        if not self._source.was_read:
            await call_in_thread(functools.partial(self._source.reload, deliver=self._source.post))
        self._source.get_usable(self._cloud)
        snapshot = self._source.snapshot
        assert snapshot is not None  # noqa: S101 (get_usable raises then)
        return snapshot

    async def prove(
        self, snapshot: Snapshot, settings: AssertionSettings, *, scope: str | None
    ) -> Failure | None:
        """Ask the authority for a token with an assertion that is like those in a file.

        Args:
            snapshot: The credential whose certificate is to be proven.
            settings: What the assertion is like.
            scope: What the token is for, which is thrown away; None means ARM of the credential's cloud.

        Returns:
            Why the authority gives none; None when it does.
        """
        cloud = find_cloud(snapshot.file.authority) or get_cloud(DEFAULT_CLOUD)
        request = TokenRequest((scope or cloud.resource_manager_scope,))
        proof = Proof(
            url=find_token_endpoint(snapshot, settings),
            form=build_form(snapshot, request),
            snapshot=snapshot,
            now=self._now,
            settings=settings,
        )
        try:
            async with (
                asyncio.timeout(PROOF_SECONDS),
                contextlib.aclosing(
                    Sender(self._build_pipeline, owns_transport=self._owns_transport)
                ) as sender,
            ):
                answer = await sender.send(proof, seconds=PROOF_SECONDS, patient=False)
                result = read_answer(answer, proof)
        except TimeoutError:
            return self._describe(f"no answer after {PROOF_SECONDS:g} s")
        except Exception as error:  # noqa: BLE001 (nothing foreign leaves; its frames could hold an assertion)
            unexpected = self._describe_unexpected(error)
            if isinstance(unexpected, HcpCredsError):
                return Failure(message=unexpected.message, hint=unexpected.hint, refused=False)
            return unexpected
        return None if isinstance(result, Token) else result
