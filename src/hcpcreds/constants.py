"""Names that HyperShift and the Secrets Store CSI driver have fixed.

Each constant carries HyperShift's own name in UPPER_SNAKE_CASE.
Source: openshift/hypershift, support/config/constants.go and api/hypershift/v1beta1 (August 2026).
"""

from typing import Final

MANAGED_SERVICE: Final = "MANAGED_SERVICE"
"""Environment variable that names the managed service an operator runs under."""
ARO_HCP: Final = "ARO-HCP"
"""Value of MANAGED_SERVICE in managed Azure; compared exactly."""

ARO_HCP_KEY_VAULT_MANAGED_IDENTITY_CLIENT_ID: Final = "ARO_HCP_KEY_VAULT_USER_CLIENT_ID"
"""Environment variable: client id of the management cluster's identity that reads the Key Vault."""
MANAGED_AZURE_CREDENTIALS_FILE_PATH: Final = "MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH"
"""Environment variable: path of the mounted credential file."""
MANAGED_AZURE_SECRET_PROVIDER_CLASS_ENV_VAR_KEY: Final = "ARO_HCP_SECRET_PROVIDER_CLASS"
"""Environment variable: the SecretProviderClass that an operator passes on to the pods it deploys."""
MANAGED_AZURE_SECRET_PROVIDER_CLASS_FOR_DISK_ENV_VAR_KEY: Final = "ARO_HCP_SECRET_PROVIDER_CLASS_FOR_DISK"
"""The same, to the disk CSI controller (HyperShift writes this one and the next without a constant)."""
MANAGED_AZURE_SECRET_PROVIDER_CLASS_FOR_FILE_ENV_VAR_KEY: Final = "ARO_HCP_SECRET_PROVIDER_CLASS_FOR_FILE"
"""The same, to the file CSI controller."""
ARO_HCP_CLIENT_CREDENTIALS_PATH: Final = "ARO_HCP_CLIENT_CREDENTIALS_PATH"
"""Environment variable of the cloud-network-config-controller: path of its credential file
(openshift/cluster-network-operator)."""

MANAGED_AZURE_CERTIFICATE_MOUNT_PATH: Final = "/mnt/certs"
MANAGED_AZURE_CERTIFICATE_PATH: Final = "/mnt/certs/"
MANAGED_AZURE_CREDENTIALS_MOUNT_PATH_FOR_KMS: Final = "/mnt/kms"
MANAGED_AZURE_CREDENTIALS_PATH_FOR_KMS: Final = "/mnt/kms/"

MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER: Final = "secrets-store.csi.k8s.io"
MANAGED_AZURE_SECRET_PROVIDER_CLASS: Final = "secretProviderClass"
"""Volume attribute key under which a CSI volume names its SecretProviderClass."""

MANAGED_AZURE_CPO_SECRET_PROVIDER_CLASS_NAME: Final = "managed-azure-cpo"
MANAGED_AZURE_CPO_SECRET_STORE_VOLUME_NAME: Final = "cpo-cert"
MANAGED_AZURE_CLOUD_PROVIDER_SECRET_PROVIDER_CLASS_NAME: Final = "managed-azure-cloud-provider"
MANAGED_AZURE_CLOUD_PROVIDER_SECRET_STORE_VOLUME_NAME: Final = "cloud-provider-cert"
MANAGED_AZURE_DISK_CSI_SECRET_STORE_PROVIDER_CLASS_NAME: Final = "managed-azure-disk-csi"
MANAGED_AZURE_FILE_CSI_SECRET_STORE_PROVIDER_CLASS_NAME: Final = "managed-azure-file-csi"
MANAGED_AZURE_IMAGE_REGISTRY_SECRET_STORE_PROVIDER_CLASS_NAME: Final = "managed-azure-image-registry"
MANAGED_AZURE_IMAGE_REGISTRY_SECRET_STORE_VOLUME_NAME: Final = "image-registry-cert"
MANAGED_AZURE_INGRESS_SECRET_STORE_PROVIDER_CLASS_NAME: Final = "managed-azure-ingress"
MANAGED_AZURE_INGRESS_SECRET_STORE_VOLUME_NAME: Final = "ingress-cert"
MANAGED_AZURE_KMS_SECRET_PROVIDER_CLASS_NAME: Final = "managed-azure-kms"
MANAGED_AZURE_KMS_SECRET_STORE_VOLUME_NAME: Final = "kms-cert"
MANAGED_AZURE_NETWORK_SECRET_STORE_PROVIDER_CLASS_NAME: Final = "managed-azure-network"
MANAGED_AZURE_NODE_POOL_MGMT_SECRET_PROVIDER_CLASS_NAME: Final = "managed-azure-nodepool-management"
MANAGED_AZURE_NODE_POOL_MGMT_SECRET_STORE_VOLUME_NAME: Final = "nodepool-management-cert"
