"""A HostedCluster or HostedControlPlane, read for its Azure identities.

Strict on what is read, blind to the rest: fields that hcpcreds has no use for may hold anything.
Source of names, defaults and limits: openshift/hypershift, api/hypershift/v1beta1 (August 2026).
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from hcpcreds.clouds import CLOUDS, DEFAULT_CLOUD
from hcpcreds.errors import InputError
from hcpcreds.kubernetes.documents import parse_documents, read_source
from hcpcreds.kubernetes.fields import TEXT, Fields, Form, describe

API_VERSION: Final = "hypershift.openshift.io/v1beta1"
KINDS: Final = ("HostedCluster", "HostedControlPlane")

PROBE_MODE_ANNOTATION: Final = "hypershift.openshift.io/azure-load-balancer-health-probe-mode"
PROBE_PATH_ANNOTATION: Final = "hypershift.openshift.io/shared-load-balancer-health-probe-path"
PROBE_PORT_ANNOTATION: Final = "hypershift.openshift.io/shared-load-balancer-health-probe-port"

_MAX_NAMESPACE: Final = 63

_MAYBE_EMPTY: Final = Form(re.compile(f"(?:{TEXT.pattern.pattern})?"), TEXT.expected)
UUID: Final = Form(re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"), "a UUID")
_API_VERSION: Final = Form(re.compile(re.escape(API_VERSION)), API_VERSION)
_SUBDOMAIN: Final = Form(
    re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"),
    "lower-case letters, digits, '-' and '.', at most 253 characters",
)
NAMESPACE: Final = Form(
    re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"),
    "1-63 lower-case letters, digits and '-', not at an end",
)
_INFRA_ID: Final = Form(
    re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?"),
    "1-253 lower-case letters, digits and '-' (HyperShift sets it when it creates the cluster)",
)
_AZURE: Final = Form(re.compile("Azure"), "Azure")
_MANAGED_IDENTITIES: Final = Form(
    re.compile("ManagedIdentities"), "ManagedIdentities (hcpcreds serves no other)"
)
_ENCRYPTION: Final = Form(re.compile("kms|aescbc"), "kms or aescbc")
_CLOUD_NAMES: Final = tuple(dict.fromkeys(cloud.name for cloud in CLOUDS.values()))  # the API takes no alias
_CLOUD: Final = Form(re.compile("|".join(_CLOUD_NAMES)), f"one of {', '.join(_CLOUD_NAMES)}")
_KEY_VAULT_NAME: Final = Form(re.compile(r"[-A-Za-z0-9]{3,24}"), "3-24 letters, digits and '-'")
# The names kept out: they stand unquoted in a SecretProviderClass, where the Azure provider's YAML takes them
# for no name or for a list. The API would let them through.
CREDENTIALS_SECRET_NAME: Final = Form(
    re.compile(r"(?!(?:null|Null|NULL|-)\Z)[a-zA-Z0-9-]{1,127}"),
    "1-127 letters, digits and '-' (not 'null' or '-')",
)
OBJECT_ENCODING: Final = Form(re.compile(r"utf-8|hex|base64"), "utf-8, hex or base64")
_PROBE_MODE: Final = Form(re.compile(r"shared|servicenodeport"), "shared or servicenodeport")
_DIGITS: Final = Form(re.compile(r"\+?[0-9]{1,9}"), "a port, 1-65535")
_MAX_PORT: Final = 65535

_VNET_ID: Final = "Microsoft.Network/virtualNetworks/{name}"
_SUBNET_ID: Final = "Microsoft.Network/virtualNetworks/{vnet}/subnets/{name}"
_SECURITY_GROUP_ID: Final = "Microsoft.Network/networkSecurityGroups/{name}"
_IDENTITY_ID: Final = "Microsoft.ManagedIdentity/userAssignedIdentities/{name}"


class ManagedIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """One identity: which secret of the vault holds its credential, and how that is encoded."""

    credentials_secret_name: str
    """Name of the Key Vault secret, and so of the mounted file."""
    object_encoding: str = "utf-8"
    """``utf-8``, ``hex`` or ``base64``."""
    client_id: str | None = None


class Identities(msgspec.Struct, frozen=True, kw_only=True):
    """The identities of a control plane, under the API's field names."""

    control_plane_operator: ManagedIdentity
    node_pool_management: ManagedIdentity
    cloud_provider: ManagedIdentity
    ingress: ManagedIdentity
    network: ManagedIdentity
    disk: ManagedIdentity
    file: ManagedIdentity
    image_registry: ManagedIdentity | None = None
    """None where the cluster runs no image registry."""
    kms: ManagedIdentity | None = None
    """None where etcd is not encrypted with a key of Azure."""


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
    """The key that encrypts now, and the one before while a key rotation lasts."""

    active: KmsKey
    backup: KmsKey | None = None


class HostedCluster(msgspec.Struct, frozen=True, kw_only=True):
    """What hcpcreds needs to know of a hosted cluster."""

    kind: str
    """``HostedCluster`` or ``HostedControlPlane``: what it was read from."""
    name: str
    """The hosted cluster's name, which a HostedControlPlane bears too."""
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
    key_vault: KeyVault
    identities: Identities
    kms_keys: KmsKeys | None = None
    """Set exactly when ``identities.kms`` is."""
    container_registry_identity_id: str | None = None
    """ARM id of the identity with which nodes pull images."""
    health_probe_mode: str = "shared"
    health_probe_path: str | None = None
    health_probe_port: int | None = None


def read_hosted_cluster(path: str | Path) -> HostedCluster:
    """Read the hosted cluster in a file of YAML or JSON.

    Args:
        path: The file; other objects in it are passed over.

    Raises:
        InputError: The file cannot be read, or as `parse_hosted_cluster` says.
    """
    return parse_hosted_cluster(read_source(path), where=str(path))


def parse_hosted_cluster(
    source: str | bytes | Mapping[str, Any], *, where: str = "HostedCluster"
) -> HostedCluster:
    """Parse a HostedCluster or HostedControlPlane that uses managed identities.

    Args:
        source: YAML or JSON (one such object among any others, also in a List), or the object as a mapping.
        where: What error messages call the source.

    Raises:
        InputError: It is not exactly one such object, or fields of it are wrong. Every problem is in the
            message, each with the full path of its field.
    """
    documents = [source] if isinstance(source, Mapping) else parse_documents(source, where=where)
    problems: list[str] = []
    cluster = _read_cluster(Fields(_find_cluster(documents, where), "", problems))
    if problems:
        raise InputError(where, problems)
    return cluster


def _find_cluster(documents: Sequence[Any], where: str) -> Mapping[str, Any]:
    objects = [item for document in documents for item in _get_items(document)]
    found = [item for item in objects if isinstance(item, Mapping) and item.get("kind") in KINDS]
    if len(found) == 1:
        return found[0]
    expected = f"expected one HostedCluster or HostedControlPlane ({API_VERSION})"
    if found:
        raise InputError(where, [f"{expected}, found {len(found)}"])
    if not objects:
        raise InputError(where, [f"empty; {expected}"])
    kinds = {describe(item.get("kind")) if isinstance(item, Mapping) else "no object" for item in objects}
    raise InputError(where, [f"kind: {expected}, found {', '.join(sorted(kinds)[:5])}"])


def _get_items(document: object) -> list[Any]:
    """The objects in a List, as kubectl get writes one; else the document itself."""
    if isinstance(document, Mapping) and document.get("kind") not in KINDS:
        items = document.get("items")
        if isinstance(items, list):
            return items
    return [document]


def _read_cluster(manifest: Fields) -> HostedCluster:
    manifest.text("apiVersion", _API_VERSION)
    kind = manifest.text("kind")
    metadata = manifest.fields("metadata")
    name = metadata.text("name", _SUBDOMAIN)
    namespace = metadata.text("namespace", NAMESPACE)
    control_plane_namespace = namespace
    if kind == "HostedCluster":
        # HostedControlPlaneNamespace in hypershift-operator/controllers/manifests
        control_plane_namespace = f"{namespace}-{name.replace('.', '-')}"
        if len(control_plane_namespace) > _MAX_NAMESPACE:
            metadata.note(
                "name", f"makes the namespace {control_plane_namespace!r}, longer than 63 characters"
            )
    annotations = metadata.fields("annotations", required=False)
    mode = annotations.optional(PROBE_MODE_ANNOTATION, _PROBE_MODE) or "shared"
    path = port = None
    if mode == "shared":
        path = annotations.optional(PROBE_PATH_ANNOTATION, _MAYBE_EMPTY)
        port = _read_port(annotations)
    spec = manifest.fields("spec")
    infra_id = spec.text("infraID", _INFRA_ID)
    azure = _find_azure(spec)
    vnet_resource_group, vnet_name = azure.resource("vnetID", _VNET_ID)
    _, subnet_name = azure.resource("subnetID", _SUBNET_ID)
    security_group_resource_group, security_group_name = azure.resource("securityGroupID", _SECURITY_GROUP_ID)
    control_plane = _find_control_plane_identities(azure)
    vault = control_plane.fields("managedIdentitiesKeyVault")
    kms = _find_kms(spec)
    return HostedCluster(
        kind=kind,
        name=name,
        namespace=namespace,
        control_plane_namespace=control_plane_namespace,
        infra_id=infra_id,
        cloud=azure.optional("cloud", _CLOUD) or DEFAULT_CLOUD,
        location=azure.text("location"),
        resource_group=azure.text("resourceGroup"),
        subscription_id=azure.text("subscriptionID", UUID),
        tenant_id=azure.text("tenantID", UUID),
        vnet_name=vnet_name,
        vnet_resource_group=vnet_resource_group,
        subnet_name=subnet_name,
        security_group_name=security_group_name,
        security_group_resource_group=security_group_resource_group,
        key_vault=KeyVault(
            name=vault.text("name", _KEY_VAULT_NAME),
            tenant_id=vault.text("tenantID", UUID),
        ),
        identities=Identities(
            control_plane_operator=_read_identity(control_plane, "controlPlaneOperator"),
            node_pool_management=_read_identity(control_plane, "nodePoolManagement"),
            cloud_provider=_read_identity(control_plane, "cloudProvider"),
            ingress=_read_identity(control_plane, "ingress"),
            network=_read_identity(control_plane, "network"),
            disk=_read_identity(control_plane, "disk"),
            file=_read_identity(control_plane, "file"),
            image_registry=_read_identity(control_plane, "imageRegistry")
            if control_plane.has("imageRegistry")
            else None,
            kms=_read_identity(kms, "kms") if kms else None,
        ),
        kms_keys=KmsKeys(
            active=_read_key(kms, "activeKey"),
            backup=_read_key(kms, "backupKey") if kms.has("backupKey") else None,
        )
        if kms
        else None,
        container_registry_identity_id=_read_container_registry_identity(azure),
        health_probe_mode=mode,
        health_probe_path=path or None,
        health_probe_port=port,
    )


def _find_azure(spec: Fields) -> Fields:
    platform = spec.fields("platform")
    if platform.text("type", _AZURE):
        return platform.fields("azure")
    return Fields({}, "", [])


def _find_control_plane_identities(azure: Fields) -> Fields:
    authentication = azure.fields("azureAuthenticationConfig")
    if authentication.text("azureAuthenticationConfigType", _MANAGED_IDENTITIES):
        return authentication.fields("managedIdentities").fields("controlPlane")
    return Fields({}, "", [])


def _find_kms(spec: Fields) -> Fields | None:
    if not spec.has("secretEncryption"):
        return None
    encryption = spec.fields("secretEncryption")
    if encryption.optional("type", _ENCRYPTION) == "aescbc":
        return None
    kms = encryption.fields("kms")
    kms.optional("provider", _AZURE)
    return kms.fields("azure")


def _read_identity(parent: Fields, key: str) -> ManagedIdentity:
    identity = parent.fields(key)
    return ManagedIdentity(
        credentials_secret_name=identity.text("credentialsSecretName", CREDENTIALS_SECRET_NAME),
        object_encoding=identity.optional("objectEncoding", OBJECT_ENCODING) or "utf-8",
        client_id=identity.optional("clientID", UUID),
    )


def _read_key(kms: Fields, key: str) -> KmsKey:
    fields = kms.fields(key)
    return KmsKey(
        key_vault_name=fields.text("keyVaultName"),
        key_name=fields.text("keyName"),
        key_version=fields.text("keyVersion"),
    )


def _read_port(annotations: Fields) -> int | None:
    text = annotations.optional(PROBE_PORT_ANNOTATION, _DIGITS)
    if not text:
        return None
    if not 1 <= int(text) <= _MAX_PORT:
        annotations.note(PROBE_PORT_ANNOTATION, f"got {describe(text)}, expected {_DIGITS.expected}")
    return int(text)


def _read_container_registry_identity(azure: Fields) -> str | None:
    registry = azure.fields("containerRegistry", required=False)
    identity = registry.fields("credentials", required=False).fields("managedIdentity", required=False)
    if not identity.has("resourceID"):
        return None
    group, _ = identity.resource("resourceID", _IDENTITY_ID)
    return identity.text("resourceID") if group else None
