"""Whether a credential file that parses is taken in the place of the current one."""

from datetime import datetime
from urllib.parse import urlsplit

from hcpcreds.clouds import Cloud, is_entra_host, is_same_authority
from hcpcreds.credential_file.certificate import CLOCK_SKEW
from hcpcreds.credential_file.file import CredentialFile
from hcpcreds.errors import CredentialExpiredError, HcpCredsError, MountFormatError, MountNotReadyError


def is_expired(file: CredentialFile, now: datetime) -> bool:
    """Whether nothing can be got with a file any more, even if the authority's clock is behind."""
    # Skewed is now, and not the file's time, which may be the last of the calendar.
    return now - CLOCK_SKEW >= file.not_after


def find_foreign_cloud(path: str, file: CredentialFile, cloud: Cloud) -> HcpCredsError | None:
    """Find whether a file's authority is another cloud's. One that nobody knows may be anybody's."""
    host, own = urlsplit(file.authority).hostname or "", urlsplit(cloud.authority).hostname or ""
    if not is_entra_host(host) or is_same_authority(host, own):
        return None
    return MountFormatError(
        f"{path} names the authority {host}, which is not one of {cloud.name}",
        hint="Mount the secret of this cloud's identity, or name the file's cloud.",
    )


def find_foreign(
    path: str,
    file: CredentialFile,
    current: CredentialFile | None,
    *,
    uses_authority: bool,
) -> HcpCredsError | None:
    """Find why a file is somebody else's, and so is not taken whatever becomes of the current one.

    Args:
        path: Where both came from.
        file: What is there now.
        current: What serves.
        uses_authority: Whether anybody asks the authority that the file names.
    """
    if current is None:
        return None
    if (file.client_id, file.tenant_id) != (current.client_id, current.tenant_id):
        return MountFormatError(
            f"{path} is now for identity {file.client_id} of tenant {file.tenant_id}, and this "
            f"process serves {current.client_id} of tenant {current.tenant_id}",
            hint="Restart the process if the identity was replaced on purpose.",
        )
    new, old = urlsplit(file.authority).hostname or "", urlsplit(current.authority).hostname or ""
    if uses_authority and not is_same_authority(new, old):
        return MountFormatError(
            f"{path} now names the authority {new}, and this process asks {old}",
            hint="Restart the process if the authority was replaced on purpose.",
        )
    return None


def find_fault(
    path: str, file: CredentialFile, current: CredentialFile | None, *, now: datetime, is_refused: bool
) -> HcpCredsError | None:
    """Find why a file of the same identity is not taken now; it may be later.

    Args:
        path: Where both came from.
        file: What is there now.
        current: What serves.
        now: Aware time.
        is_refused: Whether the authority refuses the current one.
    """
    if is_expired(file, now):
        return CredentialExpiredError(
            f"the certificate of identity {file.client_id} in {path} expired at {file.not_after}"
        )
    if now + CLOCK_SKEW < file.not_before:
        return MountNotReadyError(
            f"the credential in {path} is valid only from {file.not_before} on",
            hint="It is taken when its time comes. Is the clock here right?",
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
            hint="An old version of the secret was mounted; it is taken if the current one fails.",
        )
    return None
