"""The asyncio twins of `hcpcreds.vault.storing`'s calls; what a secret looks like is decided there."""

import asyncio
from collections.abc import AsyncIterator

from azure.keyvault.secrets import SecretProperties
from azure.keyvault.secrets.aio import SecretClient

from hcpcreds.credential_file.encoding import Encoding
from hcpcreds.vault.secret import (
    Credentials,
    LoadedSecret,
    StoredCredential,
    build_secret,
    read_secret,
    read_stored,
)
from hcpcreds.vault.storing import describe, explaining


async def store(
    client: SecretClient,
    credentials: Credentials,
    *,
    name: str | None = None,
    encoding: Encoding = "utf-8",
) -> SecretProperties:
    """Write a credential to Key Vault, as a new version of its secret.

    When the answer to the write is lost, the SDK writes again: there may be two versions that are alike.

    Args:
        client: Of the vault; the caller's, stays open.
        credentials: See `build_secret`.
        name: Name of the secret, such as HyperShift's ``credentialsSecretName``; by default the usual one.
        encoding: How the value is written, HyperShift's ``objectEncoding``.

    Returns:
        The new version's properties, without the value.

    Raises:
        InputError: The credential is incomplete or unusable; names every field. Nothing was written.
        StoreError: The vault did not take it.
    """
    # Off the loop: a PKCS#12 takes 36 ms to open.
    secret = await asyncio.to_thread(build_secret, credentials, name=name, encoding=encoding)
    with explaining(client.vault_url, secret.name):
        return (await client.set_secret(**secret.as_arguments())).properties


async def load(client: SecretClient, name: str, *, version: str | None = None) -> LoadedSecret:
    """Read a credential from Key Vault.

    Args:
        client: Of the vault; the caller's, stays open.
        name: Name of the secret.
        version: Which one; by default the newest.

    Raises:
        SecretNotFoundError: There is no such secret.
        StoreError: The vault did not give it, or it is no credential.
    """
    with explaining(client.vault_url, name):
        secret = await client.get_secret(name, version)
    return read_secret(secret, where=describe(client.vault_url, name))


async def list_stored(client: SecretClient) -> AsyncIterator[StoredCredential]:
    """List every stored credential of a vault, page by page as it is asked for.

    Args:
        client: Of the vault; the caller's, stays open.

    Raises:
        StoreError: The vault did not answer; what was listed before stays good.
    """
    with explaining(client.vault_url):
        async for properties in client.list_properties_of_secrets():
            stored = read_stored(properties)
            if stored is not None:
                yield stored
