"""Proof that a stored credential's key is its identity's, before a newer key is issued for it.

Who may write one secret of a vault may write there whose credential it is, and where that is renewed. The
renewer's own rights reach every identity, so what a value says is not enough: its key has to get a token for
the identity it names, from an authority that the value alone cannot choose.
"""

import asyncio
import time
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

from azure.core import AsyncPipelineClient
from azure.core.exceptions import AzureError
from azure.core.rest import AsyncHttpResponse, HttpRequest

from hcpcreds.clouds import CLOUDS, is_entra_host, is_same_authority
from hcpcreds.credential.authority import (
    Attempt,
    Failure,
    Moment,
    SigningError,
    TokenKey,
    build_form,
    read_answer,
)
from hcpcreds.credential.source import Snapshot
from hcpcreds.credential_file.file import CredentialFile
from hcpcreds.errors import IssueError, IssueRefusedError, IssueUnavailableError
from hcpcreds.http.aio import make_transport
from hcpcreds.http.answers import MAX_TOKEN_ANSWER
from hcpcreds.http.policies import build_policies
from hcpcreds.http.retries import AsyncBoundedRetryPolicy
from hcpcreds.text import make_safe
from hcpcreds.vault.secret import STORE_ANEW

_LONGEST_REASON: Final = 600


class KeyProver:
    """Asks the authority whether a key is an identity's. For one event loop.

    Args:
        scope: What the tokens are for, unless the authority is of one of Azure's clouds: then it is that
            cloud's ARM. They are dropped at once.
        list_own: Gives the authorities (`https` URLs) that the operator trusts besides Entra ID's hosts. May
            read files; called in a thread.
        clock: Unix time.
        kwargs: azure-core's own: ``transport``, ``retry_total``, ``per_retry_policies``...
    """

    def __init__(
        self,
        scope: str,
        *,
        list_own: Callable[[], Collection[str]] = tuple,
        clock: Callable[[], float] = time.time,
        **kwargs: Any,
    ) -> None:
        self._scope = scope
        self._list_own = list_own
        self._clock = clock
        transport = make_transport(kwargs, max_answer=MAX_TOKEN_ANSWER)
        policies = build_policies(AsyncBoundedRetryPolicy(**kwargs), **kwargs)
        self._pipeline: AsyncPipelineClient[HttpRequest, AsyncHttpResponse] = AsyncPipelineClient(
            "", policies=policies, **{**kwargs, "transport": transport}
        )

    async def prove(self, file: CredentialFile, *, where: str) -> None:
        """See that a credential's key is the named identity's.

        Args:
            file: The stored credential.
            where: Names its secret in an error.

        Raises:
            IssueError: The authority is not to be trusted.
            IssueRefusedError: The authority knows no such identity, or the key is not registered for it.
            IssueUnavailableError: The authority could not be asked.
        """
        attempt = await asyncio.to_thread(self._prepare, file, where)
        answer: AsyncHttpResponse | AzureError
        try:
            # Off the loop: a large RSA key, which anybody can have stored, takes a second.
            request = await asyncio.to_thread(attempt.sign)
            answer = await self._pipeline.send_request(request)
        except SigningError as error:
            raise IssueRefusedError(
                f"{where}: its key does not sign ({error.message}), so nothing was asked for it",
                hint=STORE_ANEW,
            ) from None
        except AzureError as error:
            answer = error
        result = read_answer(answer, attempt)
        if isinstance(result, Failure):
            kind = IssueRefusedError if result.refused else IssueUnavailableError
            raise kind(
                f"{where}: its key is not proved to be the identity's, so nothing was asked for it: "
                f"{make_safe(result.message, limit=_LONGEST_REASON)}",
                hint=STORE_ANEW if result.refused else result.hint,
            )

    def _prepare(self, file: CredentialFile, where: str) -> Attempt:
        authority = choose_authority(file.authority, self._list_own())
        if authority is None:
            raise IssueError(
                f"{where}: authentication_endpoint: neither a host of Entra ID nor the authority that this "
                "renewer's own credential comes from, so it cannot say whose the key is",
                hint=STORE_ANEW,
            )
        key = TokenKey((choose_scope(authority) or self._scope,), None, enable_cae=False)
        snapshot = Snapshot(file=file, digest=b"", generation=0)
        return Attempt(
            url=f"{authority}/{file.tenant_id}/oauth2/v2.0/token",
            form=build_form(snapshot, key, claims=None),
            snapshot=snapshot,
            now=lambda: Moment(self._clock(), time.monotonic()),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._pipeline.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


def choose_authority(named: str, own: Collection[str]) -> str | None:
    """Choose the authority to ask: the one that a credential names, if it is one to be trusted.

    Args:
        named: The credential's, as `parse_credential_file` gives it.
        own: Those that the operator trusts besides Entra ID's.

    Returns:
        Its URL without a closing slash; None when it is not trusted.
    """
    place = urlsplit(named).netloc.lower()
    for each in own:
        if urlsplit(each).netloc.lower() == place:
            return each.rstrip("/")
    # Not its path: Entra ID's token endpoints stand at the root, and this one is the value's word.
    return f"https://{place}" if is_entra_host(urlsplit(named).hostname or "") else None


def choose_scope(authority: str) -> str | None:
    """Choose a scope that an authority's every tenant knows: its cloud's ARM; None when it is in no cloud."""
    host = urlsplit(authority).hostname or ""
    for cloud in CLOUDS.values():
        if is_same_authority(host, urlsplit(cloud.authority).hostname or ""):
            return cloud.resource_manager_scope
    return None
