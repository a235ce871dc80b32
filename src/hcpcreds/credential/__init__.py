"""What runs in the pod: a mounted credential file becomes Azure tokens, and stays right while it rotates.

What happens is logged by the logger `hcpcreds.credential`. Its records have two attributes more, for metrics:
`path`, and `event`: `reloaded` (a new credential was taken), `rejected` (a content was not), `unreadable`,
`mended` (a time was missing), `refused` and `accepted` (by the authority), `token_failed`.
"""

from hcpcreds.credential.credential import UserAssignedIdentityCredential
from hcpcreds.credential.status import PreviousCertificate, Status

__all__ = ["PreviousCertificate", "Status", "UserAssignedIdentityCredential"]
