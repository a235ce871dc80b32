"""What a run of the chain is told, whom it tells, and what it tells the local Azure."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hcpcreds.errors import InputError
from hcpcreds.hosted_cluster import HostedCluster, KeyVault
from hcpcreds.local.azure.settings import ApplicationSettings, IdentitySettings, NodeIdentitySettings
from hcpcreds.local.azure.settings import Settings as AzureSettings
from hcpcreds.up.pods import ComponentPod
from hcpcreds.up.record import ComponentRecord
from hcpcreds.up.service_owner import OwnIdentity


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the chain runs."""

    rotate_every: float = 10.0
    """Seconds from one rotation to the next."""
    rotations: int | None = None
    """Stop after so many; None goes on until told to stop."""
    renew: bool = False
    """Leave the renewing to `hcpcreds renew`: certificates then live about twice as long as from one rotation
    to the next, and become due by themselves."""

    @property
    def certificate_lifetime(self) -> float | None:
        """Seconds that a certificate lives, due after 46/90 of them; None is as long as in Azure."""
        return self.rotate_every * 90 / 46 if self.renew else None

    @property
    def token_lifetime(self) -> float:
        """Seconds that an access token lives: short, so that every certificate is really used."""
        return min(3.0, max(1.0, self.rotate_every / 3))


class Reporter:
    """Is told what happens. This one keeps quiet."""

    def step(self, text: str) -> None:
        """A step of the start-up is done."""

    def started(self, records: Sequence[ComponentRecord]) -> None:
        """Every component has been started; the records live on."""

    def happened(self, record: ComponentRecord, text: str) -> None:
        """Something happened to a component that a person would want to know."""

    def problem(self, text: str) -> None:
        """Something went wrong."""

    def finished(self, records: Sequence[ComponentRecord]) -> None:
        """The last call has been made."""


def build_identities(
    cluster: HostedCluster, pods: Iterable[ComponentPod], *, where: str
) -> dict[str, IdentitySettings]:
    """The identities by the name of their secret; components that share a secret share its identity.

    Raises:
        InputError: One secret is to hold two identities.
    """
    group = f"/subscriptions/{cluster.subscription_id}/resourceGroups/{cluster.resource_group}"
    found: dict[str, IdentitySettings] = {}
    problems = []
    for pod in pods:
        name, client_id = pod.secret_name, pod.identity.client_id
        if name not in found:
            found[name] = IdentitySettings(
                client_id=client_id or str(uuid.uuid4()),
                resource_id=(
                    f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{pod.component.name}"
                ),
                tenant_id=cluster.tenant_id,
            )
        elif client_id is not None and client_id != found[name].client_id:
            secret = pod.identity.credentials_secret_name
            problems.append(
                f"{pod.component.name}: its secret {secret} is also that of another clientID; "
                "a secret holds the credential of one identity"
            )
    if problems:
        raise InputError(where, problems)
    return found


def build_azure_settings(  # noqa: PLR0913 (each by its name)
    cluster: HostedCluster,
    vault: KeyVault,
    *,
    identities: Iterable[IdentitySettings],
    service_owner: OwnIdentity,
    key_vault_user_client_id: str,
    settings: Settings,
    folder: Path,
) -> AzureSettings:
    """What there is in the local Azure: the cluster's tenants, its vault and its identities."""
    return AzureSettings(
        tenant_ids=tuple(dict.fromkeys((vault.tenant_id, cluster.tenant_id))),
        vaults=(vault.name,),
        applications=(
            ApplicationSettings(
                client_id=service_owner.client_id, certificates=(service_owner.certificate_pem.decode(),)
            ),
        ),
        identities=tuple(identities),
        node_identities=(NodeIdentitySettings(client_id=key_vault_user_client_id),),
        token_lifetime=settings.token_lifetime,
        certificate_lifetime=settings.certificate_lifetime or AzureSettings().certificate_lifetime,
        renew_early=not settings.renew,
        state_directory=str(folder / "azure"),
    )
