"""Azure credentials for the pods of hosted control planes.

Importing this package loads nothing but this file: azure-core, cryptography and the rest come with the
first name that needs them, because the package goes into processes that may never ask for a token.
"""

from typing import TYPE_CHECKING

from hcpcreds._version import __version__

if TYPE_CHECKING:
    from hcpcreds.credential import UserAssignedIdentityCredential
    from hcpcreds.errors import HcpCredsError

__all__ = ["HcpCredsError", "UserAssignedIdentityCredential", "__version__"]

_HOMES = {"HcpCredsError": "hcpcreds.errors", "UserAssignedIdentityCredential": "hcpcreds.credential"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
