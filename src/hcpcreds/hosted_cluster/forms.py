"""The forms of a HostedCluster's fields: which texts each takes.

Source: openshift/hypershift, api/hypershift/v1beta1 and the CRD made from it (August 2026).
"""

import re
from typing import Final

from hcpcreds.hosted_cluster.rules import MANAGED_IDENTITIES, WORKLOAD_IDENTITIES
from hcpcreds.kubernetes.fields import LONGEST_RESOURCE_ID, TEXT, Form

API_VERSION: Final = "hypershift.openshift.io/v1beta1"
KINDS: Final = ("HostedCluster", "HostedControlPlane")

PROBE_MODE_ANNOTATION: Final = "hypershift.openshift.io/azure-load-balancer-health-probe-mode"
PROBE_PATH_ANNOTATION: Final = "hypershift.openshift.io/shared-load-balancer-health-probe-path"
PROBE_PORT_ANNOTATION: Final = "hypershift.openshift.io/shared-load-balancer-health-probe-port"

MAX_NAMESPACE: Final = 63
DEFAULT_RESOURCE_GROUP: Final = "default"

MAYBE_EMPTY: Final = Form(re.compile(f"(?:{TEXT.pattern.pattern})?"), TEXT.expected)
SHORT_TEXT: Final = Form(
    re.compile(rf"(?=.{{1,255}}\Z){TEXT.pattern.pattern}"), f"{TEXT.expected}, at most 255 of them"
)
UUID: Final = Form(re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"), "a UUID")
TENANT: Final = Form(
    re.compile(rf"{UUID.pattern.pattern}|(?=.{{1,255}}\Z)(?:[A-Za-z0-9][-A-Za-z0-9]*\.)+[A-Za-z]{{2,}}"),
    "a UUID or a domain name",
)
THIS_API: Final = Form(re.compile(re.escape(API_VERSION)), API_VERSION)
SUBDOMAIN: Final = Form(
    re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"),
    "lower-case letters, digits, '-' and '.', at most 253 characters",
)
NAMESPACE: Final = Form(
    re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"),
    "1-63 lower-case letters, digits and '-', not at an end",
)
INFRA_ID: Final = Form(
    re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?"),
    "1-253 lower-case letters, digits and '-' (HyperShift sets it when it creates the cluster)",
)
AZURE: Final = Form(re.compile("Azure"), "Azure")
AUTHENTICATION: Final = Form(
    re.compile(f"{MANAGED_IDENTITIES}|{WORKLOAD_IDENTITIES}"),
    f"{MANAGED_IDENTITIES} or {WORKLOAD_IDENTITIES}",
)
ENCRYPTION: Final = Form(re.compile("kms|aescbc"), "kms or aescbc")
KEY_VAULT_TYPE: Final = Form(re.compile("KeyVault|ManagedHSM"), "KeyVault or ManagedHSM")
KEY_VAULT_ACCESS: Final = Form(re.compile("(?:Public|Private)?"), "Public or Private")
CLOUD_NAMES: Final = (
    "AzurePublicCloud",
    "AzureUSGovernmentCloud",
    "AzureChinaCloud",
    "AzureGermanCloud",
    "AzureBleuCloud",
    "AzureStackCloud",
)
CLOUD: Final = Form(re.compile("|".join(CLOUD_NAMES)), f"one of {', '.join(CLOUD_NAMES)}")
RESOURCE_GROUP: Final = Form(
    re.compile(r"[-a-zA-Z0-9_().]{1,89}[-a-zA-Z0-9_()]"),
    "2-90 letters, digits, '-', '_', '(', ')' and '.', not '.' at the end",
)
KEY_VAULT_NAME: Final = Form(re.compile(r"[-A-Za-z0-9]{3,24}"), "3-24 letters, digits and '-'")
# The names kept out: they stand unquoted in a SecretProviderClass, where the Azure provider's YAML takes them
# for null or for a list. The API would let them through.
CREDENTIALS_SECRET_NAME: Final = Form(
    re.compile(r"(?!(?:null|Null|NULL|-)\Z)[a-zA-Z0-9-]{1,127}"),
    "1-127 letters, digits and '-' (not 'null' or '-')",
)
OBJECT_ENCODINGS: Final = ("utf-8", "hex", "base64")
OBJECT_ENCODING: Final = Form(re.compile("|".join(OBJECT_ENCODINGS)), "utf-8, hex or base64")
PROBE_MODE: Final = Form(re.compile(r"shared|servicenodeport"), "shared or servicenodeport")
DIGITS: Final = Form(re.compile(r"\+?[0-9]{1,9}"), "a port, 1-65535")
MAX_PORT: Final = 65535

VNET_ID: Final = "Microsoft.Network/virtualNetworks/{name}"
SECURITY_GROUP_ID: Final = "Microsoft.Network/networkSecurityGroups/{name}"
DNS_ZONE_ID: Final = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/([^/]+)/providers/Microsoft\.Network/dnsZones/[^/]+", re.IGNORECASE
)
# The parts of a subnetID that the CRD looks at: the case of the words, no empty segment, and how names end.
SUBNET_ID: Final = Form(
    re.compile(
        r"(?=.{1,355}\Z)/subscriptions/[^/]+/resourceGroups/[^/]*[-\w().][^/]*(?<!\.)"
        r"/providers/Microsoft.Network/virtualNetworks/[^/]*[-\w.]{2}[^/]*(?<![-.])"
        r"/subnets/[^/]*[A-Za-z0-9][^/]*(?<![-.])",
        re.ASCII,
    ),
    "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Network/virtualNetworks/{vnet}"
    "/subnets/{name}, in this case, with no name that ends in '.' (vnet and subnet: nor in '-')",
    LONGEST_RESOURCE_ID,
)
IDENTITY_ID: Final = Form(
    re.compile(
        r"(?=.{131,345}\Z)/subscriptions/[^/]+/resourcegroups/[^/]+"
        r"/providers/microsoft\.managedidentity/userassignedidentities/[^/]+",
        re.IGNORECASE | re.ASCII,
    ),
    "/subscriptions/{subscription}/resourceGroups/{group}"
    "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}, 131-345 characters",
    LONGEST_RESOURCE_ID,
)
