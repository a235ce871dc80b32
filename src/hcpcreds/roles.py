"""The Azure roles that a cluster's identities need, as data.

Source: openshift/hypershift, support/azureutil (GetServicePrincipalScopes), cmd/infra/azure/rbac.go and
support/config/constants.go (August 2026). The KMS identity is not among them: it needs Key Vault Crypto User
on the vault with the key, and a HostedCluster does not say in which resource group that is.
"""

import uuid
from collections.abc import Iterable, Iterator

import msgspec

from hcpcreds.components import COMPONENTS, Component, Role, Scope
from hcpcreds.hosted_cluster import HostedCluster

__all__ = [
    "RoleAssignment",
    "list_role_assignments",
]


class RoleAssignment(msgspec.Struct, frozen=True, kw_only=True):
    """One identity's role on one resource group.

    All fields but the first two are named after the options of `az role assignment create`.
    """

    component: str
    identity: str
    """`control-plane`, or `data-plane` for the identity that pods in the guest cluster use."""
    name: str
    """A UUID, the same as from HyperShift's own tool: creating the assignment twice changes nothing."""
    assignee: str | None
    """Client id of the identity; None if the hosted cluster does not name it, which the API allows."""
    role: str
    """Id of the role definition; for some of ARO HCP's custom roles, the name."""
    scope: str
    """ARM id of the resource group."""


def list_role_assignments(
    cluster: HostedCluster, *, dns_zone_resource_group: str | None = None, custom_roles: bool = False
) -> list[RoleAssignment]:
    """List the roles that the identities of a hosted cluster need.

    Args:
        cluster: The hosted cluster.
        dns_zone_resource_group: Resource group of the public DNS zone, if `spec.dns.publicZoneID` does
            not name it. Without either, the ingress operator's role on it is left out.
        custom_roles: Use ARO HCP's narrower roles, where it has registered them, instead of Contributor.
    """
    groups = {
        Scope.MANAGED: cluster.resource_group,
        Scope.VNET: cluster.vnet_resource_group,
        Scope.SECURITY_GROUP: cluster.security_group_resource_group,
        Scope.DNS_ZONE: dns_zone_resource_group or cluster.dns_zone_resource_group,
    }
    found: list[RoleAssignment] = []
    for component in COMPONENTS:
        for identity, short_name, client_id, role, scopes in _list_identities(cluster, component):
            definition = (
                role.custom_definition if custom_roles and role.custom_definition else role.definition
            )
            for group in dict.fromkeys(groups[scope] for scope in scopes):
                if group is None:
                    continue
                scope = f"/subscriptions/{cluster.subscription_id}/resourceGroups/{group}"
                found.append(
                    RoleAssignment(
                        component=component.name,
                        identity=identity,
                        # GenerateRoleAssignmentName in openshift/hypershift, cmd/util/azure.go
                        name=str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{cluster.infra_id}-{short_name}-{scope}")),
                        assignee=client_id,
                        role=definition,
                        scope=scope,
                    )
                )
    return found


def _list_identities(
    cluster: HostedCluster, component: Component
) -> Iterator[tuple[str, str, str | None, Role, Iterable[Scope]]]:
    """List a component's identities: kind, short name, client id, role, and the scopes of the role."""
    identity = component.get_identity(cluster) or component.get_workload_identity(cluster)
    role, guest = component.role, component.guest
    if role is None or identity is None:
        return
    yield "control-plane", role.short_name, identity.client_id, role, role.scopes
    if guest is not None and guest.data_plane is not None and cluster.data_plane is not None:
        client_id = getattr(cluster.data_plane, guest.data_plane)
        yield "data-plane", f"{role.short_name}WI", client_id, role, (Scope.MANAGED,)


def needs_dns_zone(cluster: HostedCluster) -> bool:
    """Return whether an identity of the cluster needs a role on the resource group of the DNS zone."""
    return any(
        component.role is not None and Scope.DNS_ZONE in component.role.scopes and component.is_in(cluster)
        for component in COMPONENTS
    )
