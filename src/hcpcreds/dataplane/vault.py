"""How credentials lie in Key Vault: their names, and the secret's value, attributes and tags.

Source: Azure/msi-dataplane, pkg/dataplane/keyvault.go and constants.go (August 2026).
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from azure.core.exceptions import AzureError
from azure.keyvault.secrets import SecretClient, SecretProperties

from hcpcreds.dataplane.models import (
    ManagedIdentityCredentials,
    ModelType,
    UserAssignedIdentityCredentials,
    parse_model,
    render_model,
)
from hcpcreds.errors import InputError, StoreError

MANAGED_IDENTITY_PREFIX: Final = "msi-"
"""Begins the name of a secret that holds a whole answer of the data plane."""
USER_ASSIGNED_IDENTITY_PREFIX: Final = "uamsi-"
"""Begins the name of a secret that holds one user-assigned identity's credential."""
RENEW_AFTER_TAG: Final = "renew_after"
CANNOT_RENEW_AFTER_TAG: Final = "cannot_renew_after"

Credentials = ManagedIdentityCredentials | UserAssignedIdentityCredentials
Encoding = Literal["utf-8", "hex", "base64"]
"""How a secret's value is written, HyperShift's ``objectEncoding``."""

SDK_ERRORS: Final = (AzureError, AttributeError, TypeError, ValueError, RecursionError)
"""What SecretClient raises; all but the first when it is answered something that is no answer."""
_SECRET_NAME: Final = re.compile(r"[a-zA-Z0-9-]{1,127}")
_TIMES: Final = ("not_before", "not_after", "renew_after", "cannot_renew_after")
_REQUIRED: Final = ("authentication_endpoint", "client_id", "client_secret", "tenant_id", *_TIMES)
_AwareTime = Annotated[datetime, msgspec.Meta(tz=True)]
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


def render_identifier(object_id: str) -> str:
    """Render the usual identifier of an identity: its object id's SHA-224 in base 36, lower-case."""
    number = int.from_bytes(hashlib.sha224(object_id.encode()).digest())
    digits = ""
    while number:
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits or "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultSecret:
    """What `store` writes."""

    name: str
    value: str = field(repr=False)
    not_before: datetime
    expires_on: datetime
    tags: Mapping[str, str]

    def as_arguments(self) -> dict[str, Any]:
        """Return what SecretClient.set_secret takes."""
        return {
            "name": self.name,
            "value": self.value,
            "enabled": True,
            "not_before": self.not_before,
            "expires_on": self.expires_on,
            "tags": dict(self.tags),
        }


def build_secret(
    credentials: Credentials,
    *,
    name: str | None = None,
    encoding: Encoding = "utf-8",
) -> VaultSecret:
    """Build the secret that holds a credential.

    Args:
        credentials: Whole: with authority, client, tenant, client secret and all four times. An answer of
            the data plane may hold no more than one explicit identity, whose credential is then the one.
        name: Name of the secret; by default ``msi-`` or ``uamsi-`` and the identifier of the object id.
        encoding: How the value is written.

    Raises:
        InputError: Every field that is missing or unusable, by its name.
    """
    prefix, at, one = _choose(credentials)
    times = {field_name: _parse_time(getattr(one, field_name)) for field_name in _TIMES}
    problems = [f"{at}{problem}" for problem in _find_problems(one, times)]
    if name is None and not one.object_id:
        problems.append(f"{at}object_id: missing, and the secret is named after it; else give a name")
    elif name is not None and not _SECRET_NAME.fullmatch(name):
        problems.append(f"name: {name!r} must be 1 to 127 characters of [a-zA-Z0-9-]")
    not_before, not_after = times["not_before"], times["not_after"]
    if problems or not_before is None or not_after is None:
        raise InputError(type(credentials).__name__, problems, hint="Nothing was stored.")
    return VaultSecret(
        name=name or prefix + render_identifier(one.object_id or ""),
        value=_encode(render_model(credentials), encoding),
        not_before=not_before,
        expires_on=not_after,
        tags={
            RENEW_AFTER_TAG: one.renew_after or "",
            CANNOT_RENEW_AFTER_TAG: one.cannot_renew_after or "",
        },
    )


def _choose(credentials: Credentials) -> tuple[str, str, Credentials]:
    """Name's prefix, path, and the one credential that a secret is about."""
    if isinstance(credentials, UserAssignedIdentityCredentials):
        return USER_ASSIGNED_IDENTITY_PREFIX, "", credentials
    explicit = credentials.explicit_identities or ()
    if len(explicit) > 1:
        raise InputError(
            "ManagedIdentityCredentials",
            [f"explicit_identities: {len(explicit)} of them; a secret holds none or one"],
            hint="Store each of them by itself.",
        )
    if explicit:
        return MANAGED_IDENTITY_PREFIX, "explicit_identities[0].", explicit[0]
    return MANAGED_IDENTITY_PREFIX, "", credentials


def _find_problems(one: Credentials, times: Mapping[str, datetime | None]) -> list[str]:
    problems = [f"{name}: missing" for name in _REQUIRED if not getattr(one, name)]
    problems += [
        f"{name}: {getattr(one, name)!r} is no RFC 3339 time with a zone"
        for name, time in times.items()
        if getattr(one, name) and time is None
    ]
    not_before, not_after = times["not_before"], times["not_after"]
    if not_before and not_after and not_before >= not_after:
        problems.append("not_after: must be later than not_before")
    try:
        base64.b64decode(one.client_secret or "", validate=True)
    except ValueError:
        problems.append("client_secret: is not base64")
    return problems


def _parse_time(text: str | None) -> datetime | None:
    """Parse an RFC 3339 time with a zone; None when it is none."""
    try:
        time: datetime = msgspec.convert(text, _AwareTime)
        return time.astimezone(UTC)
    except (msgspec.ValidationError, OverflowError):  # year 1 or 9999, and the zone leads out of it
        return None


def _encode(value: bytes, encoding: Encoding) -> str:
    if encoding == "hex":
        return value.hex()
    if encoding == "base64":
        return base64.b64encode(value).decode("ascii")
    return value.decode()


def _decode(value: str, encoding: Encoding) -> bytes:
    if encoding == "hex":
        return binascii.unhexlify(value)
    if encoding == "base64":
        return base64.b64decode(value, validate=True)
    return value.encode()


def parse_secret(
    value: str | None, model: type[ModelType], *, where: str, encoding: Encoding = "utf-8"
) -> ModelType:
    """Parse a secret's value.

    Args:
        value: The value, as the vault gave it.
        model: ManagedIdentityCredentials for ``msi-`` secrets, else UserAssignedIdentityCredentials.
        where: Names the secret in the error.
        encoding: How the value is written.

    Raises:
        StoreError: No value, another encoding, or not such a credential. Never holds the value.
    """
    try:
        return parse_model(_decode(value or "", encoding), model)
    except InputError as error:
        reason = str(error)
    except ValueError:
        reason = f"the value is not {encoding}"
    raise StoreError(f"{where}: {reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCredential:
    """A credential as a vault lists it, without its value."""

    name: str
    enabled: bool
    not_before: datetime | None
    expires_on: datetime | None
    renew_after: datetime | None
    """None when the secret does not say, or says it unreadably."""
    cannot_renew_after: datetime | None
    """The same."""


def read_stored(properties: SecretProperties) -> StoredCredential | None:
    """Read one entry of a vault's list; None when it holds no credential, by its name and tags."""
    name, tags = properties.name or "", properties.tags or {}
    if not name.startswith((MANAGED_IDENTITY_PREFIX, USER_ASSIGNED_IDENTITY_PREFIX)) and not (
        RENEW_AFTER_TAG in tags and CANNOT_RENEW_AFTER_TAG in tags
    ):
        return None
    return StoredCredential(
        name=name,
        enabled=bool(properties.enabled),
        not_before=properties.not_before,
        expires_on=properties.expires_on,
        renew_after=_parse_time(tags.get(RENEW_AFTER_TAG)),
        cannot_renew_after=_parse_time(tags.get(CANNOT_RENEW_AFTER_TAG)),
    )


def describe(vault_url: str, name: str | None = None) -> str:
    """Name a secret, or the whole vault, in an error."""
    return f"secret {name} in {vault_url}" if name else f"vault {vault_url}"


def explain(error: Exception, vault_url: str, name: str | None = None) -> StoreError:
    """Make the error that says why a vault's client failed; never with what the vault sent."""
    # The first line says it, the others say it again.
    reason = error.message.partition("\n")[0] if isinstance(error, AzureError) else "the answer is unreadable"
    return StoreError(f"{describe(vault_url, name)}: {reason}")


def store(
    client: SecretClient,
    credentials: Credentials,
    *,
    name: str | None = None,
    encoding: Encoding = "utf-8",
) -> SecretProperties:
    """Write a credential to Key Vault, as a new version of its secret.

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
    try:
        stored = client.set_secret(**secret.as_arguments())
    except SDK_ERRORS as error:
        raise explain(error, client.vault_url, secret.name) from None
    return stored.properties


def load(
    client: SecretClient, name: str, model: type[ModelType], *, encoding: Encoding = "utf-8"
) -> ModelType:
    """Read a credential from Key Vault: the newest version of its secret.

    Args:
        client: Of the vault; the caller's, stays open.
        name: Name of the secret.
        model: ManagedIdentityCredentials for ``msi-`` secrets, else UserAssignedIdentityCredentials.
        encoding: How the value is written.

    Raises:
        StoreError: The vault did not give it, or it is not such a credential.
    """
    try:
        value = client.get_secret(name).value
    except SDK_ERRORS as error:
        raise explain(error, client.vault_url, name) from None
    return parse_secret(value, model, where=describe(client.vault_url, name), encoding=encoding)


def list_stored(client: SecretClient) -> Iterator[StoredCredential]:
    """List every stored credential of a vault, page by page as it is asked for.

    Args:
        client: Of the vault; the caller's, stays open.

    Raises:
        StoreError: The vault did not answer; what was listed before stays good.
    """
    try:
        for properties in client.list_properties_of_secrets():
            stored = read_stored(properties)
            if stored is not None:
                yield stored
    except SDK_ERRORS as error:
        raise explain(error, client.vault_url) from None
