"""A credential that a pod could use, for tests that need no authority that knows it."""

import base64
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.local.clients import make_certificate, make_key


@cache
def make_client_secret(*, certificate_of: int = 0, key_of: int = 0) -> str:
    """Base64 of a PEM bundle; with two different keys it is one that nobody can use."""
    certificate = make_certificate(number=certificate_of).public_bytes(Encoding.PEM)
    key = make_key(key_of).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return base64.b64encode(certificate + key).decode()


def make_fields(**others: Any) -> dict[str, Any]:
    """The fields of a whole credential."""
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
