import pytest

from hcpcreds import constants

# As openshift/hypershift defines them, in the order of facts about it.
VALUES = {
    "ARO_HCP": "ARO-HCP",
    "MANAGED_SERVICE": "MANAGED_SERVICE",
    "MANAGED_AZURE_CREDENTIALS_FILE_PATH": "MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH",
    "MANAGED_AZURE_SECRET_PROVIDER_CLASS_ENV_VAR_KEY": "ARO_HCP_SECRET_PROVIDER_CLASS",
    "MANAGED_AZURE_SECRET_PROVIDER_CLASS_FOR_DISK_ENV_VAR_KEY": "ARO_HCP_SECRET_PROVIDER_CLASS_FOR_DISK",
    "MANAGED_AZURE_SECRET_PROVIDER_CLASS_FOR_FILE_ENV_VAR_KEY": "ARO_HCP_SECRET_PROVIDER_CLASS_FOR_FILE",
    "ARO_HCP_CLIENT_CREDENTIALS_PATH": "ARO_HCP_CLIENT_CREDENTIALS_PATH",
    "ARO_HCP_KEY_VAULT_MANAGED_IDENTITY_CLIENT_ID": "ARO_HCP_KEY_VAULT_USER_CLIENT_ID",
    "MANAGED_AZURE_CERTIFICATE_MOUNT_PATH": "/mnt/certs",
    "MANAGED_AZURE_CERTIFICATE_PATH": "/mnt/certs/",
    "MANAGED_AZURE_CREDENTIALS_MOUNT_PATH_FOR_KMS": "/mnt/kms",
    "MANAGED_AZURE_CREDENTIALS_PATH_FOR_KMS": "/mnt/kms/",
    "MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER": "secrets-store.csi.k8s.io",
    "MANAGED_AZURE_SECRET_PROVIDER_CLASS": "secretProviderClass",
    "MANAGED_AZURE_CPO_SECRET_PROVIDER_CLASS_NAME": "managed-azure-cpo",
    "MANAGED_AZURE_CLOUD_PROVIDER_SECRET_PROVIDER_CLASS_NAME": "managed-azure-cloud-provider",
    "MANAGED_AZURE_KMS_SECRET_PROVIDER_CLASS_NAME": "managed-azure-kms",
    "MANAGED_AZURE_NODE_POOL_MGMT_SECRET_PROVIDER_CLASS_NAME": "managed-azure-nodepool-management",
    "MANAGED_AZURE_DISK_CSI_SECRET_STORE_PROVIDER_CLASS_NAME": "managed-azure-disk-csi",
    "MANAGED_AZURE_FILE_CSI_SECRET_STORE_PROVIDER_CLASS_NAME": "managed-azure-file-csi",
    "MANAGED_AZURE_IMAGE_REGISTRY_SECRET_STORE_PROVIDER_CLASS_NAME": "managed-azure-image-registry",
    "MANAGED_AZURE_INGRESS_SECRET_STORE_PROVIDER_CLASS_NAME": "managed-azure-ingress",
    "MANAGED_AZURE_NETWORK_SECRET_STORE_PROVIDER_CLASS_NAME": "managed-azure-network",
    "MANAGED_AZURE_CPO_SECRET_STORE_VOLUME_NAME": "cpo-cert",
    "MANAGED_AZURE_CLOUD_PROVIDER_SECRET_STORE_VOLUME_NAME": "cloud-provider-cert",
    "MANAGED_AZURE_IMAGE_REGISTRY_SECRET_STORE_VOLUME_NAME": "image-registry-cert",
    "MANAGED_AZURE_INGRESS_SECRET_STORE_VOLUME_NAME": "ingress-cert",
    "MANAGED_AZURE_KMS_SECRET_STORE_VOLUME_NAME": "kms-cert",
    "MANAGED_AZURE_NODE_POOL_MGMT_SECRET_STORE_VOLUME_NAME": "nodepool-management-cert",
}


@pytest.mark.parametrize(("name", "value"), VALUES.items())
def test_constant_has_hypershifts_value(name, value):
    assert getattr(constants, name) == value


def test_there_is_no_constant_without_a_known_value():
    assert {name for name in vars(constants) if name.isupper()} == set(VALUES)
