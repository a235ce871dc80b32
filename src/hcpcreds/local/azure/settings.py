"""The settings of a local Azure, which its process reads from a JSON file."""

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
    """An application that may request tokens."""

    client_id: str
    certificates: tuple[str, ...] = ()
    """The certificates that it signs with, each PEM."""
    tenant_id: str | None = None


class IdentitySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A managed identity that the data plane issues credentials for."""

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
    """A number of requests in any span of so many seconds."""

    requests: Annotated[int, msgspec.Meta(ge=0)]
    seconds: _Seconds


class AzureSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The contents and the behaviour of a local Azure. Durations are in seconds."""

    tenant_ids: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: (str(uuid.uuid4()),)
    )
    """The first is the default."""
    vaults: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = ("hcpcreds-local",)
    applications: tuple[ApplicationSettings, ...] = ()
    identities: tuple[IdentitySettings, ...] = ()
    node_identities: tuple[NodeIdentitySettings, ...] = ()
    resource_id: str = (
        "/subscriptions/00000000-0000-0000-0000-000000000001/resourcegroups/local"
        "/providers/Microsoft.RedHatOpenShift/hcpOpenShiftClusters/local"
    )
    """The resource whose identities the data plane issues credentials for."""
    resource_groups: tuple[str, ...] = ("local-control-plane", "local-nodes")
    data_plane_audience: str = "https://identity.azure.net"
    token_lifetime: _Seconds = 3600.0
    refresh_in: _Seconds | None = None
    longest_assertion_life: _Seconds = 3600.0
    """Azure SDKs sign for 10 minutes, azure-identity's asyncio credentials for 30."""
    refuse_replayed_assertions: bool = True
    """MSAL reuses an assertion for nine minutes: False lets its credential request several scopes."""
    certificate_lifetime: _Seconds = 90 * 24 * 3600.0
    certificate_backdate: _NotNegative = 300.0
    """How far in the past a certificate's validity starts. Each starts at least a second after the client's
    last one: of more certificates than this within as many seconds, some start in the future."""
    secret_format: SecretFormat = "pem"  # noqa: S105 (a format)
    key_pool: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Number of RSA keys, which certificates use in turn: generating one takes 50 ms, which would distort a
    measurement. None generates one for each certificate, as Azure does."""
    renew_early: bool = True
    """Whether a client_secret_url returns a new credential even before the current one's renew_after.
    The real service returns the current one until then."""
    registration_delay: _NotNegative = 0.0
    """Seconds until Entra ID knows a newly issued certificate."""
    latency: dict[str, _NotNegative] = {}
    """Delay of every response of a service, by its name (see `Faults.add`)."""
    limits: dict[str, LimitSettings] = {}
    """Rate limits of services; requests above the limit are answered with 429."""
    state_directory: str | None = None
    """Directory of the certificate authority's file; a temporary one unless given."""


def read_settings(path: Path) -> AzureSettings:
    """Read the configuration of the local Azure's process.

    Raises:
        InputError: The file cannot be read, is not a configuration, or a certificate in it is not PEM.
    """
    try:
        settings = msgspec.json.decode(path.read_bytes(), type=AzureSettings)
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
