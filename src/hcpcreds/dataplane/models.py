"""The requests and answers of the managed-identity data plane, field by field.

Source: Azure/msi-dataplane, pkg/dataplane/internal/msi-credentials-data-plane.openapi.v2.json (2024-01-01).

The service's description requires no field, so every field may be absent or null, and is None then. Code
that needs a field checks it. A field of the wrong type is an error. Unknown keys are ignored and dropped, so
that a newer service does not break an older client. Times stay strings, because they are stored as received.
"""

from typing import Any, Final, TypeVar

import msgspec
from typing_extensions import override

from hcpcreds.errors import InputError
from hcpcreds.text import make_safe

_SECRET_FIELDS: Final = frozenset({"client_secret"})


class Model(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of the messages on the wire. Its repr never holds a secret."""

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
    """Make strings safe to show: a key may have been pasted into any of them."""
    if isinstance(value, tuple):
        return tuple(map(_show, value))
    return make_safe(value) if isinstance(value, str) else value


class CustomClaims(Model, frozen=True):
    """Claims that the certificate carries."""

    xms_az_nwperimid: tuple[str, ...] | None = None
    """At most five network perimeter ids."""
    xms_az_tm: str | None = None
    """Trust mode: `azureinfra` or `user`."""


class UserAssignedIdentityCredentials(Model, frozen=True):
    """The credential of one identity: the content of a credential file."""

    authentication_endpoint: str | None = None
    cannot_renew_after: str | None = None
    client_id: str | None = None
    client_secret: str | None = None
    """The certificate and its private key in base64."""
    client_secret_url: str | None = None
    """The URL at which the credential of this identity is renewed."""
    custom_claims: CustomClaims | None = None
    mtls_authentication_endpoint: str | None = None
    not_after: str | None = None
    not_before: str | None = None
    object_id: str | None = None
    renew_after: str | None = None
    resource_id: str | None = None
    tenant_id: str | None = None


class DelegatedResource(Model, frozen=True):
    """The credentials of a resource that delegated to the caller's resource."""

    delegation_id: str | None = None
    delegation_url: str | None = None
    explicit_identities: tuple[UserAssignedIdentityCredentials, ...] | None = None
    implicit_identity: UserAssignedIdentityCredentials | None = None
    internal_id: str | None = None
    resource_id: str | None = None


class ManagedIdentityCredentials(Model, frozen=True):
    """The credentials of a resource: of its system-assigned identity, and of each requested identity."""

    authentication_endpoint: str | None = None
    cannot_renew_after: str | None = None
    client_id: str | None = None
    client_secret: str | None = None
    """The certificate and its private key in base64."""
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
    """The identities to issue credentials for."""

    custom_claims: CustomClaims | None = None
    delegated_resources: tuple[str, ...] | None = None
    """Internal ids of the delegating resources."""
    identity_ids: tuple[str, ...] | None = None
    """ARM resource ids of user-assigned identities."""


class MoveIdentityRequest(Model, frozen=True, rename="camel"):
    """The target of a proxy resource."""

    target_resource_id: str | None = None


class MoveIdentityResponse(Model, frozen=True, rename="camel"):
    """The new identity URL of the moved resource."""

    identity_url: str | None = None


class _ErrorDetail(Model, frozen=True):
    code: str | None = None
    message: str | None = None


class ErrorResponse(Model, frozen=True):
    """The body of a refusal."""

    error: _ErrorDetail | None = None


ModelType = TypeVar("ModelType", bound=Model)


def parse_model(content: bytes, model: type[ModelType]) -> ModelType:
    """Parse JSON from the service or from a vault.

    Raises:
        InputError: It is not JSON, or a field has the wrong type. Names the field, never its value.
    """
    try:
        return msgspec.json.decode(content, type=model)
    except UnicodeDecodeError:  # its attributes hold the raw bytes
        raise InputError(model.__name__, ["a string in it is not UTF-8"]) from None
    except msgspec.MsgspecError as error:
        raise InputError(model.__name__, [str(error)]) from None
    except RecursionError:  # in an ignored field
        raise InputError(model.__name__, ["nested too deeply"]) from None


def render_model(model: Model) -> bytes:
    """Render as JSON, as the service writes it. Fields that are None are omitted."""
    return msgspec.json.encode(model)
