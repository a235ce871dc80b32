"""The names of the Leases by which replicas share vaults."""

import hashlib
import re
from typing import Final

_PREFIX: Final = "hcpcreds-renew."
_LONGEST_NAME: Final = 253


def render_lease_name(vault_url: str) -> str:
    """Render the name of a vault's Lease: a DNS subdomain, different for each vault."""
    vault_url = vault_url.lower()
    host = vault_url.partition("//")[2] or vault_url
    labels = (re.sub(r"[^a-z0-9]+", "-", label).strip("-") for label in host.split("."))
    name = ".".join(filter(None, labels))
    if name != host or len(_PREFIX + name) > _LONGEST_NAME:
        # Another URL may give the same name.
        digest = hashlib.sha256(vault_url.encode()).hexdigest()[:8]
        short = name[: _LONGEST_NAME - len(_PREFIX) - len(digest) - 1].rstrip("-.")
        name = "-".join(filter(None, (short, digest)))
    return _PREFIX + name
