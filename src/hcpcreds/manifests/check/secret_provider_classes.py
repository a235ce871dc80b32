"""HC3xx: SecretProviderClasses, read as the driver and the Azure provider read them.

Sources: Azure/secrets-store-csi-driver-provider-azure, pkg/provider;
kubernetes-sigs/secrets-store-csi-driver, pkg/secrets-store;
openshift/hypershift, support/secretproviderclass.
"""

import difflib
from collections.abc import Iterator
from typing import Final

from hcpcreds.hosted_cluster import KeyVault
from hcpcreds.kubernetes.nodes import Node
from hcpcreds.kubernetes.placeholders import is_placeholder
from hcpcreds.manifests.check.rules import Finding, report
from hcpcreds.manifests.check.secret_objects import check_secret_objects
from hcpcreds.manifests.check.subjects import (
    COMPONENT_BY_CLASS,
    Named,
    Subjects,
)
from hcpcreds.manifests.check.vault_access import PROVIDER, check_token_requests, check_vault_access
from hcpcreds.manifests.check.vault_objects import check_objects

_LIKENESS: Final = 0.7


def check_secret_provider_classes(subjects: Subjects) -> Iterator[Finding]:
    """Check every SecretProviderClass that uses, or should use, the Azure provider."""
    yield from check_token_requests(subjects)
    for item in subjects.classes:
        spec = item.node["spec"]
        if not spec.fields():  # an operator fills it in
            continue
        yield from _check_text(item)
        provider = spec["provider"]
        if provider.text == PROVIDER:
            yield from check_vault_access(item, subjects)
            yield from check_objects(item, subjects)
            yield from _compare(item, subjects)
        elif not is_placeholder(provider.text):
            yield from _check_provider(item)
        yield from check_secret_objects(item, subjects)


def _check_text(item: Named) -> Iterator[Finding]:
    for key, node in item.node.at("spec", "parameters").fields():
        if not isinstance(node.value, str):
            yield report(
                "HC314",
                node,
                f"the parameter {key} is not text, and the API server refuses it",
                "Put it in quotes.",
            )


def _check_provider(item: Named) -> Iterator[Finding]:
    provider, parameters = item.node.at("spec", "provider"), item.node.at("spec", "parameters")
    is_azure = item.name in COMPONENT_BY_CLASS or "keyvaultName" in {key for key, _ in parameters.fields()}
    is_like = difflib.SequenceMatcher(None, provider.text.strip().lower(), PROVIDER).ratio() >= _LIKENESS
    if not provider.is_set:
        yield report(
            "HC301",
            provider,
            "provider is not set, and the driver refuses to mount",
            f"Set spec.provider: {PROVIDER}."
            if is_azure
            else "Set spec.provider to the name of the provider.",
        )
    elif is_azure or is_like:
        yield report(
            "HC301",
            provider,
            f"{item.name} is of the provider {provider.text!r}, not {PROVIDER}"
            + ("; the case of letters counts" if provider.text.strip().lower() == PROVIDER else ""),
            f"Set spec.provider: {PROVIDER}.",
        )


def _compare(item: Named, subjects: Subjects) -> Iterator[Finding]:
    component = COMPONENT_BY_CLASS.get(item.name)
    cluster = subjects.find_cluster(item.namespace)
    identity = component.get_identity(cluster) if component and cluster else None
    if cluster is None or cluster.key_vault is None or identity is None:
        return
    yield from _compare_vault(item.node.at("spec", "parameters"), cluster.key_vault, cluster.name)
    entries = subjects.get_objects(item)
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
