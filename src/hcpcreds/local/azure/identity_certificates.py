"""Certificates of managed identities, as the local data plane issues them. For development and tests only."""

import base64
import functools
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SecretFormat = Literal["pem", "pkcs12"]

_SECOND: Final = timedelta(seconds=1)
_RENEW_AFTER: Final = 46 / 90
"""Fraction of a certificate's lifetime after which it is due for renewal: 46 of 90 days in Azure."""
_CANNOT_RENEW_AFTER: Final = 2.0
"""Number of lifetimes after which renewal is refused: 180 days for one of 90 days in Azure."""


@dataclass(frozen=True, repr=False)
class IssuedCertificate:
    """A new certificate with its private key."""

    certificate: x509.Certificate
    private_key: rsa.RSAPrivateKey
    renew_after: datetime
    cannot_renew_after: datetime

    def render_secret(self, secret_format: SecretFormat) -> str:
        """Render certificate and key as in a credential file: Base64 of PEM or PKCS#12."""
        if secret_format == "pkcs12":  # noqa: S105 (a format)
            bundle = pkcs12.serialize_key_and_certificates(
                None, self.private_key, self.certificate, None, NoEncryption()
            )
        else:
            bundle = self.certificate.public_bytes(Encoding.PEM) + self.private_key.private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
            )
        return base64.b64encode(bundle).decode()


class CertificateIssuer:
    """Issues certificates; the validity of each starts later than that of the identity's last one.

    Args:
        now: Clock giving an aware UTC time.
        lifetime: Seconds until a new certificate expires.
        backdate: Seconds by which a new certificate's validity starts in the past.
        key_pool: Number of keys, which certificates use in turn; None generates one for each certificate.
    """

    def __init__(
        self,
        *,
        now: Callable[[], datetime],
        lifetime: float,
        backdate: float,
        key_pool: int | None = None,
    ) -> None:
        self._now = now
        self.lifetime = lifetime
        self._backdate = backdate
        self._keys = None if key_pool is None else itertools.cycle(list(map(_get_key, range(key_pool))))
        self._lock = threading.Lock()
        self._last_not_before: dict[str, datetime] = {}
        self._ca_key = ec.generate_private_key(ec.SECP256R1())
        self._ca_name = x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, "hcpcreds local managed identities")]
        )

    def issue(
        self,
        client_id: str,
        *,
        private_key: rsa.RSAPrivateKey | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> IssuedCertificate:
        """Issue a certificate. Takes tens of milliseconds of CPU time for a new key.

        Args:
            client_id: Client id of the identity.
            private_key: RSA key to use; None generates one.
            not_before: Start of its validity; by default later than that of the last one of this client.
            not_after: End of its validity; by default a lifetime from now.
        """
        key = private_key or self._take_key()
        now = self._now().astimezone(UTC)
        lifetime = timedelta(seconds=self.lifetime)
        not_before = (not_before or self._next_not_before(client_id, now)).replace(microsecond=0)
        not_after = _round_up(not_after or now + lifetime)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, client_id)]))
            .issuer_name(self._ca_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before)
            .not_valid_after(not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_SIGN_AND_ENCIPHER, critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._ca_key.public_key()), critical=False
            )
            .sign(self._ca_key, hashes.SHA256())
        )
        return IssuedCertificate(
            certificate,
            key,
            _round_up(now + lifetime * _RENEW_AFTER),
            _round_up(now + lifetime * _CANNOT_RENEW_AFTER),
        )

    def _take_key(self) -> rsa.RSAPrivateKey:
        if self._keys is None:
            return _make_key()
        with self._lock:
            return next(self._keys)

    def _next_not_before(self, client_id: str, now: datetime) -> datetime:
        # Certificates and credential files have whole seconds: a second one in the same second starts later.
        with self._lock:
            wanted = (now - timedelta(seconds=self._backdate)).replace(microsecond=0)
            last = self._last_not_before.get(client_id)
            not_before = wanted if last is None else max(wanted, last + _SECOND)
            self._last_not_before[client_id] = not_before
            return not_before


@functools.cache
def _get_key(_: int) -> rsa.RSAPrivateKey:
    """Return a key of the pool, which all issuers of the process share."""
    return _make_key()


def _make_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _round_up(at: datetime) -> datetime:
    whole = at.replace(microsecond=0)
    return whole if whole == at else whole + _SECOND


_SIGN_AND_ENCIPHER: Final = x509.KeyUsage(
    digital_signature=True,
    key_encipherment=True,
    content_commitment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
