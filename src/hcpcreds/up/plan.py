"""What a run of the chain consists of: everything that follows from its HostedCluster."""

import os
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from hcpcreds.constants import ARO_HCP_KEY_VAULT_MANAGED_IDENTITY_CLIENT_ID
from hcpcreds.errors import InputError
from hcpcreds.hosted_cluster import HostedCluster, KeyVault, parse_hosted_cluster
from hcpcreds.kubernetes.documents import read_source
from hcpcreds.local.azure.settings import (
    ApplicationSettings,
    AzureSettings,
    IdentitySettings,
    NodeIdentitySettings,
)
from hcpcreds.manifests.render import render
from hcpcreds.up.pods import ComponentPod, Manifest, build_pods
from hcpcreds.up.service_owner import OwnIdentity
from hcpcreds.up.settings import RunSettings

KEY_VAULT_USER_CLIENT_ID: Final = "7d9f5b0a-4c1e-4b53-9a67-2e8c1f3d6a05"
"""The identity that reads the vault, where the environment names none."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The cluster, its objects, its pods and their identities."""

    cluster: HostedCluster
    vault: KeyVault
    key_vault_user_client_id: str
    objects: list[Manifest]
    pods: list[ComponentPod]
    identities: dict[str, IdentitySettings]
    """By the name of their secret."""

    @classmethod
    def read(cls, file: Path, *, keyless: bool = False) -> Self:
        """Read a HostedCluster or HostedControlPlane, and plan a run of it.

        Args:
            file: What to read.
            keyless: Whether its objects and pods are those of a keyless control plane.

        Raises:
            InputError: The file is not usable.
        """
        source = read_source(file)  # once: it may be a pipe
        cluster = parse_hosted_cluster(source, where=str(file))
        if cluster.key_vault is None:
            problem = "it uses workload identities, whose credentials are not mounted"
            raise InputError(str(file), [problem], hint="Give a hosted cluster with managed identities.")
        user = os.environ.get(ARO_HCP_KEY_VAULT_MANAGED_IDENTITY_CLIENT_ID) or KEY_VAULT_USER_CLIENT_ID
        objects = render(cluster, key_vault_user_client_id=user, keyless=keyless)
        pods = build_pods(cluster, source, objects, key_vault_user_client_id=user, keyless=keyless)
        return cls(
            cluster=cluster,
            vault=cluster.key_vault,
            key_vault_user_client_id=user,
            objects=objects,
            pods=pods,
            identities=_build_identities(cluster, pods, where=str(file)),
        )

    def build_azure_settings(
        self, settings: RunSettings, *, service_owner: OwnIdentity, folder: Path
    ) -> AzureSettings:
        """Build the settings of a local Azure with the cluster's tenants, vault and identities."""
        return AzureSettings(
            tenant_ids=tuple(dict.fromkeys((self.vault.tenant_id, self.cluster.tenant_id))),
            vaults=(self.vault.name,),
            applications=(
                ApplicationSettings(
                    client_id=service_owner.client_id, certificates=(service_owner.certificate_pem.decode(),)
                ),
            ),
            identities=tuple(self.identities.values()),
            node_identities=(NodeIdentitySettings(client_id=self.key_vault_user_client_id),),
            token_lifetime=settings.token_lifetime,
            refuse_replayed_assertions=not settings.keyless,  # programs send one again and again
            certificate_lifetime=settings.certificate_lifetime or AzureSettings().certificate_lifetime,
            renew_early=not settings.renew,
            state_directory=str(folder / "azure"),
        )


def _build_identities(
    cluster: HostedCluster, pods: Iterable[ComponentPod], *, where: str
) -> dict[str, IdentitySettings]:
    """Build one identity for each secret: components that share a secret share its identity."""
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
