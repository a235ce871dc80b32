"""Real credential files, with certificates and bundles in them."""

import base64
import datetime as dt
import functools
import json
import time
from dataclasses import dataclass
from types import EllipsisType
from typing import Any, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from tests.support.waiting import wait_until

from hcpcreds.credential import Status

CLIENT = "11111111-2222-3333-4444-555555555555"
TENANT = "99999999-8888-7777-6666-555555555555"
PASSWORD = "correct horse \N{SNOWMAN}"


@functools.cache
def make_key(_: int = 0) -> rsa.RSAPrivateKey:
    """Return one of a few shared keys, because generating an RSA key is slow."""
    return rsa.generate_private_key(65537, 2048)


@dataclass(frozen=True)
class Issued:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: Any

    @property
    def thumbprint(self) -> str:
        return self.certificate.fingerprint(SHA256()).hex()

    @property
    def key_pem(self) -> bytes:
        pem: bytes = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return pem

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def not_before(self) -> dt.datetime:
        return self.certificate.not_valid_before_utc


def issue(*, not_before: dt.datetime | None = None, days: float = 90, key: Any = None) -> Issued:
    """Issue a self-signed certificate; by default one that became valid two hours ago."""
    key = key or make_key()
    start = not_before or dt.datetime.now(dt.UTC).replace(microsecond=0) - dt.timedelta(hours=2)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, CLIENT)])
    algorithm = SHA256() if hasattr(key, "key_size") else None
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=days))
        .sign(key, algorithm)
    )
    return Issued(certificate, key)


def encrypt_pem(issued: Issued, *, password: str = PASSWORD, older: bool = False) -> bytes:
    form = PrivateFormat.TraditionalOpenSSL if older else PrivateFormat.PKCS8
    key: bytes = issued.key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(password.encode()))
    return issued.certificate_pem + key


def later(issued: Issued, *, minutes: float = 5) -> Issued:
    """Issue the next certificate: one that became valid later."""
    return issue(not_before=issued.not_before + dt.timedelta(minutes=minutes))


def encode(secret: bytes) -> str:
    return base64.b64encode(secret).decode()


def render_file(issued: Issued, **changes: object | EllipsisType) -> bytes:
    """Render a credential file; a change to `...` leaves its key out."""
    fields: dict[str, object] = {
        "authentication_endpoint": "https://login.example/",
        "client_id": CLIENT,
        "tenant_id": TENANT,
        "client_secret": encode(issued.certificate_pem + issued.key_pem),
        "not_before": issued.not_before.isoformat(),
        "not_after": issued.certificate.not_valid_after_utc.isoformat(),
        "renew_after": "whenever",
        "unknown_key": {"ignored": True},
        **changes,
    }
    return json.dumps({key: value for key, value in fields.items() if value is not ...}).encode()


class Clock:
    """Unix time that a test can set."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead

    def now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self(), dt.UTC)


class Steps:
    """A monotonic clock that advances by `step` seconds each time it is read."""

    def __init__(self) -> None:
        self.now = 0.0
        self.step = 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


class HasStatus(Protocol):
    """A credential or a source."""

    def status(self) -> Status: ...


def wait_for_generation(source: HasStatus, generation: int) -> None:
    """Wait until a source has accepted so many credentials."""
    wait_until(lambda: source.status().generation == generation)
