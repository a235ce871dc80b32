"""The parameters of a SecretProviderClass that select the vault and the identity that reads it.

Source: Azure/secrets-store-csi-driver-provider-azure, pkg/provider/provider.go, pkg/auth/auth.go and
pkg/provider/types.
"""

import re
from collections.abc import Iterator
from typing import Final

from hcpcreds.clouds import CLOUDS
from hcpcreds.hosted_cluster.forms import UUID
from hcpcreds.kubernetes.nodes import Node
from hcpcreds.kubernetes.placeholders import is_placeholder
from hcpcreds.manifests.check.flags import FALSE, TRUE
from hcpcreds.manifests.check.rules import Finding, report
from hcpcreds.manifests.check.spelling import find_misspelt
from hcpcreds.manifests.check.subjects import (
    COMPONENT_BY_CLASS,
    Named,
    Subjects,
)

PROVIDER: Final = "azure"
MODES: Final = ("usePodIdentity", "useVMManagedIdentity", "useAzureTokenProxy")
PARAMETERS: Final = frozenset(
    {
        *MODES,
        *("keyvaultName", "cloudName", "cloudEnvFileName", "tenantId", "tenantID"),
        *("userAssignedIdentityID", "clientID", "objects"),
    }
)
"""The parameters that the provider reads; case matters."""
CLOUD_NAMES: Final = frozenset({name.lower() for name in CLOUDS} | {"azurestackcloud"})
_VAULT_NAME: Final = re.compile(r"[-A-Za-z0-9]{3,24}")
_AUDIENCES: Final = {False: "api://AzureADTokenExchange", True: "api://AKSIdentityBinding"}
"""Of the token that the provider asks kubelet for, by whether the token proxy is used."""


def check_vault_access(item: Named, subjects: Subjects) -> Iterator[Finding]:
    """Check the parameters of a SecretProviderClass that select the vault and the identity."""
    parameters = item.node.at("spec", "parameters")
    misspelt = {meant: (key, node) for key, node, meant in find_misspelt(parameters, PARAMETERS)}
    if "tenantId" in misspelt and parameters["tenantID"].plain:
        del misspelt["tenantId"]
    for meant, (key, node) in misspelt.items():
        yield report(
            "HC320",
            node,
            f"the provider does not read the parameter {key!r}",
            f"Call it {meant}.",
        )
    yield from _check_vault(parameters, frozenset(misspelt))
    modes = [mode for mode in MODES if parameters[mode].plain in TRUE]
    yield from _check_modes(parameters, modes)
    if misspelt.keys().isdisjoint({*MODES, "clientID", "userAssignedIdentityID"}):
        yield from _check_identity(item, modes, subjects)
    for key in ("userAssignedIdentityID", "clientID"):
        value = parameters[key].plain
        if value and not UUID.pattern.fullmatch(value) and not is_placeholder(value):
            yield report(
                "HC325",
                parameters[key],
                f"{key} is not a UUID",
                "Set it to the client id of the identity: not to its name, and not to its resource id.",
            )


def _check_vault(parameters: Node, misspelt: frozenset[str]) -> Iterator[Finding]:
    name = parameters["keyvaultName"]
    if "keyvaultName" not in misspelt and not (
        _VAULT_NAME.fullmatch(name.plain) or is_placeholder(name.plain)
    ):
        yield report(
            "HC302",
            name,
            f"keyvaultName is {name.plain!r}, which is not a vault's name"
            if name.plain
            else "keyvaultName is not set",
            "Set it to the vault's name, without its domain: 3-24 letters, digits and '-'.",
        )
    is_misspelt = not misspelt.isdisjoint({"tenantId", "tenantID"})
    if not parameters["tenantID"].plain and not parameters["tenantId"].plain and not is_misspelt:
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
            f"the provider does not know the cloud {cloud!r}",
            f"Use one of: {', '.join(CLOUDS)}.",
        )


def _check_modes(parameters: Node, modes: list[str]) -> Iterator[Finding]:
    for mode in MODES:
        value = parameters[mode].plain
        if value and value not in TRUE | FALSE and not is_placeholder(value):
            yield report(
                "HC304", parameters[mode], f"{mode} is not a boolean", 'Set it to "true" or "false".'
            )
    if len(modes) > 1:
        yield report(
            "HC304",
            parameters[modes[1]],
            f"{' and '.join(modes)} are both true, and the provider takes only one",
            f'Leave one of them "true", and set the {"other" if len(modes) == 2 else "others"} to "false".',  # noqa: PLR2004 (two modes)
        )


def _check_identity(item: Named, modes: list[str], subjects: Subjects) -> Iterator[Finding]:
    parameters = item.node.at("spec", "parameters")
    if len(modes) > 1 or any(is_placeholder(parameters[mode].plain) for mode in MODES):
        return
    mode = modes[0] if modes else ""
    client, user = parameters["clientID"], parameters["userAssignedIdentityID"]
    if mode == "useAzureTokenProxy" and not client.plain:
        yield report(
            "HC304",
            client,
            "useAzureTokenProxy is true without a clientID, and the provider refuses to mount",
            "Set clientID to the client id of the identity that may read the vault.",
        )
    elif not mode and not client.plain:
        yield from _check_secret(item, subjects)
    if mode == "useVMManagedIdentity" and not user.plain and item.name in COMPONENT_BY_CLASS:
        yield report(
            "HC305",
            user,
            "userAssignedIdentityID is empty, so the vault is read with the node's system-assigned identity",
            "Set it to the client id of the identity that may read the vault "
            "(ARO_HCP_KEY_VAULT_USER_CLIENT_ID).",
        )
    yield from _check_unused(parameters, mode)


def _check_unused(parameters: Node, mode: str) -> Iterator[Finding]:
    client, user = parameters["clientID"], parameters["userAssignedIdentityID"]
    if user.plain and mode != "useVMManagedIdentity" and (mode or client.plain):
        yield report(
            "HC326",
            user,
            "userAssignedIdentityID is only read with useVMManagedIdentity, which is not true",
            'Remove it, or set useVMManagedIdentity to "true".',
        )
    if client.plain and mode in ("useVMManagedIdentity", "usePodIdentity"):
        yield report(
            "HC326",
            client,
            f"with {mode}, the provider does not log in as clientID, but refuses to mount without a service "
            "account token",
            f'Remove clientID, or set {mode} to "false".',
        )


def _check_secret(item: Named, subjects: Subjects) -> Iterator[Finding]:
    """Check the client secret in nodePublishSecretRef, which the provider needs if there is no identity."""
    parameters = item.node.at("spec", "parameters")
    if item.name in COMPONENT_BY_CLASS:
        yield report(
            "HC304",
            parameters["useVMManagedIdentity"],
            "no identity is chosen with which to read the vault",
            'Set useVMManagedIdentity to "true".',
        )
        return
    for pod, volume in subjects.find_users(item):
        attributes = volume.at("csi", "volumeAttributes")
        is_chosen = any(attributes[key].is_set for key in (*MODES, "clientID"))
        if not volume.at("csi", "nodePublishSecretRef", "name").is_set and not is_chosen:
            yield report(
                "HC304",
                parameters,
                "no identity is chosen with which to read the vault, and the volume "
                f"{volume['name'].text!r} of {pod.name} has no nodePublishSecretRef",
                'Set clientID (workload identity), or useVMManagedIdentity to "true".',
            )


def check_token_requests(subjects: Subjects) -> Iterator[Finding]:
    """Check that kubelet gives the driver the tokens with which SecretProviderClasses read their vaults."""
    readers: dict[str, list[str]] = {}
    for item in subjects.classes:
        parameters = item.node.at("spec", "parameters")
        client = parameters["clientID"].plain
        others = (parameters[mode].plain in TRUE for mode in ("usePodIdentity", "useVMManagedIdentity"))
        is_ours = item.node.at("spec", "provider").text == PROVIDER and client and not any(others)
        if is_ours and not is_placeholder(client):
            audience = _AUDIENCES[parameters["useAzureTokenProxy"].plain in TRUE]
            readers.setdefault(audience, []).append(item.name)
    for driver in subjects.drivers:
        requests = driver.at("spec", "tokenRequests").items()
        audiences = [request["audience"].text for request in requests]
        for audience, names in readers.items():
            if audience not in audiences and not any(map(is_placeholder, audiences)):
                yield report(
                    "HC509",
                    driver.at("spec", "tokenRequests"),
                    f"{', '.join(sorted(names))}: read with a workload identity, and the driver gets no "
                    f"token for {audience}",
                    f"Add an entry with audience: {audience} to spec.tokenRequests.",
                )
