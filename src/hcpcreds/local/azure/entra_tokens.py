"""Access tokens of the local Azure: issued by its Entra ID, verified by its other services."""

import base64
import uuid
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, Literal

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.types import Options

from hcpcreds.local.azure.entra_directory import Application, Directory

CERTIFICATE_CLAIM: Final = "hcpcreds_certificate"
"""Private claim: SHA-256 thumbprint of the certificate that the token was requested with."""
CLAIMS_CLAIM: Final = "hcpcreds_claims"
"""Private claim: what the request's `claims` said of the access token, so that tests can see it."""
_CACHED_TOKENS: Final = 4096

Fault = Literal[
    "missing", "malformed", "signature", "issuer", "audience", "expired", "not_yet_valid", "unknown"
]


class BadTokenError(Exception):
    """A bearer token is not accepted.

    Args:
        reason: What is wrong with it; each service has its own text for it.
        claims: Its claims, if they are known and may be shown.
    """

    def __init__(self, reason: Fault, claims: Mapping[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.claims = claims or {}


class TokenAuthority:
    """Signs access tokens, and verifies them.

    Args:
        directory: The clients that may have tokens.
        now: Clock giving an aware UTC time.
        lifetime: Seconds that a token is valid for; may have a fraction.
    """

    def __init__(self, *, directory: Directory, now: Callable[[], datetime], lifetime: float) -> None:
        self._directory = directory
        self._now = now
        self.lifetime = lifetime
        self.authority = ""
        """Entra's URL with a trailing slash; set once it listens."""
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = self._key.public_key()
        self._public_key = public
        self._key_id = sha256(
            public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        ).hexdigest()[:27]
        self._verified: dict[str, dict[str, Any]] = {}

    def issue(
        self,
        application: Application,
        *,
        audience: str,
        thumbprint: str | None = None,
        claims_request: Mapping[str, Any] | None = None,
    ) -> str:
        """Issue a token.

        Args:
            application: The client that it is for.
            audience: The service that it is for.
            thumbprint: The certificate that it was requested with, if any.
            claims_request: The `claims` parameter of the request; client capabilities are echoed.
        """
        issued = self._now().timestamp()
        claims: dict[str, Any] = {
            "aud": audience,
            "iss": self.issuer(application.tenant_id),
            "iat": int(issued),
            "nbf": int(issued),
            "exp": issued + self.lifetime,
            "appid": application.client_id,
            "appidacr": "2",
            "azp": application.client_id,
            "azpacr": "2",
            "idtyp": "app",
            "oid": application.object_id,
            "sub": application.object_id,
            "tid": application.tenant_id,
            "uti": base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="),
            "ver": "2.0",
        }
        if thumbprint is not None:
            claims[CERTIFICATE_CLAIM] = thumbprint
        wanted = (claims_request or {}).get("access_token")
        if wanted is not None:
            claims[CLAIMS_CLAIM] = wanted
        capabilities = wanted.get("xms_cc") if isinstance(wanted, Mapping) else None
        if isinstance(capabilities, Mapping) and isinstance(capabilities.get("values"), list):
            claims["xms_cc"] = capabilities["values"]
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": self._key_id})

    def issuer(self, tenant_id: str) -> str:
        """Get the issuer of a tenant's tokens."""
        return f"{self.authority}{tenant_id}/v2.0"

    def as_jwk(self) -> dict[str, Any]:
        """Build the JWK of the public signing key."""
        jwk: dict[str, Any] = jwt.algorithms.RSAAlgorithm.to_jwk(self._public_key, as_dict=True)
        jwk.pop("key_ops", None)
        return jwk | {"kid": self._key_id, "use": "sig", "alg": "RS256"}

    def verify(
        self, authorization: str | None, *, audiences: Collection[str], tenant_id: str | None = None
    ) -> dict[str, Any]:
        """Verify the bearer token of a request.

        Args:
            authorization: The request's Authorization header.
            audiences: The audiences that the service accepts.
            tenant_id: The one tenant that the service trusts, lower-case; None means every tenant.

        Returns:
            The token's claims.

        Raises:
            BadTokenError: The token is not accepted.
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise BadTokenError("missing")
        claims = self._verified.get(token) or self._verify_signature(token)
        trusted = tenant_id or claims["tid"]
        if claims["iss"] != self.issuer(trusted) or not self._directory.has_tenant(trusted):
            raise BadTokenError("issuer", claims)
        if claims["aud"] not in audiences:
            raise BadTokenError("audience", claims)
        now = self._now().timestamp()
        if now >= claims["exp"]:
            raise BadTokenError("expired", claims)
        if now < claims["nbf"] - 300:
            raise BadTokenError("not_yet_valid", claims)
        if self._directory.find_application(claims["appid"]) is None:
            raise BadTokenError("unknown", claims)
        return claims

    def find_certificate(self, authorization: str | None) -> str:
        """Find which certificate a bearer token was requested with; its signature is not verified."""
        try:
            claims = jwt.decode((authorization or "").partition(" ")[2], options={"verify_signature": False})
        except jwt.InvalidTokenError:
            return ""
        return str(claims.get(CERTIFICATE_CLAIM, ""))

    def _verify_signature(self, token: str) -> dict[str, Any]:
        options: Options = {
            "verify_exp": False,
            "verify_nbf": False,
            "verify_iat": False,
            "verify_aud": False,
        }
        try:
            claims: dict[str, Any] = jwt.decode(
                token, self._public_key, algorithms=["RS256"], options=options
            )
        except jwt.InvalidSignatureError:
            raise BadTokenError("signature") from None
        except jwt.InvalidTokenError:
            raise BadTokenError("malformed") from None
        if len(self._verified) >= _CACHED_TOKENS:
            self._verified.clear()
        self._verified[token] = claims
        return claims
