"""Store, load and list credentials in Key Vault from asyncio code; the twin of `hcpcreds.vault.storing`."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from azure.keyvault.secrets import SecretProperties
from azure.keyvault.secrets.aio import SecretClient

from hcpcreds.credential_file.encoding import Encoding
from hcpcreds.vault.failures import raising_store_errors
from hcpcreds.vault.naming import describe
from hcpcreds.vault.secret import (
    Credentials,
    LoadedSecret,
    StoredCredential,
    VaultSecret,
    build_secret,
    read_properties,
    read_secret,
    read_stored,
)

__all__ = [
    "list_stored",
    "load",
    "store",
]


async def store(
    client: SecretClient,
    credentials: Credentials,
    *,
    name: str | None = None,
    encoding: Encoding = "utf-8",
) -> SecretProperties:
    """Write a credential to Key Vault as a new version of its secret.

    When the answer to the write is lost, the SDK writes again: there may be two equal versions.

    Args:
        client: Client of the vault; stays open.
        credentials: See `build_secret`.
        name: Name of the secret, such as HyperShift's `credentialsSecretName`; by default the usual name.
        encoding: Encoding of the value, HyperShift's `objectEncoding`.

    Returns:
        The properties of the new version, without its value.

    Raises:
        InputError: The credential is incomplete or unusable; names every field. Nothing was written.
        StoreError: The vault refused the secret or could not be reached.
    """
    # In a thread: opening a PKCS#12 takes 36 ms.
    secret = await asyncio.to_thread(build_secret, credentials, name=name, encoding=encoding)
    return await write(client, secret)


async def load(client: SecretClient, name: str, *, version: str | None = None) -> LoadedSecret:
    """Read a credential from Key Vault.

    Args:
        client: Client of the vault; stays open.
        name: Name of the secret.
        version: Version to read; by default the newest.

    Raises:
        SecretNotFoundError: The secret does not exist.
        StoreError: The vault did not return the secret, or the secret is not a credential.
    """
    with raising_store_errors(client.vault_url, name):
        secret = await client.get_secret(name, version)
    return read_secret(secret, where=describe(client.vault_url, name))


async def list_stored(client: SecretClient) -> AsyncIterator[StoredCredential]:
    """List all stored credentials of a vault; pages are requested as needed.

    Args:
        client: Client of the vault; stays open.

    Raises:
        StoreError: The vault could not be listed to the end; entries returned before stay valid.
    """
    with raising_store_errors(client.vault_url):
        async for properties in client.list_properties_of_secrets():
            stored = read_stored(properties)
            if stored is not None:
                yield stored


# The renewal's calls; they have no sync twins.


async def write(client: SecretClient, secret: VaultSecret, **options: Any) -> SecretProperties:
    """Write a version of a secret; the options are azure-core's."""
    with raising_store_errors(client.vault_url, secret.name):
        return (await client.set_secret(**secret.as_arguments(), **options)).properties


async def list_page(client: SecretClient, token: str | None) -> tuple[list[StoredCredential], str | None]:
    """List one page of a vault, from its continuation token; returns also that of the next page, if any."""
    pages: Any = client.list_properties_of_secrets().by_page(continuation_token=token)
    with raising_store_errors(client.vault_url):
        entries = [read_stored(properties) async for properties in await anext(pages)]
    return [stored for stored in entries if stored is not None], pages.continuation_token


async def list_versions(client: SecretClient, name: str) -> list[tuple[str, StoredCredential]]:
    """List all versions of a secret, each with its properties."""
    with raising_store_errors(client.vault_url, name):
        return [
            (properties.version or "", read_properties(properties))
            async for properties in client.list_properties_of_secret_versions(name)
        ]
