"""The certificate and private key in a credential file, and the assertions that they sign."""

import base64
import binascii
import hashlib
import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from hcpcreds.credential_file.der import OCTET_STRING, SEQUENCE, read_all, read_first
from hcpcreds.credential_file.encryption import Decrypter
from hcpcreds.credential_file.pkcs12 import open_pkcs12
from hcpcreds.credential_file.rsa_key import read_rsa_key
from hcpcreds.fork_locks import openssl

_ASSERTION_SECONDS: Final = 600
"""Lifetime of an assertion; the Microsoft identity platform advises 5 to 10 minutes."""
MAX_SECRET_BYTES: Final = 128 << 10
"""Key Vault accepts 25 KB at most, and real bundles are much smaller."""
_MAX_CERTIFICATES: Final = 32
"""A chain has three or four certificates."""
CLOCK_SKEW: Final = timedelta(minutes=5)
"""Assumed difference between this machine's clock and the authority's: a certificate is used from this long
before its not_before until this long after its not_after. The authority makes the final decision."""

_CERTIFICATE_LABELS: Final = (b"CERTIFICATE", b"X509 CERTIFICATE")
_PSS = padding.PSS(mgf=padding.MGF1(SHA256()), salt_length=SHA256.digest_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate with its chain and its private key."""

    thumbprint: str
    """SHA-256 of the certificate's DER in lower-case hex."""
    not_before: datetime
    not_after: datetime
    chain: tuple[bytes, ...] = field(repr=False)
    """DER; the certificate itself comes first."""
    key: rsa.RSAPrivateKey = field(repr=False)
    unused: int = 0
    """Number of other certificates for the same key in the bundle."""

    def find_unusual(self) -> Iterator[str]:
        """Find what is unusual about the bundle, and how it was resolved."""
        if self.unused:
            yield (
                f"holds {self.unused + 1} certificates for its key; "
                f"using the one that expires at {self.not_after:%Y-%m-%dT%H:%M:%SZ}"
            )

    def sign_assertion(
        self,
        *,
        client_id: str,
        audience: str,
        now: float,
        expires_at: int | None = None,
        certificates: int | None = None,
    ) -> str:
        """Sign a client assertion, which proves to the authority that the sender has the private key.

        Blocks for about 0.3 ms (RSA 2048), with the interpreter's lock released.

        Args:
            client_id: Client id of the identity: both issuer and subject.
            audience: URL of the token endpoint.
            now: Unix time.
            expires_at: Unix time; by default ten minutes after `now`.
            certificates: Number of certificates of the chain to include; by default all.

        Source: learn.microsoft.com, "Microsoft identity platform application authentication certificate
        credentials".
        """
        header: dict[str, object] = {
            "alg": "PS256",
            "typ": "JWT",
            "x5t#S256": _encode(bytes.fromhex(self.thumbprint)),
        }
        if certificates != 0:
            header["x5c"] = [base64.b64encode(each).decode() for each in self.chain[:certificates]]
        issued = int(now)
        claims = {
            "aud": audience,
            "iss": client_id,
            "sub": client_id,
            "jti": str(uuid.uuid4()),
            "nbf": issued,
            "iat": issued,
            "exp": issued + _ASSERTION_SECONDS if expires_at is None else expires_at,
        }
        signed = f"{_encode(json.dumps(header).encode())}.{_encode(json.dumps(claims).encode())}"
        with openssl:
            signature = self.key.sign(signed.encode(), _PSS, SHA256())
        return f"{signed}.{_encode(signature)}"


def parse_certificate(
    secret: bytes, *, password: bytes | None = None, now: datetime | None = None
) -> Certificate:
    """Parse a PEM bundle or a PKCS#12.

    Args:
        secret: The bundle.
        password: UTF-8. None for a bundle that is not encrypted, or encrypted with the empty password.
        now: Aware time; of several certificates for the key, the latest that is valid at this time is chosen.
            Defaults to the current time.

    Raises:
        PasswordError: The bundle is encrypted, and the password does not open it.
        ValueError: The bundle has no certificate with its RSA key. The text reveals nothing of the secret.
    """
    keys, certificates = _open_bundle(secret, password)
    if not keys and certificates:
        raise ValueError("the bundle holds certificates, but no private key")
    if len(keys) != 1:
        raise ValueError(f"the bundle holds {len(keys) or 'no'} private keys; expected one")
    key = read_rsa_key(keys[0])
    if not certificates:
        raise ValueError("the bundle holds a private key, but no certificate")
    # The chain may be in any order: the leaf is the certificate that the key belongs to.
    public_key = key.public_key()
    own = [each for each in certificates if _get_public_key(each) == public_key]
    if not own:
        raise ValueError("the private key belongs to another certificate")
    leaf = _choose(own, now or datetime.now(UTC))
    try:
        ordered = _order_chain(leaf, certificates)
    except ValueError:
        raise ValueError("a certificate in the bundle cannot be parsed") from None
    chain = tuple(each.public_bytes(Encoding.DER) for each in ordered)
    return Certificate(
        thumbprint=hashlib.sha256(chain[0]).hexdigest(),
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        chain=chain,
        key=key,
        unused=len(own) - 1,
    )


def find_certificates(secret: bytes, *, password: bytes | None = None) -> list[x509.Certificate]:
    """List the certificates in a PEM bundle or a PKCS#12, whatever keys it has.

    Raises:
        ValueError: The bundle cannot be opened, or one of the certificates cannot be parsed.
    """
    if is_pem(secret):
        certificates = [body for label, body in _split_pem(secret) if label in _CERTIFICATE_LABELS]
        return _load([_decode_pem(each, "a certificate") for each in certificates])
    return _open_bundle(secret, password)[1]


def is_pem(content: bytes) -> bool:
    """Return whether a file is PEM, whatever precedes its first block."""
    return b"-----BEGIN " in content


def _open_bundle(secret: bytes, password: bytes | None) -> tuple[Sequence[bytes], list[x509.Certificate]]:
    """Return the unparsed keys (DER) and the certificates of a bundle, without duplicates."""
    if len(secret) > MAX_SECRET_BYTES:
        raise ValueError(f"the bundle is larger than {MAX_SECRET_BYTES} bytes")
    keys: Sequence[bytes]
    certificates: Sequence[bytes]
    if is_pem(secret):
        keys, certificates = _read_pem(secret, password)
    elif is_der_certificate(secret):
        keys, certificates = (), (secret,)
    else:
        keys, certificates = open_pkcs12(secret, password=password)
    return keys, _load(certificates)


def is_der_certificate(content: bytes) -> bool:
    """Return whether a file is one certificate in DER, and so without a key."""
    try:
        x509.load_der_x509_certificate(content)
    except (ValueError, x509.InvalidVersion):
        return False
    return True


def _load(certificates: Sequence[bytes]) -> list[x509.Certificate]:
    if len(certificates) > _MAX_CERTIFICATES:
        raise ValueError(f"the bundle holds more than {_MAX_CERTIFICATES} certificates")
    try:
        return [x509.load_der_x509_certificate(each) for each in dict.fromkeys(certificates)]
    except (ValueError, x509.InvalidVersion):
        raise ValueError("a certificate in the bundle cannot be parsed") from None


def _read_pem(secret: bytes, password: bytes | None) -> tuple[list[bytes], list[bytes]]:
    keys, certificates = [], []
    decrypter = Decrypter("the private key", password)
    for label, body in _split_pem(secret):
        if label.endswith(b"PRIVATE KEY"):
            keys.append(_read_pem_key(label, body, decrypter))
        elif label in _CERTIFICATE_LABELS:
            certificates.append(_decode_pem(body, "a certificate"))
    return keys, certificates


def _read_pem_key(label: bytes, body: bytes, decrypter: Decrypter) -> bytes:
    headers, blank, older = body.replace(b"\r", b"").partition(b"\n\n")
    if blank and b"ENCRYPTED" in headers:
        return decrypter.decrypt_pem(headers, _decode_pem(older, "the private key"))
    der = _decode_pem(body, "the private key")
    if b"ENCRYPTED" not in label:
        return der
    try:
        algorithm, ciphertext = read_all(read_first(der, SEQUENCE), SEQUENCE, OCTET_STRING)
    except ValueError:
        raise ValueError("the private key in the PEM bundle cannot be parsed") from None
    return decrypter.decrypt(algorithm, ciphertext)


def _split_pem(secret: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Split PEM into blocks with their labels; text between blocks (bag attributes) is a comment."""
    for part in secret.split(b"-----BEGIN ")[1:]:
        label, _, rest = part.partition(b"-----")
        body, end, _ = rest.partition(b"-----END " + label + b"-----")
        yield label, body if end else b"?"


def _decode_pem(body: bytes, item: str) -> bytes:
    try:
        return base64.b64decode(b"".join(body.split()), validate=True)
    except binascii.Error:
        raise ValueError(f"{item} in the PEM bundle cannot be parsed") from None


def _choose(own: list[x509.Certificate], now: datetime) -> x509.Certificate:
    """Choose from the certificates of one key: the latest valid one, or else the latest."""

    def rank(each: x509.Certificate) -> tuple[bool, datetime]:
        is_valid = (
            each.not_valid_before_utc <= now + CLOCK_SKEW and now - CLOCK_SKEW < each.not_valid_after_utc
        )
        return is_valid, each.not_valid_after_utc

    return max(own, key=rank)


def _order_chain(leaf: x509.Certificate, certificates: list[x509.Certificate]) -> list[x509.Certificate]:
    """Order the chain from the leaf to its root, and leave out unrelated certificates."""
    chain = [leaf]
    while len(chain) < len(certificates) and chain[-1].subject != chain[-1].issuer:
        issuer = next(
            (each for each in certificates if each.subject == chain[-1].issuer and each not in chain), None
        )
        if issuer is None:
            break
        chain.append(issuer)
    return chain


def _get_public_key(certificate: x509.Certificate) -> object:
    try:
        return certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None  # an unrelated certificate with an unsupported key


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
