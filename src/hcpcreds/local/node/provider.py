"""The node's provider: fetches what a SecretProviderClass asks for, through the real Azure SDK."""

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

# The next poll is the real retry; these only bridge a dropped connection, and keep one hung vault from
# holding up a pass for longer than a few seconds.
_PATIENCE: Final[dict[str, Any]] = {
    "retry_total": 1,
    "retry_backoff_factor": 0.1,
    "connection_timeout": 3.0,
    "read_timeout": 5.0,
}


@dataclass(frozen=True, slots=True)
class FetchedObject:
    """One object as the provider hands it to the driver."""

    id: str
    version: str
    file: str
    mode: int
    content: bytes = field(repr=False)


class Provider:
    """Fetches from Key Vaults as a managed identity of this machine.

    Args:
        vault_urls: URL by vault name; stands for DNS. A vault that is not in it is
            `https://<name>.vault.azure.net`.
        ca_file: CA certificates (PEM) that vaults are verified with; None means the usual ones.
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
            StoreError: The vault did not give an object, or gave no token for it.
            MountError: A value is not in its encoding.
        """
        client = self._get_client(request)
        return [self._fetch_object(client, vault_object) for vault_object in request.objects]

    def _fetch_object(self, client: SecretClient, wanted: VaultObject) -> FetchedObject:
        where = f"{wanted.id} in {client.vault_url}"
        try:
            secret = client.get_secret(wanted.name, wanted.version)
        except AzureError as error:
            raise StoreError(f"{where}: {error.message.partition(chr(10))[0]}") from None
        except (AttributeError, TypeError, ValueError):  # the SDK's, when answered something else
            raise StoreError(f"{where}: the answer is unreadable") from None
        if secret.value is None or secret.properties.version is None:
            raise StoreError(f"{where}: the answer has no value or no version")
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
                # A vault behind a mapped URL answers with the audience of the name that it stands for.
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
