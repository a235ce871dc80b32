"""Opens the connections of whoever reads the credentials in vaults: clients, and what proves keys."""

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

from azure.identity.aio import DefaultAzureCredential
from azure.keyvault.secrets.aio import SecretClient

from hcpcreds.clouds import DEFAULT_CLOUD, LOOPBACK, get_cloud
from hcpcreds.credential.aio import UserAssignedIdentityCredential
from hcpcreds.credential_file.file import parse_credential_file, read_credential_file
from hcpcreds.errors import MountError
from hcpcreds.http.aio import open_transports
from hcpcreds.http.answers import MAX_ANSWER, MAX_TOKEN_ANSWER
from hcpcreds.renewal.possession import KeyProver
from hcpcreds.renewal.throttle import ThrottleGate

_CONNECT_SECONDS: Final = 10


@dataclass(frozen=True, kw_only=True)
class VaultAccess:
    """The vaults, and the credential that reads them."""

    vault_urls: Sequence[str]
    credential_file: str | None = None
    """Credential file of the application; by default azure-identity's DefaultAzureCredential."""
    cloud: str = DEFAULT_CLOUD
    ca_file: str | None = None
    """PEM file of the CA certificates to trust instead of the machine's."""


@dataclass(frozen=True, kw_only=True)
class OpenVaults:
    """The connections; they stay open until the context is left."""

    vaults: Sequence[SecretClient]
    """One for each URL, with a `ThrottleGate` and without the SDK's own retries."""
    prover: KeyProver
    credential: Any
    """The credential of the clients."""
    make_transport: Callable[[int], Any]
    """Makes further transports, each for answers of at most so many bytes."""


@asynccontextmanager
async def open_vaults(access: VaultAccess) -> AsyncIterator[OpenVaults]:
    """Open a client for each vault; the connections are closed on exit.

    Raises:
        InputError: A value of `VaultAccess` cannot be used.
    """
    connections = {"connection_verify": access.ca_file or True, "connection_timeout": _CONNECT_SECONDS}
    # Unlike the SDK's retries, ours have jitter, and check first whether a write was done.
    own: dict[str, Any] = {"retry_total": 0}
    async with (
        open_transports(connections, urls=access.vault_urls) as make_transport,
        _open_credential(access, transport=make_transport(MAX_TOKEN_ANSWER), **own) as credential,
        KeyProver(
            get_cloud(access.cloud).resource_manager_scope,
            list_own_authorities=partial(_list_own_authorities, access),
            per_retry_policies=[ThrottleGate()],
            transport=make_transport(MAX_TOKEN_ANSWER),
            **own,
        ) as prover,
        AsyncExitStack() as stack,
    ):
        vaults = []
        for url in access.vault_urls:
            vault = SecretClient(
                url,
                credential,
                # A vault on this machine has another host than the resource in its challenge.
                verify_challenge_resource=urlsplit(url).hostname not in LOOPBACK,
                per_retry_policies=[ThrottleGate()],
                transport=make_transport(MAX_ANSWER),
                **own,
            )
            vaults.append(await stack.enter_async_context(vault))
        yield OpenVaults(vaults=vaults, prover=prover, credential=credential, make_transport=make_transport)


def _open_credential(access: VaultAccess, **options: Any) -> Any:  # noqa: ANN401 (two classes without a common base)
    if access.credential_file is not None:
        return UserAssignedIdentityCredential(access.credential_file, cloud=access.cloud, **options)
    # For the public cloud AZURE_AUTHORITY_HOST decides, which workload identity sets in a pod.
    authority = {} if access.cloud == DEFAULT_CLOUD else {"authority": get_cloud(access.cloud).authority}
    return DefaultAzureCredential(
        **authority,
        additionally_allowed_tenants=["*"],  # the vault and the data plane name the tenant
        **options,
    )


def _list_own_authorities(access: VaultAccess) -> list[str]:
    """List the authority of the renewer's own tokens, which its operator trusts."""
    if access.credential_file is None:
        host = os.environ.get("AZURE_AUTHORITY_HOST")
        return [host if "://" in host else f"https://{host}"] if host else []
    try:
        content = read_credential_file(access.credential_file)
        return [parse_credential_file(content, path=access.credential_file).authority]
    except MountError:  # raised again when a token is requested
        return []
