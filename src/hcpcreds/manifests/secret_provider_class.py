"""SecretProviderClasses, with which the Secrets Store CSI driver mounts credential files from the vault.

Source: openshift/hypershift, support/secretproviderclass; Azure/secrets-store-csi-driver-provider-azure v1.8,
pkg/provider and its pages on identity access modes.
"""

from functools import lru_cache
from typing import Final, Literal, get_args

from hcpcreds.components import Component
from hcpcreds.constants import ARO_HCP_KEY_VAULT_MANAGED_IDENTITY_CLIENT_ID
from hcpcreds.errors import InputError
from hcpcreds.hosted_cluster import HostedCluster, ManagedIdentity
from hcpcreds.hosted_cluster.forms import CREDENTIALS_SECRET_NAME, OBJECT_ENCODING, OBJECT_ENCODINGS, UUID
from hcpcreds.kubernetes.fields import describe
from hcpcreds.kubernetes.objects import SecretProviderClass
from hcpcreds.manifests.metadata import build_metadata
from hcpcreds.text import show_id

VaultAccess = Literal["vm-identity", "workload-identity", "identity-binding"]
"""How the provider logs in to the vault: as an identity assigned to the node, as in HyperShift; as a
workload identity that trusts each pod's service account; or through an identity binding of AKS."""
VAULT_ACCESS_MODES: Final[tuple[VaultAccess, ...]] = get_args(VaultAccess)


def build_secret_provider_class(
    cluster: HostedCluster,
    component: Component,
    *,
    key_vault_user_client_id: str,
    namespace: str | None = None,
    vault_access: VaultAccess = "vm-identity",
) -> SecretProviderClass:
    """Build the SecretProviderClass that mounts a component's credential file.

    Args:
        cluster: The hosted cluster.
        component: A row of `COMPONENTS`.
        key_vault_user_client_id: Client id (a UUID) of the identity that reads the vault.
        namespace: Where to put it instead of the control plane's namespace.
        vault_access: How the provider logs in to the vault.

    Raises:
        InputError: The cluster has no managed identity for the component, or no vault that holds its
            credential; or a name, an encoding or the client id is outside its alphabet: the
            values in `objects` are not quoted, so no other character may occur.
    """
    identity = component.get_identity(cluster)
    if identity is None:
        problem = f"the hosted cluster {cluster.name} has no identity for it"
        raise InputError(component.name, [problem])
    if cluster.key_vault is None:
        problem = f"the hosted cluster {cluster.name} has no managedIdentitiesKeyVault, which would hold it"
        hint = "With WorkloadIdentities, give the KMS identity as kms.azure.workloadIdentity."
        raise InputError(component.name, [problem], hint=hint)
    check_key_vault_user(key_vault_user_client_id)
    parameters = _build_access(vault_access, key_vault_user_client_id)
    parameters["keyvaultName"] = cluster.key_vault.name
    parameters["tenantId"] = cluster.key_vault.tenant_id
    parameters["objects"] = render_objects(identity)
    return {
        "apiVersion": "secrets-store.csi.x-k8s.io/v1",
        "kind": "SecretProviderClass",
        "metadata": build_metadata(
            component.secret_provider_class, cluster, component=component.name, namespace=namespace
        ),
        "spec": {"provider": "azure", "parameters": parameters},
    }


def _build_access(mode: VaultAccess, client_id: str) -> dict[str, str]:
    if mode == "vm-identity":
        return {
            "usePodIdentity": "false",
            "useVMManagedIdentity": "true",
            "userAssignedIdentityID": client_id,
        }
    if mode == "workload-identity":
        return {"usePodIdentity": "false", "clientID": client_id}
    return {"useAzureTokenProxy": "true", "clientID": client_id}


def render_objects(identity: ManagedIdentity) -> str:
    """Render the parameter `objects`: YAML within YAML, naming the identity's one secret.

    Raises:
        InputError: The secret's name or encoding is outside its alphabet.
    """
    name, encoding = identity.credentials_secret_name, identity.object_encoding
    problems: list[str] = []
    if not CREDENTIALS_SECRET_NAME.pattern.fullmatch(name):
        problems.append(
            f"credentialsSecretName: got {describe(name)}, expected {CREDENTIALS_SECRET_NAME.expected}"
        )
    if encoding not in OBJECT_ENCODINGS:
        problems.append(f"objectEncoding: got {describe(encoding)}, expected {OBJECT_ENCODING.expected}")
    if problems:
        raise InputError("SecretProviderClass", problems)
    return (
        f"\narray:\n  - |\n    objectName: {name}\n    objectEncoding: {encoding}\n    objectType: secret\n"
    )


@lru_cache(maxsize=1)  # the same id goes into all nine objects of every cluster
def check_key_vault_user(client_id: str) -> None:
    """Check the client id of the identity that reads the vault.

    Raises:
        InputError: It is not a UUID. With an empty one, the driver would use the node's own identity.
    """
    if not UUID.pattern.fullmatch(client_id):
        problem = f"got {show_id(client_id)}, expected a UUID" if client_id else "not set, expected a UUID"
        hint = f"HyperShift takes it from the environment: {ARO_HCP_KEY_VAULT_MANAGED_IDENTITY_CLIENT_ID}."
        raise InputError(
            "key vault user's client id", [problem], hint=hint, options=["key_vault_user_client_id"]
        )
