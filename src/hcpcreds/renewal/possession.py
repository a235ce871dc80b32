"""Proves that the key of a stored credential belongs to its identity, before a newer key is issued for it.

Whoever may write one secret of a vault can claim any identity in it, and any place to renew it. The renewer
may renew every identity, so a claim is not enough: the stored key has to get a token for the identity, from
an authority that the stored value alone cannot choose.
"""

import asyncio
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Any, Final, Self
from urllib.parse import urlsplit

from azure.core.exceptions import AzureError
from azure.core.rest import AsyncHttpResponse

from hcpcreds.clouds import CLOUDS, is_entra_host, is_same_authority
from hcpcreds.credential.authority import (
    Attempt,
    Failure,
    Moment,
    SigningError,
    TokenRequest,
    build_form,
    read_answer,
)
from hcpcreds.credential.state import Snapshot
from hcpcreds.credential_file.file import CredentialFile
from hcpcreds.errors import IssueError, IssueRefusedError, IssueUnavailableError
from hcpcreds.http.aio import build_pipeline_client
from hcpcreds.http.answers import MAX_TOKEN_ANSWER
from hcpcreds.text import make_safe
from hcpcreds.vault.secret import STORE_ANEW

_LONGEST_REASON: Final = 600


class KeyProver:
    """Asks the authority for tokens to prove keys, and drops the tokens. For one event loop.

    Args:
        scope: Scope of the tokens; the authorities of Azure's clouds are asked for a token of their own ARM.
        list_own_authorities: Returns the authorities (https URLs) that the operator trusts besides Entra ID.
            Called in a thread; may read files.
        now: Clock giving an aware UTC time.
        kwargs: azure-core's own options: `transport`, `retry_total`, `per_retry_policies`...
    """

    def __init__(
        self,
        scope: str,
        *,
        list_own_authorities: Callable[[], Collection[str]] = tuple,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        **kwargs: Any,
    ) -> None:
        self._scope = scope
        self._list_own_authorities = list_own_authorities
        self._now = now
        self._pipeline = build_pipeline_client(kwargs, max_answer=MAX_TOKEN_ANSWER)

    async def prove(self, file: CredentialFile, *, where: str) -> None:
        """Check that the key of a credential belongs to the identity that the credential names.

        Args:
            file: The stored credential.
            where: Names its secret in messages.

        Raises:
            IssueError: The authority is not trusted.
            IssueRefusedError: The authority does not know the identity, or does not accept the key for it.
            IssueUnavailableError: The authority could not be reached.
        """
        result = await self.ask(file, where=where)
        if result is not None:
            kind = IssueRefusedError if result.refused else IssueUnavailableError
            raise kind(
                f"{where}: no proof that the key belongs to the identity, so no renewal was requested: "
                f"{make_safe(result.message, limit=_LONGEST_REASON)}",
                hint=STORE_ANEW if result.refused else result.hint,
            )

    async def ask(self, file: CredentialFile, *, where: str) -> Failure | None:
        """Ask for a token with the key of a credential; returns why there is none, or None.

        Args:
            file: The stored credential.
            where: Names its secret in messages.

        Raises:
            IssueError: It could not be asked: the authority is not trusted, or the key cannot sign.
        """
        attempt = await asyncio.to_thread(self._prepare, file, where)
        answer: AsyncHttpResponse | AzureError
        try:
            # In a thread: anybody can have stored a large RSA key, and signing with one takes a second.
            request = await asyncio.to_thread(attempt.sign)
            answer = await self._pipeline.send_request(request)
        except SigningError as error:
            raise IssueRefusedError(
                f"{where}: the key cannot sign ({error.message}); no renewal was requested", hint=STORE_ANEW
            ) from None
        except AzureError as error:
            answer = error
        result = read_answer(answer, attempt)
        return result if isinstance(result, Failure) else None

    def _prepare(self, file: CredentialFile, where: str) -> Attempt:
        authority = choose_authority(file.authority, self._list_own_authorities())
        if authority is None:
            raise IssueError(
                f"{where}: authentication_endpoint: neither a host of Entra ID nor the authority of the "
                "renewer's own credential, so it cannot prove whose key this is",
                hint=STORE_ANEW,
            )
        key = TokenRequest((choose_scope(authority) or self._scope,), None, enable_cae=False)
        snapshot = Snapshot(file=file, digest=b"", generation=0)
        return Attempt(
            url=f"{authority}/{file.tenant_id}/oauth2/v2.0/token",
            form=build_form(snapshot, key),
            snapshot=snapshot,
            now=lambda: Moment(self._now().timestamp(), time.monotonic()),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._pipeline.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def choose_authority(named: str, own: Collection[str]) -> str | None:
    """Choose the authority to ask: the one that a credential names, if it is trusted.

    Args:
        named: The authority of the credential, as `parse_credential_file` returns it.
        own: The authorities that the operator trusts besides Entra ID.

    Returns:
        Its URL without a trailing slash, or None when it is not trusted.
    """
    place = urlsplit(named).netloc.lower()
    for each in own:
        if urlsplit(each).netloc.lower() == place:
            return each.rstrip("/")
    # Not the path: it comes from the stored value, and Entra ID's token endpoints are at the root.
    return f"https://{place}" if is_entra_host(urlsplit(named).hostname or "") else None


def choose_scope(authority: str) -> str | None:
    """Choose a scope that every tenant of an authority knows: ARM of its cloud. None outside the clouds."""
    host = urlsplit(authority).hostname or ""
    for cloud in CLOUDS.values():
        if is_same_authority(host, urlsplit(cloud.authority).hostname or ""):
            return cloud.resource_manager_scope
    return None
