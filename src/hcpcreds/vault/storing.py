"""Credentials in Key Vault: store, load, list, through the SDK's client; asyncio twins are in `aio.vault`.

What a secret looks like is decided in `hcpcreds.vault.secret`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
)
from azure.keyvault.secrets import SecretClient, SecretProperties

from hcpcreds.credential_file.encoding import Encoding
from hcpcreds.dataplane.refusals import INTERCEPTED, is_intercepted, is_refusal
from hcpcreds.errors import (
    InputError,
    SecretNotFoundError,
    StoreError,
    StoreRefusedError,
    StoreUnavailableError,
)
from hcpcreds.text import make_safe
from hcpcreds.vault.secret import (
    Credentials,
    LoadedSecret,
    StoredCredential,
    build_secret,
    read_secret,
    read_stored,
    render_identifier,
)

__all__ = [
    "Credentials",
    "LoadedSecret",
    "StoredCredential",
    "build_secret",
    "list_stored",
    "load",
    "read_secret",
    "read_stored",
    "render_identifier",
    "store",
]

SDK_ERRORS: Final = (AzureError, AttributeError, TypeError, ValueError, RecursionError)
"""What SecretClient raises; all but the first when it is answered something that is no answer."""
_HINTS: Final = {
    401: "The vault does not accept this credential's tokens: is it in the vault's tenant?",
    403: "The caller needs to get, list and set secrets (Key Vault Secrets Officer).",
}
_REASONS: Final = {
    "SecretDisabled": "The secret is disabled: enable it, or delete it if nothing uses it any more.",
    "ForbiddenByFirewall": "The vault's firewall does not let this address through; a role would not help.",
    "ForbiddenByConnection": "The vault takes private connections only; a role would not help.",
}
"""By the inner code of a 403. Source: learn.microsoft.com, "Azure Key Vault REST API error codes"."""


def describe(vault_url: str, name: str | None = None) -> str:
    """Name a secret, or the whole vault, in an error."""
    return f"secret {name} in {vault_url}" if name else f"vault {vault_url}"


def explain(error: Exception, vault_url: str, name: str | None = None) -> StoreError:
    """Make the error that says why a vault's client failed; never with what the vault sent."""
    where = describe(vault_url, name)
    if not isinstance(error, AzureError):
        return StoreUnavailableError(f"{where}: the answer is unreadable")
    code = getattr(getattr(error, "error", None), "code", None)
    if (
        isinstance(error, HttpResponseError)
        # Why there is no token to ask with, the authority has said, and not the vault.
        and not isinstance(error, ClientAuthenticationError)
        and not code
        and is_intercepted(error.status_code or 0)
    ):
        return StoreUnavailableError(
            f"{where}: HTTP {error.status_code} with what is not an answer of Key Vault", hint=INTERCEPTED
        )
    # The first line says it, the others say it again.
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


@contextmanager
def explaining(vault_url: str, name: str | None = None) -> Iterator[None]:
    """Turn what a vault's client raises into a StoreError; nothing but its calls belongs in the block.

    Raises:
        StoreError: As `explain` makes it.
        InputError: The proxy or the CA certificates cannot be used.
    """
    try:
        yield
    except InputError:
        raise
    except SDK_ERRORS as error:
        raise explain(error, vault_url, name) from None


def store(
    client: SecretClient,
    credentials: Credentials,
    *,
    name: str | None = None,
    encoding: Encoding = "utf-8",
) -> SecretProperties:
    """Write a credential to Key Vault, as a new version of its secret.

    When the answer to the write is lost, the SDK writes again: there may be two versions that are alike.

    Args:
        client: Of the vault; the caller's, stays open.
        credentials: See `build_secret`.
        name: Name of the secret, such as HyperShift's ``credentialsSecretName``; by default the usual one.
        encoding: How the value is written, HyperShift's ``objectEncoding``.

    Returns:
        The new version's properties, without the value.

    Raises:
        InputError: The credential is incomplete or unusable; names every field. Nothing was written.
        StoreError: The vault did not take it.
    """
    secret = build_secret(credentials, name=name, encoding=encoding)
    with explaining(client.vault_url, secret.name):
        return client.set_secret(**secret.as_arguments()).properties


def load(client: SecretClient, name: str, *, version: str | None = None) -> LoadedSecret:
    """Read a credential from Key Vault.

    Args:
        client: Of the vault; the caller's, stays open.
        name: Name of the secret.
        version: Which one; by default the newest.

    Raises:
        SecretNotFoundError: There is no such secret.
        StoreError: The vault did not give it, or it is no credential.
    """
    with explaining(client.vault_url, name):
        secret = client.get_secret(name, version)
    return read_secret(secret, where=describe(client.vault_url, name))


def list_stored(client: SecretClient) -> Iterator[StoredCredential]:
    """List every stored credential of a vault, page by page as it is asked for.

    Args:
        client: Of the vault; the caller's, stays open.

    Raises:
        StoreError: The vault did not answer; what was listed before stays good.
    """
    with explaining(client.vault_url):
        for properties in client.list_properties_of_secrets():
            stored = read_stored(properties)
            if stored is not None:
                yield stored
