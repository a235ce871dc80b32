"""Failures of Key Vault's clients, as the errors of this package."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
)

from hcpcreds.dataplane.refusals import INTERCEPTED, is_intercepted, is_refusal
from hcpcreds.errors import (
    InputError,
    SecretNotFoundError,
    StoreError,
    StoreRefusedError,
    StoreUnavailableError,
)
from hcpcreds.text import make_safe
from hcpcreds.vault.naming import describe

SDK_ERRORS: Final = (AzureError, AttributeError, TypeError, ValueError, RecursionError)
"""The exceptions of SecretClient; all but the first come from malformed answers."""
_HINTS: Final = {
    401: "The vault does not accept tokens of this credential; check that it belongs to the vault's tenant.",
    403: "The caller needs to get, list and set secrets (Key Vault Secrets Officer).",
}
_REASONS: Final = {
    "SecretDisabled": "The secret is disabled. Enable it, or delete it if nothing uses it any more.",
    "ForbiddenByFirewall": "The vault's firewall rejects this address; a role would not help.",
    "ForbiddenByConnection": "The vault only accepts private connections; a role would not help.",
}
"""By the inner code of a 403. Source: learn.microsoft.com, "Azure Key Vault REST API error codes"."""


@contextmanager
def raising_store_errors(vault_url: str, name: str | None = None) -> Iterator[None]:
    """Turn the exceptions of a vault's client into a StoreError; only its calls belong in the block.

    Raises:
        StoreError: The vault refused, could not be reached, or returned an unusable response. Never holds
            the response.
        InputError: The proxy or the CA certificates cannot be used.
    """
    try:
        yield
    except InputError:
        raise
    except SDK_ERRORS as error:
        raise _build_error(error, describe(vault_url, name)) from None


def _build_error(error: Exception, where: str) -> StoreError:
    if not isinstance(error, AzureError):
        return StoreUnavailableError(f"{where}: unreadable answer")
    code = getattr(getattr(error, "error", None), "code", None)
    if (
        isinstance(error, HttpResponseError)
        # That is the authority's refusal, not the vault's.
        and not isinstance(error, ClientAuthenticationError)
        and not code
        and is_intercepted(error.status_code or 0)
    ):
        return StoreUnavailableError(
            f"{where}: HTTP {error.status_code}, but not from Key Vault", hint=INTERCEPTED
        )
    # The other lines repeat the first.
    message = f"{where}: {make_safe(error.message.partition(chr(10))[0])}"
    if isinstance(error, ResourceNotFoundError) and code == "SecretNotFound":
        return SecretNotFoundError(message)
    if is_refusal(error):
        return StoreRefusedError(message, hint=_choose_hint(error))
    return StoreUnavailableError(message)


def _choose_hint(error: AzureError) -> str | None:
    if not isinstance(error, HttpResponseError):
        return None
    inner = getattr(error.error, "innererror", None)
    code = inner.get("code") if isinstance(inner, dict) else None
    return _REASONS.get(str(code)) or _HINTS.get(error.status_code or 0)
