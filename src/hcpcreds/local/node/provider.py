"""The provider of the node: fetches the objects of a SecretProviderClass through the real Azure SDK."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from azure.core.exceptions import AzureError
from azure.identity import ManagedIdentityCredential
from azure.keyvault.secrets import SecretClient

from hcpcreds.clouds import get_cloud
from hcpcreds.errors import MountError, StoreError
from hcpcreds.local.node.objects import MountRequest, VaultObject, decode_content

# The next poll is the real retry. These retries cover a dropped connection, and these timeouts keep a vault
# that hangs from delaying a poll by more than a few seconds.
_PATIENCE: Final[dict[str, Any]] = {
    "retry_total": 1,
    "retry_backoff_factor": 0.1,
    "connection_timeout": 3.0,
    "read_timeout": 5.0,
}


@dataclass(frozen=True, slots=True)
class FetchedObject:
    """An object that the provider passes to the driver."""

    id: str
    version: str
    file: str
    mode: int
    content: bytes = field(repr=False)


class Provider:
    """Fetches from Key Vaults with a managed identity of this machine.

    Args:
        vault_urls: URLs by vault name, in place of DNS. Any other vault is at
            `https://<name>.vault.azure.net`.
        ca_file: CA certificates (PEM) to verify vaults with; None means those of the machine.
    """

    def __init__(self, *, vault_urls: Mapping[str, str], ca_file: Path | None) -> None:
        self._vault_urls = dict(vault_urls)
        self._options: dict[str, Any] = dict(_PATIENCE)
        if ca_file is not None:
            self._options["connection_verify"] = str(ca_file)
        self._lock = threading.Lock()
        self._credentials: dict[str, ManagedIdentityCredential] = {}
        self._clients: dict[tuple[str, str], SecretClient] = {}

    def fetch(self, request: MountRequest) -> list[FetchedObject]:
        """Fetch and decode every object.

        Raises:
            StoreError: An object, or the token for the vault, could not be fetched.
            MountError: A value does not have its encoding.
        """
        client = self._get_client(request)
        return [self._fetch_object(client, vault_object) for vault_object in request.objects]

    def _fetch_object(self, client: SecretClient, wanted: VaultObject) -> FetchedObject:
        where = f"{wanted.id} in {client.vault_url}"
        try:
            secret = client.get_secret(wanted.name, wanted.version)
        except AzureError as error:
            raise StoreError(f"{where}: {error.message.partition(chr(10))[0]}") from None
        except (AttributeError, TypeError, ValueError):  # raised by the SDK for an unexpected response
            raise StoreError(f"{where}: the response is unreadable") from None
        if secret.value is None or secret.properties.version is None:
            raise StoreError(f"{where}: the response has no value or no version")
        try:
            content = decode_content(secret.value, wanted.encoding)
        except MountError as error:
            raise MountError(f"{where}: {error.message}", hint=error.hint) from None
        return FetchedObject(wanted.id, secret.properties.version, wanted.file, wanted.mode, content)

    def _get_client(self, request: MountRequest) -> SecretClient:
        known_url = self._vault_urls.get(request.vault)
        url = known_url or f"https://{request.vault}.{get_cloud('').key_vault_suffix}"
        with self._lock:
            client = self._clients.get((url, request.client_id))
            if client is None:
                credential = self._credentials.get(request.client_id)
                if credential is None:
                    credential = ManagedIdentityCredential(client_id=request.client_id or None, **_PATIENCE)
                    self._credentials[request.client_id] = credential
                # A vault at another URL still challenges with the audience of its real name.
                client = SecretClient(
                    url, credential, verify_challenge_resource=known_url is None, **self._options
                )
                self._clients[url, request.client_id] = client
        return client

    def close(self) -> None:
        """Close every connection."""
        for client in self._clients.values():
            client.close()
        for credential in self._credentials.values():
            credential.close()
