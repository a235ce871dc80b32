"""What a credential is as a secret of Key Vault: its name, value, attributes and tags. Without I/O.

Source: Azure/msi-dataplane, pkg/dataplane/keyvault.go and constants.go (August 2026).
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
from azure.keyvault.secrets import KeyVaultSecret, SecretProperties

from hcpcreds.credential_file.encoding import Encoding, undo_encoding
from hcpcreds.credential_file.file import parse_credential_file
from hcpcreds.dataplane.models import (
    ManagedIdentityCredentials,
    UserAssignedIdentityCredentials,
    parse_model,
    render_model,
)
from hcpcreds.errors import InputError, MountFormatError, StoreError, StoreUnavailableError
from hcpcreds.text import make_safe

MANAGED_IDENTITY_PREFIX: Final = "msi-"
"""Begins the name of a secret that holds a whole answer of the data plane."""
USER_ASSIGNED_IDENTITY_PREFIX: Final = "uamsi-"
"""Begins the name of a secret that holds one user-assigned identity's credential."""
RENEW_AFTER_TAG: Final = "renew_after"
CANNOT_RENEW_AFTER_TAG: Final = "cannot_renew_after"

Credentials = ManagedIdentityCredentials | UserAssignedIdentityCredentials

STORE_ANEW: Final = "Have the identity's credential issued anew, and store that."
"""The next step when what is stored is of no use."""
_NO_CREDENTIAL: Final = (
    "If it is something else, take the tags renew_after and cannot_renew_after off it: they say it is one."
)

_SECRET_NAME: Final = re.compile(r"[a-zA-Z0-9-]{1,127}")
_TIMES: Final = ("not_before", "not_after", "renew_after", "cannot_renew_after")
_REQUIRED: Final = ("authentication_endpoint", "client_id", "client_secret", "tenant_id", *_TIMES)
_AwareTime = Annotated[datetime, msgspec.Meta(tz=True)]
_LARGEST_VALUE: Final = 25_600
"""Bytes that a vault takes (Key Vault's service limits)."""
MOST_TAGS: Final = 15
"""Of a secret, in Key Vault."""
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


def render_identifier(object_id: str) -> str:
    """Render the usual identifier of an identity: its object id's SHA-224 in base 36, lower-case."""
    number = int.from_bytes(hashlib.sha224(object_id.encode()).digest())
    digits = ""
    while number:
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits or "0"


def get_identifier(name: str) -> str | None:
    """Get what follows ``msi-`` or ``uamsi-`` in a name, lower-case; None when it begins with neither."""
    name = name.lower()
    for prefix in (MANAGED_IDENTITY_PREFIX, USER_ASSIGNED_IDENTITY_PREFIX):
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultSecret:
    """What `store` writes."""

    name: str
    value: str = field(repr=False)
    not_before: datetime
    expires_on: datetime
    tags: Mapping[str, str]
    content_type: str | None = None

    def as_arguments(self) -> dict[str, Any]:
        """Return what SecretClient.set_secret takes."""
        return {
            "name": self.name,
            "value": self.value,
            "enabled": True,
            "not_before": self.not_before,
            "expires_on": self.expires_on,
            "tags": dict(self.tags),
            "content_type": self.content_type,
        }


def build_secret(
    credentials: Credentials,
    *,
    name: str | None = None,
    encoding: Encoding = "utf-8",
    tags: Mapping[str, str] | None = None,
    content_type: str | None = None,
) -> VaultSecret:
    """Build the secret that holds a credential.

    Opens the certificate: 0.3 ms for PEM, 36 ms for PKCS#12.

    Args:
        credentials: Whole: with authority, client, tenant, client secret and all four times. An answer of
            the data plane may hold no more than one explicit identity, whose credential is then the one.
        name: Name of the secret; by default ``msi-`` or ``uamsi-`` and the identifier of the object id.
        encoding: How the value is written.
        tags: More tags; those of the times are this credential's.
        content_type: The secret's content type.

    Raises:
        InputError: Every field that is missing or unusable, by its name: what no pod could use is not stored.
    """
    prefix, at, one = _locate(credentials)
    times = {field_name: parse_time(getattr(one, field_name)) for field_name in _TIMES}
    problems = [f"{at}{problem}" for problem in _find_problems(one, times)]
    if name is None and not one.object_id:
        problems.append(f"{at}object_id: missing, and the secret is named after it; else give a name")
    elif name is not None and not _SECRET_NAME.fullmatch(name):
        problems.append("name: expected 1 to 127 characters of [a-zA-Z0-9-]")
    value = _encode(render_model(credentials), encoding)
    if len(value) > _LARGEST_VALUE:
        problems.append(f"it takes {len(value)} bytes, and a vault takes at most {_LARGEST_VALUE}")
    all_tags = {
        **(tags or {}),
        RENEW_AFTER_TAG: one.renew_after or "",
        CANNOT_RENEW_AFTER_TAG: one.cannot_renew_after or "",
    }
    if len(all_tags) > MOST_TAGS:
        problems.append(f"tags: {len(all_tags)} of them, and a vault takes at most {MOST_TAGS}")
    not_before, not_after = times["not_before"], times["not_after"]
    if problems or not_before is None or not_after is None:
        raise InputError(type(credentials).__name__, problems, hint="Nothing was stored.")
    return VaultSecret(
        name=name or prefix + render_identifier(one.object_id or ""),
        value=value,
        not_before=not_before,
        expires_on=not_after,
        tags=all_tags,
        content_type=content_type,
    )


def choose_credential(credentials: Credentials) -> Credentials:
    """Choose the one credential that a secret is about: a whole answer's only explicit identity, or itself.

    Raises:
        InputError: There are several explicit identities.
    """
    return _locate(credentials)[2]


def _locate(credentials: Credentials) -> tuple[str, str, Credentials]:
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
        f"{name}: expected an RFC 3339 time with a zone"
        for name, time in times.items()
        if getattr(one, name) and time is None
    ]
    not_before, not_after = times["not_before"], times["not_after"]
    if not_before and not_after and not_before >= not_after:
        problems.append("not_after: must be later than not_before")
    try:
        # What the pods read it with.
        parse_credential_file(render_model(one), path="")
    except MountFormatError as error:
        named = {problem.partition(":")[0] for problem in problems}
        problems += [problem for problem in error.problems if problem.partition(":")[0] not in named]
    return problems


def parse_time(text: str | None) -> datetime | None:
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
    created_on: datetime | None = field(default=None, compare=False)
    """When its newest version was written: the vault's own word, while all else is its writer's."""
    problem: str | None = None
    """What of it cannot be read at all; then nothing can be done with it."""


def read_stored(properties: SecretProperties) -> StoredCredential | None:
    """Read one entry of a vault's list; None when it holds no credential, by its name and tags."""
    tags = _read_tags(properties)
    if get_identifier(properties.name or "") is not None or (
        RENEW_AFTER_TAG in tags and CANNOT_RENEW_AFTER_TAG in tags
    ):
        return read_properties(properties)
    return None


def read_properties(properties: SecretProperties) -> StoredCredential:
    """Read what a vault says of a secret or of one version of it. Raises nothing, whatever it says."""
    name, tags = properties.name or "", _read_tags(properties)
    problems = [] if _SECRET_NAME.fullmatch(name) else ["its name is none that a secret can have"]

    def read_time(attribute: str, field_name: str) -> datetime | None:
        try:
            time = getattr(properties, attribute)
        except Exception:  # noqa: BLE001 - the SDK works it out from whatever was answered
            time = ""
        if time is None or isinstance(time, datetime):
            return time
        problems.append(f"its {field_name} is not a time between the years 1 and 9999")
        return None

    not_before, expires_on, created_on = map(
        read_time, ("not_before", "expires_on", "created_on"), ("nbf", "exp", "created")
    )
    return StoredCredential(
        name=make_safe(name),
        enabled=properties.enabled is not False,
        not_before=not_before,
        expires_on=expires_on,
        renew_after=parse_time(tags.get(RENEW_AFTER_TAG)),
        cannot_renew_after=parse_time(tags.get(CANNOT_RENEW_AFTER_TAG)),
        created_on=created_on,
        problem="; ".join(problems) or None,
    )


def _read_tags(properties: SecretProperties) -> Mapping[str, str]:
    return properties.tags if isinstance(properties.tags, Mapping) else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSecret:
    """A stored credential with its value, and what a new version of its secret has to keep."""

    listed: StoredCredential
    """As the vault lists it."""
    stored: StoredCredential
    """The same, with the earlier time where the value says another: its writer sets attributes and tags."""
    version: str
    credentials: Credentials
    encoding: Encoding
    tags: Mapping[str, str]
    content_type: str | None


def read_secret(secret: KeyVaultSecret, *, where: str) -> LoadedSecret:
    """Read a secret that holds a credential.

    A name that begins with ``msi-`` means a whole answer of the data plane, unless it has the resource id
    that only one identity's credential has; every other name means the latter. How the value is written is
    told from the value.

    Args:
        secret: As the vault gave it.
        where: Names the secret in the error.

    Raises:
        StoreError: The value is no such credential. Never holds the value.
        StoreUnavailableError: There is no value, or no version.
    """
    properties = secret.properties
    if not secret.value or not secret.name or not properties.version:
        raise StoreUnavailableError(f"{where}: the answer is unreadable")
    listed = read_properties(properties)
    if listed.problem is not None:
        raise StoreError(f"{where}: {listed.problem}", hint=STORE_ANEW)
    encoding, content = undo_encoding(secret.value.encode(errors="replace"))
    try:
        one = parse_model(content, UserAssignedIdentityCredentials)
        whole = secret.name.lower().startswith(MANAGED_IDENTITY_PREFIX) and one.resource_id is None
        credentials = parse_model(content, ManagedIdentityCredentials) if whole else one
        chosen = choose_credential(credentials)
    except InputError as error:
        hint = STORE_ANEW if get_identifier(secret.name) else f"{STORE_ANEW} {_NO_CREDENTIAL}"
        raise StoreError(
            f"{where}: its value is no credential: {'; '.join(error.problems)}", hint=hint
        ) from None
    return LoadedSecret(
        listed=listed,
        stored=replace(
            listed,
            expires_on=_choose_earlier(listed.expires_on, chosen.not_after),
            renew_after=_choose_earlier(listed.renew_after, chosen.renew_after),
            cannot_renew_after=_choose_earlier(listed.cannot_renew_after, chosen.cannot_renew_after),
        ),
        version=properties.version,
        credentials=credentials,
        encoding=encoding,
        tags=_read_tags(properties),
        content_type=properties.content_type,
    )


def _choose_earlier(listed: datetime | None, said: str | None) -> datetime | None:
    return min((time for time in (listed, parse_time(said)) if time is not None), default=None)
