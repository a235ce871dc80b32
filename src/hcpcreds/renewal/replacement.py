"""Replaces a stored credential by a newer one while others may do the same.

Key Vault has no conditional write. So the secret is loaded again just before the write, and whoever has
stored a version since then wins. A write is not sent when that look is too old, because the process was
paused or throttled, or when the Lease was lost meanwhile; the caller looks again and retries. After the
write, the versions are listed, and a newer one that the write has buried is written again, on top. However
writers interleave, the newest credential ends on top and no version is lost: nothing is deleted or disabled.
Every function may be called again after it failed half-way.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from azure.keyvault.secrets.aio import SecretClient

from hcpcreds.errors import InputError, StoreError, StoreUnavailableError
from hcpcreds.renewal.acceptance import CLOCK_TOLERANCE
from hcpcreds.renewal.outcomes import Result
from hcpcreds.vault.aio import list_versions, load, write
from hcpcreds.vault.naming import describe
from hcpcreds.vault.secret import (
    Credentials,
    LoadedSecret,
    StoredCredential,
    VaultSecret,
    parse_time,
    read_stored,
)

_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)
_FRESH_SECONDS: Final = 5.0
"""How long after a look at a secret a write may still be sent."""


async def replace_secret(
    client: SecretClient, current: LoadedSecret, secret: VaultSecret, *, lost: asyncio.Event
) -> tuple[Result, StoredCredential]:
    """Write a newer version of a secret, unless somebody has written one meanwhile.

    Args:
        client: Client of the vault, with a `ThrottleGate` among its `per_retry_policies`.
        current: The stored credential from which the newer one was issued.
        secret: The newer version.
        lost: Is set when others may be writing from now on.

    Returns:
        RENEWED or SUPERSEDED, and the version that is on top now.

    Raises:
        StoreError: The vault failed. The write may have been done or not; a second call finds out.
    """
    is_fresh = _begin_look(lost)
    latest = await load(client, current.stored.name)
    if latest.version == current.version:
        # Tags and content type can change without a new version.
        secret = secret.with_extras(latest.tags, latest.content_type)
        return Result.RENEWED, await _write(client, secret, is_fresh)
    if latest.credential.client_secret == secret.credential.client_secret:
        return Result.RENEWED, latest.stored  # an earlier call wrote it, and its answer was lost
    return Result.SUPERSEDED, latest.stored


async def restore_newer(
    client: SecretClient, written: VaultSecret, *, now: datetime, lost: asyncio.Event
) -> StoredCredential | None:
    """Put a newer version that a write has buried back on top, or return None when there is none.

    Raises:
        StoreError: The vault failed; a second call is safe.
    """
    newer = await _find_newer(client, written, now)
    return None if newer is None else await _put_on_top(client, newer, lost)


def _begin_look(lost: asyncio.Event) -> Callable[[], bool]:
    """Return a function that tells whether a look that begins now still holds."""
    monotonic = asyncio.get_running_loop().time
    began, was_lost = monotonic(), lost.is_set()
    return lambda: monotonic() - began <= _FRESH_SECONDS and lost.is_set() == was_lost


async def _write(client: SecretClient, secret: VaultSecret, is_fresh: Callable[[], bool]) -> StoredCredential:
    # Sent once: when the answer is lost, look for the version before writing it again.
    stored = read_stored(await write(client, secret, retry_total=0, hcpcreds_send_only_if=is_fresh))
    if stored is None or stored.problem is not None:
        raise StoreUnavailableError(f"{describe(client.vault_url, secret.name)}: unreadable answer")
    return stored


async def _find_newer(client: SecretClient, written: VaultSecret, now: datetime) -> LoadedSecret | None:
    """Find the newest version that begins after this one, is valid now, and belongs to the same identity."""
    later = [
        (stored.not_before, version)
        for version, stored in await list_versions(client, written.name)
        if stored.enabled
        and stored.not_before is not None
        and written.not_before < stored.not_before <= now + CLOCK_TOLERANCE
        and (stored.expires_on or _LONG_AGO) > now
    ]
    for _, version in sorted(later, reverse=True):
        try:
            found = await load(client, written.name, version=version)
        except StoreError as error:
            if error.retryable:
                raise
            continue  # not a credential
        if _get_client_id(found.credential) == _get_client_id(written.credential):
            return found
    return None


async def _put_on_top(client: SecretClient, newer: LoadedSecret, lost: asyncio.Event) -> StoredCredential:
    """Write a version again, unless the one on top is as new."""
    is_fresh = _begin_look(lost)
    latest = await load(client, newer.stored.name)
    try:
        # In a thread: opening a PKCS#12 takes 36 ms.
        secret = await asyncio.to_thread(newer.build_replacement, newer.credential)
    except InputError as error:
        raise StoreError(f"{newer.where}: version {newer.version}: {'; '.join(error.problems)}") from None
    if (parse_time(latest.credential.not_before) or _LONG_AGO) >= secret.not_before:
        return latest.stored
    return await _write(client, secret, is_fresh)


def _get_client_id(credential: Credentials) -> str:
    return (credential.client_id or "").lower()
