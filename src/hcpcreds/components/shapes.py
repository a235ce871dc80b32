"""The types of a row in the table of components."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from hcpcreds.hosted_cluster import HostedCluster, ManagedIdentity, WorkloadIdentity

TOKEN_MOUNT_PATH: Final = "/var/run/secrets/openshift/serviceaccount"  # noqa: S105 (a path, not a password)
TOKEN_FILE: Final = f"{TOKEN_MOUNT_PATH}/token"
"""Path of a workload identity's token: CloudTokenMountPath in openshift/hypershift, support/config."""


class PathSource(Enum):
    """The place where a program finds the path of its credential file."""

    ENVIRONMENT = "environment"
    """An environment variable."""
    CLOUD_CONFIG = "cloud-config"
    """`aadMSIDataPlaneIdentityPath` in a cloud config."""
    AZURE_CLUSTER_IDENTITY = "azure-cluster-identity"
    """`spec.userAssignedIdentityCredentialsPath` in the AzureClusterIdentity."""
    HOSTED_CONTROL_PLANE = "hosted-control-plane"
    """The secret's name in the HostedControlPlane, which the program appends to the path of its mount."""


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable of a container.

    In the value, `{secret}` stands for the identity's credentialsSecretName, `{client_id}` for its client
    id, `{tenant_id}` for the cluster's tenant, `{key_vault_user}` for the client id of the identity that
    reads the vault, and `{managed_service}` for the value of MANAGED_SERVICE.
    """

    name: str
    value: str
    optional: bool = False
    """Whether it is left out if its value is not known; otherwise that is an error."""


@dataclass(frozen=True, slots=True)
class CloudConfigFile:
    """A cloud config, as mounted into a container."""

    secret_name: str
    """The Secret that contains it, under the key `cloud.conf`."""
    path: str
    """The path in the container. The workload has this mount already; hcpcreds does not add it."""


@dataclass(frozen=True, slots=True)
class Mount:
    """The volume with a managed identity's credential file, and its path in the containers."""

    volume_name: str
    path: str
    source: PathSource
    cloud_config: CloudConfigFile | None = None
    """With PathSource.CLOUD_CONFIG, the config that names the file."""


@dataclass(frozen=True, slots=True)
class Token:
    """The volume with a service account token of the guest cluster, for a workload identity.

    HyperShift's sidecar (`control-plane-operator token-minter`) writes the token. Hcpcreds adds the volume,
    the mount and the variables, but not the sidecar.
    """

    volume_name: str = "cloud-token"
    in_memory: bool = True
    read_only: bool = False
    """Whether the container that uses the token mounts it read-only."""
    env: tuple[Variable, ...] = ()
    """Empty if a cloud config or a Secret contains the same values."""


@dataclass(frozen=True, slots=True)
class Keyless:
    """How a pod's program logs in with an assertion, so that only the sidecar that writes it needs the key.

    It chooses the assertion in `AZURE_FEDERATED_TOKEN_FILE`, with `AZURE_CLIENT_ID` and `AZURE_TENANT_ID`, if
    the variable with the path of its credential file is empty.
    """

    beside: str = ""
    """The object that has to say so too, because the program asks it before its environment."""
    keeps_mount: bool = False
    """Whether the program reads the credential file for other calls all the same."""
    refused: str = ""
    """Why it is impossible."""


@dataclass(frozen=True, slots=True)
class Pod:
    """The additions to the pods of a workload for one component."""

    workload: str
    containers: tuple[str, ...]
    mount: Mount | None = None
    """None for an operator that only passes the names to a controller that it deploys."""
    env: tuple[Variable, ...] = ()
    """In a cluster with managed identities."""
    token: Token | None = None
    """In a cluster with workload identities."""
    aliases: tuple[str, ...] = ()
    """Other names of the workload."""
    keyless: Keyless | None = None
    """None if the pod mounts no key, or keeps it."""

    @property
    def path_variables(self) -> tuple[str, ...]:
        """The variables in which the program finds the path of its credential file."""
        return tuple(
            variable.name for variable in self.env if self.mount and variable.value.endswith("/{secret}")
        )

    @property
    def needs_credential(self) -> bool:
        """Whether the pod's program, or the one that it deploys, calls Azure with the identity."""
        return self.mount is not None or any(not variable.optional for variable in self.env)


class Content(Enum):
    """The content of an object that a component needs in addition to its SecretProviderClass."""

    CLOUD_PROVIDER_CONFIG = "cloud-provider-config"
    """The cloud config of the cloud-controller-manager."""
    NODE_CONFIG = "node-config"
    """The cloud config of nodes, which use their own identity."""
    CSI_CONFIG = "csi-config"
    """The cloud config of a CSI controller."""
    KMS_CONFIG = "kms-config"
    """The cloud config of Azure's KMS plugin."""
    CLUSTER_IDENTITY = "cluster-identity"
    """The identity with which Cluster API creates machines."""
    CREDENTIALS = "credentials"
    """Subscription, tenant and resource group; with a workload identity, its client id and token file too."""


@dataclass(frozen=True, slots=True)
class ExtraObject:
    """An object that a component needs in addition to its SecretProviderClass."""

    kind: str
    content: Content
    name: str | None = None
    """None if it is named after the hosted cluster."""
    only_self_managed: bool = False
    """Whether only clusters with workload identities have it."""


@dataclass(frozen=True, slots=True)
class GuestSecret:
    """A Secret in the guest cluster that names the identity of an operator or a driver there."""

    namespace: str
    name: str
    data_plane: str | None = None
    """The attribute of `DataPlaneIdentities`; None if managed Azure writes a placeholder."""


class Scope(Enum):
    """A resource group on which an identity needs its role."""

    MANAGED = "managed"
    """The resource group of the cluster's own resources."""
    VNET = "vnet"
    SECURITY_GROUP = "security group"
    DNS_ZONE = "DNS zone"


@dataclass(frozen=True, slots=True)
class Role:
    """The Azure role that an identity needs."""

    short_name: str
    """HyperShift's name for the component; part of a role assignment's name."""
    definition: str
    """Id of the role definition."""
    scopes: tuple[Scope, ...]
    custom_definition: str | None = None
    """Id or name of the narrower role that ARO HCP has registered in its own tenants."""


@dataclass(frozen=True, slots=True)
class Component:
    """A part of the control plane with its own identity."""

    name: str
    identity: str
    """The attribute of `Identities` and of `WorkloadIdentities`."""
    secret_provider_class: str
    pods: tuple[Pod, ...]
    objects: tuple[ExtraObject, ...] = ()
    capability: str | None = None
    """The capability without which a cluster does not have the component."""
    guest: GuestSecret | None = None
    role: Role | None = None
    """None for KMS, whose role is on a key vault in any resource group."""

    def get_identity(self, cluster: HostedCluster) -> ManagedIdentity | None:
        """Return the managed identity whose credential the component's pods mount.

        Returns:
            None if the cluster does not have the component, or gives it a workload identity.
        """
        if self.capability in cluster.disabled_capabilities:
            return None
        identity: ManagedIdentity | None = getattr(cluster.identities, self.identity)
        return identity

    def get_workload_identity(self, cluster: HostedCluster) -> WorkloadIdentity | None:
        """Return the component's workload identity.

        Returns:
            None if the cluster does not have the component, or gives it a managed identity.
        """
        if self.capability in cluster.disabled_capabilities:
            return None
        identity: WorkloadIdentity | None = getattr(cluster.workload_identities, self.identity)
        return identity

    def is_in(self, cluster: HostedCluster) -> bool:
        """Whether the cluster has the component."""
        return self.get_identity(cluster) is not None or self.get_workload_identity(cluster) is not None

    @property
    def consumer(self) -> Pod:
        """The pods with the program that calls Azure with this identity."""
        return next(pod for pod in self.pods if pod.mount is not None)
