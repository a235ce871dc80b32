"""The asyncio twins: same class names, arguments and behaviour as without it."""

from hcpcreds.credential.aio import UserAssignedIdentityCredential

__all__ = ["UserAssignedIdentityCredential"]
