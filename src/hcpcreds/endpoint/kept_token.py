"""A token of each credential, which the endpoint keeps to know whether the authority gives any.

Programs ask once an hour or so: without this, nobody would know of a certificate that Entra ID refuses before
the first of them fails. Entra ID gives each of ARM's names a token of its own: the one that is kept is for
the name that programs use, so that they do not wait for it, and one request for each rotation is enough.
"""

import asyncio
import logging
from contextlib import suppress
from typing import Final

from hcpcreds.clouds import DEFAULT_CLOUD, find_cloud, get_cloud
from hcpcreds.credential_file.file import CredentialFile
from hcpcreds.endpoint.credential import ServedCredential
from hcpcreds.errors import HcpCredsError

_LOOK_SECONDS: Final = 60.0
"""How often the token is looked at; it is refreshed when due."""
_RETRY_SECONDS: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Pauses after failures in a row; the last one again and again."""

_log = logging.getLogger("hcpcreds.endpoint")


class KeptToken:
    """Keeps a credential's token in memory, and asks for one at each rotation.

    Call its methods on one event loop. Its attributes may be read in any thread.

    Args:
        name: The credential's.
        credential: The credential.
        scope: What the token is for; None means ARM of the credential's cloud, by the name that a program has
            asked for. Until one has, it is the name that most SDKs use; Go's uses another.
        slots: How many of all ask the authority at a time.
    """

    def __init__(
        self, name: str, credential: ServedCredential, *, scope: str | None, slots: asyncio.Semaphore
    ) -> None:
        self.problem: str | None = "the authority was not asked yet"
        """Why the last request brought no token; None when it did."""
        self._name = name
        self._credential = credential
        self._scope = scope
        self._asked: str | None = None
        self._slots = slots
        self._rotated = asyncio.Event()

    def notice_request(self, resource: str, scope: str) -> None:
        """Keep this token from now on, which a program had to wait for, if it is for ARM.

        Args:
            resource: What the program has asked for.
            scope: What the authority was asked for.
        """
        file = self._credential.file
        if file is not None and resource.rstrip("/") in _get_names(file):
            self._asked = scope

    def notice_rotation(self) -> None:
        """Ask with the new certificate now."""
        self._rotated.set()

    async def keep(self) -> None:
        """Keep the token until cancelled. Nothing that goes wrong ends it."""
        failures, is_new = 0, True
        while True:
            self._rotated.clear()
            try:
                scope = self._get_scope((await self._credential.read()).file)
                if is_new or self._credential.find_fresh_token(scope) is None:
                    async with self._slots:
                        await self._credential.fetch_token(scope)
            except HcpCredsError as error:
                failures += 1
                self._note(str(error))
            else:
                failures = 0
                self._note(None)
            # Behind a certificate that is refused, the one before serves: nobody would ask with the new one.
            is_new = bool(failures) or self._credential.status().refused
            pause = _RETRY_SECONDS[min(failures, len(_RETRY_SECONDS)) - 1] if is_new else _LOOK_SECONDS
            with suppress(TimeoutError):
                await asyncio.wait_for(self._rotated.wait(), pause)
                is_new = True

    def find_unready(self) -> str | None:
        """Find why programs get no token; None when they do."""
        file = self._credential.file
        if file is not None and self._credential.has_token(self._get_scope(file)):
            return None
        return f"{self._name}: no token: {self.problem or 'the last one has expired'}"

    def _get_scope(self, file: CredentialFile) -> str:
        return self._scope or self._asked or f"{_get_names(file)[0]}/.default"

    def _note(self, problem: str | None) -> None:
        if problem is not None and problem != self.problem:
            _log.warning("%s: %s", self._name, problem, extra={"event": "no_token"})
        if problem is None and self.problem is not None:
            _log.info("%s: the authority gives tokens", self._name, extra={"event": "tokens"})
        self.problem = problem


def _get_names(file: CredentialFile) -> tuple[str, str]:
    """Get the names of ARM in a credential's cloud, without closing slashes."""
    cloud = find_cloud(file.authority) or get_cloud(DEFAULT_CLOUD)
    return cloud.resource_manager, cloud.resource_manager_audience.rstrip("/")
