import uuid

import msgspec
import pytest
from hypothesis import given
from tests.manifests.examples import (
    AZURE,
    CLIENT_ID,
    CONTROL_PLANE,
    SELF_MANAGED,
    SUBSCRIPTION,
    make_manifest,
    manifests,
)

from hcpcreds.hosted_cluster import parse_hosted_cluster
from hcpcreds.roles import list_role_assignments, needs_dns_zone

SUBSCRIPTION_ID = f"/subscriptions/{SUBSCRIPTION}"
# As HyperShift's GetServicePrincipalScopes has them: role, and the resource groups after that of the cluster.
ROLES = {
    "control-plane-operator": ("b24988ac-6180-42a0-ab88-20f7382dd24c", "nsg-rg net-rg"),
    "cluster-api-provider-azure": ("b24988ac-6180-42a0-ab88-20f7382dd24c", "net-rg"),
    "cloud-controller-manager": ("a1f96423-95ce-4224-ab27-4e3dc72facd4", "nsg-rg net-rg"),
    "ingress-operator": ("0336e1d3-7a87-462b-b6db-342b63f7802c", "net-rg dns-rg"),
    "cluster-image-registry-operator": ("8b32b316-c2f5-4ddf-b05b-83dacd2d08b5", ""),
    "cluster-network-operator": ("be7a6435-15ae-4171-8f30-4a343eff9e8f", "net-rg"),
    "cluster-storage-operator-disk": ("5b7237c5-45e1-49d6-bc18-a1f62f400748", ""),
    "cluster-storage-operator-file": ("0d7aedc0-15fd-4a67-a412-efad370c947e", "nsg-rg net-rg"),
}


def assign(changes=None, **options):
    return list_role_assignments(parse_hosted_cluster(make_manifest(changes)), **options)


def test_each_identity_gets_its_role_on_its_resource_groups():
    found: dict[tuple[str, str], list[str]] = {}
    for item in assign(dns_zone_resource_group="dns-rg"):
        if item.identity == "control-plane":
            found.setdefault((item.component, item.role), []).append(item.scope)
    assert found == {
        (component, role): [
            f"{SUBSCRIPTION_ID}/resourceGroups/{group}" for group in f"otter-rg {groups}".split()
        ]
        for component, (role, groups) in ROLES.items()
    }


def test_identities_of_the_data_plane_get_the_same_role_on_the_clusters_group():
    found = [item for item in assign() if item.identity == "data-plane"]
    assert [(item.component, item.role, item.assignee) for item in found] == [
        (component, ROLES[component][0], f"dddddddd-0000-4000-8000-00000000000{number}")
        for number, component in enumerate(
            [
                "cluster-image-registry-operator",
                "cluster-storage-operator-disk",
                "cluster-storage-operator-file",
            ],
            start=1,
        )
    ]
    assert {item.scope for item in found} == {f"{SUBSCRIPTION_ID}/resourceGroups/otter-rg"}


def test_assignment_has_the_name_that_hypershift_gives_it():
    found = {(item.component, item.identity): item.name for item in assign()}
    scope = f"{SUBSCRIPTION_ID}/resourceGroups/otter-rg"
    names = {
        "control-plane": f"otter-x1y2z-azure-disk-{scope}",
        "data-plane": f"otter-x1y2z-azure-diskWI-{scope}",
    }
    for identity, name in names.items():
        expected = str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
        assert found["cluster-storage-operator-disk", identity] == expected


def test_assignee_is_the_identitys_client_id_or_none_when_it_is_not_known():
    changes = {f"{CONTROL_PLANE}.disk.clientID": f"{CLIENT_ID}0"}
    found = {item.component: item.assignee for item in assign(changes) if item.identity == "control-plane"}
    assert found["cluster-storage-operator-disk"] == f"{CLIENT_ID}0"
    assert found["cluster-storage-operator-file"] is None


def test_workload_identities_get_the_same_roles():
    found = assign(SELF_MANAGED, dns_zone_resource_group="dns-rg")
    assert {item.identity for item in found} == {"control-plane"}
    assert dict.fromkeys((item.component, item.role) for item in found) == dict.fromkeys(
        (component, role) for component, (role, _) in ROLES.items()
    )
    assert {item.assignee for item in found if item.component == "ingress-operator"} == {f"{CLIENT_ID}4"}


def test_dns_zone_is_left_out_when_its_resource_group_is_not_known():
    assert {item.scope.rpartition("/")[2] for item in assign() if item.component == "ingress-operator"} == {
        "otter-rg",
        "net-rg",
    }
    zone = f"{SUBSCRIPTION_ID}/resourceGroups/zones/providers/Microsoft.Network/dnsZones/example.org"
    known = assign({"spec.dns.publicZoneID": zone})
    assert [item.scope for item in known if item.component == "ingress-operator"][-1].endswith("/zones")


def test_resource_group_is_named_once_when_everything_is_in_it():
    group = f"{SUBSCRIPTION_ID}/resourceGroups/otter-rg/providers/Microsoft.Network"
    changes = {
        f"{AZURE}.vnetID": f"{group}/virtualNetworks/v",
        f"{AZURE}.securityGroupID": f"{group}/networkSecurityGroups/n",
    }
    found = [item for item in assign(changes) if item.component == "control-plane-operator"]
    assert len(found) == 1


def test_custom_roles_replace_contributor_where_there_are_any():
    found = {item.component: item.role for item in assign(custom_roles=True)}
    assert found["control-plane-operator"] == "7d8bb4e4-6fa7-4545-96cf-20fce11b705d"
    assert found["cluster-api-provider-azure"] == "Azure Red Hat OpenShift NodePool Management Role"
    assert found["ingress-operator"] == ROLES["ingress-operator"][0]


@pytest.mark.parametrize(
    ("capability", "component"),
    [("Ingress", "ingress-operator"), ("ImageRegistry", "cluster-image-registry-operator")],
)
def test_component_gets_no_role_when_its_capability_is_disabled(capability, component):
    changes = {"spec.capabilities": {"disabled": [capability, "Console"]}}
    assert component not in {item.component for item in assign(changes)}
    assert needs_dns_zone(parse_hosted_cluster(make_manifest(changes))) is (capability != "Ingress")


@given(manifests())
def test_no_two_assignments_of_any_cluster_share_a_name(manifest):
    found = list_role_assignments(parse_hosted_cluster(manifest))
    assert len({item.name for item in found}) == len(found)
    assert msgspec.json.decode(msgspec.json.encode(found), type=list[dict[str, str | None]])
