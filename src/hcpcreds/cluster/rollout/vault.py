"""Reads the versions of secrets, and whether the authority accepts the newest: never keeps a value."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from azure.keyvault.secrets.aio import SecretClient

from hcpcreds.cluster.rollout.facts import StoredSecret, Version
from hcpcreds.credential_file.file import CredentialFile, parse_credential_file
from hcpcreds.dataplane.models import render_model
from hcpcreds.errors import IssueError, MountError, StoreError
from hcpcreds.renewal.possession import KeyProver
from hcpcreds.text import make_safe
from hcpcreds.vault.aio import list_versions, load
from hcpcreds.vault.naming import describe, get_host
from hcpcreds.vault.secret import LoadedSecret, StoredCredential

MOST_EARLIER: Final = 10
"""How many earlier versions are loaded for their certificates."""
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


class VaultReader:
    """Reads secrets of one vault again and again. A version does not change, so it is loaded once.

    Args:
        vault: Client of the vault; stays open.
        prover: Asks the authority for a token with the newest certificate; stays open.
        now: Clock giving an aware UTC time.
    """

    def __init__(
        self,
        vault: SecretClient,
        prover: KeyProver,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._vault = vault
        self._prover = prover
        self._now = now
        self._known: dict[tuple[str, str], Version] = {}
        self._accepted: set[tuple[str, str]] = set()

    async def read(self, name: str) -> StoredSecret:
        """Read a secret. Raises nothing: what cannot be read is told by the facts."""
        where = get_host(self._vault.vault_url)
        try:
            latest = await load(self._vault, name)
            listed = await list_versions(self._vault, name)
        except StoreError as error:
            return StoredSecret(vault=where, name=name, problem=str(error))
        try:
            file = await asyncio.to_thread(_parse, latest)
        except MountError as error:
            problem = f"{latest.where}: no pod can use it: {error.message}"
            newest = Version(version=latest.version)
            return StoredSecret(vault=where, name=name, newest=newest, problem=problem)
        newest = _build(latest.version, latest.stored, file)
        self._known[name.lower(), latest.version] = newest
        refusal, unproven = await self._ask(name, latest, file)
        return StoredSecret(
            vault=where,
            name=name,
            client_id=file.client_id,
            newest=newest,
            earlier=tuple([await self._load(name, *each) for each in self._choose(listed, latest.version)]),
            refusal=refusal,
            unproven=unproven,
        )

    def _choose(
        self, listed: list[tuple[str, StoredCredential]], newest: str
    ) -> list[tuple[str, StoredCredential]]:
        """Choose the versions before the newest whose certificate somebody could still use."""
        now = self._now()
        earlier = [
            (version, stored)
            for version, stored in listed
            if version != newest and (stored.expires_on is None or stored.expires_on > now)
        ]
        earlier.sort(key=lambda each: each[1].created_on or _LONG_AGO, reverse=True)
        return earlier[:MOST_EARLIER]

    async def _load(self, name: str, version: str, stored: StoredCredential) -> Version:
        key = name.lower(), version
        if key in self._known:
            return self._known[key]
        try:
            loaded = await load(self._vault, name, version=version)
            found = _build(version, stored, await asyncio.to_thread(_parse, loaded))
        except (StoreError, MountError) as error:
            found = Version(version=version, created_on=stored.created_on)
            if error.retryable:
                return found
        self._known[key] = found
        return found

    async def _ask(
        self, name: str, latest: LoadedSecret, file: CredentialFile
    ) -> tuple[str | None, str | None]:
        """Ask for a token once for each version; returns why it is refused, or why that is not known."""
        key = name.lower(), latest.version
        if key in self._accepted:
            return None, None
        try:
            failure = await self._prover.ask(file, where=describe(self._vault.vault_url, name))
        except IssueError as error:
            return None, error.message
        if failure is None:
            self._accepted.add(key)
            return None, None
        message = make_safe(failure.message)
        return (message, None) if failure.refused else (None, message)


def _parse(loaded: LoadedSecret) -> CredentialFile:
    """Parse a value as pods do. In a thread: opening a PKCS#12 takes 36 ms."""
    return parse_credential_file(render_model(loaded.credential), path=loaded.where)


def _build(version: str, stored: StoredCredential, file: CredentialFile) -> Version:
    return Version(
        version=version,
        created_on=stored.created_on,
        not_after=file.not_after,
        thumbprint=file.certificate.thumbprint,
    )
