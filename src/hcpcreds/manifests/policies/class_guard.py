"""The part of the guard that compares a SecretProviderClass with the HostedControlPlane of its namespace.

Any class can use the identity of the node, which reads the credentials of every control plane
(Azure/secrets-store-csi-driver-provider-azure, issue 837).
"""

from typing import Any, Final

from hcpcreds.components import COMPONENTS
from hcpcreds.manifests.policies.cel import Expression, fill
from hcpcreds.manifests.policies.cluster_guard import CLUSTER, WHO
from hcpcreds.manifests.policies.requirements import Validation
from hcpcreds.manifests.policies.tables import find_identity

RULES: Final[list[dict[str, Any]]] = [
    {
        "apiGroups": ["secrets-store.csi.x-k8s.io"],
        "apiVersions": ["*"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["secretproviderclasses"],
    }
]
CONDITIONS: Final = {
    # HyperShift's operators write classes too; their HostedControlPlane may be newer than the policy's.
    "not-written-by-an-operator": Expression(
        "!(request.userInfo.username in ['system:serviceaccount:hypershift:operator', "
        "'system:serviceaccount:' + request.namespace + ':control-plane-operator'])"
    ),
    "is-changed": Expression("oldObject == null || object.?spec != oldObject.?spec"),
}

_LINE: Final = (
    r" +(object(Name|Encoding|Type|Alias|Version|VersionHistory|Format)|filePermission): *[-A-Za-z0-9_.]* *\n"
)
_OBJECTS: Final = rf"^\s*array: *\n( *- \|-? *\n({_LINE})+)+\s*$"
"""The form in which the policy can read `objects`; in others, YAML hides names in too many ways."""


def build_variables() -> dict[str, Expression]:
    """Build the variables of the validations, in their order."""
    classes = {
        component.secret_provider_class: find_identity(component, is_managed=True)["identity"]
        for component in COMPONENTS
    }
    return {
        **CLUSTER,
        "applies": Expression(
            "object.?spec.?provider.orValue('') == 'azure' && variables.identities.size() > 0"
        ),
        "parameters": Expression("object.?spec.?parameters.orValue({})"),
        "vault": Expression("variables.identities.?managedIdentitiesKeyVault.name.orValue('')"),
        "tenant": Expression("variables.identities.?managedIdentitiesKeyVault.tenantID.orValue('')"),
        "objects": Expression("string(variables.parameters.?objects.orValue('')) + '\\n'"),
        "named": Expression(
            "variables.objects.findAll('objectName: *[-A-Za-z0-9_.]*').map(n, n.split(':')[1].trim())"
        ),
        # One of the nine may name only its own identity's secret, another any of the control plane's.
        "own": fill(
            """
            [$classes[?object.metadata.name].orValue('')]
              .map(k, k == 'kms' ? variables.kms : variables.identities[?k].orValue({}))
              .map(i, string(i.?credentialsSecretName.orValue('')))[0]
            """,
            classes=classes,
        ),
        "allowed": Expression(
            "variables.own != '' ? [variables.own] :\n  (variables.identities.map(k, "
            "variables.identities[k]) + [variables.kms])\n    .map(i, "
            "string(i.?credentialsSecretName.orValue(''))).filter(s, s != '')"
        ),
    }


def build_validations(key_vault_user_client_id: str | None) -> list[Validation]:
    """Build what has to be true of a SecretProviderClass.

    Args:
        key_vault_user_client_id: Client id of the identity that reads the vault; None to take any.
    """
    validations = [
        (
            _compare(["keyvaultName"], Expression("variables.vault")),
            fill("'keyvaultName is not the vault of ' + $who + '; expected ' + variables.vault", who=WHO),
        ),
        (
            _compare(["tenantId", "tenantID"], Expression("variables.tenant")),
            fill(
                "'tenantId is not that of the vault of ' + $who + '; expected ' + variables.tenant", who=WHO
            ),
        ),
        (
            fill("!variables.applies || variables.objects.matches($form)", form=_OBJECTS),
            Expression(
                "'objects is not a list in the form that the guard can read: write each secret as "
                "objectName, objectEncoding and objectType: secret, one a line and without quotes, as "
                "hcpcreds render does'"
            ),
        ),
        (
            Expression("!variables.applies || variables.named.all(n, n in variables.allowed)"),
            fill(
                "'objects names the secret ' + variables.named.filter(n, !(n in variables.allowed)).join(', "
                "') + ', but ' + $who + ' has for this class: ' + variables.allowed.join(', ')",
                who=WHO,
            ),
        ),
    ]
    if key_vault_user_client_id is not None:
        user = key_vault_user_client_id.lower()
        names = ["userAssignedIdentityID", "clientID"]
        message = (
            "userAssignedIdentityID or clientID is not the identity that reads the vault for control planes; "
            f"expected {user}"
        )
        validations.append((_compare(names, user), fill("$message", message=message)))
    return validations


def _compare(names: list[str], expected: str) -> Expression:
    """Return whether those of the parameters that are there, without blanks around them, are as expected."""
    return fill(
        """
        !variables.applies || $names.filter(n, n in variables.parameters)
          .all(n, string(variables.parameters[n]).trim().lowerAscii() in ['', $expected.lowerAscii()])
        """,
        names=names,
        expected=expected,
    )
