"""Errors that are both hcpcreds' and Azure's, so that existing Azure SDK code handles them.

`ChainedTokenCredential` tries its next credential after a CredentialUnavailableError, and stops at any other
error. Only an absent file raises the former. A file that is broken, refused, not valid yet or not readable at
the moment raises the latter, so that no chain silently changes its identity.
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
    """The credential file exists, but is not usable."""


class AzureCredentialExpiredError(CredentialExpiredError, ClientAuthenticationError):
    """The certificate has expired."""


class AzureTokenRefusedError(TokenRefusedError, ClientAuthenticationError):
    """The authority refused the request."""


class AzureTokenUnavailableError(TokenUnavailableError, ClientAuthenticationError):
    """The authority was unreachable, or its response was unusable."""


class AzureMountNotReadyError(MountNotReadyError, ClientAuthenticationError):
    """The credential file exists, but cannot be used at the moment."""


@functools.cache
def _get_absent_class() -> type[MountAbsentError]:
    # Importing azure.identity takes 170 ms, so it is imported only when this class is needed.
    with first_use:
        from azure.identity import CredentialUnavailableError  # noqa: PLC0415 (costs 170 ms)

    class AzureMountAbsentError(MountAbsentError, CredentialUnavailableError):
        """The credential file does not exist (yet)."""

    return AzureMountAbsentError


def build_error(reason: HcpCredsError | Failure) -> HcpCredsError:
    """Build the error to raise to the Azure SDK: a new one for each caller, as instances keep tracebacks."""
    if isinstance(reason, Failure):
        kind = AzureTokenRefusedError if reason.refused else AzureTokenUnavailableError
        error = kind(reason.message, hint=reason.hint)
        error.status_code = reason.status_code
        if isinstance(error, TokenRefusedError):
            error.codes = reason.codes
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
