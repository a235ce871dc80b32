"""A credential as the endpoint needs it: one that can prove a certificate."""

import asyncio
import contextlib
import functools
from typing import Any, Final

from typing_extensions import override

from hcpcreds.clouds import DEFAULT_CLOUD, find_cloud, get_cloud
from hcpcreds.credential.aio import AsyncCredential, Sender, call_in_thread
from hcpcreds.credential.authority import Failure, Token, TokenRequest, build_form, read_answer
from hcpcreds.credential.azure_errors import build_error
from hcpcreds.credential.base import CachedToken, Outcome
from hcpcreds.credential.state import Snapshot
from hcpcreds.credential_file.file import CredentialFile
from hcpcreds.endpoint.assertion import AssertionSettings, Proof, find_token_endpoint
from hcpcreds.errors import HcpCredsError

FETCH_SECONDS: Final = 3.0
"""How long a program waits for the authority. It asks again when it is told to, and the request goes on."""
LEAST_SECONDS: Final = 600.0
"""How long a token that is given to a program is good for at least, where the authority gives such ones."""
REFRESH_SECONDS: Final = 900.0
"""How long before its end a token is refreshed at the latest."""
PROOF_SECONDS: Final = 20.0
"""How long a proof may take: the previous assertion is rewritten every minute meanwhile."""


def get_scope(file: CredentialFile) -> str:
    """Get what to ask a token for to see whether there are any: ARM of the credential's cloud."""
    cloud = find_cloud(file.authority) or get_cloud(DEFAULT_CLOUD)
    return cloud.resource_manager_scope


class ServedCredential(AsyncCredential):
    """A credential for somebody else's programs, of any format."""

    @property
    def file(self) -> CredentialFile | None:
        """What the mounted file holds; None when it held no credential yet."""
        snapshot = self._source.snapshot
        return None if snapshot is None else snapshot.file

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

    def find_fresh_token(self, scope: str) -> CachedToken | None:
        """Find a token in memory that is good for ten minutes more; refresh it in the background when due.

        Raises:
            InputError: This cannot be a scope.
            SourceClosedError: After `close()`.
        """
        request = self._make_request("find_fresh_token", (scope,), None, None, enable_cae=False)
        self._check_open()
        cached, now = self._get_cached(request), self._now()
        if cached is None:
            return None
        if cached.is_due(now) and self._get_gone(request) is None:
            if cached.access_token.expires_on - now.wall < LEAST_SECONDS:
                return None
            self._join(request, patient=False)
        return cached

    def has_token(self, scope: str) -> bool:
        """Whether there is a token in memory that can be given to programs still."""
        request = self._make_request("has_token", (scope,), None, None, enable_cae=False)
        return self._get_cached(request) is not None

    async def fetch_token(self, scope: str) -> CachedToken:
        """Get a token of the authority, or the one in memory when the authority gives none within seconds.

        Raises:
            HcpCredsError: There is neither.
        """
        request = self._make_request("fetch_token", (scope,), None, None, enable_cae=False)
        self._check_open()
        gone = self._get_gone(request)
        flight = None
        if gone is None:
            flight = self._join(request, patient=False)
            await asyncio.wait({flight.task}, timeout=FETCH_SECONDS)
        cached = self._get_cached(request)
        if cached is not None:
            return cached
        outcome: Outcome = gone or self._describe(f"no answer after {FETCH_SECONDS:g} s")
        if flight is not None and flight.task.done() and not flight.task.cancelled():
            outcome = flight.task.result()
        self._check_open()
        if isinstance(outcome, CachedToken):
            return outcome
        raise await call_in_thread(build_error, outcome)

    @override
    def _keep(self, key: tuple[Any, ...], cached: CachedToken) -> None:
        # Programs count a token with less than five minutes left as none: they would ask again and again.
        now = self._now()
        left = cached.access_token.expires_on - now.wall
        at = now.after(max(left - REFRESH_SECONDS, left / 2))
        cached.refresh_on, cached.refresh_at = (
            min(cached.refresh_on, at.wall),
            min(cached.refresh_at, at.monotonic),
        )
        super()._keep(key, cached)

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
        request = TokenRequest((scope or get_scope(snapshot.file),))
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
        if isinstance(result, Token):
            self._source.set_refused(snapshot, refused=False)
            return None
        return result
