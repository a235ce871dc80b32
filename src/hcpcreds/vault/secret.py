"""A credential as a secret of Key Vault: its value, attributes and tags. Without I/O.

Source: Azure/msi-dataplane, pkg/dataplane/keyvault.go and constants.go (August 2026).
"""

import base64
from collections.abc import Callable, Mapping
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
from hcpcreds.vault.naming import (
    CANNOT_RENEW_AFTER_TAG,
    MANAGED_IDENTITY_PREFIX,
    RENEW_AFTER_TAG,
    USER_ASSIGNED_IDENTITY_PREFIX,
    get_identifier,
    is_secret_name,
    render_identifier,
)

Credentials = ManagedIdentityCredentials | UserAssignedIdentityCredentials
"""The value of a secret: a whole answer of the data plane, or the credential of one identity."""

STORE_ANEW: Final = "Have a new credential issued for the identity, and store it."
"""The next step when a stored credential is unusable."""
MOST_TAGS: Final = 15
"""Tags that Key Vault allows on a secret."""
_NOT_A_CREDENTIAL: Final = (
    "If it is something else, remove its tags renew_after and cannot_renew_after, which mark a credential."
)
_ENCODERS: Final[Mapping[Encoding, Callable[[bytes], str]]] = {
    "utf-8": bytes.decode,
    "hex": bytes.hex,
    "base64": lambda value: base64.b64encode(value).decode(),
}
_TIMES: Final = ("not_before", "not_after", "renew_after", "cannot_renew_after")
_REQUIRED: Final = ("authentication_endpoint", "client_id", "client_secret", "tenant_id", *_TIMES)
_AwareTime = Annotated[datetime, msgspec.Meta(tz=True)]
_LARGEST_VALUE: Final = 25_600
"""Bytes that Key Vault allows in a value (its service limits)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultSecret:
    """A new version of a secret, ready to be written."""

    name: str
    value: str = field(repr=False)
    credential: Credentials
    """The one credential in the value."""
    not_before: datetime
    expires_on: datetime
    tags: Mapping[str, str]
    content_type: str | None = None

    def as_arguments(self) -> dict[str, Any]:
        """Return the arguments of SecretClient.set_secret."""
        same = ("name", "value", "not_before", "expires_on", "content_type")
        return {**{name: getattr(self, name) for name in same}, "enabled": True, "tags": dict(self.tags)}

    def with_extras(self, tags: Mapping[str, str], content_type: str | None) -> "VaultSecret":
        """Return a copy with other tags, except those of the times, and another content type."""
        return replace(self, tags={**tags, **_build_tags(self.credential)}, content_type=content_type)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCredential:
    """A credential as a vault lists it, without its value."""

    name: str
    enabled: bool
    not_before: datetime | None
    expires_on: datetime | None
    renew_after: datetime | None
    """None when the secret has no readable tag."""
    cannot_renew_after: datetime | None
    """None when the secret has no readable tag."""
    created_on: datetime | None = field(default=None, compare=False)
    """When the version was written. Set by the vault; the writer sets all other dates."""
    problem: str | None = None
    """Why the entry is unreadable, and so unusable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSecret:
    """One version of a stored credential with its value, and all that a newer version has to keep."""

    where: str
    """Names the secret in messages."""
    version: str
    listed: StoredCredential
    """The entry in the vault's list."""
    stored: StoredCredential
    """The same entry, with the earlier time where the value differs: attributes and tags are its writer's."""
    credentials: Credentials
    """The whole value."""
    credential: Credentials
    """The one credential in the value: its only explicit identity's, or the value itself."""
    encoding: Encoding
    tags: Mapping[str, str]
    content_type: str | None

    def build_replacement(self, credential: Credentials) -> VaultSecret:
        """Build a version that holds another credential in place of this one; everything else is kept.

        Raises:
            InputError: The credential is incomplete or unusable; see `build_secret`.
        """
        whole = credential
        if self.credential is not self.credentials and isinstance(
            credential, UserAssignedIdentityCredentials
        ):
            whole = msgspec.structs.replace(self.credentials, explicit_identities=(credential,))
        return build_secret(
            whole,
            name=self.stored.name,
            encoding=self.encoding,
            tags=self.tags,
            content_type=self.content_type,
        )


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
        credentials: A complete credential: with authority, client, tenant, client secret and all four times.
            An answer of the data plane may hold at most one explicit identity, which is then the credential.
        name: Name of the secret; by default `msi-` or `uamsi-` and the identifier of the object id.
        encoding: Encoding of the value.
        tags: More tags; the tags of the times are always those of the credential.
        content_type: Content type of the secret.

    Raises:
        InputError: The credential is incomplete, or a pod could not use it. Names every such field.
    """
    prefix, at, one = _locate(credentials)
    times = {field_name: parse_time(getattr(one, field_name)) for field_name in _TIMES}
    problems = [f"{at}{problem}" for problem in _find_problems(one, times)]
    if name is None and not one.object_id:
        problems.append(f"{at}object_id: missing; the secret is named after it unless a name is given")
    elif name is not None and not is_secret_name(name):
        problems.append("name: expected 1 to 127 characters of [a-zA-Z0-9-]")
    value = _ENCODERS[encoding](render_model(credentials))
    if len(value) > _LARGEST_VALUE:
        problems.append(f"{len(value)} bytes long; Key Vault allows {_LARGEST_VALUE}")
    all_tags = {**(tags or {}), **_build_tags(one)}
    if len(all_tags) > MOST_TAGS:
        problems.append(f"tags: {len(all_tags)} tags; Key Vault allows {MOST_TAGS}")
    not_before, not_after = times["not_before"], times["not_after"]
    if problems or not_before is None or not_after is None:
        raise InputError(type(credentials).__name__, problems, hint="Nothing was stored.")
    return VaultSecret(
        name=name or prefix + render_identifier(one.object_id or ""),
        value=value,
        credential=one,
        not_before=not_before,
        expires_on=not_after,
        tags=all_tags,
        content_type=content_type,
    )


def _build_tags(one: Credentials) -> dict[str, str]:
    return {RENEW_AFTER_TAG: one.renew_after or "", CANNOT_RENEW_AFTER_TAG: one.cannot_renew_after or ""}


def _locate(credentials: Credentials) -> tuple[str, str, Credentials]:
    """Return the name's prefix, the path to the one credential in a value, and that credential.

    Raises:
        InputError: There are several explicit identities.
    """
    if isinstance(credentials, UserAssignedIdentityCredentials):
        return USER_ASSIGNED_IDENTITY_PREFIX, "", credentials
    explicit = credentials.explicit_identities or ()
    if len(explicit) > 1:
        raise InputError(
            "ManagedIdentityCredentials",
            [f"explicit_identities: {len(explicit)} identities; a secret holds at most one"],
            hint="Store each identity in its own secret.",
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
        # The reader that pods use.
        parse_credential_file(render_model(one), path="")
    except MountFormatError as error:
        named = {problem.partition(":")[0] for problem in problems}
        problems += [problem for problem in error.problems if problem.partition(":")[0] not in named]
    return problems


def parse_time(text: str | None) -> datetime | None:
    """Parse an RFC 3339 time with a zone, or return None."""
    try:
        time: datetime = msgspec.convert(text, _AwareTime)
        return time.astimezone(UTC)
    except (msgspec.ValidationError, OverflowError):  # in year 1 or 9999, where the zone leads out of it
        return None


def read_stored(properties: SecretProperties) -> StoredCredential | None:
    """Read an entry of a vault's list, or return None when its name and tags do not mark a credential."""
    tags = _get_tags(properties)
    if get_identifier(properties.name or "") is not None or (
        RENEW_AFTER_TAG in tags and CANNOT_RENEW_AFTER_TAG in tags
    ):
        return read_properties(properties)
    return None


def read_properties(properties: SecretProperties) -> StoredCredential:
    """Read the properties of a secret or of one of its versions. Never raises, whatever they hold."""
    name, tags = properties.name or "", _get_tags(properties)
    has_usable_name = is_secret_name(name)
    problems = [] if has_usable_name else ["Key Vault does not allow its name"]
    times: dict[str, datetime | None] = {}
    for attribute, key in (("not_before", "nbf"), ("expires_on", "exp"), ("created_on", "created")):
        try:
            time = getattr(properties, attribute)
        except Exception:  # noqa: BLE001 (the SDK computes it from whatever was answered)
            time = ""
        if time is not None and not isinstance(time, datetime):
            problems.append(f"its {key} is not a time between the years 1 and 9999")
            time = None
        times[attribute] = time
    return StoredCredential(
        name=name if has_usable_name else make_safe(name),
        enabled=properties.enabled is not False,
        renew_after=parse_time(tags.get(RENEW_AFTER_TAG)),
        cannot_renew_after=parse_time(tags.get(CANNOT_RENEW_AFTER_TAG)),
        problem="; ".join(problems) or None,
        **times,
    )


def _get_tags(properties: SecretProperties) -> Mapping[str, str]:
    return properties.tags if isinstance(properties.tags, Mapping) else {}


def read_secret(secret: KeyVaultSecret, *, where: str) -> LoadedSecret:
    """Read a secret that holds a credential.

    The value of a secret named `msi-...` is a whole answer of the data plane, unless it has a resource id,
    which only the credential of one identity has. Any other value is the credential of one identity. Its
    encoding is detected.

    Args:
        secret: The secret as the vault returned it.
        where: Names the secret in messages.

    Raises:
        StoreError: The value is not such a credential. Never holds the value.
        StoreUnavailableError: There is no value, or no version.
    """
    properties = secret.properties
    if not secret.value or not secret.name or not properties.version:
        raise StoreUnavailableError(f"{where}: unreadable answer")
    listed = read_properties(properties)
    if listed.problem is not None:
        raise StoreError(f"{where}: {listed.problem}", hint=STORE_ANEW)
    encoding, content = undo_encoding(secret.value.encode(errors="replace"))
    try:
        one = parse_model(content, UserAssignedIdentityCredentials)
        whole = secret.name.lower().startswith(MANAGED_IDENTITY_PREFIX) and one.resource_id is None
        credentials = parse_model(content, ManagedIdentityCredentials) if whole else one
        _, _, credential = _locate(credentials)
    except InputError as error:
        hint = STORE_ANEW if get_identifier(secret.name) else f"{STORE_ANEW} {_NOT_A_CREDENTIAL}"
        problems = "; ".join(error.problems)
        raise StoreError(f"{where}: its value is not a credential: {problems}", hint=hint) from None
    return LoadedSecret(
        where=where,
        version=properties.version,
        listed=listed,
        stored=replace(
            listed,
            expires_on=_choose_earlier(listed.expires_on, credential.not_after),
            renew_after=_choose_earlier(listed.renew_after, credential.renew_after),
            cannot_renew_after=_choose_earlier(listed.cannot_renew_after, credential.cannot_renew_after),
        ),
        credentials=credentials,
        credential=credential,
        encoding=encoding,
        tags=_get_tags(properties),
        content_type=properties.content_type,
    )


def _choose_earlier(listed: datetime | None, written: str | None) -> datetime | None:
    return min((time for time in (listed, parse_time(written)) if time is not None), default=None)
