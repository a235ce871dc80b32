"""The certificate and private key inside a credential file, and the assertions that it signs."""

import base64
import hashlib
import json
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key, pkcs12

from hcpcreds.credential.fork_locks import signing

ASSERTION_SECONDS: Final = 600
"""How long an assertion can be used; the Microsoft identity platform advises 5 to 10 minutes."""

_PSS = padding.PSS(mgf=padding.MGF1(SHA256()), salt_length=SHA256.digest_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate with its chain and its private key."""

    thumbprint: str
    """SHA-256 of the certificate's DER, lower-case hex."""
    not_before: datetime
    not_after: datetime
    chain: tuple[bytes, ...] = field(repr=False)
    """DER, the certificate itself first."""
    key: rsa.RSAPrivateKey = field(repr=False)

    def sign_assertion(self, *, client_id: str, audience: str, now: float) -> str:
        """Sign a client assertion: proof to the authority that the bearer holds the private key.

        Blocks for about 0.3 ms (RSA 2048), with the interpreter's lock released.

        Args:
            client_id: The identity; both issuer and subject.
            audience: URL of the token endpoint.
            now: Unix time.

        Source: learn.microsoft.com, "Microsoft identity platform application authentication certificate
        credentials".
        """
        header = {
            "alg": "PS256",
            "typ": "JWT",
            "x5t#S256": _encode(bytes.fromhex(self.thumbprint)),
            "x5c": [base64.b64encode(certificate).decode() for certificate in self.chain],
        }
        issued = int(now)
        claims = {
            "aud": audience,
            "iss": client_id,
            "sub": client_id,
            "jti": str(uuid.uuid4()),
            "nbf": issued,
            "iat": issued,
            "exp": issued + ASSERTION_SECONDS,
        }
        signed = f"{_encode(json.dumps(header).encode())}.{_encode(json.dumps(claims).encode())}"
        with signing:
            signature = self.key.sign(signed.encode(), _PSS, SHA256())
        return f"{signed}.{_encode(signature)}"


def parse_certificate(secret: bytes) -> Certificate:
    """Open a PEM bundle, or a PKCS#12 without a password.

    Raises:
        ValueError: There is no certificate with its own RSA key in it. The text tells nothing of the secret.
    """
    key, certificates = _parse_pem(secret) if b"-----BEGIN " in secret else _parse_pkcs12(secret)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError(  # noqa: TRY004 (a wrong value to whoever mounted it)
            "the private key is not RSA, and Entra ID takes only RSA keys in assertions"
        )
    if not certificates:
        raise ValueError("there is a private key, but no certificate")
    # The chain can stand in any order: what makes the leaf is that the key is its own.
    public_key = key.public_key()
    leaf = next((each for each in certificates if _get_public_key(each) == public_key), None)
    if leaf is None:
        raise ValueError("the private key belongs to another certificate")
    chain = tuple(each.public_bytes(Encoding.DER) for each in _order_chain(leaf, certificates))
    return Certificate(
        thumbprint=hashlib.sha256(chain[0]).hexdigest(),
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        chain=chain,
        key=key,
    )


def _order_chain(leaf: x509.Certificate, certificates: list[x509.Certificate]) -> list[x509.Certificate]:
    """Put each issuer after what it issued, and leave out what belongs to no one."""
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
        return None  # somebody else's, of a kind that is unknown here


def _parse_pem(secret: bytes) -> tuple[PrivateKeyTypes, list[x509.Certificate]]:
    keys = secret.count(b"PRIVATE KEY-----") // 2  # it begins and it ends
    if keys != 1:
        raise ValueError(f"the PEM bundle holds {keys or 'no'} private keys; expected one")
    if b"ENCRYPTED" in secret:
        raise ValueError("the private key is encrypted; a mounted one must not be")
    try:
        # Checking that an RSA key is sound costs 36 ms. That it is this certificate's is checked above.
        key = load_pem_private_key(secret, None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("the private key in the PEM bundle does not parse") from None
    if b"-----BEGIN CERTIFICATE-----" not in secret:
        return key, []
    try:
        return key, x509.load_pem_x509_certificates(secret)
    except (ValueError, x509.InvalidVersion):
        raise ValueError("a certificate in the PEM bundle does not parse") from None


def _parse_pkcs12(secret: bytes) -> tuple[PrivateKeyTypes, list[x509.Certificate]]:
    try:
        bundle = pkcs12.load_pkcs12(secret, None)
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion):
        raise ValueError("neither a PEM bundle nor a PKCS#12 without a password") from None
    if bundle.key is None:
        raise ValueError("the PKCS#12 holds no private key")
    own = [bundle.cert.certificate] if bundle.cert else []
    return bundle.key, [*own, *(each.certificate for each in bundle.additional_certs)]


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
