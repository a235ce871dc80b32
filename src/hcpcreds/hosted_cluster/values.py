"""A hosted cluster as an immutable value, with its identities and keys."""

import msgspec


class ManagedIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """One identity: which secret of the vault holds its credential, and how that is encoded."""

    credentials_secret_name: str
    """Name of the Key Vault secret, and so of the mounted file."""
    object_encoding: str = "utf-8"
    """`utf-8`, `hex` or `base64`."""
    client_id: str | None = None


class WorkloadIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """One identity that trusts the guest cluster's service account tokens."""

    client_id: str


class Identities(msgspec.Struct, frozen=True, kw_only=True):
    """The identities of a control plane whose credentials are mounted, under the API's field names.

    A cluster with workload identities has none of them.
    """

    control_plane_operator: ManagedIdentity | None = None
    node_pool_management: ManagedIdentity | None = None
    cloud_provider: ManagedIdentity | None = None
    ingress: ManagedIdentity | None = None
    network: ManagedIdentity | None = None
    disk: ManagedIdentity | None = None
    file: ManagedIdentity | None = None
    image_registry: ManagedIdentity | None = None
    """None also where the cluster runs no image registry."""
    kms: ManagedIdentity | None = None
    """None also where etcd is not encrypted with a key of Azure."""


class WorkloadIdentities(msgspec.Struct, frozen=True, kw_only=True):
    """The workload identities of a control plane in self-managed Azure, under the API's field names.

    A cluster with managed identities has none of them.
    """

    control_plane_operator: WorkloadIdentity | None = None
    """None also where the cluster needs no Private Link."""
    node_pool_management: WorkloadIdentity | None = None
    cloud_provider: WorkloadIdentity | None = None
    ingress: WorkloadIdentity | None = None
    network: WorkloadIdentity | None = None
    disk: WorkloadIdentity | None = None
    file: WorkloadIdentity | None = None
    image_registry: WorkloadIdentity | None = None
    kms: WorkloadIdentity | None = None
    """None also where etcd is not encrypted with a key of Azure."""


class DataPlaneIdentities(msgspec.Struct, frozen=True, kw_only=True):
    """Client ids of the identities that pods in the guest cluster use."""

    image_registry: str
    disk: str
    file: str


class KeyVault(msgspec.Struct, frozen=True, kw_only=True):
    """The management cluster's vault that holds the credentials."""

    name: str
    tenant_id: str


class KmsKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that encrypts etcd."""

    key_vault_name: str
    key_name: str
    key_version: str


class KmsKeys(msgspec.Struct, frozen=True, kw_only=True):
    """The keys that encrypt etcd: one, or two while etcd moves from one key to the other."""

    active: KmsKey
    """While two are in use, the one before. Which of the two is written with, the object does not say."""
    backup: KmsKey | None = None
    vault_type: str = "KeyVault"
    """`KeyVault` or `ManagedHSM`."""
    vault_access: str = "Public"
    """`Public`, or `Private` where the vault is reached through the private router."""


class HostedCluster(msgspec.Struct, frozen=True, kw_only=True):
    """A hosted cluster, reduced to what its credentials depend on."""

    kind: str
    """Kind of the object it was read from: `HostedCluster` or `HostedControlPlane`."""
    name: str
    """The hosted cluster's name, which is also that of its HostedControlPlane."""
    namespace: str
    """Of the object it was read from."""
    control_plane_namespace: str
    """Where the control plane's pods run."""
    infra_id: str
    cloud: str
    location: str
    resource_group: str
    subscription_id: str
    tenant_id: str
    vnet_name: str
    vnet_resource_group: str
    subnet_name: str
    security_group_name: str
    security_group_resource_group: str
    is_self_managed: bool = False
    """Whether it uses workload identities, and not managed identities."""
    key_vault: KeyVault | None = None
    """None in a cluster with workload identities."""
    identities: Identities
    workload_identities: WorkloadIdentities = WorkloadIdentities()
    data_plane: DataPlaneIdentities | None = None
    """None in a cluster with workload identities."""
    kms_keys: KmsKeys | None = None
    """Set exactly when either has a KMS identity."""
    disabled_capabilities: frozenset[str] = frozenset()
    container_registry_identity_id: str | None = None
    """ARM id of the identity with which nodes pull images."""
    dns_zone_resource_group: str | None = None
    """Resource group of the public DNS zone, where the cluster names that."""
    health_probe_mode: str = "shared"
    health_probe_path: str | None = None
    health_probe_port: int | None = None
