"""hcpcreds' errors that are Azure's own too, so that Azure SDK code handles them as it is.

`ChainedTokenCredential` goes on to its next credential after a CredentialUnavailableError, and stops at any
other error: only a file that is not there is the first. One that is broken, refused, not valid yet or that
cannot be opened for the moment is the second, so that no chain ever changes its identity in silence.
"""

import functools
from typing import Final

from azure.core.exceptions import ClientAuthenticationError

from hcpcreds.credential.authority import Failure
from hcpcreds.errors import (
    CredentialExpiredError,
    HcpCredsError,
    InputError,
    MountAbsentError,
    MountFormatError,
    MountNotReadyError,
    TokenRefusedError,
    TokenUnavailableError,
)
from hcpcreds.fork_locks import first_use


class AzureMountFormatError(MountFormatError, ClientAuthenticationError):
    """The credential file is there, and not usable."""


class AzureCredentialExpiredError(CredentialExpiredError, ClientAuthenticationError):
    """The certificate is past its time."""


class AzureTokenRefusedError(TokenRefusedError, ClientAuthenticationError):
    """The authority said no."""


class AzureTokenUnavailableError(TokenUnavailableError, ClientAuthenticationError):
    """The authority could not be asked, or gave no answer that is one."""


class AzureMountNotReadyError(MountNotReadyError, ClientAuthenticationError):
    """The credential file is there, and cannot be used for the moment."""


@functools.cache
def _get_absent_class() -> type[MountAbsentError]:
    # Importing azure.identity costs 170 ms: only who needs this class pays.
    with first_use:
        from azure.identity import CredentialUnavailableError  # noqa: PLC0415 (costs 170 ms)

    class AzureMountAbsentError(MountAbsentError, CredentialUnavailableError):
        """There is no credential file (yet)."""

    return AzureMountAbsentError


def build_error(reason: HcpCredsError | Failure) -> HcpCredsError:
    """Build what to raise to the Azure SDK; a new one for each caller, for tracebacks stick to instances."""
    if isinstance(reason, Failure):
        kind = AzureTokenRefusedError if reason.refused else AzureTokenUnavailableError
        error = kind(reason.message, hint=reason.hint)
        error.status_code = reason.status_code
        return error
    if isinstance(reason, InputError):
        return InputError(reason.where, reason.problems, hint=reason.hint)
    if isinstance(reason, MountAbsentError):
        return _get_absent_class()(reason.message, hint=reason.hint)
    for plain, azure in _KINDS:
        if isinstance(reason, plain):
            return azure(reason.message, hint=reason.hint)
    return AzureTokenUnavailableError(reason.message, hint=reason.hint)


_KINDS: Final = (
    (MountNotReadyError, AzureMountNotReadyError),
    (MountFormatError, AzureMountFormatError),
    (CredentialExpiredError, AzureCredentialExpiredError),
)
