"""What the driver and its provider say when they cannot mount, and which link of the chain that is about.

Source: Azure/secrets-store-csi-driver-provider-azure and kubernetes-sigs/secrets-store-csi-driver (their
pages on troubleshooting); Key Vault's error codes; kubelet (csi_mounter.go).
"""

import re
from typing import Final, NamedTuple


class Cause(NamedTuple):
    """Why a mount fails."""

    link: str
    what: str
    fix: str


_DRIVER: Final = (
    "Look at the pod of the driver on the pod's node: kubectl get pods -A -o wide "
    "-l 'app in (secrets-store-csi-driver, secrets-store-provider-azure, csi-secrets-store-provider-azure)'."
)
_CAUSES: Final = {
    "registered CSI drivers": Cause(
        "driver", "the Secrets Store CSI driver does not run on the pod's node", _DRIVER
    ),
    "provider not found|failed to find provider binary|error connecting to provider": Cause(
        "driver", "the driver does not reach its provider for Azure on the pod's node", _DRIVER
    ),
    r"SecretProviderClass\S* \S+ not found|failed to get secretproviderclass": Cause(
        "class",
        "the driver does not find the SecretProviderClass",
        "Create it in the pod's namespace; the kubelet tries again within two minutes.",
    ),
    r"SecretNotFound|secret with \(name/id\)": Cause(
        "vault",
        "the vault has no secret of that name",
        "Store the credential, or correct the name: credentialsSecretName in the HostedCluster, objectName "
        "in the SecretProviderClass.",
    ),
    "SecretDisabled|disabled secret": Cause(
        "vault", "the secret's newest version is disabled", "Enable it, or store a new version."
    ),
    "ForbiddenBy(Firewall|Connection)|not a trusted service|Public network access is disabled": Cause(
        "vault",
        "the vault's firewall does not let the node in",
        "Allow the node's subnet, or give the vault a private endpoint that the node reaches.",
    ),
    "no such host|VaultNotFound": Cause(
        "vault",
        "there is no vault of that name",
        "Correct keyvaultName, or the DNS zone of the vault's private endpoint.",
    ),
    "illegal base64|encoding/hex|failed to decode": Cause(
        "vault",
        "the secret's content is not in the encoding that the SecretProviderClass names",
        "Correct objectEncoding, or store the credential as it says.",
    ),
    "Identity not found|no azure identity found|not assigned to": Cause(
        "identity",
        "the node does not have the identity that is to read the vault",
        "Assign userAssignedIdentityID to the node's virtual machine scale set.",
    ),
    r"AADSTS\d+|failed to acquire token|failed to get authorizer|ManagedIdentityCredential": Cause(
        "identity",
        "the identity that is to read the vault gets no token",
        "Check userAssignedIdentityID or clientID, tenantId, and for a workload identity its federated "
        "credential.",
    ),
    r"not authorized to perform action|permission on key vault|AccessDenied|\bForbidden": Cause(
        "identity",
        "the identity that reads the vault may not read the secret",
        "Give that identity the role Key Vault Secrets User on the vault, or its access policy the "
        "permission get.",
    ),
}
"""By what the message holds; the first that does counts."""


def find_cause(message: str) -> Cause | None:
    """Find what a message of the driver is about; None if it is not known."""
    found = (cause for pattern, cause in _CAUSES.items() if re.search(pattern, message, re.IGNORECASE))
    return next(found, None)
