"""The one table: nine components, the identity of each, and what its pods get.

Source: openshift/hypershift (control-plane-operator and hypershift-operator, August 2026), and for the
controllers that operators deploy openshift/cluster-network-operator and openshift/csi-operator.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

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
from hcpcreds.hosted_cluster import HostedCluster, ManagedIdentity

KMS_BACKUP_CONTAINER: Final = "azure-kms-provider-backup"
"""The one container that is there only while a backup key is."""


class PathSource(Enum):
    """How a program learns the path of its credential file."""

    ENVIRONMENT = "environment"
    """An environment variable holds it."""
    CLOUD_CONFIG = "cloud-config"
    """``aadMSIDataPlaneIdentityPath`` of a cloud config holds it."""
    AZURE_CLUSTER_IDENTITY = "azure-cluster-identity"
    """``spec.userAssignedIdentityCredentialsPath`` of the AzureClusterIdentity holds it."""
    HOSTED_CONTROL_PLANE = "hosted-control-plane"
    """The program joins its mount and the secret's name in the HostedControlPlane."""


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable that a pod gets.

    In the value, ``{secret}`` stands for the identity's credentialsSecretName, ``{key_vault_user}`` for the
    client id of the identity that reads the vault, and ``{managed_service}`` for what MANAGED_SERVICE is.
    """

    name: str
    value: str
    optional: bool = False
    """Left out when its value is not known; else that is an error."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A credential volume, and where the pod's containers see it."""

    volume_name: str
    path: str
    source: PathSource
    cloud_config: "CloudConfigFile | None" = None
    """With PathSource.CLOUD_CONFIG, the config that names the file."""


@dataclass(frozen=True, slots=True)
class CloudConfigFile:
    """A cloud config as a program sees it."""

    secret_name: str
    """The Secret, under whose key ``cloud.conf`` it stands."""
    path: str
    """The file in the container. That mount is the workload's own, and not added by hcpcreds."""


@dataclass(frozen=True, slots=True)
class Pod:
    """What a workload's pods get for one component."""

    workload: str
    containers: tuple[str, ...]
    mount: Mount | None = None
    """None for an operator that only passes names on to the controller that it deploys."""
    env: tuple[Variable, ...] = ()


class Content(Enum):
    """The content of an object that a component needs beside its SecretProviderClass."""

    CLOUD_PROVIDER_CONFIG = "cloud-provider-config"
    """The cloud config of the cloud-controller-manager."""
    NODE_CONFIG = "node-config"
    """The cloud config of nodes, which use their own identity."""
    CSI_CONFIG = "csi-config"
    """The cloud config of a CSI controller."""
    KMS_CONFIG = "kms-config"
    """The cloud config of Azure's KMS plugin."""
    CLUSTER_IDENTITY = "cluster-identity"
    """The identity with which Cluster API makes machines."""


@dataclass(frozen=True, slots=True)
class ExtraObject:
    """An object that a component needs beside its SecretProviderClass."""

    kind: str
    content: Content
    name: str | None = None
    """None: it is named after the hosted cluster."""


@dataclass(frozen=True, slots=True)
class Component:
    """A part of the control plane that has an identity of its own."""

    name: str
    identity: str
    """The attribute of `Identities`."""
    secret_provider_class: str
    pods: tuple[Pod, ...]
    objects: tuple[ExtraObject, ...] = ()

    def get_identity(self, cluster: HostedCluster) -> ManagedIdentity | None:
        """The component's identity in a cluster; None where the cluster does not have the component."""
        identity: ManagedIdentity | None = getattr(cluster.identities, self.identity)
        return identity

    @property
    def consumer(self) -> Pod:
        """The pods whose program calls Azure with this identity."""
        return next(pod for pod in self.pods if pod.mount is not None)


_CERTS = MANAGED_AZURE_CERTIFICATE_MOUNT_PATH
_CLOUD_CONFIG = "azure-cloud-config"
_KMS_CONFIG = "azure-kms-config"
_CLOUD_NETWORK = "/var/run/secrets/azure"
_CREDENTIALS_PATH = Variable(MANAGED_AZURE_CREDENTIALS_FILE_PATH, f"{_CERTS}/{{secret}}")


def _csi_config(kind: str) -> ExtraObject:
    return ExtraObject("Secret", Content.CSI_CONFIG, f"azure-{kind}-csi-config")


def _csi_driver(kind: str) -> Pod:
    name = f"azure-{kind}-csi-driver-controller"
    config = CloudConfigFile(f"azure-{kind}-csi-config", "/etc/kubernetes/cloud.conf")
    return Pod(name, ("csi-driver",), Mount(f"azure-{kind}", _CERTS, PathSource.CLOUD_CONFIG, config))


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
                    Variable(MANAGED_SERVICE, "{managed_service}", optional=True),
                    Variable(ARO_HCP_KEY_VAULT_MANAGED_IDENTITY_CLIENT_ID, "{key_vault_user}", optional=True),
                ),
            ),
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
            ),
        ),
        (ExtraObject("AzureClusterIdentity", Content.CLUSTER_IDENTITY),),
    ),
    Component(
        "cloud-controller-manager",
        "cloud_provider",
        MANAGED_AZURE_CLOUD_PROVIDER_SECRET_PROVIDER_CLASS_NAME,
        (
            Pod(
                "cloud-controller-manager",
                ("cloud-controller-manager",),
                Mount(
                    MANAGED_AZURE_CLOUD_PROVIDER_SECRET_STORE_VOLUME_NAME,
                    _CERTS,
                    PathSource.CLOUD_CONFIG,
                    CloudConfigFile(_CLOUD_CONFIG, "/etc/cloud/cloud.conf"),
                ),
            ),
        ),
        (
            ExtraObject("Secret", Content.CLOUD_PROVIDER_CONFIG, _CLOUD_CONFIG),
            ExtraObject("ConfigMap", Content.NODE_CONFIG, _CLOUD_CONFIG),
        ),
    ),
    Component(
        "ingress-operator",
        "ingress",
        MANAGED_AZURE_INGRESS_SECRET_STORE_PROVIDER_CLASS_NAME,
        (
            Pod(
                "ingress-operator",
                ("ingress-operator",),
                Mount(MANAGED_AZURE_INGRESS_SECRET_STORE_VOLUME_NAME, _CERTS, PathSource.ENVIRONMENT),
                (_CREDENTIALS_PATH,),
            ),
        ),
    ),
    Component(
        "cluster-image-registry-operator",
        "image_registry",
        MANAGED_AZURE_IMAGE_REGISTRY_SECRET_STORE_PROVIDER_CLASS_NAME,
        (
            Pod(
                "cluster-image-registry-operator",
                ("cluster-image-registry-operator",),
                Mount(MANAGED_AZURE_IMAGE_REGISTRY_SECRET_STORE_VOLUME_NAME, _CERTS, PathSource.ENVIRONMENT),
                (_CREDENTIALS_PATH,),
            ),
        ),
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
                    # The bare name: the operator joins it to the directory where its controller mounts it.
                    Variable(MANAGED_AZURE_CREDENTIALS_FILE_PATH, "{secret}"),
                ),
            ),
            Pod(
                "cloud-network-config-controller",
                ("controller",),
                Mount("cncc-cert", _CLOUD_NETWORK, PathSource.ENVIRONMENT),
                (Variable(ARO_HCP_CLIENT_CREDENTIALS_PATH, f"{_CLOUD_NETWORK}/{{secret}}"),),
            ),
        ),
    ),
    Component(
        "cluster-storage-operator-disk",
        "disk",
        MANAGED_AZURE_DISK_CSI_SECRET_STORE_PROVIDER_CLASS_NAME,
        (
            Pod(
                "cluster-storage-operator",
                ("cluster-storage-operator",),
                env=(
                    Variable(
                        MANAGED_AZURE_SECRET_PROVIDER_CLASS_FOR_DISK_ENV_VAR_KEY,
                        MANAGED_AZURE_DISK_CSI_SECRET_STORE_PROVIDER_CLASS_NAME,
                    ),
                ),
            ),
            _csi_driver("disk"),
        ),
        (_csi_config("disk"),),
    ),
    Component(
        "cluster-storage-operator-file",
        "file",
        MANAGED_AZURE_FILE_CSI_SECRET_STORE_PROVIDER_CLASS_NAME,
        (
            Pod(
                "cluster-storage-operator",
                ("cluster-storage-operator",),
                env=(
                    Variable(
                        MANAGED_AZURE_SECRET_PROVIDER_CLASS_FOR_FILE_ENV_VAR_KEY,
                        MANAGED_AZURE_FILE_CSI_SECRET_STORE_PROVIDER_CLASS_NAME,
                    ),
                ),
            ),
            _csi_driver("file"),
        ),
        (_csi_config("file"),),
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
            ),
            # The operator validates the key with the KMS identity, beside its own at /mnt/certs.
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
"""Each workload's name, with everything that its pods get, and for which component."""
