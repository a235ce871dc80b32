"""How the local Entra ID verifies client assertions: with PyJWT and cryptography, without code of hcpcreds.

Entra ID documents no code for a replayed `jti`; this one answers AADSTS50027.
"""

import base64
import math
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

import jwt
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from jwt.types import Options

from hcpcreds.local.azure.entra_directory import (
    Application,
    RegisteredCertificate,
    build_thumbprint,
    find_certificate,
)
from hcpcreds.local.azure.entra_errors import EntraError

ALGORITHMS: Final = ("PS256", "RS256")
CLOCK_SKEW: Final = 300.0
"""Seconds by which a client's clock may be ahead: Azure's usual five minutes."""
_REMEMBERED: Final = 1000


class AssertionVerifier:
    """Verifies client assertions, and remembers those that it has accepted.

    Args:
        now: Clock giving an aware UTC time.
        longest_life: Seconds until an assertion may expire at most.
        refuse_replays: Whether an assertion is accepted only once.
    """

    def __init__(self, *, now: Callable[[], datetime], longest_life: float, refuse_replays: bool) -> None:
        self._now = now
        self._longest_life = longest_life
        self._refuse_replays = refuse_replays
        self._lock = threading.Lock()
        self._accepted: dict[tuple[str, str], float] = {}
        """Expiry by (client, jti); expired ones are removed from time to time."""
        self._forget_at = _REMEMBERED

    def verify(self, assertion: str, *, application: Application, audience: str) -> str:
        """Verify an assertion.

        Args:
            assertion: The JWT.
            application: The client that presents it.
            audience: The token endpoint that it was sent to.

        Returns:
            Thumbprint of the certificate that signed it.

        Raises:
            EntraError: The assertion is refused.
        """
        header, unverified = _parse(assertion)
        _check_parties(unverified, application=application, audience=audience)
        registered = self._find_key(header, application)
        claims = _verify(assertion, registered, header["alg"])
        _check_chain(header.get("x5c"), registered.certificate)
        expires = self._check_times(claims)
        self._check_replay(application.client_id, claims, expires)
        return build_thumbprint(registered.certificate)

    def _find_key(self, header: Mapping[str, Any], application: Application) -> RegisteredCertificate:
        sha256_digest, sha1_digest = _read_digest(header, "x5t#S256"), _read_digest(header, "x5t")
        digest = sha256_digest or sha1_digest
        if digest is None:
            raise _invalid_jwt("No certificate thumbprint, certificate, nor keyId specified in token header.")
        registered = find_certificate(application, sha256_digest=sha256_digest, sha1_digest=sha1_digest)
        now = self._now()
        if registered is None or not registered.is_known(now):
            raise _key_error("The key was not found.", digest, application)
        start, end = registered.certificate.not_valid_before_utc, registered.certificate.not_valid_after_utc
        if not start <= now <= end:
            reason = "The key used is expired." if now > end else "The key used is not yet valid."
            raise _key_error(
                reason, digest, application, found=f"Start={start:%m/%d/%Y %X}, End={end:%m/%d/%Y %X}"
            )
        return registered

    def _check_times(self, claims: Mapping[str, Any]) -> float:
        now = self._now().timestamp()
        expires = _read_time(claims, "exp")
        if expires is None:
            raise _invalid_jwt("The 'exp' claim is missing.")
        begins = max(_read_time(claims, "nbf") or 0.0, _read_time(claims, "iat") or 0.0)
        if not now < expires <= now + self._longest_life + CLOCK_SKEW or begins > now + CLOCK_SKEW:
            raise EntraError(
                "invalid_client",
                700024,
                "Client assertion is not within its valid time range. "
                f"Current time: {_iso(now)}, assertion valid from {_iso(begins)}, "
                f"expiry time of assertion {_iso(expires)}.",
            )
        return expires

    def _check_replay(self, client_id: str, claims: Mapping[str, Any], expires: float) -> None:
        jti = claims.get("jti")
        if not isinstance(jti, str) or not jti:
            raise _invalid_jwt("The 'jti' claim is missing.")
        with self._lock:
            if self._refuse_replays and (client_id, jti) in self._accepted:
                raise _invalid_jwt("This assertion's 'jti' was presented before.")
            self._accepted[client_id, jti] = expires
            if len(self._accepted) > self._forget_at:
                now = self._now().timestamp()
                self._accepted = {key: until for key, until in self._accepted.items() if until > now}
                self._forget_at = 2 * len(self._accepted) + _REMEMBERED


def find_signer(assertion: str, application: Application | None) -> str:
    """Find the thumbprint of the certificate that an assertion names; empty if it names none.

    Nothing is verified. A certificate that is named by its SHA-1 digest has to be registered.
    """
    try:
        header = jwt.get_unverified_header(assertion)
        sha256_digest, sha1_digest = _read_digest(header, "x5t#S256"), _read_digest(header, "x5t")
    except (jwt.InvalidTokenError, EntraError):
        return ""
    if sha256_digest is not None:
        return sha256_digest.hex()
    if sha1_digest is None or application is None:
        return ""
    registered = find_certificate(application, sha256_digest=None, sha1_digest=sha1_digest)
    return "" if registered is None else build_thumbprint(registered.certificate)


def _parse(assertion: str) -> tuple[dict[str, Any], dict[str, Any]]:
    # Padded ones too, against RFC 7515: azure-identity's asyncio credentials send them, Entra ID accepts
    # them.
    try:
        decoded = jwt.decode_complete(assertion, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        raise EntraError("invalid_request", 50027, "JWT token is invalid or malformed.") from None
    header, claims = decoded["header"], decoded["payload"]
    if header.get("alg") not in ALGORITHMS:
        raise EntraError(
            "invalid_request", 5002730, "Invalid JWT token. Unsupported key for the signing algorithm."
        )
    return header, claims


def _check_parties(claims: Mapping[str, Any], *, application: Application, audience: str) -> None:
    issuer, subject = claims.get("iss"), claims.get("sub")
    if issuer != subject:
        raise EntraError(
            "invalid_client", 50048, "Subject must match the issuer claim in the client assertion."
        )
    if not isinstance(issuer, str) or issuer.lower() != application.client_id.lower():
        raise EntraError(
            "invalid_client",
            700021,
            "Client assertion application identifier doesn't match 'client_id' parameter.",
        )
    if claims.get("aud") != audience:
        raise EntraError(
            "invalid_client", 700023, "Client assertion audience claim does not match Realm issuer."
        )


def _verify(assertion: str, registered: RegisteredCertificate, algorithm: str) -> dict[str, Any]:
    key = registered.certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        raise EntraError(
            "invalid_request", 5002730, "Invalid JWT token. Unsupported key for the signing algorithm."
        )
    # Signature only: the claims are checked here, by the emulator's own clock.
    options: Options = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False}
    try:
        claims: dict[str, Any] = jwt.decode(assertion, key, algorithms=[algorithm], options=options)
    except jwt.InvalidSignatureError:
        raise EntraError(
            "invalid_client",
            700027,
            "The certificate with identifier used to sign the client assertion failed signature validation. "
            "[Reason - Key was found, but use of the key to verify the signature failed., Thumbprint of key "
            f"used by client: '{build_thumbprint(registered.certificate).upper()}'.]",
        ) from None
    except jwt.InvalidTokenError as error:  # what PyJWT itself checks, such as the type of a claim
        raise _invalid_jwt(f"{error}.") from None
    return claims


def _check_chain(x5c: object, leaf: x509.Certificate) -> None:
    """Check that a chain, if one is sent, begins with the registered certificate and holds together."""
    if x5c is None:
        return
    if not isinstance(x5c, list):
        raise _chain_error("The certificate chain is not a list.")
    try:
        chain = [x509.load_der_x509_certificate(base64.b64decode(item, validate=True)) for item in x5c]
    except (ValueError, TypeError):
        raise _chain_error("The certificate chain cannot be read.") from None
    if not chain or chain[0].public_bytes(Encoding.DER) != leaf.public_bytes(Encoding.DER):
        raise _chain_error("Thumbprint of the signing certificate is not authorized.")
    for certificate, issuer in pairwise(chain):
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            raise _chain_error("The certificate chain is not valid.") from None


def _read_digest(header: Mapping[str, Any], name: str) -> bytes | None:
    value = header.get(name)
    if value is None:
        return None
    try:
        return base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
    except (TypeError, ValueError):
        raise _invalid_jwt(f"The header's '{name}' is not base64url.") from None


def _read_time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise _invalid_jwt(f"The '{name}' claim is not a number.")
    return float(value)


def _iso(seconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    except (OverflowError, ValueError, OSError):
        return "out of range"


def _invalid_jwt(message: str) -> EntraError:
    return EntraError("invalid_request", 50027, f"Invalid JWT token. {message}")


def _chain_error(message: str) -> EntraError:
    return EntraError("invalid_client", 50012, f"Authentication failed. {message}")


def _key_error(
    reason: str, digest: bytes, application: Application, *, found: str | None = None
) -> EntraError:
    key = f", Found key '{found}'" if found else ""
    return EntraError(
        "invalid_client",
        700027,
        "The certificate with identifier used to sign the client assertion is not registered on application. "
        f"[Reason - {reason}, Thumbprint of key used by client: '{digest.hex().upper()}'{key}, Please visit "
        "the Azure Portal, Graph Explorer or directly use MS Graph to see configured keys for app Id "
        f"'{application.client_id}'.]",
    )
