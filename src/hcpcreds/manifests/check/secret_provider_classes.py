"""HC3xx: SecretProviderClasses, read as the Azure provider reads them.

Sources: Azure/secrets-store-csi-driver-provider-azure, pkg/provider (provider.go, validate.go,
types/parameters.go); openshift/hypershift, support/secretproviderclass.
"""

import re
from collections.abc import Iterator
from typing import Final

from hcpcreds.clouds import CLOUDS
from hcpcreds.hosted_cluster import CREDENTIALS_SECRET_NAME, OBJECT_ENCODING, KeyVault
from hcpcreds.kubernetes.nodes import Node
from hcpcreds.kubernetes.placeholders import is_placeholder
from hcpcreds.manifests.check.rules import Finding, report
from hcpcreds.manifests.check.subjects import (
    COMPONENT_BY_CLASS,
    Named,
    Subjects,
    read_objects,
)

_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})  # Go's strconv.ParseBool
_FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False", ""})
_MODES: Final = ("usePodIdentity", "useVMManagedIdentity", "useAzureTokenProxy")
_TYPES: Final = ("secret", "key", "cert")
_FORMATS: Final = ("", "pem", "pfx")
_VAULT_NAME: Final = re.compile(r"[-A-Za-z0-9]{3,24}")
_OCTAL: Final = re.compile(r"[0-7]{0,4}")
_LONGEST_FILE_NAME: Final = 255
CLOUD_NAMES: Final = frozenset({name.lower() for name in CLOUDS} | {"azurestackcloud"})


def check_secret_provider_classes(subjects: Subjects) -> Iterator[Finding]:
    """Check every SecretProviderClass of the Azure provider, and HyperShift's nine of any provider."""
    for item in subjects.classes:
        yield from _check_text(item)
        provider = item.node.at("spec", "provider")
        if provider.text == "azure":
            yield from _check_vault(item.node.at("spec", "parameters"))
            yield from _check_identity(item)
            yield from _check_objects(item)
            yield from _compare(item, subjects)
        elif item.name in COMPONENT_BY_CLASS and item.node["spec"].fields():  # else an operator fills it in
            yield report(
                "HC301",
                provider,
                f"{item.name} is of the provider {provider.text!r}, which has no access to Key Vault",
                "Set spec.provider: azure.",
            )


def _check_text(item: Named) -> Iterator[Finding]:
    for key, node in item.node.at("spec", "parameters").fields():
        if not isinstance(node.value, str):
            yield report(
                "HC314",
                node,
                f"the parameter {key} is not text, and the API server refuses it",
                "Put it in quotes.",
            )


def _check_vault(parameters: Node) -> Iterator[Finding]:
    name = parameters["keyvaultName"]
    if not _VAULT_NAME.fullmatch(name.plain) and not is_placeholder(name.plain):
        yield report(
            "HC302",
            name,
            f"keyvaultName is {name.plain!r}" if name.plain else "keyvaultName is not set",
            "Set it to the vault's name, without its domain: 3-24 letters, digits and '-'.",
        )
    if not parameters["tenantID"].plain and not parameters["tenantId"].plain:
        yield report(
            "HC303",
            parameters["tenantId"],
            "tenantId is not set, and the provider refuses to mount",
            "Set it to the tenant of the vault.",
        )
    cloud = parameters["cloudName"].plain
    if cloud and cloud.lower() not in CLOUD_NAMES and not is_placeholder(cloud):
        yield report(
            "HC319",
            parameters["cloudName"],
            f"the provider knows no cloud {cloud!r}",
            f"Use one of: {', '.join(CLOUDS)}.",
        )


def _check_identity(item: Named) -> Iterator[Finding]:
    parameters = item.node.at("spec", "parameters")
    modes = [mode for mode in _MODES if parameters[mode].plain in _TRUE]
    for mode in _MODES:
        value = parameters[mode].plain
        if value not in _TRUE | _FALSE and not is_placeholder(value):
            yield report("HC304", parameters[mode], f"{mode} is no boolean", 'Set it to "true" or "false".')
    if len(modes) > 1:
        yield report(
            "HC304",
            parameters[modes[1]],
            f"{' and '.join(modes)} are both true, and the provider takes only one",
            'Set useVMManagedIdentity to "true", and the others to "false".',
        )
    elif not modes and item.name in COMPONENT_BY_CLASS:
        yield report(
            "HC304",
            parameters["useVMManagedIdentity"],
            "no identity is chosen with which to read the vault",
            'Set useVMManagedIdentity to "true".',
        )
    user = parameters["userAssignedIdentityID"]
    if modes == ["useVMManagedIdentity"] and not user.plain and item.name in COMPONENT_BY_CLASS:
        yield report(
            "HC305",
            user,
            "userAssignedIdentityID is empty, so the vault is read with the node's system-assigned identity",
            "Set it to the client id of the identity that may read the vault "
            "(ARO_HCP_KEY_VAULT_USER_CLIENT_ID).",
        )


def _check_objects(item: Named) -> Iterator[Finding]:
    objects = item.node.at("spec", "parameters", "objects")
    entries = objects.parse()["array"].items()
    readable = read_objects(item.node)
    if len(readable) < max(1, len(entries)) and not is_placeholder(objects.text):
        reason = "objects is not set" if not objects.is_set else "objects is no YAML with a list of texts"
        if objects.is_set and not entries:
            reason = "objects has no key array with entries, so nothing would be mounted"
        yield report(
            "HC306",
            objects,
            reason,
            "Write each entry of array as a text of its own (`- |`), with objectName and objectType.",
        )
    files: set[str] = set()
    for entry in readable:
        file = entry["objectAlias"].plain or entry["objectName"].plain
        if file and file in files:
            yield report(
                "HC313",
                entry,
                f"two objects are written to the file {file!r}, and one of them is lost",
                "Give one of them another objectAlias, or take it away.",
            )
        files.add(file)
        yield from _check_type(entry, item)
        yield from _check_names(entry, item)
        yield from _check_form(entry)


def _check_type(entry: Node, item: Named) -> Iterator[Finding]:
    kind, encoding = entry["objectType"].plain, entry["objectEncoding"].plain
    if is_placeholder(kind) or is_placeholder(encoding):
        return
    if kind not in _TYPES:
        yield report(
            "HC308",
            entry,
            f"objectType is {kind!r}" if kind else "objectType is not set",
            "Set it to secret (the provider knows key and cert besides).",
        )
    elif kind != "secret" and item.name in COMPONENT_BY_CLASS:
        yield report(
            "HC308",
            entry,
            f"objectType is {kind!r}, but a credential file is a secret",
            "Set objectType: secret.",
        )
    if encoding and not OBJECT_ENCODING.pattern.fullmatch(encoding.lower()):
        yield report(
            "HC307",
            entry,
            f"the provider knows no objectEncoding {encoding!r}",
            f"Use {OBJECT_ENCODING.expected}.",
        )
    elif encoding and kind in ("key", "cert"):
        yield report(
            "HC307",
            entry,
            f"objectEncoding is for secrets, and objectType is {kind!r}",
            "Take objectEncoding away.",
        )


def _check_names(entry: Node, item: Named) -> Iterator[Finding]:
    name, alias = entry["objectName"].plain, entry["objectAlias"].plain
    if is_placeholder(name) or is_placeholder(alias):
        return
    if not CREDENTIALS_SECRET_NAME.pattern.fullmatch(name):
        yield report(
            "HC309",
            entry,
            f"objectName is {name!r}, which is no name of Key Vault" if name else "objectName is not set",
            f"Name the secret: {CREDENTIALS_SECRET_NAME.expected}.",
        )
    if alias and (alias.startswith("/") or ".." in alias or len(alias) > _LONGEST_FILE_NAME):
        yield report(
            "HC311",
            entry,
            f"objectAlias {alias[:80]!r} is no file name that the provider takes",
            "Use a relative path without '..', of at most 255 characters.",
        )
    elif alias and alias != name and item.name in COMPONENT_BY_CLASS:
        yield report(
            "HC310",
            entry,
            f"the file would be {alias!r}, but {COMPONENT_BY_CLASS[item.name].name} looks for {name!r}",
            "Take objectAlias away.",
        )


def _check_form(entry: Node) -> Iterator[Finding]:
    version, form, mode = (entry[key].plain for key in ("objectVersion", "objectFormat", "filePermission"))
    if any(map(is_placeholder, (version, form, mode))):
        return
    if version not in ("", "latest"):
        yield report(
            "HC312",
            entry,
            "objectVersion is pinned, so a renewed credential is never mounted",
            "Take objectVersion away.",
        )
    if form.lower() not in _FORMATS:
        yield report("HC318", entry, f"objectFormat is {form!r}", "Use pem or pfx, or take it away.")
    if not _OCTAL.fullmatch(mode):
        yield report(
            "HC318", entry, f"filePermission {mode!r} is no octal number", 'Write it as text, such as "0644".'
        )


def _compare(item: Named, subjects: Subjects) -> Iterator[Finding]:
    component = COMPONENT_BY_CLASS.get(item.name)
    cluster = subjects.find_cluster(item.namespace)
    identity = component.get_identity(cluster) if component and cluster else None
    if cluster is None or cluster.key_vault is None or identity is None:
        return
    yield from _compare_vault(item.node.at("spec", "parameters"), cluster.key_vault, cluster.name)
    entries = read_objects(item.node)
    names = [entry["objectName"].plain for entry in entries]
    if entries and identity.credentials_secret_name not in names and not any(map(is_placeholder, names)):
        yield report(
            "HC315",
            entries[0],
            f"objectName is {names[0]!r}, but the hosted cluster {cluster.name} has "
            f"{identity.credentials_secret_name!r}",
            f"Set objectName: {identity.credentials_secret_name}.",
        )
    for entry in entries:
        encoding = entry["objectEncoding"].plain.lower() or "utf-8"
        is_other = entry["objectName"].plain != identity.credentials_secret_name
        if is_other or encoding == identity.object_encoding or is_placeholder(encoding):
            continue
        yield report(
            "HC316",
            entry,
            f"objectEncoding is {encoding}, but the hosted cluster {cluster.name} says "
            f"{identity.object_encoding}",
            f"Set objectEncoding: {identity.object_encoding}.",
        )


def _compare_vault(parameters: Node, vault: KeyVault, cluster: str) -> Iterator[Finding]:
    tenant = parameters["tenantID"] if parameters["tenantID"].plain else parameters["tenantId"]
    for node, expected in (
        (parameters["keyvaultName"], vault.name),
        (tenant, vault.tenant_id),
    ):
        if node.plain and node.plain.lower() != expected.lower() and not is_placeholder(node.plain):
            yield report(
                "HC317",
                node,
                f"{node.path[-1]} is {node.plain!r}, but the hosted cluster {cluster} has {expected!r}",
                f"Set it to {expected}.",
            )
