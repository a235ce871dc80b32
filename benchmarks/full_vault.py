"""A vault full of stored credentials in a local Azure: prints its URLs, and in the end its counts.

Run by `benchmarks.renewal` as `python -m benchmarks.full_vault FOLDER`; the end of standard input ends it.
"""

import json
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from hcpcreds.dataplane import UserAssignedIdentityCredentials
from hcpcreds.dataplane.models import parse_model
from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.local.azure.settings import AzureSettings
from hcpcreds.vault.naming import render_identifier
from hcpcreds.vault.secret import VaultSecret, build_secret

STORED: Final = 10_000
DUE: Final = 1_000
LATENCY_SECONDS: Final = 0.02
LIMIT_REQUESTS: Final = 2_000
LIMIT_SECONDS: Final = 10.0


def main() -> None:
    """Fill the vault, print its URLs, wait, and print the counts."""
    folder = Path(sys.argv[1])
    # Generating a key takes 50 ms: a thousand of them would dominate the measurement.
    with LocalAzure(AzureSettings(key_pool=1, state_directory=str(folder))) as azure:
        vault = azure.vault()
        secrets = [_build(azure, f"aaaaaaaa-0000-0000-0000-{number:012}", due=True) for number in range(DUE)]
        due = [_store(azure, secret, secret.name) for secret in secrets]
        # Credentials that are not due are never read, so they share one value. Their names are between those of due ones.
        other = _build(azure, "bbbbbbbb-0000-0000-0000-000000000001", due=False)
        others = [_store(azure, other, f"uamsi-{render_identifier(str(n))}") for n in range(STORED - DUE)]
        own = folder / "own.json"
        own.write_text(json.dumps(azure.issue("cccccccc-0000-0000-0000-000000000001")))
        for service in ("vault", "data_plane"):
            azure.faults.latency(service, LATENCY_SECONDS)
        limit = azure.faults.limit("vault", requests=LIMIT_REQUESTS, seconds=LIMIT_SECONDS)
        azure.faults.limit("data_plane", requests=LIMIT_REQUESTS, seconds=LIMIT_SECONDS)
        print(json.dumps({**azure.describe(), "vault": vault.url, "credential_file": str(own)}), flush=True)
        sys.stdin.read()
        new = Counter(len(vault.list_versions(name)) - 1 for name in due)
        report = {
            "renewed_once": new[1],
            "renewed_more_often": sum(new.values()) - new[0] - new[1],
            "others_touched": sum(len(vault.list_versions(name)) > 1 for name in others),
            "lists": azure.requests.count("vault", method="GET")
            - azure.requests.count("vault", match="/secrets/", method="GET"),
            "reads": azure.requests.count("vault", match="/secrets/", method="GET"),
            "writes": azure.requests.count("vault", method="PUT"),
            "refused": limit.refused,
            "renewals": azure.requests.count("data_plane"),
        }
        print(json.dumps(report), flush=True)


def _store(azure: LocalAzure, secret: VaultSecret, name: str) -> str:
    azure.vault().put(
        name, secret.value, not_before=secret.not_before, expires_on=secret.expires_on, tags=secret.tags
    )
    return name


def _build(azure: LocalAzure, client_id: str, *, due: bool) -> VaultSecret:
    issued: dict[str, Any] = azure.issue(client_id)
    if due:
        issued["renew_after"] = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
    return build_secret(parse_model(msgspec.json.encode(issued), UserAssignedIdentityCredentials))


if __name__ == "__main__":
    main()
