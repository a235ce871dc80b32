"""The reference document's helper functions, each under its own name in snake_case.

They return plain data in the Kubernetes API's JSON shape, which the clients `kubernetes`, `lightkube` and
`kr8s`, and kubectl, take without conversion.
Source: openshift/hypershift, support/azureutil and support/netutil.
"""

import os
from collections.abc import Mapping
from typing import Any

from hcpcreds.constants import (
    ARO_HCP,
    ARO_HCP_KEY_VAULT_MANAGED_IDENTITY_CLIENT_ID,
    MANAGED_AZURE_CERTIFICATE_MOUNT_PATH,
    MANAGED_AZURE_CERTIFICATE_PATH,
    MANAGED_AZURE_CREDENTIALS_FILE_PATH,
    MANAGED_AZURE_CREDENTIALS_MOUNT_PATH_FOR_KMS,
    MANAGED_AZURE_SECRET_PROVIDER_CLASS,
    MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER,
    MANAGED_SERVICE,
)
from hcpcreds.hosted_cluster import HostedCluster
from hcpcreds.kubernetes.objects import EnvVar, Volume, VolumeMount

__all__ = [
    "create_env_vars_for_azure_managed_identity",
    "create_volume_for_azure_secret_store_provider_class",
    "create_volume_mount_for_azure_secret_store_provider_class",
    "create_volume_mount_for_kms_azure_secret_store_provider_class",
    "get_key_vault_authorized_user",
    "is_aro_hcp",
    "is_aro_hcp_by_hc",
    "is_aro_hcp_by_hcp",
]


def create_volume_for_azure_secret_store_provider_class(
    secret_store_volume_name: str, secret_provider_class_name: str
) -> Volume:
    """Create the read-only CSI volume that mounts a SecretProviderClass's credential file."""
    return {
        "name": secret_store_volume_name,
        "csi": {
            "driver": MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER,
            "readOnly": True,
            "volumeAttributes": {MANAGED_AZURE_SECRET_PROVIDER_CLASS: secret_provider_class_name},
        },
    }


def create_volume_mount_for_azure_secret_store_provider_class(secret_store_volume_name: str) -> VolumeMount:
    """Create the mount of a credential volume at `/mnt/certs`."""
    return {
        "name": secret_store_volume_name,
        "mountPath": MANAGED_AZURE_CERTIFICATE_MOUNT_PATH,
        "readOnly": True,
    }


def create_volume_mount_for_kms_azure_secret_store_provider_class(
    secret_store_volume_name: str,
) -> VolumeMount:
    """Create the mount of the KMS credential volume at `/mnt/kms`, beside another at `/mnt/certs`."""
    return {
        "name": secret_store_volume_name,
        "mountPath": MANAGED_AZURE_CREDENTIALS_MOUNT_PATH_FOR_KMS,
        "readOnly": True,
    }


def create_env_vars_for_azure_managed_identity(azure_credentials_name: str) -> list[EnvVar]:
    """Create the environment variable that names the credential file below `/mnt/certs`."""
    return [
        {
            "name": MANAGED_AZURE_CREDENTIALS_FILE_PATH,
            "value": MANAGED_AZURE_CERTIFICATE_PATH + azure_credentials_name,
        }
    ]


def is_aro_hcp(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether this process runs in managed Azure: `MANAGED_SERVICE` is exactly `ARO-HCP`.

    Use it for decisions about a whole management cluster. To decide about a hosted cluster, use
    `is_aro_hcp_by_hc` or `is_aro_hcp_by_hcp`.
    """
    return environ.get(MANAGED_SERVICE) == ARO_HCP


def is_aro_hcp_by_hcp(
    hosted_control_plane: HostedCluster | Mapping[str, Any], environ: Mapping[str, str] = os.environ
) -> bool:
    """Return whether a HostedControlPlane belongs to managed Azure.

    Args:
        hosted_control_plane: The object in the API's shape, or parsed.
        environ: Used only if the object is on Azure and has no `spec.platform.azure`.
    """
    if isinstance(hosted_control_plane, HostedCluster):
        return not hosted_control_plane.is_self_managed
    platform = _get_mapping(_get_mapping(hosted_control_plane, "spec"), "platform")
    if platform.get("type") != "Azure":
        return False
    if platform.get("azure") is None:
        return is_aro_hcp(environ)
    authentication = _get_mapping(_get_mapping(platform, "azure"), "azureAuthenticationConfig")
    return bool(authentication.get("azureAuthenticationConfigType") == "ManagedIdentities")


def is_aro_hcp_by_hc(
    hosted_cluster: HostedCluster | Mapping[str, Any], environ: Mapping[str, str] = os.environ
) -> bool:
    """Return whether a HostedCluster belongs to managed Azure; see `is_aro_hcp_by_hcp`."""
    return is_aro_hcp_by_hcp(hosted_cluster, environ)


def get_key_vault_authorized_user(environ: Mapping[str, str] = os.environ) -> str:
    """Return the client id of the identity that reads the vault, from the environment; empty if not set."""
    return environ.get(ARO_HCP_KEY_VAULT_MANAGED_IDENTITY_CLIENT_ID, "")


def _get_mapping(mapping: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = mapping.get(key)
    return value if isinstance(value, Mapping) else {}
