"""The constructors of the credentials; the sync and the asyncio class of each kind share one."""

import os
import time
from collections.abc import Callable, Collection, Iterable
from datetime import timedelta
from typing import Any, Self

from typing_extensions import override

from hcpcreds.clouds import DEFAULT_CLOUD, get_cloud
from hcpcreds.credential.authority import Failure, TokenRequest
from hcpcreds.credential.azure_errors import build_error
from hcpcreds.credential.base import TENANT, CredentialBase
from hcpcreds.credential.settings import read_certificate_environment, read_cloud_config, read_environment
from hcpcreds.credential.source import DEFAULT_BACKSTOP
from hcpcreds.credential.status import Status
from hcpcreds.credential_file.content import MANAGED_IDENTITY
from hcpcreds.credential_file.file import parse_authority
from hcpcreds.credential_file.service_principal import MAX_PASSWORD_BYTES, ServicePrincipal
from hcpcreds.errors import InputError
from hcpcreds.text import UUID
from hcpcreds.watch import make_absolute

_ONE_TENANT = "AZURE_IDENTITY_DISABLE_MULTITENANTAUTH"
"""azure-identity's variable: if it is set, every token is for the credential's own tenant."""


class ManagedIdentityArguments(CredentialBase):
    """The constructors of a credential for a managed identity."""

    def __init__(  # noqa: PLR0913 (the promised arguments)
        self,
        path: str | os.PathLike[str],
        *,
        cloud: str | None = None,
        authority: str | None = None,
        backstop: timedelta = DEFAULT_BACKSTOP,
        poll: bool = False,
        on_reload: Callable[[Status], None] | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            path,
            MANAGED_IDENTITY,
            cloud=cloud,
            authority=authority,
            backstop=backstop,
            poll=poll,
            on_reload=on_reload,
            clock=clock,
            monotonic=monotonic,
            **kwargs,
        )

    @classmethod
    def from_environment(cls, **kwargs: Any) -> Self:
        """Create a credential for the file that `MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH` names.

        Args:
            **kwargs: As for the class.

        Raises:
            InputError: The variable is not set.
        """
        return cls(read_environment(), **kwargs)

    @classmethod
    def from_cloud_config(cls, path: str | os.PathLike[str], **kwargs: Any) -> Self:
        """Create a credential for the file that a cloud config names in `aadMSIDataPlaneIdentityPath`.

        Args:
            path: The cloud config (cloud.conf).
            **kwargs: As for the class; `cloud` defaults to the cloud in the config.

        Raises:
            InputError: There is no such cloud config, or it names no credential file, or an unknown cloud.
        """
        config = read_cloud_config(path)
        kwargs.setdefault("cloud", config.cloud)
        return cls(config.path, **kwargs)


class CertificateArguments(CredentialBase):
    """The constructors of a credential for a service principal."""

    def __init__(  # noqa: PLR0913 (azure-identity's arguments, and our own)
        self,
        path_or_tenant_id: str | os.PathLike[str] | None = None,
        /,
        client_id: str | None = None,
        certificate_path: str | os.PathLike[str] | None = None,
        *,
        tenant_id: str | None = None,
        password: str | bytes | None = None,
        password_file: str | os.PathLike[str] | None = None,
        send_certificate_chain: bool = False,
        cloud: str | None = None,
        authority: str | None = None,
        additionally_allowed_tenants: Collection[str] = (),
        disable_instance_discovery: bool | None = None,  # noqa: ARG002 (there is none)
        certificate_data: bytes | None = None,
        cache_persistence_options: object = None,
        backstop: timedelta = DEFAULT_BACKSTOP,
        poll: bool = False,
        on_reload: Callable[[Status], None] | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        **kwargs: Any,
    ) -> None:
        first = path_or_tenant_id
        path = first if certificate_path is None else certificate_path
        tenant = first if tenant_id is None and certificate_path is not None else tenant_id
        problems = []
        if certificate_data is not None:
            problems.append(
                "certificate_data: bytes do not rotate; expected a file, or use azure.identity's credential"
            )
        elif path is None:
            problems.append("certificate_path: missing; expected a file with the certificate and its key")
        if cache_persistence_options is not None:
            problems.append("cache_persistence_options: not supported; tokens are kept in memory only")
        if isinstance(tenant, os.PathLike):
            tenant = None
        principal = build_principal(
            "CertificateCredential",
            problems,
            tenant_id=tenant,
            client_id=client_id,
            cloud=cloud,
            authority=authority,
            password=password,
            password_file=password_file,
            sends_chain=send_certificate_chain,
        )
        assert path is not None  # noqa: S101 (a problem)
        self._tenant_id = principal.tenant_id
        self._allowed = {each.lower() for each in additionally_allowed_tenants}
        super().__init__(
            path,
            principal,
            backstop=backstop,
            poll=poll,
            on_reload=on_reload,
            clock=clock,
            monotonic=monotonic,
            **kwargs,
        )

    @classmethod
    def from_environment(cls, **kwargs: Any) -> Self:
        """Create a credential from the variables of azure-identity's `EnvironmentCredential`.

        They are `AZURE_CLIENT_CERTIFICATE_PATH`, `AZURE_TENANT_ID`, `AZURE_CLIENT_ID`, and if they are set
        `AZURE_CLIENT_CERTIFICATE_PASSWORD` and `AZURE_CLIENT_SEND_CERTIFICATE_CHAIN`.

        Args:
            **kwargs: As for the class; they take precedence.

        Raises:
            InputError: A variable is not set, or its value is invalid.
        """
        if kwargs.get("password_file") is not None:
            kwargs.setdefault("password", None)
        return cls(**{**read_certificate_environment(), **kwargs})

    @override
    def _make_request(
        self,
        method: str,
        scopes: tuple[str, ...],
        claims: str | None,
        tenant_id: str | None,
        *,
        enable_cae: bool,
    ) -> TokenRequest:
        request = super()._make_request(method, scopes, claims, tenant_id, enable_cae=enable_cae)
        tenant = (request.tenant_id or self._tenant_id).lower()
        if tenant == self._tenant_id or os.environ.get(_ONE_TENANT):
            return request._replace(tenant_id=None)
        if self._allowed.isdisjoint((tenant, "*")):
            raise build_error(
                Failure(
                    message=f"tenant {tenant} is neither the credential's own nor an allowed one",
                    hint="Add it to additionally_allowed_tenants.",
                    refused=True,
                )
            )
        return request


def build_principal(  # noqa: PLR0913 (all keywords)
    where: str,
    problems: Iterable[str] = (),
    *,
    tenant_id: str | None,
    client_id: str | None,
    cloud: str | None,
    authority: str | None,
    password: str | bytes | None = None,
    password_file: str | os.PathLike[str] | None = None,
    sends_chain: bool,
) -> ServicePrincipal:
    """Check the arguments that describe a service principal.

    Raises:
        InputError: An argument is invalid, or `problems` is not empty. Names `where`.
    """
    problems = list(problems)
    if not isinstance(tenant_id, str) or not TENANT.fullmatch(tenant_id):
        problems.append("tenant_id: expected a UUID or a domain name")
    if not isinstance(client_id, str) or not UUID.fullmatch(client_id):
        problems.append("client_id: expected a UUID")
    if password is not None and password_file is not None:
        problems.append("password_file: excludes password; pass one of them")
    secret = password.encode() if isinstance(password, str) else password
    if secret is not None and len(secret) > MAX_PASSWORD_BYTES:
        problems.append(f"password: expected at most {MAX_PASSWORD_BYTES} bytes")
    if problems or tenant_id is None or client_id is None:
        raise InputError(where, problems)
    return ServicePrincipal(
        tenant_id=tenant_id.lower(),
        client_id=client_id.lower(),
        authority=_find_authority(authority, cloud),
        password=secret,
        password_file=None if password_file is None else make_absolute(password_file),
        sends_chain=sends_chain,
    )


def _find_authority(authority: str | None, cloud: str | None) -> str:
    """Return the authority to use. As for azure-identity, a host name without a scheme is enough."""
    named = get_cloud(cloud).authority if cloud else os.environ.get("AZURE_AUTHORITY_HOST")
    given = authority or named or get_cloud(DEFAULT_CLOUD).authority
    try:
        return parse_authority(given if "://" in given else f"https://{given.strip()}")
    except ValueError as error:
        raise InputError("authority", [str(error)]) from None
