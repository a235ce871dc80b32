"""What the managed-identity data plane takes and answers, field by field.

Source: Azure/msi-dataplane, pkg/dataplane/internal/msi-credentials-data-plane.openapi.v2.json (2024-01-01).

The service's description requires no field, so every one may be absent or null, and is None then: what a
use needs is checked where it is used. A field of another type is an error. Keys that are not described are
ignored and not kept, so that a newer service does not break an older client. Times stay the texts that the
service wrote, since they are stored as they came.
"""

from typing import Any, Final, TypeVar

import msgspec
from typing_extensions import override

from hcpcreds.errors import InputError
from hcpcreds.text import make_safe

_SECRET_FIELDS: Final = frozenset({"client_secret"})


class Model(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of what goes over the wire; what it shows of itself never holds a secret."""

    @override
    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({shown})"

    @override
    def __rich_repr__(self) -> list[tuple[str, Any]]:
        fields = [(name, _show(getattr(self, name))) for name in self.__struct_fields__]
        return [
            (name, "***" if name in _SECRET_FIELDS else value) for name, value in fields if value is not None
        ]


def _show(value: object) -> object:
    """Show texts safely: a key can have been pasted into any of them."""
    if isinstance(value, tuple):
        return tuple(map(_show, value))
    return make_safe(value) if isinstance(value, str) else value


class CustomClaims(Model, frozen=True):
    """Claims to put into the certificate."""

    xms_az_nwperimid: tuple[str, ...] | None = None
    """Network perimeter ids, at most five."""
    xms_az_tm: str | None = None
    """Trust mode: ``azureinfra`` or ``user``."""


class UserAssignedIdentityCredentials(Model, frozen=True):
    """One identity's credential: what a credential file holds."""

    authentication_endpoint: str | None = None
    cannot_renew_after: str | None = None
    client_id: str | None = None
    client_secret: str | None = None
    """Base64 of the certificate and its private key."""
    client_secret_url: str | None = None
    """Where this one identity's credential is renewed."""
    custom_claims: CustomClaims | None = None
    mtls_authentication_endpoint: str | None = None
    not_after: str | None = None
    not_before: str | None = None
    object_id: str | None = None
    renew_after: str | None = None
    resource_id: str | None = None
    tenant_id: str | None = None


class DelegatedResource(Model, frozen=True):
    """Credentials of a resource that delegated to the caller's."""

    delegation_id: str | None = None
    delegation_url: str | None = None
    explicit_identities: tuple[UserAssignedIdentityCredentials, ...] | None = None
    implicit_identity: UserAssignedIdentityCredentials | None = None
    internal_id: str | None = None
    resource_id: str | None = None


class ManagedIdentityCredentials(Model, frozen=True):
    """A resource's credentials: its system-assigned identity's, and those of each identity asked for."""

    authentication_endpoint: str | None = None
    cannot_renew_after: str | None = None
    client_id: str | None = None
    client_secret: str | None = None
    """Base64 of the certificate and its private key."""
    client_secret_url: str | None = None
    custom_claims: CustomClaims | None = None
    delegated_resources: tuple[DelegatedResource, ...] | None = None
    delegation_url: str | None = None
    explicit_identities: tuple[UserAssignedIdentityCredentials, ...] | None = None
    internal_id: str | None = None
    mtls_authentication_endpoint: str | None = None
    not_after: str | None = None
    not_before: str | None = None
    object_id: str | None = None
    renew_after: str | None = None
    tenant_id: str | None = None


class UserAssignedIdentitiesRequest(Model, frozen=True, rename="camel"):
    """Which identities' credentials to issue."""

    custom_claims: CustomClaims | None = None
    delegated_resources: tuple[str, ...] | None = None
    """Internal ids of the resources that delegated."""
    identity_ids: tuple[str, ...] | None = None
    """ARM resource ids of user-assigned identities."""


class MoveIdentityRequest(Model, frozen=True, rename="camel"):
    """Where a proxy resource goes."""

    target_resource_id: str | None = None


class MoveIdentityResponse(Model, frozen=True, rename="camel"):
    """The moved resource's new identity URL."""

    identity_url: str | None = None


class _ErrorDetail(Model, frozen=True):
    code: str | None = None
    message: str | None = None


class ErrorResponse(Model, frozen=True):
    """How the service says no."""

    error: _ErrorDetail | None = None


ModelType = TypeVar("ModelType", bound=Model)


def parse_model(content: bytes, model: type[ModelType]) -> ModelType:
    """Parse JSON from the service or from a vault.

    Raises:
        InputError: Not JSON, or a field of another type. Names the field, never its value.
    """
    try:
        return msgspec.json.decode(content, type=model)
    except UnicodeDecodeError:  # carries the bytes that it could not read
        raise InputError(model.__name__, ["a text in it is not UTF-8"]) from None
    except msgspec.MsgspecError as error:
        raise InputError(model.__name__, [str(error)]) from None
    except RecursionError:  # in a field that is ignored
        raise InputError(model.__name__, ["it is nested too deep"]) from None


def render_model(model: Model) -> bytes:
    """Render as JSON, as the service writes it; fields that are None are left out."""
    return msgspec.json.encode(model)
