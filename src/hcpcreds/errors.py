"""The single tree of errors.

Every error that hcpcreds raises deliberately is an HcpCredsError::

    HcpCredsError
    ├─ InputError                also ValueError: wrong input, found before anything was started
    ├─ MountError                the credential file in the pod
    │  ├─ MountNotReadyError     cannot be used at the moment
    │  │  └─ MountAbsentError    does not exist (yet)
    │  └─ MountFormatError       exists, but is not usable
    ├─ TokenError                no token could be obtained
    │  ├─ TokenRefusedError      the authority refused the request
    │  └─ TokenUnavailableError  the authority was unreachable, or its response unusable
    ├─ CredentialExpiredError    the certificate in the file has expired
    ├─ SourceClosedError         also RuntimeError: used after close()
    ├─ IssueError                the managed-identity data plane issued no credential
    │  ├─ IssueRefusedError      it refused the request
    │  └─ IssueUnavailableError  it was unreachable, or its response unusable
    ├─ StoreError                a secret could not be written to or read from Key Vault
    │  ├─ StoreRefusedError      Key Vault refused the request
    │  │  └─ SecretNotFoundError the secret does not exist
    │  └─ StoreUnavailableError  Key Vault was unreachable, or its response unusable
    ├─ KubernetesError           objects could not be read from a cluster
    │  ├─ KubernetesRefusedError the API server refused the request
    │  └─ KubernetesUnavailableError  the API server was unreachable, or its response unusable
    ├─ LeaseError                a Kubernetes Lease could not be acquired or kept
    │  ├─ LeaseRefusedError      the API server refused the request
    │  └─ LeaseUnavailableError  the API server was unreachable or overloaded
    └─ ChainError                a step or a process of `hcpcreds up` failed

Errors raised to the Azure SDK are Azure's own errors too: see `hcpcreds.credential`.
No error carries a secret: no file content, token or key. Messages are printable, whatever characters the
names and paths in them contain.
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
    "KubernetesError",
    "KubernetesRefusedError",
    "KubernetesUnavailableError",
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
        message: What failed, where, and what was expected, without a final full stop.
        hint: The next step for the reader.
    """

    retryable: ClassVar[bool] = False
    """Whether the same call may succeed later without any change."""

    options: tuple[str, ...] = ()
    """Names of the arguments that would resolve the error; a command spells them as its options."""

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
        problems: Every problem found, each starting with the path of its field.
        hint: The next step.
        options: Names of the arguments that would resolve the error.
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
    """The credential file cannot be used at the moment: it is absent, not valid yet, or cannot be read."""

    retryable = True


class MountAbsentError(MountNotReadyError):
    """The credential file does not exist (yet): the driver may still be mounting it, or the path is wrong."""


class MountFormatError(MountError):
    """The credential file exists, but is not a usable credential. Names the field, never its value.

    Args:
        message: As for every error; lists every problem.
        hint: The next step.
        problems: The same problems as separate texts, each starting with its key.
    """

    def __init__(self, message: str, *, hint: str | None = None, problems: Sequence[str] = ()) -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(problems)


class TokenError(HcpCredsError):
    """No token could be obtained for an identity."""


class TokenRefusedError(TokenError):
    """The authority refused the request: wrong or unregistered certificate, unknown application or scope."""

    codes: frozenset[int] = frozenset()
    """The numbers after AADSTS in its answer."""


class TokenUnavailableError(TokenError):
    """The authority was unreachable or overloaded, or its response was unusable."""

    retryable = True


class CredentialExpiredError(HcpCredsError):
    """The certificate in the credential file has expired, and no newer one has been mounted."""


class SourceClosedError(HcpCredsError, RuntimeError):
    """A source or credential was used after its close()."""


class IssueError(HcpCredsError):
    """The managed-identity data plane did not issue or renew a credential."""


class IssueRefusedError(IssueError):
    """The data plane refused: wrong caller, unknown identity, or no longer renewable."""


class IssueUnavailableError(IssueError):
    """The data plane was unreachable or overloaded, or its response was not a credential."""

    retryable = True


class StoreError(HcpCredsError):
    """A secret could not be written to or read from Key Vault, or does not hold a credential."""


class StoreRefusedError(StoreError):
    """Key Vault refused: wrong caller, disabled secret, or a name or value that it does not accept."""


class SecretNotFoundError(StoreRefusedError):
    """The vault has no secret of that name, or not that version of it."""


class StoreUnavailableError(StoreError):
    """Key Vault was unreachable or overloaded, or its response was unusable."""

    retryable = True


class KubernetesError(HcpCredsError):
    """Objects could not be read from a cluster."""


class KubernetesRefusedError(KubernetesError):
    """The API server refused: missing role, unknown kind, or a token that it does not accept.

    Args:
        message: As for every error.
        hint: The next step.
        status: The HTTP status of the answer.
    """

    def __init__(self, message: str, *, hint: str | None = None, status: int) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class KubernetesUnavailableError(KubernetesError):
    """The API server was unreachable or overloaded, or its response was unusable."""

    retryable = True


class LeaseError(HcpCredsError):
    """A Kubernetes Lease could not be acquired or kept."""


class LeaseRefusedError(LeaseError):
    """The API server refused: missing role, missing namespace, or a token that it does not accept."""


class LeaseUnavailableError(LeaseError):
    """The API server was unreachable or overloaded."""

    retryable = True


class ChainError(HcpCredsError):
    """A step or a process of `hcpcreds up` failed."""


def locate(error: BaseException) -> str:
    """Describe an unexpected error by its type and its place in hcpcreds; its text may contain a secret."""
    places = [
        f"{frame.f_globals['__name__']}, line {line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__", "").startswith("hcpcreds.")
    ]
    return f"{type(error).__name__} in {places[-1]}" if places else type(error).__name__
