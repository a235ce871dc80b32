"""A usable credential, for tests without an authority."""

import base64
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.local.clients import make_certificate, make_key


@cache
def make_client_secret(*, certificate_of: int = 0, key_of: int = 0) -> str:
    """Return a PEM bundle in base64; with two different keys it is unusable."""
    certificate = make_certificate(number=certificate_of).public_bytes(Encoding.PEM)
    key = make_key(key_of).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return base64.b64encode(certificate + key).decode()


def make_fields(**others: Any) -> dict[str, Any]:
    """Return the fields of a complete credential."""
    return {
        "authentication_endpoint": "https://login.microsoftonline.com/",
        "client_id": "aaaaaaaa-0000-0000-0000-000000000002",
        "client_secret": make_client_secret(),
        "tenant_id": "72f988bf-86f1-41af-91ab-2d7cd011db47",
        "object_id": "11111111-2222-3333-4444-555555555555",
        "not_before": "2026-11-23T10:00:00Z",
        "not_after": "2027-02-21T10:00:00Z",
        "renew_after": "2027-01-07T10:00:00+01:00",
        "cannot_renew_after": "2027-05-22T10:00:00Z",
        **others,
    }
