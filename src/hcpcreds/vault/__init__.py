"""Credentials in Key Vault: their names, tags and attributes; storing, loading and listing them.

Works with `SecretClient` of azure-keyvault-secrets; the asyncio twins are in `hcpcreds.vault.aio`.
"""

from hcpcreds.vault.naming import render_identifier
from hcpcreds.vault.secret import (
    Credentials,
    LoadedSecret,
    StoredCredential,
    build_secret,
    read_secret,
    read_stored,
)
from hcpcreds.vault.storing import list_stored, load, store

__all__ = [
    "Credentials",
    "LoadedSecret",
    "StoredCredential",
    "build_secret",
    "list_stored",
    "load",
    "read_secret",
    "read_stored",
    "render_identifier",
    "store",
]
