"""What the local Entra ID knows: tenants, applications and their certificates.

Methods may be called from any thread; none of them blocks.
"""

import math
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha1, sha256

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding


@dataclass(frozen=True)
class RegisteredCertificate:
    """A certificate that a client may sign its assertions with."""

    certificate: x509.Certificate
    registered_at: float
    """Unix seconds from which Entra ID knows it; infinite until it is registered by hand."""

    def is_known(self, now: datetime) -> bool:
        """Whether Entra ID knows it at that time."""
        return self.registered_at <= now.timestamp()


@dataclass
class Application:
    """An application or a managed identity, which can request tokens."""

    client_id: str
    tenant_id: str
    object_id: str
    certificates: dict[str, RegisteredCertificate] = field(default_factory=dict)
    """By SHA-256 thumbprint."""


def build_thumbprint(certificate: x509.Certificate) -> str:
    """Build a certificate's thumbprint: SHA-256, lower-case hexadecimal."""
    return sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


class Directory:
    """The tenants, and the applications and certificates registered in them.

    Args:
        tenant_ids: The tenants; case does not matter, as in Entra ID.
        now: Clock giving an aware UTC time.
    """

    def __init__(self, tenant_ids: Iterable[str], *, now: Callable[[], datetime]) -> None:
        self._tenants = {tenant_id.lower() for tenant_id in tenant_ids}
        self._now = now
        self._applications: dict[str, Application] = {}

    def has_tenant(self, tenant_id: str) -> bool:
        """Whether the tenant exists."""
        return tenant_id.lower() in self._tenants

    def add_application(self, client_id: str, *, tenant_id: str, object_id: str | None = None) -> Application:
        """Register a client, or return the registered one."""
        key = client_id.lower()
        if key not in self._applications:
            self._applications[key] = Application(
                client_id, tenant_id.lower(), object_id or str(uuid.uuid4())
            )
        return self._applications[key]

    def find_application(self, client_id: str) -> Application | None:
        """Find a client."""
        return self._applications.get(client_id.lower())

    def remove_application(self, client_id: str) -> None:
        """Remove a client and its certificates."""
        self._applications.pop(client_id.lower(), None)

    def register(self, client_id: str, certificate: x509.Certificate, *, delay: float = 0.0) -> str:
        """Register a certificate, with which a client signs.

        Args:
            client_id: The client.
            certificate: Its certificate.
            delay: Seconds until Entra ID knows it; infinite means until it is registered again without delay.

        Returns:
            The certificate's thumbprint.

        Raises:
            KeyError: The client is not registered; call `add_application` first.
        """
        thumbprint = build_thumbprint(certificate)
        at = math.inf if math.isinf(delay) else self._now().timestamp() + delay
        if delay == 0:
            at = -math.inf  # known even if the clock is set back later
        self._applications[client_id.lower()].certificates[thumbprint] = RegisteredCertificate(
            certificate, at
        )
        return thumbprint

    def unregister(self, thumbprint: str) -> None:
        """Refuse a certificate from now on, for every client."""
        for application in list(self._applications.values()):
            application.certificates.pop(thumbprint.lower(), None)


def find_certificate(
    application: Application, *, sha256_digest: bytes | None, sha1_digest: bytes | None
) -> RegisteredCertificate | None:
    """Find one of a client's certificates by the digest of its DER form."""
    if sha256_digest is not None:
        return application.certificates.get(sha256_digest.hex())
    for registered in list(application.certificates.values()):
        der = registered.certificate.public_bytes(Encoding.DER)
        if sha1(der, usedforsecurity=False).digest() == sha1_digest:
            return registered
    return None
