"""The asyncio twins of `hcpcreds.dataplane.vault`'s calls; what a secret looks like is decided there."""

from collections.abc import AsyncIterator

from azure.keyvault.secrets import SecretProperties
from azure.keyvault.secrets.aio import SecretClient

from hcpcreds.dataplane.models import ModelType
from hcpcreds.dataplane.vault import (
    SDK_ERRORS,
    Credentials,
    Encoding,
    StoredCredential,
    build_secret,
    describe,
    explain,
    parse_secret,
    read_stored,
)


async def store(
    client: SecretClient,
    credentials: Credentials,
    *,
    name: str | None = None,
    encoding: Encoding = "utf-8",
) -> SecretProperties:
    """Write a credential to Key Vault, as a new version of its secret.

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
    secret = build_secret(credentials, name=name, encoding=encoding)
    try:
        stored = await client.set_secret(**secret.as_arguments())
    except SDK_ERRORS as error:
        raise explain(error, client.vault_url, secret.name) from None
    return stored.properties


async def load(
    client: SecretClient, name: str, model: type[ModelType], *, encoding: Encoding = "utf-8"
) -> ModelType:
    """Read a credential from Key Vault: the newest version of its secret.

    Args:
        client: Of the vault; the caller's, stays open.
        name: Name of the secret.
        model: ManagedIdentityCredentials for ``msi-`` secrets, else UserAssignedIdentityCredentials.
        encoding: How the value is written.

    Raises:
        StoreError: The vault did not give it, or it is not such a credential.
    """
    try:
        value = (await client.get_secret(name)).value
    except SDK_ERRORS as error:
        raise explain(error, client.vault_url, name) from None
    return parse_secret(value, model, where=describe(client.vault_url, name), encoding=encoding)


async def list_stored(client: SecretClient) -> AsyncIterator[StoredCredential]:
    """List every stored credential of a vault, page by page as it is asked for.

    Args:
        client: Of the vault; the caller's, stays open.

    Raises:
        StoreError: The vault did not answer; what was listed before stays good.
    """
    try:
        async for properties in client.list_properties_of_secrets():
            stored = read_stored(properties)
            if stored is not None:
                yield stored
    except SDK_ERRORS as error:
        raise explain(error, client.vault_url) from None
