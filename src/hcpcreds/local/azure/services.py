"""The services of a local Azure and what they share, put together as its settings say."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from hcpcreds.local.azure.data_plane import DataPlane
from hcpcreds.local.azure.entra import Entra
from hcpcreds.local.azure.entra_assertion import AssertionVerifier
from hcpcreds.local.azure.entra_directory import Directory
from hcpcreds.local.azure.entra_tokens import TokenAuthority
from hcpcreds.local.azure.faults import Faults, RequestLog
from hcpcreds.local.azure.identity_certificates import CertificateIssuer
from hcpcreds.local.azure.instance_metadata import InstanceMetadata
from hcpcreds.local.azure.resource_manager import ResourceManager
from hcpcreds.local.azure.resource_manager import list_audiences as list_resource_manager_audiences
from hcpcreds.local.azure.settings import AzureSettings
from hcpcreds.local.azure.vault import Vault
from hcpcreds.local.azure.vault import list_audiences as list_vault_audiences
from hcpcreds.local.service import Service
from hcpcreds.local.serving import make_tls


class Services:
    """Entra ID, the data plane, ARM, IMDS and the vaults.

    Args:
        settings: Of the local Azure.
        now: Clock giving an aware UTC time.
    """

    def __init__(self, settings: AzureSettings, *, now: Callable[[], datetime]) -> None:
        self.faults = _build_faults(settings)
        self.requests = RequestLog()
        self.directory = Directory(settings.tenant_ids, now=now)
        self.tokens = TokenAuthority(directory=self.directory, now=now, lifetime=settings.token_lifetime)
        shared: Any = {"tokens": self.tokens, "faults": self.faults, "requests": self.requests}
        tenant_id = settings.tenant_ids[0].lower()
        audiences = frozenset(
            {*list_resource_manager_audiences(), *list_vault_audiences(), settings.data_plane_audience}
        )
        self.entra = Entra(
            directory=self.directory,
            verifier=AssertionVerifier(
                now=now,
                longest_life=settings.longest_assertion_life,
                refuse_replays=settings.refuse_replayed_assertions,
            ),
            audiences=audiences,
            refresh_in=settings.refresh_in,
            now=now,
            **shared,
        )
        self.data_plane = DataPlane(
            audience=settings.data_plane_audience,
            tenant_id=tenant_id,
            resource_id=settings.resource_id,
            directory=self.directory,
            issuer=CertificateIssuer(
                now=now,
                lifetime=settings.certificate_lifetime,
                backdate=settings.certificate_backdate,
                key_pool=settings.key_pool,
            ),
            secret_format=settings.secret_format,
            renew_early=settings.renew_early,
            now=now,
            registration_delay=settings.registration_delay,
            **shared,
        )
        self.resource_manager = ResourceManager(resource_groups=settings.resource_groups, **shared)
        self.instance_metadata = InstanceMetadata(audiences=audiences, now=now, **shared)
        self.vaults = {name: Vault(tenant_id=tenant_id, now=now, **shared) for name in settings.vaults}

    def list(self) -> list[Service]:
        """List every service."""
        return [
            self.entra,
            self.data_plane,
            self.resource_manager,
            self.instance_metadata,
            *self.vaults.values(),
        ]

    async def listen(self, ca_file: Path) -> None:
        """Let every service listen, with TLS where Azure has it.

        Args:
            ca_file: Where the certificate authority to trust is written.
        """
        tls = make_tls(ca_file)
        for service in self.list():
            await service.listen(None if service is self.instance_metadata else tls)
        self.tokens.authority = self.entra.authority


def _build_faults(settings: AzureSettings) -> Faults:
    faults = Faults()
    for service, seconds in settings.latency.items():
        faults.latency(service, seconds)
    for service, limit in settings.limits.items():
        faults.limit(service, requests=limit.requests, seconds=limit.seconds)
    return faults
