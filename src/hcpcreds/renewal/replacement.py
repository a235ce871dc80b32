"""Puts a newer credential in the place of a stored one, when others may be doing the same.

Key Vault has no write on condition. So the secret is read again just before the write, and whoever stored a
version meanwhile has won. A write that comes too late after that look, since the process was paused or
throttled, or has lost its Lease, is not sent: whoever calls again looks again. After the write the versions
are looked at, and a newer one that was buried all the same is put back on top. However writers interleave,
the newest credential ends on top, and none is lost: nothing is deleted or disabled. Every function may be
called again after it failed half-way.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from azure.keyvault.secrets.aio import SecretClient

from hcpcreds.errors import InputError, IssueUnavailableError, StoreError, StoreUnavailableError
from hcpcreds.renewal.acceptance import CLOCK_TOLERANCE
from hcpcreds.renewal.outcomes import Result
from hcpcreds.vault.aio import load
from hcpcreds.vault.secret import (
    Credentials,
    LoadedSecret,
    StoredCredential,
    VaultSecret,
    build_secret,
    choose_credential,
    parse_time,
    read_properties,
    read_stored,
)
from hcpcreds.vault.storing import describe, explaining

_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)
_FRESH_SECONDS: Final = 5.0
"""How old a look at a secret may be when what was written upon it is sent."""


async def build_replacement(current: LoadedSecret, renewed: Credentials, *, where: str) -> VaultSecret:
    """Build the new version of a secret; everything but the credential and its times stays as it is.

    Raises:
        IssueUnavailableError: No pod could use what was issued.
    """
    try:
        # Off the loop: a PKCS#12 takes 36 ms to open.
        return await asyncio.to_thread(
            build_secret,
            renewed,
            name=current.stored.name,
            encoding=current.encoding,
            tags=current.tags,
            content_type=current.content_type,
        )
    except InputError as error:
        raise IssueUnavailableError(
            f"{where}: the data plane answered what no pod could use: {'; '.join(error.problems)}",
            hint="What is stored was left as it is.",
        ) from None


async def write_newer(
    client: SecretClient, current: LoadedSecret, renewed: Credentials, *, lost: asyncio.Event
) -> tuple[Result, StoredCredential]:
    """Write a newer credential as a new version of its secret, unless somebody wrote one meanwhile.

    Args:
        client: Of the vault, with a `ThrottleGate` among its ``per_retry_policies``.
        current: What the vault held when the newer one was issued.
        renewed: The newer one, which `build_replacement` has found usable.
        lost: Is set when others may be writing from now on.

    Returns:
        RENEWED or SUPERSEDED, and what is on top in the vault now.

    Raises:
        StoreError: The vault failed. The write may have been done or not; calling again finds out.
    """
    is_fresh = _begin_look(lost)
    latest = await load(client, current.stored.name)
    if latest.version == current.version:
        where = describe(client.vault_url, current.stored.name)
        secret = await build_replacement(latest, renewed, where=where)
        return Result.RENEWED, await _write(client, secret, is_fresh)
    if _get_client_secret(latest.credentials) == _get_client_secret(renewed):
        return Result.RENEWED, latest.stored  # this very write, whose answer was lost
    return Result.SUPERSEDED, latest.stored


async def uncover_newest(
    client: SecretClient,
    written: StoredCredential,
    renewed: Credentials,
    *,
    now: datetime,
    lost: asyncio.Event,
) -> StoredCredential | None:
    """Put back on top what a write has buried that is newer; None when there is no newer one.

    Raises:
        StoreError: The vault failed; calling again is safe.
    """
    newer = await _find_newer(client, written, renewed, now)
    return None if newer is None else await _put_on_top(client, newer, lost)


def _begin_look(lost: asyncio.Event) -> Callable[[], bool]:
    """Begin to look at a secret; says from then on whether a write may still trust what is seen."""
    clock = asyncio.get_running_loop().time
    began, was_lost = clock(), lost.is_set()
    return lambda: clock() - began <= _FRESH_SECONDS and lost.is_set() == was_lost


async def _write(client: SecretClient, secret: VaultSecret, is_fresh: Callable[[], bool]) -> StoredCredential:
    with explaining(client.vault_url, secret.name):
        # Sent once: a write whose answer was lost must be looked for before it is made again.
        written = await client.set_secret(
            **secret.as_arguments(), retry_total=0, hcpcreds_send_only_if=is_fresh
        )
    stored = read_stored(written.properties)
    if stored is None or stored.problem is not None:
        raise StoreUnavailableError(f"{describe(client.vault_url, secret.name)}: the answer is unreadable")
    return stored


async def _find_newer(
    client: SecretClient, written: StoredCredential, renewed: Credentials, now: datetime
) -> LoadedSecret | None:
    """Find the newest version that begins after this one, is valid now, and is the same identity's."""
    began = written.not_before or _LONG_AGO
    with explaining(client.vault_url, written.name):
        listed = client.list_properties_of_secret_versions(written.name)
        versions = [(read_properties(version), version.version) async for version in listed]
    later = [
        (stored.not_before, version)
        for stored, version in versions
        if stored.enabled
        and began < (stored.not_before or _LONG_AGO) <= now + CLOCK_TOLERANCE
        and (stored.expires_on or _LONG_AGO) > now
    ]
    for _, version in sorted(later, reverse=True):
        try:
            found = await load(client, written.name, version=version)
        except StoreError as error:
            if error.retryable:
                raise
            continue  # no credential
        if _get_client_id(found.credentials) == _get_client_id(renewed):
            return found
    return None


async def _put_on_top(client: SecretClient, newer: LoadedSecret, lost: asyncio.Event) -> StoredCredential:
    """Make a version the latest again, unless one as new is."""
    is_fresh = _begin_look(lost)
    latest = await load(client, newer.stored.name)
    secret = await build_replacement(
        newer, newer.credentials, where=describe(client.vault_url, newer.stored.name)
    )
    if _began(latest) >= secret.not_before:
        return latest.stored
    return await _write(client, secret, is_fresh)


def _began(loaded: LoadedSecret) -> datetime:
    return parse_time(choose_credential(loaded.credentials).not_before) or _LONG_AGO


def _get_client_id(credentials: Credentials) -> str:
    return (choose_credential(credentials).client_id or "").lower()


def _get_client_secret(credentials: Credentials) -> str | None:
    return choose_credential(credentials).client_secret
