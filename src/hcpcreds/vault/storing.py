"""Store, load and list credentials in Key Vault through the SDK's client.

The asyncio twins are in `hcpcreds.vault.aio`; the shape of a secret is in `hcpcreds.vault.secret`.
"""

from collections.abc import Iterator

from azure.keyvault.secrets import SecretClient, SecretProperties

from hcpcreds.credential_file.encoding import Encoding
from hcpcreds.vault.failures import raising_store_errors
from hcpcreds.vault.naming import describe
from hcpcreds.vault.secret import (
    Credentials,
    LoadedSecret,
    StoredCredential,
    build_secret,
    read_secret,
    read_stored,
)


def store(
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
    secret = build_secret(credentials, name=name, encoding=encoding)
    with raising_store_errors(client.vault_url, secret.name):
        return client.set_secret(**secret.as_arguments()).properties


def load(client: SecretClient, name: str, *, version: str | None = None) -> LoadedSecret:
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
        secret = client.get_secret(name, version)
    return read_secret(secret, where=describe(client.vault_url, name))


def list_stored(client: SecretClient) -> Iterator[StoredCredential]:
    """List all stored credentials of a vault; pages are requested as needed.

    Args:
        client: Client of the vault; stays open.

    Raises:
        StoreError: The vault could not be listed to the end; entries returned before stay valid.
    """
    with raising_store_errors(client.vault_url):
        for properties in client.list_properties_of_secrets():
            stored = read_stored(properties)
            if stored is not None:
                yield stored
