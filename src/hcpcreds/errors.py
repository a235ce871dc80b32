"""The one tree of errors.

Everything that hcpcreds raises on purpose is an HcpCredsError::

    HcpCredsError
    ├─ InputError                also ValueError: wrong input, found before anything was done
    ├─ MountError                the credential file in the pod
    │  ├─ MountNotReadyError     cannot be used for the moment
    │  │  └─ MountAbsentError    not there (yet)
    │  └─ MountFormatError       there, and not usable
    ├─ TokenError                no token could be had
    │  ├─ TokenRefusedError      the authority said no
    │  └─ TokenUnavailableError  the authority could not be asked, or answered nonsense
    ├─ CredentialExpiredError    the file's certificate is past its time
    ├─ SourceClosedError         also RuntimeError: used after close()
    ├─ IssueError                the managed-identity data plane did not issue
    │  ├─ IssueRefusedError      it said no
    │  └─ IssueUnavailableError  it could not be asked, or answered nonsense
    ├─ StoreError                Key Vault did not store or give back
    │  ├─ StoreRefusedError      it said no
    │  │  └─ SecretNotFoundError there is no such secret
    │  └─ StoreUnavailableError  it could not be asked, or answered nonsense
    ├─ LeaseError                a Kubernetes Lease could not be taken or kept
    │  ├─ LeaseRefusedError      the API server said no
    │  └─ LeaseUnavailableError  it could not be asked
    └─ ChainError                a step or a process of `hcpcreds up` failed

What is raised to the Azure SDK is Azure's own error too: see `hcpcreds.credential`.
No error ever carries a secret: neither a file's content nor a token nor a key. Messages are printable,
whatever the names and paths in them hold.
"""

import traceback
from collections.abc import Sequence
from typing import ClassVar

from typing_extensions import override

from hcpcreds.text import make_lines_printable, make_printable

__all__ = [
    "ChainError",
    "CredentialExpiredError",
    "HcpCredsError",
    "InputError",
    "IssueError",
    "IssueRefusedError",
    "IssueUnavailableError",
    "LeaseError",
    "LeaseRefusedError",
    "LeaseUnavailableError",
    "MountAbsentError",
    "MountError",
    "MountFormatError",
    "MountNotReadyError",
    "SecretNotFoundError",
    "SourceClosedError",
    "StoreError",
    "StoreRefusedError",
    "StoreUnavailableError",
    "TokenError",
    "TokenRefusedError",
    "TokenUnavailableError",
]


class HcpCredsError(Exception):
    """Base of every error of hcpcreds.

    Args:
        message: What failed, where, and what was expected, without a closing full stop.
        hint: The next step for the person who reads it.
    """

    retryable: ClassVar[bool] = False
    """Whether the same call may succeed later without anything being fixed."""

    options: tuple[str, ...] = ()
    """Names of arguments that would settle it: a command line spells them as its options."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        message = make_lines_printable(message)
        super().__init__(message)
        self.message = message
        self.hint = None if hint is None else make_lines_printable(hint)

    @override
    def __str__(self) -> str:
        if self.hint is None:
            return self.message
        return f"{self.message}{chr(10) if chr(10) in self.message else '. '}{self.hint}"


class InputError(HcpCredsError, ValueError):
    """Wrong input, found before anything was started or written.

    Args:
        where: The file, argument or object that is wrong.
        problems: Every problem found, each starting with the path of the field that it speaks of.
        hint: The next step.
        options: Names of the arguments that would settle it.
    """

    def __init__(
        self, where: str, problems: Sequence[str], *, hint: str | None = None, options: Sequence[str] = ()
    ) -> None:
        self.where = make_printable(where)
        self.problems = tuple(map(make_printable, problems))
        self.options = tuple(options)
        if len(self.problems) == 1:
            message = f"{self.where}: {self.problems[0]}"
        else:
            lines = [f"{self.where}: {len(self.problems)} problems"]
            message = "\n".join([*lines, *(f"  {problem}" for problem in self.problems)])
        super().__init__(message, hint=hint)


class MountError(HcpCredsError):
    """The credential file in the pod cannot be used."""


class MountNotReadyError(MountError):
    """The credential file cannot be used for the moment: not there, not valid yet, or it cannot be read."""

    retryable = True


class MountAbsentError(MountNotReadyError):
    """There is no credential file (yet): the driver may still be mounting it, or the path is wrong."""


class MountFormatError(MountError):
    """The credential file is there, but is not a usable credential. Names the field, never its value.

    Args:
        message: As for every error; names every problem.
        hint: The next step.
        problems: The same problems one by one, each starting with its key.
    """

    def __init__(self, message: str, *, hint: str | None = None, problems: Sequence[str] = ()) -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(problems)


class TokenError(HcpCredsError):
    """No token could be had for an identity."""


class TokenRefusedError(TokenError):
    """The authority refused: wrong or unregistered certificate, unknown application, unknown scope."""


class TokenUnavailableError(TokenError):
    """The authority could not be reached, was overloaded, or answered something that is no answer."""

    retryable = True


class CredentialExpiredError(HcpCredsError):
    """The certificate in the credential file is past its time, and no newer one has been mounted."""


class SourceClosedError(HcpCredsError, RuntimeError):
    """A source or credential was used after its close()."""


class IssueError(HcpCredsError):
    """The managed-identity data plane did not issue or renew a credential."""


class IssueRefusedError(IssueError):
    """The data plane said no: wrong caller, unknown identity, no longer renewable."""


class IssueUnavailableError(IssueError):
    """The data plane could not be reached, was overloaded, or answered something that is no credential."""

    retryable = True


class StoreError(HcpCredsError):
    """Key Vault did not take or give back a secret, or what it gave back is no credential."""


class StoreRefusedError(StoreError):
    """Key Vault said no: wrong caller, disabled secret, a name or value that it does not take."""


class SecretNotFoundError(StoreRefusedError):
    """There is no secret of that name in the vault, or not this version of it."""


class StoreUnavailableError(StoreError):
    """Key Vault could not be reached, was overloaded, or answered something that is no answer."""

    retryable = True


class LeaseError(HcpCredsError):
    """A Kubernetes Lease could not be taken or kept."""


class LeaseRefusedError(LeaseError):
    """The API server said no: a missing role, a missing namespace, a token that it does not accept."""


class LeaseUnavailableError(LeaseError):
    """The API server could not be reached, or was overloaded."""

    retryable = True


class ChainError(HcpCredsError):
    """A step or a process of `hcpcreds up` failed."""


def locate(error: BaseException) -> str:
    """Say of an unexpected error its type and where in hcpcreds it came up; its text may hold a secret."""
    places = [
        f"{frame.f_globals['__name__']}, line {line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__", "").startswith("hcpcreds.")
    ]
    return f"{type(error).__name__} in {places[-1]}" if places else type(error).__name__
