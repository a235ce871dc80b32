"""HyperShift's rules on Azure: what the API server refuses is refused, what it accepts is taken.

The cases are those of HyperShift's own suite for its CRD, and more of their kinds, on a cluster of our own.
"""

from typing import Any

import pytest
from tests.manifests.examples import (
    AUTHENTICATION,
    AZURE,
    CLIENT_ID,
    CONTROL_PLANE,
    IDENTITIES,
    KMS,
    REMOVED,
    SELF_MANAGED,
    SUBSCRIPTION,
    WITH_WORKLOAD_IDENTITIES,
    make_manifest,
)

from hcpcreds.errors import InputError
from hcpcreds.hosted_cluster import (
    HostedCluster,
    KmsKey,
    KmsKeys,
    ManagedIdentity,
    WorkloadIdentity,
    parse_hosted_cluster,
)

MANAGED = f"{AUTHENTICATION}.managedIdentities"
WORKLOAD = f"{AUTHENTICATION}.workloadIdentities"
REGISTRY = f"{AZURE}.containerRegistry"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/net"
VNET = f"{GROUP}/providers/Microsoft.Network/virtualNetworks/vnet"
SUBNET = f"{VNET}/subnets/nat"
LINK = {"type": "PrivateLink", "privateLink": {"natSubnetID": SUBNET}}
SWIFT = {"type": "Swift", "swift": {"podNetworkInstance": "pni"}}


def parse(*changes: dict[str, Any]) -> HostedCluster:
    return parse_hosted_cluster(
        make_manifest({key: value for change in changes for key, value in change.items()})
    )


def refuse(*changes: dict[str, Any]) -> list[str]:
    """The fields that a manifest is refused for, and why."""
    with pytest.raises(InputError) as caught:
        parse(*changes)
    return list(caught.value.problems)


def private(topology: object, private: object) -> dict[str, Any]:
    return {f"{AZURE}.topology": topology, f"{AZURE}.private": private}


def services(**published: str) -> dict[str, Any]:
    strategies = {"APIServer": "Route", "OAuthServer": "Route", "Konnectivity": "Route", "Ignition": "Route"}
    return {
        "spec.services": [
            {"service": name, "servicePublishingStrategy": {"type": strategy}}
            for name, strategy in {**strategies, **published}.items()
            if strategy
        ]
    }


def registry(resource_id: str) -> dict[str, Any]:
    return {
        REGISTRY: {"credentials": {"type": "ManagedIdentity", "managedIdentity": {"resourceID": resource_id}}}
    }


ACCEPTED: dict[str, tuple[dict[str, Any], ...]] = {
    "German cloud": (SELF_MANAGED, {f"{AZURE}.cloud": "AzureGermanCloud"}),
    "Bleu cloud": (SELF_MANAGED, {f"{AZURE}.cloud": "AzureBleuCloud"}),
    "Stack cloud": ({f"{AZURE}.cloud": "AzureStackCloud"},),
    "managed, OAuth by Route": (services(),),
    "self-managed, OAuth by Route": (SELF_MANAGED, services()),
    "self-managed, OAuth by LoadBalancer": (SELF_MANAGED, services(OAuthServer="LoadBalancer")),
    "API server by LoadBalancer": (services(APIServer="LoadBalancer"),),
    "control plane without rules on services": (
        services(OAuthServer="NodePort"),
        {"kind": "HostedControlPlane"},
    ),
    "Private Link": (SELF_MANAGED, private("Private", LINK)),
    "Private Link to one other subscription": (
        private(
            "PublicAndPrivate",
            {"type": "PrivateLink", "privateLink": {"additionalAllowedSubscriptions": [SUBSCRIPTION]}},
        ),
    ),
    "managed, Private Link": (private("Private", LINK),),
    "Swift": (SELF_MANAGED, private("PublicAndPrivate", SWIFT)),
    "Swift, private only": (SELF_MANAGED, private("Private", SWIFT)),
    "Public": ({f"{AZURE}.topology": "Public"},),
    "self-managed without an operator's identity": (
        SELF_MANAGED,
        {f"{WORKLOAD}.controlPlaneOperator": REMOVED},
    ),
    "KMS in a vault": ({f"{KMS}.keyVaultType": "KeyVault"},),
    "KMS in an HSM": ({f"{KMS}.keyVaultType": "ManagedHSM"},),
    "KMS access not said": ({f"{KMS}.keyVaultAccess": ""},),
    "KMS by a mounted credential in a self-managed cluster": (WITH_WORKLOAD_IDENTITIES,),
    "Ingress and Console disabled": ({"spec.capabilities": {"disabled": ["Ingress", "Console"]}},),
    "other capabilities": ({"spec.capabilities": {"enabled": ["baremetal"], "disabled": ["Insights"]}},),
    "no capabilities": ({"spec.capabilities": {}},),
    "resource group with dots and brackets": ({f"{AZURE}.resourceGroup": "a.(b)_-"},),
    "tenant by its domain": ({f"{AZURE}.tenantID": "contoso.onmicrosoft.com"},),
    "identity of the registry in any case": (registry(f"{IDENTITIES}/pull".upper()),),
    "identity of the registry as long as may be": (registry(f"{IDENTITIES}/".ljust(345, "x")),),
    "network ids as Go reads them": (
        {
            f"{AZURE}.vnetID": f"{VNET}/".replace("Microsoft", "MICROSOFT").replace(
                "/providers", "//providers"
            )
        },
    ),
}

REFUSED: dict[str, tuple[tuple[dict[str, Any], ...], str]] = {
    "managed identities missing": (
        ({MANAGED: REMOVED},),
        f"{MANAGED}: required, but not set; the type is ManagedIdentities",
    ),
    "workload identities missing": (
        (SELF_MANAGED, {WORKLOAD: REMOVED}),
        f"{WORKLOAD}: required, but not set; the type is WorkloadIdentities",
    ),
    "workload identities beside managed ones": (
        ({WORKLOAD: SELF_MANAGED[AUTHENTICATION]["workloadIdentities"]},),
        f"{WORKLOAD}: only allowed with type WorkloadIdentities; the type is ManagedIdentities",
    ),
    "managed identities beside workload ones": (
        (SELF_MANAGED, {MANAGED: {"controlPlane": {}}}),
        f"{MANAGED}: only allowed with type ManagedIdentities; the type is WorkloadIdentities",
    ),
    "authentication missing": (({AUTHENTICATION: REMOVED},), f"{AUTHENTICATION}: required, but not set"),
    "workload identity without a client id": (
        (SELF_MANAGED, {f"{WORKLOAD}.disk": {}}),
        f"{WORKLOAD}.disk.clientID: required, but not set; expected a UUID",
    ),
    "workload identity missing": (
        (SELF_MANAGED, {f"{WORKLOAD}.network": REMOVED}),
        f"{WORKLOAD}.network: required, but not set",
    ),
    "data plane missing": (
        ({f"{MANAGED}.dataPlane": REMOVED},),
        f"{MANAGED}.dataPlane: required, but not set",
    ),
    "identity of the data plane missing": (
        ({f"{MANAGED}.dataPlane.diskMSIClientID": REMOVED},),
        f"{MANAGED}.dataPlane.diskMSIClientID: required, but not set; expected a UUID",
    ),
    "managed, OAuth by LoadBalancer": (
        (services(OAuthServer="LoadBalancer"),),
        "spec.services: OAuthServer is published by LoadBalancer, expected Route",
    ),
    "self-managed, OAuth by NodePort": (
        (SELF_MANAGED, services(OAuthServer="NodePort")),
        "spec.services: OAuthServer is published by NodePort, expected Route or LoadBalancer",
    ),
    "Konnectivity by LoadBalancer": (
        (services(Konnectivity="LoadBalancer"),),
        "spec.services: Konnectivity is published by LoadBalancer, expected Route",
    ),
    "services not as a list": (
        ({"spec.services": {}},),
        "spec.services: expected a list, got a mapping",
    ),
    "Private Link without its settings": (
        (SELF_MANAGED, private("Private", {"type": "PrivateLink"})),
        f"{AZURE}.private.privateLink: required, but not set; the type is PrivateLink",
    ),
    "Private Link without the operator's identity": (
        (SELF_MANAGED, private("Private", LINK), {f"{WORKLOAD}.controlPlaneOperator": REMOVED}),
        f"{WORKLOAD}.controlPlaneOperator: required, but not set; private.type is PrivateLink",
    ),
    "private without topology": (
        (SELF_MANAGED, private(None, LINK)),
        f"{AZURE}.private: not allowed; the topology is not set",
    ),
    "private with Public": (
        (SELF_MANAGED, private("Public", LINK)),
        f"{AZURE}.private: not allowed; the topology is Public",
    ),
    "topology without private": (
        ({f"{AZURE}.topology": "PublicAndPrivate"},),
        f"{AZURE}.private: required, but not set; the topology is PublicAndPrivate",
    ),
    "topology unknown": (
        ({f"{AZURE}.topology": "Hidden"},),
        f"{AZURE}.topology: got 'Hidden', expected Public, PublicAndPrivate or Private",
    ),
    "Swift beside Private Link": (
        (SELF_MANAGED, private("PublicAndPrivate", {**LINK, **SWIFT})),
        f"{AZURE}.private.privateLink: only allowed with type PrivateLink; the type is Swift",
    ),
    "Swift without its settings": (
        (SELF_MANAGED, private("PublicAndPrivate", {"type": "Swift"})),
        f"{AZURE}.private.swift: required, but not set; the type is Swift",
    ),
    "Private Link beside Swift": (
        (SELF_MANAGED, private("Private", {**SWIFT, **LINK})),
        f"{AZURE}.private.swift: only allowed with type Swift; the type is PrivateLink",
    ),
    "Swift with a name that is not one": (
        (private("Private", {"type": "Swift", "swift": {"podNetworkInstance": "Pni"}}),),
        f"{AZURE}.private.swift.podNetworkInstance: got 'Pni', expected 1-63 lower-case letters",
    ),
    "Private Link with nothing in it": (
        (private("Private", {"type": "PrivateLink", "privateLink": {}}),),
        f"{AZURE}.private.privateLink: expected natSubnetID or additionalAllowedSubscriptions",
    ),
    "Private Link with a subnet that is not one": (
        (private("Private", {"type": "PrivateLink", "privateLink": {"natSubnetID": VNET}}),),
        f"{AZURE}.private.privateLink.natSubnetID: got '{VNET}', expected",
    ),
    "Private Link to one subscription twice": (
        (
            private(
                "Private",
                {
                    "type": "PrivateLink",
                    "privateLink": {"additionalAllowedSubscriptions": [SUBSCRIPTION] * 2},
                },
            ),
        ),
        f"{AZURE}.private.privateLink.additionalAllowedSubscriptions: a subscription is listed twice",
    ),
    "Private Link to something else": (
        (
            private(
                "Private",
                {"type": "PrivateLink", "privateLink": {"additionalAllowedSubscriptions": ["mine"]}},
            ),
        ),
        f"{AZURE}.private.privateLink.additionalAllowedSubscriptions[0]: got 'mine', expected a UUID",
    ),
    "identity of the registry is not an id": (
        (registry("not-a-valid-resource-id"),),
        f"{REGISTRY}.credentials.managedIdentity.resourceID: got 'not-a-valid-resource-id', expected",
    ),
    "identity of the registry of another provider": (
        (registry(f"{GROUP}/providers/Microsoft.Compute/virtualMachines/{'x' * 60}"),),
        f"{REGISTRY}.credentials.managedIdentity.resourceID: got '{GROUP}/providers/Microsoft.Compute",
    ),
    "identity of the registry with a slash at the end": (
        (registry(f"{IDENTITIES}/pull/"),),
        f"{REGISTRY}.credentials.managedIdentity.resourceID: got '{IDENTITIES}/pull/', expected",
    ),
    "identity of the registry with an empty segment": (
        (registry(f"{IDENTITIES}//pull"),),
        f"{REGISTRY}.credentials.managedIdentity.resourceID: got ",
    ),
    "identity of the registry too short": (
        (
            registry(
                "/subscriptions/s/resourceGroups/r/providers/Microsoft.ManagedIdentity/userAssignedIdentities/p"
            ),
        ),
        f"{REGISTRY}.credentials.managedIdentity.resourceID: got ",
    ),
    "identity of the registry too long": (
        (registry(f"{IDENTITIES}/".ljust(346, "x")),),
        f"{REGISTRY}.credentials.managedIdentity.resourceID: got '/subscriptions/",
    ),
    "registry without a type": (
        ({REGISTRY: {"credentials": {}}},),
        f"{REGISTRY}.credentials.type: required, but not set; expected ManagedIdentity",
    ),
    "registry without credentials": (({REGISTRY: {}},), f"{REGISTRY}.credentials: required, but not set"),
    "subnet with a slash at the end": (
        ({f"{AZURE}.subnetID": f"{SUBNET}/"},),
        f"{AZURE}.subnetID: got '{SUBNET}/'",
    ),
    "subnet with an empty segment": (
        ({f"{AZURE}.subnetID": SUBNET.replace("/subnets", "//subnets")},),
        f"{AZURE}.subnetID: got ",
    ),
    "subnet in another case": (
        ({f"{AZURE}.subnetID": SUBNET.replace("resourceGroups", "resourcegroups")},),
        f"{AZURE}.subnetID: got ",
    ),
    "subnet of a provider in another case": (
        ({f"{AZURE}.subnetID": SUBNET.replace("Microsoft", "microsoft")},),
        f"{AZURE}.subnetID: got ",
    ),
    "subnet whose name ends in a dash": (({f"{AZURE}.subnetID": f"{SUBNET}-"},), f"{AZURE}.subnetID: got "),
    "subnet whose group ends in a dot": (
        ({f"{AZURE}.subnetID": SUBNET.replace("/net/", "/net./")},),
        f"{AZURE}.subnetID: got ",
    ),
    "network id too long": (
        ({f"{AZURE}.vnetID": VNET.ljust(256, "x")},),
        f"{AZURE}.vnetID: got '/subscriptions/",
    ),
    "resource group empty": (
        ({f"{AZURE}.resourceGroup": ""},),
        f"{AZURE}.resourceGroup: got '', expected 2-90",
    ),
    "resource group that ends in a dot": (
        ({f"{AZURE}.resourceGroup": "rg."},),
        f"{AZURE}.resourceGroup: got 'rg.', expected",
    ),
    "location too long": (
        ({f"{AZURE}.location": "x" * 256},),
        f"{AZURE}.location: got text of 256 characters",
    ),
    "both KMS identities": (
        ({f"{KMS}.workloadIdentity": {"clientID": f"{CLIENT_ID}9"}},),
        f"{KMS}.workloadIdentity: not allowed beside kms",
    ),
    "no KMS identity": (({f"{KMS}.kms": REMOVED},), f"{KMS}.kms: required, but not set; expected kms or"),
    "KMS keys in two vaults": (
        ({f"{KMS}.backupKey.keyVaultName": "another"},),
        f"{KMS}.backupKey.keyVaultName: got 'another', expected that of activeKey",
    ),
    "KMS in something else": (
        ({f"{KMS}.keyVaultType": "Banana"},),
        f"{KMS}.keyVaultType: got 'Banana', expected KeyVault or ManagedHSM",
    ),
    "KMS access unknown": (
        ({f"{KMS}.keyVaultAccess": "Secret"},),
        f"{KMS}.keyVaultAccess: got 'Secret', expected Public or Private",
    ),
    "encryption without a type": (
        ({"spec.secretEncryption.type": REMOVED},),
        "spec.secretEncryption.type: required, but not set; expected kms or aescbc",
    ),
    "KMS without a provider": (
        ({"spec.secretEncryption.kms.provider": REMOVED},),
        "spec.secretEncryption.kms.provider: required, but not set; expected Azure",
    ),
    "Ingress disabled without Console": (
        ({"spec.capabilities": {"disabled": ["Ingress"]}},),
        "spec.capabilities.disabled: Ingress can only be disabled together with Console",
    ),
    "capability both enabled and disabled": (
        ({"spec.capabilities": {"disabled": ["Insights"], "enabled": ["Insights"]}},),
        "spec.capabilities.disabled: Insights: also in enabled",
    ),
    "capability that cannot be disabled": (
        ({"spec.capabilities": {"disabled": ["Storage"]}},),
        "spec.capabilities.disabled[0]: got 'Storage', expected one of ImageRegistry",
    ),
}


@pytest.mark.parametrize("changes", ACCEPTED.values(), ids=list(ACCEPTED))
def test_hosted_cluster_is_taken_when_the_api_server_accepts_it(changes):
    assert parse(*changes).name == "otter"


@pytest.mark.parametrize(("changes", "problem"), REFUSED.values(), ids=list(REFUSED))
def test_hosted_cluster_is_refused_with_one_problem_when_the_api_server_refuses_it(changes, problem):
    [found] = refuse(*changes)
    assert found.startswith(problem)


def test_services_are_refused_when_they_are_too_few():
    assert refuse(services(Ignition="")) == [
        "spec.services: 3 services, expected at least 4",
        "spec.services: Ignition is published by nothing, expected Route",
    ]


@pytest.mark.parametrize("absent", [REMOVED, None])
def test_resource_group_is_default_when_it_is_omitted(absent):
    assert parse({f"{AZURE}.resourceGroup": absent}).resource_group == "default"


def test_cluster_has_workload_identities_when_it_is_self_managed():
    cluster = parse(SELF_MANAGED)
    assert cluster.is_self_managed
    assert (cluster.key_vault, cluster.data_plane, cluster.identities.ingress) == (None, None, None)
    assert cluster.workload_identities.ingress == WorkloadIdentity(client_id=f"{CLIENT_ID}4")
    assert cluster.workload_identities.kms == WorkloadIdentity(client_id=f"{CLIENT_ID}9")
    without = parse(SELF_MANAGED, {f"{WORKLOAD}.controlPlaneOperator": REMOVED})
    assert without.workload_identities.control_plane_operator is None


def test_cluster_has_managed_identities_when_it_is_not_self_managed():
    cluster = parse()
    assert not cluster.is_self_managed
    assert cluster.workload_identities.ingress is None
    assert cluster.identities.ingress == ManagedIdentity(credentials_secret_name="otter-ingress")
    assert cluster.data_plane is not None
    assert cluster.data_plane.disk == "dddddddd-0000-4000-8000-000000000002"


def test_disabled_capabilities_are_read():
    cluster = parse({"spec.capabilities": {"disabled": ["ImageRegistry", "Console"]}})
    assert cluster.disabled_capabilities == {"ImageRegistry", "Console"}


@pytest.mark.parametrize(
    ("zone", "group"),
    [
        (f"{GROUP}/providers/Microsoft.Network/dnsZones/example.org", "net"),
        ("Z0123456789", None),
        (REMOVED, None),
    ],
)
def test_dns_zone_resource_group_is_that_of_the_public_zone(zone, group):
    changes = {"spec.dns.publicZoneID": zone} if zone is not REMOVED else {}
    assert parse(changes).dns_zone_resource_group == group


def key(version: str) -> KmsKey:
    return KmsKey(key_vault_name="otter-etcd", key_name="etcd", key_version=version)


def status_key(version: str) -> dict[str, Any]:
    azure = {"keyVaultName": "otter-etcd", "keyName": "etcd", "keyVersion": version}
    return {"provider": "Azure", "azure": azure}


@pytest.mark.parametrize("kind", ["HostedCluster", "HostedControlPlane"])
@pytest.mark.parametrize(
    ("status", "active", "backup"),
    [
        ({}, "2", "1"),
        ({"activeKey": {"provider": ""}}, "2", "1"),
        ({"activeKey": status_key("2")}, "2", None),
        ({"activeKey": status_key("0"), "targetKey": status_key("2")}, "0", "2"),
        ({"activeKey": status_key("0"), "targetKey": {"provider": ""}}, "2", None),
        ({"activeKey": {"provider": "AESCBC", "aescbc": {}}, "targetKey": status_key("2")}, "2", None),
    ],
    ids=["not yet", "empty", "no rotation", "rotation", "rotation done", "from another provider"],
)
def test_kms_keys_are_those_in_use_when_a_key_rotates(kind, status, active, backup):
    cluster = parse({"status.secretEncryption": status, "kind": kind})
    assert cluster.kms_keys == KmsKeys(active=key(active), backup=backup and key(backup))


def test_kms_keys_say_where_they_are():
    assert parse().kms_keys == KmsKeys(
        active=key("2"), backup=key("1"), vault_type="KeyVault", vault_access="Public"
    )
    keys = parse({f"{KMS}.keyVaultType": "ManagedHSM", f"{KMS}.keyVaultAccess": "Private"}).kms_keys
    assert keys is not None
    assert (keys.vault_type, keys.vault_access) == ("ManagedHSM", "Private")


@pytest.mark.parametrize("name", ["null", "-"])
def test_secret_name_is_refused_when_only_the_driver_would_refuse_it(name):
    field = f"{CONTROL_PLANE}.disk.credentialsSecretName"
    [problem] = refuse({field: name})
    assert problem == f"{field}: got '{name}', expected 1-127 letters, digits and '-' (not 'null' or '-')"
