"""HyperShift's rules on fields of a HostedCluster that hcpcreds reads for nothing else.

The API server refuses an object that breaks one of them, so a manifest that breaks one is never used.
Rules that compare an update with the object before it are not here: they need both.
Source: openshift/hypershift, api/hypershift/v1beta1 and the CRD made from it (August 2026).
"""

import re
from typing import Final

from hcpcreds.kubernetes.fields import LONGEST_RESOURCE_ID, Fields, Form

MANAGED_IDENTITIES: Final = "ManagedIdentities"
WORKLOAD_IDENTITIES: Final = "WorkloadIdentities"

_CAPABILITIES: Final = (
    "ImageRegistry",
    "openshift-samples",
    "Insights",
    "baremetal",
    "Console",
    "NodeTuning",
    "Ingress",
)
_CAPABILITY: Final = Form(re.compile("|".join(_CAPABILITIES)), f"one of {', '.join(_CAPABILITIES)}")
_TOPOLOGY: Final = Form(re.compile("Public|PublicAndPrivate|Private"), "Public, PublicAndPrivate or Private")
_PRIVATE_TYPE: Final = Form(re.compile("PrivateLink|Swift"), "PrivateLink or Swift")
_SUBNET: Final = Form(
    re.compile(
        r"(?=.{1,355}\Z)/subscriptions/[^/]+/resourceGroups/[^/]+"
        r"/providers/Microsoft\.Network/virtualNetworks/[^/]+/subnets/[^/]+"
    ),
    "/subscriptions/{subscription}/resourceGroups/{group}"
    "/providers/Microsoft.Network/virtualNetworks/{vnet}/subnets/{name}",
    LONGEST_RESOURCE_ID,
)
_UUID: Final = Form(re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"), "a UUID")
_DNS_LABEL: Final = Form(
    re.compile(r"(?=.{1,63}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?"),
    "1-63 lower-case letters, digits and '-', not at an end",
)
_MAX_SUBSCRIPTIONS: Final = 50
_MIN_SERVICES: Final = 4
_CREDENTIAL_TYPE: Final = Form(re.compile("ManagedIdentity"), "ManagedIdentity")


def check_union(fields: Fields, discriminator: str, members: dict[str, str]) -> None:
    """Check a union: the member that its discriminator names is required, and the others are forbidden.

    Args:
        fields: Those of the union.
        discriminator: The discriminator's value.
        members: Value of the discriminator → field that goes with it.
    """
    for value, member in members.items():
        if value == discriminator and not fields.is_present(member):
            fields.note(member, f"required, but not set; the type is {value}")
        elif value != discriminator and fields.is_present(member):
            fields.note(member, f"only allowed with type {value}; the type is {discriminator}")


def read_disabled_capabilities(spec: Fields) -> frozenset[str]:
    """Read which capabilities a cluster does without."""
    capabilities = spec.fields("capabilities", required=False)
    disabled = frozenset(capabilities.texts("disabled", _CAPABILITY))
    both = sorted(disabled.intersection(capabilities.texts("enabled", _CAPABILITY)) - {""})
    if both:
        capabilities.note("disabled", f"{', '.join(both)}: also in enabled")
    if "Ingress" in disabled and "Console" not in disabled:
        capabilities.note("disabled", "Ingress can only be disabled together with Console")
    return disabled


def check_services(spec: Fields, authentication_type: str) -> None:
    """Check how a HostedCluster on Azure publishes its services, where it says so."""
    services = spec.items("services")
    if services is None:
        return
    published: dict[str, set[str]] = {}
    for service in services:
        strategy = service.fields("servicePublishingStrategy").text("type")
        published.setdefault(service.text("service"), set()).add(strategy)
    if len(services) < _MIN_SERVICES:
        spec.note("services", f"{len(services)} services, expected at least {_MIN_SERVICES}")
    oauth = ("Route", "LoadBalancer") if authentication_type == WORKLOAD_IDENTITIES else ("Route",)
    for name, allowed in (("OAuthServer", oauth), ("Konnectivity", ("Route",)), ("Ignition", ("Route",))):
        if published.get(name, set()).isdisjoint(allowed):
            found = ", ".join(sorted(filter(None, published.get(name, ())))) or "nothing"
            spec.note("services", f"{name} is published by {found}, expected {' or '.join(allowed)}")


def check_topology(azure: Fields, authentication: Fields, authentication_type: str) -> None:
    """Check how the API server of a cluster is reached: `topology` and `private`."""
    topology = azure.optional("topology", _TOPOLOGY)
    is_private = topology in ("Private", "PublicAndPrivate")
    if not azure.is_present("private"):
        if is_private:
            azure.note("private", f"required, but not set; the topology is {topology}")
        return
    if not is_private:
        azure.note("private", f"not allowed; the topology is {topology or 'not set'}")
    private = azure.fields("private")
    private_type = private.text("type", _PRIVATE_TYPE)
    if not private_type:
        return
    check_union(private, private_type, {"PrivateLink": "privateLink", "Swift": "swift"})
    if private_type == "Swift":
        if private.is_present("swift"):
            private.fields("swift").text("podNetworkInstance", _DNS_LABEL)
    else:
        _check_private_link(private)
        identities = authentication.fields("workloadIdentities", required=False)
        if authentication_type == WORKLOAD_IDENTITIES and not identities.is_present("controlPlaneOperator"):
            authentication.note(
                "workloadIdentities.controlPlaneOperator",
                "required, but not set; private.type is PrivateLink",
            )


def _check_private_link(private: Fields) -> None:
    link = private.fields("privateLink", required=False)
    is_empty = not link.is_present("natSubnetID") and not link.is_present("additionalAllowedSubscriptions")
    if private.is_present("privateLink") and is_empty:
        private.note("privateLink", "expected natSubnetID or additionalAllowedSubscriptions")
    link.optional("natSubnetID", _SUBNET)
    subscriptions = link.texts("additionalAllowedSubscriptions", _UUID)
    if (
        link.is_present("additionalAllowedSubscriptions")
        and not 1 <= len(subscriptions) <= _MAX_SUBSCRIPTIONS
    ):
        expected = f"expected 1 to {_MAX_SUBSCRIPTIONS}"
        link.note("additionalAllowedSubscriptions", f"{len(subscriptions)} subscriptions, {expected}")
    known = list(filter(None, subscriptions))
    if len(set(known)) < len(known):
        link.note("additionalAllowedSubscriptions", "a subscription is listed twice")


def find_container_registry_identity(azure: Fields) -> Fields | None:
    """Find the identity with which nodes pull images; None when there is none, or none that can be read."""
    if not azure.is_present("containerRegistry"):
        return None
    credentials = azure.fields("containerRegistry").fields("credentials")
    credentials_type = credentials.text("type", _CREDENTIAL_TYPE)
    if not credentials_type and not credentials.is_present("managedIdentity"):
        return None
    return credentials.fields("managedIdentity")
