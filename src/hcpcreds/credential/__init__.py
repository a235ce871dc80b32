"""What runs in the pod: a mounted credential file becomes Azure tokens, and stays right while it rotates."""

from hcpcreds.credential.credential import UserAssignedIdentityCredential
from hcpcreds.credential.status import PreviousCertificate, Status

__all__ = ["PreviousCertificate", "Status", "UserAssignedIdentityCredential"]
