"""The rows of the table: nine components, the identity of each, and everything that comes with it.

Source: openshift/hypershift (control-plane-operator and hypershift-operator, August 2026), and for the
controllers that operators deploy openshift/cluster-network-operator and openshift/csi-operator.
How each logs in without a key: kubernetes-sigs/cloud-provider-azure (pkg/provider/config/env.go and
pkg/azclient/auth.go), azuredisk-csi-driver (pkg/azureutils/azure_disk_utils.go), azurefile-csi-driver
(pkg/azurefile/azure.go), cluster-api-provider-azure (azure/scope/identity.go); openshift:
cluster-ingress-operator (pkg/dns/azure/client/auth.go), cluster-image-registry-operator
(pkg/storage/azure/azureclient), cloud-network-config-controller (pkg/cloudprovider/azure.go), hypershift
(main.go and v2/kas/kms/azure.go).
"""

from typing import Final

from hcpcreds.components.shapes import (
    TOKEN_FILE,
    CloudConfigFile,
    Component,
    Content,
    ExtraObject,
    GuestSecret,
    Keyless,
    Mount,
    PathSource,
    Pod,
    Role,
    Scope,
    Token,
    Variable,
)
from hcpcreds.constants import (
    ARO_HCP_CLIENT_CREDENTIALS_PATH,
    ARO_HCP_KEY_VAULT_MANAGED_IDENTITY_CLIENT_ID,
    MANAGED_AZURE_CERTIFICATE_MOUNT_PATH,
    MANAGED_AZURE_CLOUD_PROVIDER_SECRET_PROVIDER_CLASS_NAME,
    MANAGED_AZURE_CLOUD_PROVIDER_SECRET_STORE_VOLUME_NAME,
    MANAGED_AZURE_CPO_SECRET_PROVIDER_CLASS_NAME,
    MANAGED_AZURE_CPO_SECRET_STORE_VOLUME_NAME,
    MANAGED_AZURE_CREDENTIALS_FILE_PATH,
    MANAGED_AZURE_CREDENTIALS_MOUNT_PATH_FOR_KMS,
    MANAGED_AZURE_DISK_CSI_SECRET_STORE_PROVIDER_CLASS_NAME,
    MANAGED_AZURE_FILE_CSI_SECRET_STORE_PROVIDER_CLASS_NAME,
    MANAGED_AZURE_IMAGE_REGISTRY_SECRET_STORE_PROVIDER_CLASS_NAME,
    MANAGED_AZURE_IMAGE_REGISTRY_SECRET_STORE_VOLUME_NAME,
    MANAGED_AZURE_INGRESS_SECRET_STORE_PROVIDER_CLASS_NAME,
    MANAGED_AZURE_INGRESS_SECRET_STORE_VOLUME_NAME,
    MANAGED_AZURE_KMS_SECRET_PROVIDER_CLASS_NAME,
    MANAGED_AZURE_KMS_SECRET_STORE_VOLUME_NAME,
    MANAGED_AZURE_NETWORK_SECRET_STORE_PROVIDER_CLASS_NAME,
    MANAGED_AZURE_NODE_POOL_MGMT_SECRET_PROVIDER_CLASS_NAME,
    MANAGED_AZURE_NODE_POOL_MGMT_SECRET_STORE_VOLUME_NAME,
    MANAGED_AZURE_SECRET_PROVIDER_CLASS_ENV_VAR_KEY,
    MANAGED_AZURE_SECRET_PROVIDER_CLASS_FOR_DISK_ENV_VAR_KEY,
    MANAGED_AZURE_SECRET_PROVIDER_CLASS_FOR_FILE_ENV_VAR_KEY,
    MANAGED_SERVICE,
)

KMS_BACKUP_CONTAINER: Final = "azure-kms-provider-backup"
"""The only container that exists just while etcd moves from one key to another."""

_CERTS = MANAGED_AZURE_CERTIFICATE_MOUNT_PATH
_CLOUD_CONFIG = "azure-cloud-config"
_KMS_CONFIG = "azure-kms-config"
_CLOUD_NETWORK = "/var/run/secrets/azure"
_CONTRIBUTOR = "b24988ac-6180-42a0-ab88-20f7382dd24c"

_HANDED_ON_SERVICE = Variable(MANAGED_SERVICE, "{managed_service}", optional=True)
_CREDENTIALS_PATH = Variable(MANAGED_AZURE_CREDENTIALS_FILE_PATH, f"{_CERTS}/{{secret}}")
_WORKLOAD_IDENTITY = (
    Variable("AZURE_CLIENT_ID", "{client_id}"),
    Variable("AZURE_TENANT_ID", "{tenant_id}"),
    Variable("AZURE_FEDERATED_TOKEN_FILE", TOKEN_FILE),
)
"""The variables in which Azure's SDKs find a workload identity."""


def _operator(name: str, volume_name: str, *, keyless: Keyless) -> Pod:
    """Return the row of an operator that finds its credential file in its environment."""
    mount = Mount(volume_name, _CERTS, PathSource.ENVIRONMENT)
    return Pod(name, (name,), mount, (_CREDENTIALS_PATH,), Token(), keyless=keyless)


def _storage_operator(variable: str, secret_provider_class: str) -> Pod:
    name = "cluster-storage-operator"
    return Pod(name, (name,), env=(Variable(variable, secret_provider_class),))


def _csi_driver(kind: str) -> Pod:
    config = CloudConfigFile(f"azure-{kind}-csi-config", "/etc/kubernetes/cloud.conf")
    return Pod(
        f"azure-{kind}-csi-driver-controller",
        ("csi-driver",),
        Mount(f"azure-{kind}", _CERTS, PathSource.CLOUD_CONFIG, config),
        token=Token("bound-sa-token", read_only=True),
        keyless=Keyless(),
    )


def _csi_config(kind: str) -> ExtraObject:
    return ExtraObject("Secret", Content.CSI_CONFIG, f"azure-{kind}-csi-config")


def _credentials(name: str, *, only_self_managed: bool = False) -> ExtraObject:
    return ExtraObject("Secret", Content.CREDENTIALS, name, only_self_managed)


COMPONENTS: Final = (
    Component(
        "control-plane-operator",
        "control_plane_operator",
        MANAGED_AZURE_CPO_SECRET_PROVIDER_CLASS_NAME,
        (
            Pod(
                "control-plane-operator",
                ("control-plane-operator",),
                Mount(MANAGED_AZURE_CPO_SECRET_STORE_VOLUME_NAME, _CERTS, PathSource.HOSTED_CONTROL_PLANE),
                (
                    _HANDED_ON_SERVICE,
                    Variable(ARO_HCP_KEY_VAULT_MANAGED_IDENTITY_CLIENT_ID, "{key_vault_user}", optional=True),
                ),
                Token(env=_WORKLOAD_IDENTITY),
                # Its calls for private links go without the key; those that validate identities need it.
                keyless=Keyless(keeps_mount=True),
            ),
            # It does not call Azure. What it writes into the guest cluster depends on the managed service.
            Pod(
                "hosted-cluster-config-operator",
                ("hosted-cluster-config-operator",),
                env=(_HANDED_ON_SERVICE,),
            ),
        ),
        role=Role(
            "cpo",
            _CONTRIBUTOR,
            (Scope.MANAGED, Scope.SECURITY_GROUP, Scope.VNET),
            "7d8bb4e4-6fa7-4545-96cf-20fce11b705d",
        ),
    ),
    Component(
        "cluster-api-provider-azure",
        "node_pool_management",
        MANAGED_AZURE_NODE_POOL_MGMT_SECRET_PROVIDER_CLASS_NAME,
        (
            Pod(
                "capi-provider",
                ("manager",),
                Mount(
                    MANAGED_AZURE_NODE_POOL_MGMT_SECRET_STORE_VOLUME_NAME,
                    _CERTS,
                    PathSource.AZURE_CLUSTER_IDENTITY,
                ),
                (Variable(ARO_HCP_KEY_VAULT_MANAGED_IDENTITY_CLIENT_ID, "{key_vault_user}"),),
                Token(env=_WORKLOAD_IDENTITY),
                keyless=Keyless(
                    beside="an AzureClusterIdentity of type WorkloadIdentity, named in the AzureCluster"
                ),
            ),
        ),
        (ExtraObject("AzureClusterIdentity", Content.CLUSTER_IDENTITY),),
        role=Role(
            "capz",
            _CONTRIBUTOR,
            (Scope.MANAGED, Scope.VNET),
            "Azure Red Hat OpenShift NodePool Management Role",
        ),
    ),
    Component(
        "cloud-controller-manager",
        "cloud_provider",
        MANAGED_AZURE_CLOUD_PROVIDER_SECRET_PROVIDER_CLASS_NAME,
        (
            Pod(
                "azure-cloud-controller-manager",
                ("cloud-controller-manager",),
                Mount(
                    MANAGED_AZURE_CLOUD_PROVIDER_SECRET_STORE_VOLUME_NAME,
                    _CERTS,
                    PathSource.CLOUD_CONFIG,
                    CloudConfigFile(_CLOUD_CONFIG, "/etc/cloud/cloud.conf"),
                ),
                token=Token(),
                keyless=Keyless(),
                aliases=(
                    "cloud-controller-manager",
                ),  # its name in HyperShift's own manifest, which renames it
            ),
        ),
        (
            ExtraObject("Secret", Content.CLOUD_PROVIDER_CONFIG, _CLOUD_CONFIG),
            ExtraObject("ConfigMap", Content.NODE_CONFIG, _CLOUD_CONFIG),
        ),
        role=Role(
            "cloud-provider",
            "a1f96423-95ce-4224-ab27-4e3dc72facd4",
            (Scope.MANAGED, Scope.SECURITY_GROUP, Scope.VNET),
        ),
    ),
    Component(
        "ingress-operator",
        "ingress",
        MANAGED_AZURE_INGRESS_SECRET_STORE_PROVIDER_CLASS_NAME,
        (_operator("ingress-operator", MANAGED_AZURE_INGRESS_SECRET_STORE_VOLUME_NAME, keyless=Keyless()),),
        (_credentials("azure-ingress-credentials", only_self_managed=True),),
        capability="Ingress",
        guest=GuestSecret("openshift-ingress-operator", "cloud-credentials"),
        role=Role(
            "ingress",
            "0336e1d3-7a87-462b-b6db-342b63f7802c",
            (Scope.MANAGED, Scope.VNET, Scope.DNS_ZONE),
        ),
    ),
    Component(
        "cluster-image-registry-operator",
        "image_registry",
        MANAGED_AZURE_IMAGE_REGISTRY_SECRET_STORE_PROVIDER_CLASS_NAME,
        (
            _operator(
                "cluster-image-registry-operator",
                MANAGED_AZURE_IMAGE_REGISTRY_SECRET_STORE_VOLUME_NAME,
                keyless=Keyless(
                    refused="it takes its client id from the guest's Secret installer-cloud-credentials, "
                    "which names the identity of the registry itself"
                ),
            ),
        ),
        (_credentials("azure-image-registry-credentials", only_self_managed=True),),
        capability="ImageRegistry",
        guest=GuestSecret("openshift-image-registry", "installer-cloud-credentials", "image_registry"),
        role=Role("ciro", "8b32b316-c2f5-4ddf-b05b-83dacd2d08b5", (Scope.MANAGED,)),
    ),
    Component(
        "cluster-network-operator",
        "network",
        MANAGED_AZURE_NETWORK_SECRET_STORE_PROVIDER_CLASS_NAME,
        (
            Pod(
                "cluster-network-operator",
                ("cluster-network-operator",),
                env=(
                    Variable(
                        MANAGED_AZURE_SECRET_PROVIDER_CLASS_ENV_VAR_KEY,
                        MANAGED_AZURE_NETWORK_SECRET_STORE_PROVIDER_CLASS_NAME,
                    ),
                    # Only the name: the operator appends it to the directory of its controller's mount.
                    Variable(MANAGED_AZURE_CREDENTIALS_FILE_PATH, "{secret}"),
                ),
            ),
            Pod(
                "cloud-network-config-controller",
                ("controller",),
                Mount("cncc-cert", _CLOUD_NETWORK, PathSource.ENVIRONMENT),
                (Variable(ARO_HCP_CLIENT_CREDENTIALS_PATH, f"{_CLOUD_NETWORK}/{{secret}}"),),
                Token(in_memory=False, read_only=True),
                keyless=Keyless(),
            ),
        ),
        (_credentials("cloud-network-config-controller-creds"),),
        role=Role("cncc", "be7a6435-15ae-4171-8f30-4a343eff9e8f", (Scope.MANAGED, Scope.VNET)),
    ),
    Component(
        "cluster-storage-operator-disk",
        "disk",
        MANAGED_AZURE_DISK_CSI_SECRET_STORE_PROVIDER_CLASS_NAME,
        (
            _storage_operator(
                MANAGED_AZURE_SECRET_PROVIDER_CLASS_FOR_DISK_ENV_VAR_KEY,
                MANAGED_AZURE_DISK_CSI_SECRET_STORE_PROVIDER_CLASS_NAME,
            ),
            _csi_driver("disk"),
        ),
        (_csi_config("disk"),),
        guest=GuestSecret("openshift-cluster-csi-drivers", "azure-disk-credentials", "disk"),
        role=Role("azure-disk", "5b7237c5-45e1-49d6-bc18-a1f62f400748", (Scope.MANAGED,)),
    ),
    Component(
        "cluster-storage-operator-file",
        "file",
        MANAGED_AZURE_FILE_CSI_SECRET_STORE_PROVIDER_CLASS_NAME,
        (
            _storage_operator(
                MANAGED_AZURE_SECRET_PROVIDER_CLASS_FOR_FILE_ENV_VAR_KEY,
                MANAGED_AZURE_FILE_CSI_SECRET_STORE_PROVIDER_CLASS_NAME,
            ),
            _csi_driver("file"),
        ),
        (_csi_config("file"),),
        guest=GuestSecret("openshift-cluster-csi-drivers", "azure-file-credentials", "file"),
        role=Role(
            "azure-file",
            "0d7aedc0-15fd-4a67-a412-efad370c947e",
            (Scope.MANAGED, Scope.SECURITY_GROUP, Scope.VNET),
        ),
    ),
    Component(
        "kube-apiserver",
        "kms",
        MANAGED_AZURE_KMS_SECRET_PROVIDER_CLASS_NAME,
        (
            Pod(
                "kube-apiserver",
                ("azure-kms-provider-active", KMS_BACKUP_CONTAINER),
                Mount(
                    MANAGED_AZURE_KMS_SECRET_STORE_VOLUME_NAME,
                    _CERTS,
                    PathSource.CLOUD_CONFIG,
                    CloudConfigFile(_KMS_CONFIG, "/etc/kubernetes/azure.json"),
                ),
                token=Token("azure-kms-cloud-token", read_only=True, env=_WORKLOAD_IDENTITY),
                keyless=Keyless(beside=f"the Secret {_KMS_CONFIG} without aadMSIDataPlaneIdentityPath"),
            ),
            # The operator validates the key with the KMS identity; its own is mounted at /mnt/certs.
            Pod(
                "control-plane-operator",
                ("control-plane-operator",),
                Mount(
                    MANAGED_AZURE_KMS_SECRET_STORE_VOLUME_NAME,
                    MANAGED_AZURE_CREDENTIALS_MOUNT_PATH_FOR_KMS,
                    PathSource.HOSTED_CONTROL_PLANE,
                ),
            ),
        ),
        (ExtraObject("Secret", Content.KMS_CONFIG, _KMS_CONFIG),),
    ),
)

WORKLOADS: Final = {
    name: tuple(
        (component, pod) for component in COMPONENTS for pod in component.pods if pod.workload == name
    )
    for name in dict.fromkeys(pod.workload for component in COMPONENTS for pod in component.pods)
}
"""The rows of each workload by its name: a component, and the additions to the pods for it."""

_ALIASES: Final = {
    alias: pod.workload for component in COMPONENTS for pod in component.pods for alias in pod.aliases
}


def find_workload(name: str) -> str | None:
    """Find a workload of the table by its name or an alias.

    Returns:
        Its name in `WORKLOADS`; None when there is none.
    """
    name = _ALIASES.get(name, name)
    return name if name in WORKLOADS else None
