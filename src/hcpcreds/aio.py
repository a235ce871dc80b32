"""The asyncio credential: the same class name, arguments and behaviour as in `hcpcreds`."""

from hcpcreds.credential.aio import UserAssignedIdentityCredential

__all__ = ["UserAssignedIdentityCredential"]
