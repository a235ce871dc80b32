"""A hosted cluster to vary, and strategies that make any valid one."""

import copy
import string
from typing import Any

from hypothesis import strategies as st

KEY_VAULT_USER = "0a1b2c3d-0000-4000-8000-00000000abcd"
SUBSCRIPTION = "11111111-2222-4333-8444-555555555555"
TENANT = "66666666-7777-4888-8999-aaaaaaaaaaaa"
VAULT_TENANT = "bbbbbbbb-cccc-4ddd-8eee-ffffffffffff"
AZURE = "spec.platform.azure"
CONTROL_PLANE = f"{AZURE}.azureAuthenticationConfig.managedIdentities.controlPlane"
KMS = "spec.secretEncryption.kms.azure"

IDENTITIES = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/identities/providers/Microsoft.ManagedIdentity"
    "/userAssignedIdentities"
)
_NETWORK = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/net-rg/providers/Microsoft.Network"
_FIELDS = {
    "controlPlaneOperator": "cpo",
    "nodePoolManagement": "nodepool",
    "cloudProvider": "ccm",
    "ingress": "ingress",
    "network": "network",
    "imageRegistry": "registry",
    "disk": "disk",
    "file": "file",
}
_MANIFEST: dict[str, Any] = {
    "apiVersion": "hypershift.openshift.io/v1beta1",
    "kind": "HostedCluster",
    "metadata": {"name": "otter", "namespace": "clusters"},
    "spec": {
        "infraID": "otter-x1y2z",
        "platform": {
            "type": "Azure",
            "azure": {
                "location": "westeurope",
                "resourceGroup": "otter-rg",
                "subscriptionID": SUBSCRIPTION,
                "tenantID": TENANT,
                "vnetID": f"{_NETWORK}/virtualNetworks/otter-vnet",
                "subnetID": f"{_NETWORK}/virtualNetworks/otter-vnet/subnets/otter-subnet",
                "securityGroupID": f"{_NETWORK}/networkSecurityGroups/otter-nsg".replace("net-rg", "nsg-rg"),
                "azureAuthenticationConfig": {
                    "azureAuthenticationConfigType": "ManagedIdentities",
                    "managedIdentities": {
                        "controlPlane": {
                            "managedIdentitiesKeyVault": {"name": "otter-vault", "tenantID": VAULT_TENANT},
                            **{
                                field: {"credentialsSecretName": f"otter-{name}"}
                                for field, name in _FIELDS.items()
                            },
                        },
                        "dataPlane": {
                            "imageRegistryMSIClientID": "dddddddd-0000-4000-8000-000000000001",
                            "diskMSIClientID": "dddddddd-0000-4000-8000-000000000002",
                            "fileMSIClientID": "dddddddd-0000-4000-8000-000000000003",
                        },
                    },
                },
            },
        },
        "secretEncryption": {
            "type": "kms",
            "kms": {
                "provider": "Azure",
                "azure": {
                    "activeKey": {"keyVaultName": "otter-etcd", "keyName": "etcd", "keyVersion": "2"},
                    "backupKey": {"keyVaultName": "otter-etcd", "keyName": "etcd", "keyVersion": "1"},
                    "kms": {"credentialsSecretName": "otter-kms", "objectEncoding": "base64"},
                },
            },
        },
    },
}
REMOVED = object()
AUTHENTICATION = f"{AZURE}.azureAuthenticationConfig"
CLIENT_ID = "cccccccc-0000-4000-8000-00000000000"
_CLIENT_IDS = {
    "controlPlaneOperator": f"{CLIENT_ID}1",
    "nodePoolManagement": f"{CLIENT_ID}2",
    "cloudProvider": f"{CLIENT_ID}3",
    "ingress": f"{CLIENT_ID}4",
    "network": f"{CLIENT_ID}5",
    "imageRegistry": f"{CLIENT_ID}6",
    "disk": f"{CLIENT_ID}7",
    "file": f"{CLIENT_ID}8",
}
WITH_CLIENT_IDS: dict[str, Any] = {
    **{
        f"{AUTHENTICATION}.managedIdentities.controlPlane.{field}.clientID": client_id
        for field, client_id in _CLIENT_IDS.items()
    },
    f"{KMS}.kms.clientID": f"{CLIENT_ID}9",
}
"""What gives each managed identity its client id."""
WITH_WORKLOAD_IDENTITIES: dict[str, Any] = {
    AUTHENTICATION: {
        "azureAuthenticationConfigType": "WorkloadIdentities",
        "workloadIdentities": {field: {"clientID": client_id} for field, client_id in _CLIENT_IDS.items()},
    },
}
SELF_MANAGED: dict[str, Any] = {
    **WITH_WORKLOAD_IDENTITIES,
    f"{KMS}.kms": REMOVED,
    f"{KMS}.workloadIdentity": {"clientID": f"{CLIENT_ID}9"},
}
"""What makes the hosted cluster one with workload identities, for KMS too."""


def make_manifest(changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """The hosted cluster as a mapping, with fields (by dotted path) set or REMOVED."""
    manifest = copy.deepcopy(_MANIFEST)
    for path, value in (changes or {}).items():
        *parents, key = path.split(".")
        mapping = manifest
        for parent in parents:
            mapping = mapping.setdefault(parent, {})
        if value is REMOVED:
            mapping.pop(key)
        else:
            mapping[key] = copy.deepcopy(value)
    return manifest


def make_labels(component: str) -> dict[str, str]:
    """The labels of an object that hcpcreds makes for a component of that cluster."""
    return {
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/instance": "clusters-otter",
        "app.kubernetes.io/managed-by": "hcpcreds",
        "app.kubernetes.io/part-of": "hosted-control-plane",
    }


def probe(mode: object = None, path: object = None, port: object = None) -> dict[str, Any]:
    """A change that sets the probe annotations."""
    annotations = {
        "hypershift.openshift.io/azure-load-balancer-health-probe-mode": mode,
        "hypershift.openshift.io/shared-load-balancer-health-probe-path": path,
        "hypershift.openshift.io/shared-load-balancer-health-probe-port": port,
    }
    return {"metadata.annotations": {key: value for key, value in annotations.items() if value is not None}}


secret_names = st.text(string.ascii_letters + string.digits + "-", min_size=1, max_size=127).filter(
    lambda name: name not in ("null", "Null", "NULL", "-")
)
encodings = st.sampled_from(["utf-8", "hex", "base64"])
uuids = st.uuids().map(str)
# Whatever JSON and YAML can carry in a name that ARM does not split at.
names = st.text(
    st.characters(
        exclude_categories=("Cs", "Cc", "Zl", "Zp", "Zs"), exclude_characters="/\ufeff\ufffe\uffff"
    ),
    min_size=1,
    max_size=20,
).filter(lambda name: name == name.strip())
# Names that ARM takes, which HyperShift's CRD asks for in a subnetID and a resource group.
arm_names = st.from_regex(r"[a-zA-Z0-9][-a-zA-Z0-9_.]{0,18}[a-zA-Z0-9]", fullmatch=True)
labels = st.text("abcxyz0189", min_size=1, max_size=20)
clouds = st.sampled_from(["AzurePublicCloud", "AzureUSGovernmentCloud", "AzureChinaCloud"])


@st.composite
def identities(draw: st.DrawFn) -> dict[str, str]:
    """One identity as the API has it."""
    identity = {"credentialsSecretName": draw(secret_names)}
    if draw(st.booleans()):
        identity["objectEncoding"] = draw(encodings)
    if draw(st.booleans()):
        identity["clientID"] = draw(uuids)
    return identity


@st.composite
def self_managed_manifests(draw: st.DrawFn) -> dict[str, Any]:
    """Any valid hosted cluster with workload identities, as a mapping."""
    manifest = draw(manifests())
    azure = manifest["spec"]["platform"]["azure"]
    azure["azureAuthenticationConfig"] = copy.deepcopy(WITH_WORKLOAD_IDENTITIES[AUTHENTICATION])
    workload = azure["azureAuthenticationConfig"]["workloadIdentities"]
    for field in list(workload):
        workload[field] = {"clientID": draw(uuids)}
    if draw(st.booleans()):
        workload.pop("controlPlaneOperator")
    if "secretEncryption" in manifest["spec"]:
        kms = manifest["spec"]["secretEncryption"]["kms"]["azure"]
        kms.pop("kms")
        kms["workloadIdentity"] = {"clientID": draw(uuids)}
    return manifest


@st.composite
def manifests(draw: st.DrawFn) -> dict[str, Any]:
    """Any valid hosted cluster, as a mapping."""
    network = f"/subscriptions/{draw(uuids)}/resourceGroups/{draw(names)}/providers/Microsoft.Network"
    subnet_network = (
        f"/subscriptions/{draw(uuids)}/resourceGroups/{draw(arm_names)}/providers/Microsoft.Network"
    )
    changes: dict[str, Any] = {
        "kind": draw(st.sampled_from(["HostedCluster", "HostedControlPlane"])),
        "metadata.name": draw(labels),
        "metadata.namespace": draw(labels),
        "spec.infraID": draw(labels),
        f"{AZURE}.cloud": draw(clouds),
        f"{AZURE}.location": draw(names),
        f"{AZURE}.resourceGroup": draw(arm_names),
        f"{AZURE}.vnetID": f"{network}/virtualNetworks/{draw(names)}",
        f"{AZURE}.subnetID": f"{subnet_network}/virtualNetworks/{draw(arm_names)}/subnets/{draw(arm_names)}",
        f"{AZURE}.securityGroupID": f"{network}/networkSecurityGroups/{draw(names)}",
    }
    each_its_own = st.lists(
        identities(),
        min_size=len(_FIELDS),
        max_size=len(_FIELDS),
        unique_by=lambda identity: identity["credentialsSecretName"].lower(),
    )
    for field, identity in zip(_FIELDS, draw(each_its_own), strict=True):
        changes[f"{CONTROL_PLANE}.{field}"] = identity
    if draw(st.booleans()):
        changes[f"{CONTROL_PLANE}.imageRegistry"] = REMOVED
    if draw(st.booleans()):
        changes["spec.secretEncryption"] = REMOVED
    elif draw(st.booleans()):
        changes[f"{KMS}.backupKey"] = REMOVED
    return make_manifest(changes)
