"""Real credential files: certificates, bundles, and the ways in which they get written."""

import base64
import datetime as dt
import functools
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

CLIENT = "11111111-2222-3333-4444-555555555555"
TENANT = "99999999-8888-7777-6666-555555555555"
EPOCH = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)


@functools.cache
def make_key(number: int = 0) -> rsa.RSAPrivateKey:
    """RSA keys are slow to make, so all tests share a few."""
    return rsa.generate_private_key(65537, 2048)


@dataclass(frozen=True)
class Issued:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey

    @property
    def thumbprint(self) -> str:
        return self.certificate.fingerprint(SHA256()).hex()

    @property
    def pem(self) -> bytes:
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return self.certificate.public_bytes(Encoding.PEM) + key


def issue(
    *, not_before: dt.datetime | None = None, days: float = 90, key: rsa.RSAPrivateKey | None = None
) -> Issued:
    """Issue a self-signed certificate; by default one that became valid an hour ago."""
    key = key or make_key()
    start = not_before or dt.datetime.now(dt.UTC).replace(microsecond=0) - dt.timedelta(hours=1)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, CLIENT)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=days))
        .sign(key, SHA256())
    )
    return Issued(certificate, key)


def render_fields(
    issued: Issued, *, authority: str = "https://login.example/", **changes: object
) -> dict[str, object]:
    """Render a credential file's fields; a change to `...` leaves the field out."""
    fields: dict[str, object] = {
        "authentication_endpoint": authority,
        "client_id": CLIENT,
        "tenant_id": TENANT,
        "client_secret": base64.b64encode(issued.pem).decode(),
        "not_before": issued.certificate.not_valid_before_utc.isoformat(),
        "not_after": issued.certificate.not_valid_after_utc.isoformat(),
        "object_id": "x",
        "unknown_key": {"ignored": True},
    }
    fields.update(changes)
    return {key: value for key, value in fields.items() if value is not ...}


def render_file(issued: Issued, **changes: object) -> bytes:
    """Render a credential file."""
    return json.dumps(render_fields(issued, **changes)).encode()  # type: ignore[arg-type]


class Mount:
    """A directory written as the CSI driver's atomic writer does it."""

    def __init__(self, directory: Path, name: str = "secret") -> None:
        self.directory = directory
        self.name = name
        self.path = directory / name
        self._count = 0

    def swap(self, content: bytes) -> None:
        """One rotation."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._count += 1
        old = self.directory / "..data"
        before = os.readlink(old) if old.is_symlink() else None
        new = f"..2026_11_23_10_15_42.{self._count}"
        (self.directory / new).mkdir()
        (self.directory / new / self.name).write_bytes(content)
        if not self.path.is_symlink():
            self.path.symlink_to(f"..data/{self.name}")
        (self.directory / "..data_tmp").symlink_to(new)
        (self.directory / "..data_tmp").rename(old)
        if before is not None:
            shutil.rmtree(self.directory / before, ignore_errors=True)


def later(issued: Issued, **changes: float) -> Issued:
    """Issue the next certificate: one that became valid later."""
    step = dt.timedelta(**(changes or {"minutes": 5}))
    return issue(not_before=issued.certificate.not_valid_before_utc + step)


def wait_until(true: Callable[[], object], *, seconds: float = 5) -> None:
    """Wait for something that another thread does."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.002)
