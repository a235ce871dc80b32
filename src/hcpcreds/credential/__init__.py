"""Turns a mounted credential file into Azure tokens, and follows its rotations. Runs in the pod.

The logger `hcpcreds.credential` reports what happens. Its records have two additional attributes for metrics:
`path`, and `event`, which is one of

- `reloaded`, `rejected`, `unreadable`: the file was accepted, was not accepted, could not be read;
- `fixed`: the file was accepted although it is unusual, for instance because a time is missing;
- `refused`, `accepted`: the authority refuses, or accepts again, the current certificate;
- `gone`, `back`: the authority does not know the identity, or knows it again;
- `token_failed`: a token request failed.
"""

from hcpcreds.credential.credential import CertificateCredential, UserAssignedIdentityCredential
from hcpcreds.credential.status import PreviousCertificate, Status

__all__ = ["CertificateCredential", "PreviousCertificate", "Status", "UserAssignedIdentityCredential"]
