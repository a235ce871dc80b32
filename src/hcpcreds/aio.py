"""The asyncio credential: the same class name, arguments and behaviour as in `hcpcreds`."""

from hcpcreds.credential.aio import CertificateCredential, UserAssignedIdentityCredential

__all__ = ["CertificateCredential", "UserAssignedIdentityCredential"]
