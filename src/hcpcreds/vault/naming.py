"""The names and tags of credentials in Key Vault.

Source: Azure/msi-dataplane, pkg/dataplane/keyvault.go and constants.go (August 2026).
"""

import hashlib
import re
from typing import Final
from urllib.parse import urlsplit

MANAGED_IDENTITY_PREFIX: Final = "msi-"
"""Prefix of a secret that holds a whole answer of the data plane."""
USER_ASSIGNED_IDENTITY_PREFIX: Final = "uamsi-"
"""Prefix of a secret that holds the credential of one user-assigned identity."""
RENEW_AFTER_TAG: Final = "renew_after"
CANNOT_RENEW_AFTER_TAG: Final = "cannot_renew_after"

_SECRET_NAME: Final = re.compile(r"[a-zA-Z0-9-]{1,127}")
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


def render_identifier(object_id: str) -> str:
    """Render the usual identifier of an identity: the SHA-224 of its object id in base 36, lower-case."""
    number = int.from_bytes(hashlib.sha224(object_id.encode()).digest())
    digits = ""
    while number:
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits or "0"


def get_identifier(name: str) -> str | None:
    """Return the lower-case text after `msi-` or `uamsi-` in a name, or None without such a prefix."""
    name = name.lower()
    for prefix in (MANAGED_IDENTITY_PREFIX, USER_ASSIGNED_IDENTITY_PREFIX):
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return None


def is_secret_name(name: str) -> bool:
    """Tell whether Key Vault allows a name."""
    return _SECRET_NAME.fullmatch(name) is not None


def get_host(vault_url: str) -> str:
    """Return the host of a vault with its port, by which vaults on one machine differ."""
    return urlsplit(vault_url).netloc.rpartition("@")[2]


def describe(vault_url: str, name: str | None = None) -> str:
    """Name a secret, or the whole vault, in a message."""
    return f"secret {name} in {vault_url}" if name else f"vault {vault_url}"
