"""The part of the guard for all other namespaces: nobody there uses the identity that reads the vault.

The node has that identity, and any pod on it may name it in a SecretProviderClass or in a volume
(Azure/secrets-store-csi-driver-provider-azure, issue 837).
"""

from typing import Any, Final

from hcpcreds.manifests.policies import class_guard
from hcpcreds.manifests.policies.cel import Expression, fill
from hcpcreds.manifests.policies.requirements import Validation
from hcpcreds.manifests.policies.selection import RULES as POD_RULES

RULES: Final[list[dict[str, Any]]] = [*class_guard.RULES, *POD_RULES]

_VALUES: Final = Expression(
    "([object.?spec.?parameters.orValue({})] +\n"
    "  object.?spec.?volumes.orValue([]).map(v, v.?csi.?volumeAttributes.orValue({})))\n"
    "  .map(p, [p.?userAssignedIdentityID.orValue(''), p.?clientID.orValue('')])"
)
"""The identities that a class or the volumes of a pod name."""


def build_condition(key_vault_user_client_id: str) -> Expression:
    """Build the match condition: whether the object names the identity."""
    return fill(
        "$values.exists(p, p.exists(i, string(i).trim().lowerAscii() == $user))",
        values=_VALUES,
        user=key_vault_user_client_id.lower(),
    )


def build_validations() -> list[Validation]:
    """Build the refusal of whatever meets the condition."""
    message = (
        "userAssignedIdentityID or clientID is the identity that reads the credentials of all hosted control "
        "planes; only namespaces of hosted control planes may use it"
    )
    return [(Expression("false"), fill("$message", message=message))]
