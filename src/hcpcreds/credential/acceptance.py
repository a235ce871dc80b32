"""Decides whether a credential file that parses is accepted in place of the current one."""

from datetime import datetime
from urllib.parse import urlsplit

from hcpcreds.clouds import Cloud, is_entra_host, is_same_authority
from hcpcreds.credential_file.certificate import CLOCK_SKEW
from hcpcreds.credential_file.file import CredentialFile
from hcpcreds.errors import CredentialExpiredError, HcpCredsError, MountFormatError, MountNotReadyError


def is_expired(file: CredentialFile, now: datetime) -> bool:
    """Return whether a file is useless even if the authority's clock is behind."""
    # The skew is applied to `now`, because the time in the file may be the last of the calendar.
    return now - CLOCK_SKEW >= file.not_after


def find_foreign_cloud(path: str, file: CredentialFile, cloud: Cloud) -> HcpCredsError | None:
    """Return an error if the file names an authority of another cloud. Unknown hosts may be in any cloud."""
    host, own = urlsplit(file.authority).hostname or "", urlsplit(cloud.authority).hostname or ""
    if not is_entra_host(host) or is_same_authority(host, own):
        return None
    return MountFormatError(
        f"{path} names the authority {host}, which is not one of {cloud.name}",
        hint="Mount a secret of an identity in this cloud, or pass the cloud of the file.",
    )


def find_foreign(
    path: str,
    file: CredentialFile,
    current: CredentialFile | None,
    *,
    uses_authority: bool,
) -> HcpCredsError | None:
    """Return an error if a file belongs to another identity or authority, and so can never be accepted.

    Args:
        path: The path of both files, for messages.
        file: The new file.
        current: The current file, if any.
        uses_authority: Whether a credential sends its requests to the authority that the file names.
    """
    if current is None:
        return None
    if (file.client_id, file.tenant_id) != (current.client_id, current.tenant_id):
        return MountFormatError(
            f"{path} now holds identity {file.client_id} of tenant {file.tenant_id}, but this "
            f"process uses {current.client_id} of tenant {current.tenant_id}",
            hint="Restart the process if the identity was replaced deliberately.",
        )
    new, old = urlsplit(file.authority).hostname or "", urlsplit(current.authority).hostname or ""
    if uses_authority and not is_same_authority(new, old):
        return MountFormatError(
            f"{path} now names the authority {new}, but this process uses {old}",
            hint="Restart the process if the authority was replaced deliberately.",
        )
    return None


def find_fault(
    path: str, file: CredentialFile, current: CredentialFile | None, *, now: datetime, is_refused: bool
) -> HcpCredsError | None:
    """Return an error if a file of the same identity is not accepted now; it may be accepted later.

    Args:
        path: The path of both files, for messages.
        file: The new file.
        current: The current file, if any.
        now: Aware time.
        is_refused: Whether the authority refuses the current certificate.
    """
    if is_expired(file, now):
        return CredentialExpiredError(
            f"the certificate of identity {file.client_id} in {path} expired at {file.not_after}"
        )
    if now + CLOCK_SKEW < file.not_before:
        return MountNotReadyError(
            f"the credential in {path} is not valid before {file.not_before}",
            hint="It will be accepted at that time. Is the clock of this machine right?",
        )
    if (
        current is not None
        and file.not_before <= current.not_before
        and not is_refused
        and not is_expired(current, now)
    ):
        return MountFormatError(
            f"the credential in {path} is not later than the current one: its not_before is "
            f"{file.not_before}, the current one's {current.not_before}",
            hint="An old version of the secret is mounted; it is accepted if the current one fails.",
        )
    return None
