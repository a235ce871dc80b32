"""Reading a hosted cluster: out of a file or an object, field by field, every problem noted with its path."""

from collections.abc import Iterable, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

from hcpcreds.clouds import DEFAULT_CLOUD
from hcpcreds.errors import InputError
from hcpcreds.hosted_cluster import forms
from hcpcreds.hosted_cluster.rules import (
    MANAGED_IDENTITIES,
    WORKLOAD_IDENTITIES,
    check_services,
    check_topology,
    check_union,
    find_container_registry_identity,
    read_disabled_capabilities,
)
from hcpcreds.hosted_cluster.values import (
    DataPlaneIdentities,
    HostedCluster,
    Identities,
    KeyVault,
    KmsKey,
    KmsKeys,
    ManagedIdentity,
    WorkloadIdentities,
    WorkloadIdentity,
)
from hcpcreds.kubernetes.documents import TEMPLATE, Document, open_source, read_documents
from hcpcreds.kubernetes.fields import Fields, describe
from hcpcreds.kubernetes.placeholders import holds_placeholder

_MOST_KINDS: Final = 5
"""At most so many kinds of other objects are named in an error."""


def read_hosted_cluster(path: str | Path) -> HostedCluster:
    """Read the hosted cluster in a file of YAML or JSON.

    Args:
        path: The file; other objects in it are passed over.

    Raises:
        InputError: The file cannot be read, or as `parse_hosted_cluster` says.
    """
    with open_source(path) as stream:
        return parse_hosted_cluster(stream, where=str(path))


def parse_hosted_cluster(
    source: str | bytes | BufferedReader | Mapping[str, Any], *, where: str = "HostedCluster"
) -> HostedCluster:
    """Parse a HostedCluster or HostedControlPlane on Azure, with managed or with workload identities.

    Args:
        source: YAML or JSON (one such object among any others, also in a List), or the object as a mapping.
            Documents that cannot be read are passed over where there is such an object.
        where: Name of the source in error messages.

    Raises:
        InputError: It is not exactly one such object, or fields of it are wrong. Every problem is in the
            message, each with the full path of its field.
    """
    documents = [Document(source)] if isinstance(source, Mapping) else read_documents(source, file=where)
    problems: list[str] = []
    manifest = _find_cluster(documents, where)
    cluster = _read_cluster(Fields(manifest, "", problems))
    if problems and holds_placeholder(manifest):
        raise InputError(where, [TEMPLATE])
    if problems:
        raise InputError(where, problems)
    return cluster


def _find_cluster(documents: Iterable[Document], where: str) -> Mapping[str, Any]:
    found: list[Mapping[str, Any]] = []
    unusable: list[str] = []
    kinds: set[str] = set()
    for document in documents:
        if document.problem:
            unusable.append(f"line {document.first_line}: {document.problem}")
            continue
        for item in _get_items(document.value):
            kind = item.get("kind") if isinstance(item, Mapping) else None
            if kind in forms.KINDS:
                found.append(item)
            elif len(kinds) < _MOST_KINDS:
                kinds.add(describe(kind) if isinstance(item, Mapping) else "no object")
    if len(found) == 1:
        return found[0]
    expected = f"expected one HostedCluster or HostedControlPlane ({forms.API_VERSION})"
    if found:
        raise InputError(where, [f"{expected}, found {len(found)}"])
    if unusable:
        raise InputError(where, unusable)
    if not kinds:
        raise InputError(where, [f"empty; {expected}"])
    raise InputError(where, [f"kind: {expected}, found {', '.join(sorted(kinds))}"])


def _get_items(document: object) -> list[Any]:
    """The objects in a List, as kubectl get writes one; else the document itself."""
    if isinstance(document, Mapping) and document.get("kind") not in forms.KINDS:
        items = document.get("items")
        if isinstance(items, list):
            return items
    return [document]


def _read_cluster(manifest: Fields) -> HostedCluster:
    manifest.text("apiVersion", forms.THIS_API)
    kind = manifest.text("kind")
    metadata = manifest.fields("metadata")
    name = metadata.text("name", forms.SUBDOMAIN)
    namespace = metadata.text("namespace", forms.NAMESPACE)
    mode, path, port = _read_health_probe(metadata.fields("annotations", required=False))
    spec = manifest.fields("spec")
    azure = _find_azure(spec)
    authentication = azure.fields("azureAuthenticationConfig")
    authentication_type = _read_authentication_type(authentication)
    if kind == "HostedCluster":
        check_services(spec, authentication_type)
    check_topology(azure, authentication, authentication_type)
    control_plane, data_plane, workload = _find_identities(authentication, authentication_type)
    vault = control_plane.fields("managedIdentitiesKeyVault") if control_plane else None
    kms = _find_kms(spec)
    vnet_resource_group, vnet_name = azure.resource("vnetID", forms.VNET_ID)
    security_group_resource_group, security_group_name = azure.resource(
        "securityGroupID", forms.SECURITY_GROUP_ID
    )
    return HostedCluster(
        kind=kind,
        name=name,
        namespace=namespace,
        control_plane_namespace=_make_control_plane_namespace(kind, namespace, name, metadata),
        infra_id=spec.text("infraID", forms.INFRA_ID),
        cloud=azure.optional("cloud", forms.CLOUD) or DEFAULT_CLOUD,
        location=azure.text("location", forms.SHORT_TEXT),
        resource_group=_read_resource_group(azure),
        subscription_id=azure.text("subscriptionID", forms.UUID),
        tenant_id=azure.text("tenantID", forms.TENANT),
        vnet_name=vnet_name,
        vnet_resource_group=vnet_resource_group,
        subnet_name=azure.text("subnetID", forms.SUBNET_ID).rpartition("/")[2],
        security_group_name=security_group_name,
        security_group_resource_group=security_group_resource_group,
        is_self_managed=workload is not None,
        key_vault=KeyVault(
            name=vault.text("name", forms.KEY_VAULT_NAME), tenant_id=vault.text("tenantID", forms.TENANT)
        )
        if vault
        else None,
        identities=_read_identities(control_plane, kms),
        workload_identities=_read_workload_identities(workload, kms),
        data_plane=DataPlaneIdentities(
            image_registry=data_plane.text("imageRegistryMSIClientID", forms.UUID),
            disk=data_plane.text("diskMSIClientID", forms.UUID),
            file=data_plane.text("fileMSIClientID", forms.UUID),
        )
        if data_plane
        else None,
        kms_keys=_read_kms_keys(kms, manifest.fields("status", required=False)) if kms else None,
        disabled_capabilities=read_disabled_capabilities(spec),
        container_registry_identity_id=_read_container_registry_identity(azure),
        dns_zone_resource_group=_read_dns_zone_resource_group(spec),
        health_probe_mode=mode,
        health_probe_path=path or None,
        health_probe_port=port,
    )


def _make_control_plane_namespace(kind: str, namespace: str, name: str, metadata: Fields) -> str:
    """Where the control plane's pods run: HostedControlPlaneNamespace in hypershift-operator."""
    if kind != "HostedCluster":
        return namespace
    made = f"{namespace}-{name.replace('.', '-')}"
    if len(made) > forms.MAX_NAMESPACE:
        metadata.note("name", f"makes the namespace {made!r}, longer than {forms.MAX_NAMESPACE} characters")
    return made


def _read_health_probe(annotations: Fields) -> tuple[str, str | None, int | None]:
    """The mode, and in shared mode the path and the port."""
    mode = annotations.optional(forms.PROBE_MODE_ANNOTATION, forms.PROBE_MODE) or "shared"
    if mode != "shared":
        return mode, None, None
    path = annotations.optional(forms.PROBE_PATH_ANNOTATION, forms.MAYBE_EMPTY)
    port = annotations.optional(forms.PROBE_PORT_ANNOTATION, forms.DIGITS)
    if not port:
        return mode, path, None
    if not 1 <= int(port) <= forms.MAX_PORT:
        problem = f"got {describe(port)}, expected {forms.DIGITS.expected}"
        annotations.note(forms.PROBE_PORT_ANNOTATION, problem)
    return mode, path, int(port)


def _find_azure(spec: Fields) -> Fields:
    platform = spec.fields("platform")
    if platform.text("type", forms.AZURE):
        return platform.fields("azure")
    return Fields({}, "", [])


def _read_authentication_type(authentication: Fields) -> str:
    found = authentication.text("azureAuthenticationConfigType", forms.AUTHENTICATION)
    if found:
        members = {MANAGED_IDENTITIES: "managedIdentities", WORKLOAD_IDENTITIES: "workloadIdentities"}
        check_union(authentication, found, members)
    return found


def _find_identities(
    authentication: Fields, authentication_type: str
) -> tuple[Fields | None, Fields | None, Fields | None]:
    """Those of the control plane and of the data plane, or the workload identities."""
    if authentication_type == WORKLOAD_IDENTITIES:
        return None, None, authentication.fields("workloadIdentities", required=False)
    if authentication_type != MANAGED_IDENTITIES:
        return None, None, None
    managed = authentication.fields("managedIdentities", required=False)
    return managed.fields("controlPlane"), managed.fields("dataPlane"), None


def _read_identities(control_plane: Fields | None, kms: Fields | None) -> Identities:
    kms_identity = _read_identity(kms, "kms") if kms and kms.is_present("kms") else None
    if control_plane is None:
        return Identities(kms=kms_identity)
    return Identities(
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
        kms=kms_identity,
    )


def _read_workload_identities(workload: Fields | None, kms: Fields | None) -> WorkloadIdentities:
    kms_identity = (
        _read_workload_identity(kms, "workloadIdentity")
        if kms and kms.is_present("workloadIdentity")
        else None
    )
    if workload is None:
        return WorkloadIdentities(kms=kms_identity)
    return WorkloadIdentities(
        control_plane_operator=_read_workload_identity(workload, "controlPlaneOperator")
        if workload.is_present("controlPlaneOperator")
        else None,
        node_pool_management=_read_workload_identity(workload, "nodePoolManagement"),
        cloud_provider=_read_workload_identity(workload, "cloudProvider"),
        ingress=_read_workload_identity(workload, "ingress"),
        network=_read_workload_identity(workload, "network"),
        disk=_read_workload_identity(workload, "disk"),
        file=_read_workload_identity(workload, "file"),
        image_registry=_read_workload_identity(workload, "imageRegistry"),
        kms=kms_identity,
    )


def _read_identity(parent: Fields, key: str) -> ManagedIdentity:
    identity = parent.fields(key)
    return ManagedIdentity(
        credentials_secret_name=identity.text("credentialsSecretName", forms.CREDENTIALS_SECRET_NAME),
        object_encoding=identity.optional("objectEncoding", forms.OBJECT_ENCODING) or "utf-8",
        client_id=identity.optional("clientID", forms.UUID),
    )


def _read_workload_identity(parent: Fields, key: str) -> WorkloadIdentity:
    return WorkloadIdentity(client_id=parent.fields(key).text("clientID", forms.UUID))


def _find_kms(spec: Fields) -> Fields | None:
    """The settings of etcd's encryption with keys of Azure; None when there is none."""
    if not spec.has("secretEncryption"):
        return None
    encryption = spec.fields("secretEncryption")
    if encryption.text("type", forms.ENCRYPTION) != "kms":
        return None
    kms = encryption.fields("kms")
    if not kms.text("provider", forms.AZURE):
        return None
    azure = kms.fields("azure")
    if azure.is_present("kms") and azure.is_present("workloadIdentity"):
        azure.note("workloadIdentity", "not allowed beside kms")
    elif not azure.is_present("kms") and not azure.is_present("workloadIdentity"):
        azure.note("kms", "required, but not set; expected kms or workloadIdentity")
    return azure


def _read_kms_keys(kms: Fields, status: Fields) -> KmsKeys:
    """The keys in use, by the rule of deriveKMSKeys in control-plane-operator's kas/kms.go."""
    active = _read_key(kms.fields("activeKey"))
    backup = _read_key(kms.fields("backupKey")) if kms.has("backupKey") else None
    if backup is not None and active.key_vault_name and backup.key_vault_name != active.key_vault_name:
        kms.note(
            "backupKey.keyVaultName", f"got {describe(backup.key_vault_name)}, expected that of activeKey"
        )
    encryption = status.fields("secretEncryption", required=False)
    current, target = (encryption.fields(key, required=False) for key in ("activeKey", "targetKey"))
    if current.optional("provider", forms.MAYBE_EMPTY):  # since then HyperShift ignores backupKey
        backup = None
        is_rotating = target.optional("provider", forms.MAYBE_EMPTY)
        if is_rotating and target.has("azure") and current.has("azure"):
            active, backup = _read_key(current.fields("azure")), _read_key(target.fields("azure"))
    return KmsKeys(
        active=active,
        backup=backup,
        vault_type=kms.optional("keyVaultType", forms.KEY_VAULT_TYPE) or "KeyVault",
        vault_access=kms.optional("keyVaultAccess", forms.KEY_VAULT_ACCESS) or "Public",
    )


def _read_key(key: Fields) -> KmsKey:
    return KmsKey(
        key_vault_name=key.text("keyVaultName", forms.SHORT_TEXT),
        key_name=key.text("keyName", forms.SHORT_TEXT),
        key_version=key.text("keyVersion", forms.SHORT_TEXT),
    )


def _read_resource_group(azure: Fields) -> str:
    found = azure.optional("resourceGroup", forms.RESOURCE_GROUP)
    return forms.DEFAULT_RESOURCE_GROUP if found is None else found


def _read_container_registry_identity(azure: Fields) -> str | None:
    identity = find_container_registry_identity(azure)
    return identity.text("resourceID", forms.IDENTITY_ID) or None if identity else None


def _read_dns_zone_resource_group(spec: Fields) -> str | None:
    zone = spec.fields("dns", required=False).optional("publicZoneID", forms.MAYBE_EMPTY)
    found = forms.DNS_ZONE_ID.fullmatch(zone or "")
    return found[1] if found else None
