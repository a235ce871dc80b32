"""Azure credentials for the pods of hosted control planes.

Importing the package loads only this file. Azure-core, cryptography and the rest are imported with the first
name that needs them, because many processes that import the package never request a token.
"""

from typing import TYPE_CHECKING

from hcpcreds._version import __version__

if TYPE_CHECKING:
    from hcpcreds.credential import CertificateCredential, UserAssignedIdentityCredential
    from hcpcreds.errors import HcpCredsError

__all__ = ["CertificateCredential", "HcpCredsError", "UserAssignedIdentityCredential", "__version__"]

_HOMES = {
    "CertificateCredential": "hcpcreds.credential",
    "HcpCredsError": "hcpcreds.errors",
    "UserAssignedIdentityCredential": "hcpcreds.credential",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
