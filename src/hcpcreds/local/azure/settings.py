"""What there is in a local Azure: settings for tests, and the configuration of its process as JSON."""

import uuid
from pathlib import Path
from typing import Annotated

import msgspec
from cryptography import x509

from hcpcreds.errors import InputError
from hcpcreds.local.azure.identity_certificates import SecretFormat

_Seconds = Annotated[float, msgspec.Meta(gt=0)]
_NotNegative = Annotated[float, msgspec.Meta(ge=0)]


class ApplicationSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An application that may ask for tokens."""

    client_id: str
    certificates: tuple[str, ...] = ()
    """The certificates that it signs with, each PEM."""
    tenant_id: str | None = None


class IdentitySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A managed identity that the data plane issues for."""

    client_id: str
    resource_id: str | None = None
    """Its ARM id; made from the client id unless given."""
    tenant_id: str | None = None
    object_id: str | None = None
    system_assigned: bool = False


class NodeIdentitySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An identity that is assigned to the node."""

    client_id: str
    resource_id: str | None = None


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So many requests in any span of so many seconds."""

    requests: Annotated[int, msgspec.Meta(ge=0)]
    seconds: _Seconds


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What there is in a local Azure. Durations are seconds."""

    tenant_ids: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: (str(uuid.uuid4()),)
    )
    """The first is that of everything that names no other."""
    vaults: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = ("hcpcreds-local",)
    applications: tuple[ApplicationSettings, ...] = ()
    identities: tuple[IdentitySettings, ...] = ()
    node_identities: tuple[NodeIdentitySettings, ...] = ()
    resource_id: str = (
        "/subscriptions/00000000-0000-0000-0000-000000000001/resourcegroups/local"
        "/providers/Microsoft.RedHatOpenShift/hcpOpenShiftClusters/local"
    )
    """The resource whose identities the data plane issues for."""
    resource_groups: tuple[str, ...] = ("local-control-plane", "local-nodes")
    data_plane_audience: str = "https://identity.azure.net"
    token_lifetime: _Seconds = 3600.0
    refresh_in: _Seconds | None = None
    longest_assertion_life: _Seconds = 3600.0
    """Azure SDKs sign for 10 minutes, its asyncio one for 30."""
    refuse_replayed_assertions: bool = True
    """MSAL signs one assertion for nine minutes: let it when its credential is to ask for several scopes."""
    certificate_lifetime: _Seconds = 90 * 24 * 3600.0
    certificate_backdate: _NotNegative = 300.0
    """How far back a certificate begins. Each begins a second or more after the client's last one: a client
    that is issued more of them than this in so many seconds gets some that begin in the future."""
    secret_format: SecretFormat = "pem"  # noqa: S105 (a format)
    key_pool: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """So many RSA keys are made in all, and certificates take them in turn: making one takes 50 ms, which a
    measurement of somebody else should not contain. None makes a new one for each, as Azure does."""
    renew_early: bool = True
    """Whether a client_secret_url answers a new credential even before the current one's renew_after.
    The real service answers the current one until then."""
    registration_delay: _NotNegative = 0.0
    """Until Entra knows a newly issued certificate."""
    latency: dict[str, _NotNegative] = {}
    """Seconds that every answer of a service takes longer, by the service's name (see `Faults.add`)."""
    limits: dict[str, LimitSettings] = {}
    """How many requests a service lets through; the rest are answered 429."""
    state_directory: str | None = None
    """Where the certificate authority's file is kept; a temporary directory unless given."""


def read_settings(path: Path) -> Settings:
    """Read the configuration of the local Azure's process.

    Raises:
        InputError: The file cannot be read, is no configuration, or holds a certificate that is none.
    """
    try:
        settings = msgspec.json.decode(path.read_bytes(), type=Settings)
    except OSError as error:
        raise InputError(str(path), [f"cannot be read: {error.strerror}"]) from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(str(path), [str(error)]) from None
    problems = []
    for number, application in enumerate(settings.applications):
        for position, pem in enumerate(application.certificates):
            try:
                x509.load_pem_x509_certificate(pem.encode())
            except ValueError:
                problems.append(f"$.applications[{number}].certificates[{position}]: not a PEM certificate")
    if problems:
        raise InputError(str(path), problems)
    return settings
