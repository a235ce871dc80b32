"""The guard: policies that tell which pods lack what, and who reaches for another control plane's credential.

They are ValidatingAdmissionPolicies (Kubernetes 1.30 or later), one for each thing that they look at: a pod
by itself, a pod beside the HostedControlPlane of its namespace, a SecretProviderClass beside it, and a second
HostedControlPlane beside the first.

A policy with parameters is evaluated once for each, and sees no other. So two HostedControlPlanes in a
namespace are noticed when the second is created, or later by the one that does not fit the namespace's name.
Source: k8s.io/apiserver, pkg/admission/plugin/policy.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, get_args

from hcpcreds.hosted_cluster.forms import API_VERSION as HYPERSHIFT_API_VERSION
from hcpcreds.manifests.policies import class_guard, cluster_guard, elsewhere_guard, pod_guard
from hcpcreds.manifests.policies.cel import Expression, fill
from hcpcreds.manifests.policies.objects import API_VERSION, LABELS
from hcpcreds.manifests.policies.requirements import Validation
from hcpcreds.manifests.policies.selection import (
    COMPONENT_LABEL,
    CONTROL_PLANE_LABEL,
    GUARD_LABEL,
    RULES,
    exists,
    is_missing,
    is_not_in,
    select,
)

Action = Literal["Deny", "Warn", "Audit"]
"""What happens to an object that the guard objects to: it is refused; its creator is warned, and the audit
log tells; or only the audit log tells."""
ACTIONS: Final[tuple[Action, ...]] = get_args(Action)
PODS: Final = "hcpcreds-guard-pods"
PODS_BESIDE: Final = "hcpcreds-guard-pods-beside-control-plane"
CLASSES: Final = "hcpcreds-guard-classes"
CONTROL_PLANES: Final = "hcpcreds-guard-control-planes"
ELSEWHERE: Final = "hcpcreds-guard-elsewhere"

_VALIDATION_ACTIONS: Final[Mapping[Action, list[str]]] = {
    "Deny": ["Deny"],
    "Warn": ["Warn", "Audit"],
    "Audit": ["Audit"],
}
_CONTROL_PLANE_NAMESPACES: Final = {CONTROL_PLANE_LABEL: "true"}
"""The label that HyperShift gives the namespaces of hosted control planes."""
_IN_CONTROL_PLANES: Final = {"namespaceSelector": {"matchLabels": _CONTROL_PLANE_NAMESPACES}}
"""Scope of policies with parameters. While the API server does not know their kind, it refuses whatever is in
the scope of such a policy: without one, every pod of the cluster."""
_ELSEWHERE: Final = {"namespaceSelector": {"matchExpressions": [is_missing(CONTROL_PLANE_LABEL)]}}
_CONTROL_PLANE_RULES: Final[list[dict[str, Any]]] = [
    {
        "apiGroups": ["hypershift.openshift.io"],
        "apiVersions": ["*"],
        # Not UPDATE: somebody has to be able to take the finalizer of one of two.
        "operations": ["CREATE"],
        "resources": ["hostedcontrolplanes"],
    }
]
_ALONE: Final[Validation] = (
    Expression("params.metadata.name == object.metadata.name"),
    fill(
        "'the namespace ' + request.namespace + ' has ' + $who + ' already: with two, nobody can tell whose "
        "credentials its pods get'",
        who=cluster_guard.WHO,
    ),
)


def build_guard(
    *, key_vault_user_client_id: str | None = None, action: Action = "Deny", is_fail_closed: bool = True
) -> list[dict[str, Any]]:
    """Build the guard's policies and their bindings.

    The label `hcpcreds.io/guard` of a namespace (`deny`, `warn` or `audit`) says what the guard does there.

    Args:
        key_vault_user_client_id: Client id of the identity that reads the vault; None to take any.
        action: What it does in namespaces of hosted control planes that do not have the label.
        is_fail_closed: Whether an object is refused if a policy itself fails.
    """
    policies = [
        _build_policy(
            PODS,
            {"resourceRules": RULES},
            pod_guard.build_variables(),
            pod_guard.build_validations(),
            {"needs-a-closer-look": pod_guard.build_condition()},
        ),
        _build_policy(
            PODS_BESIDE,
            {"resourceRules": RULES, **_IN_CONTROL_PLANES, **select(exists(COMPONENT_LABEL))},
            cluster_guard.build_variables(),
            cluster_guard.build_validations(),
            {"needs-a-closer-look": cluster_guard.build_condition()},
            has_params=True,
        ),
        _build_policy(
            CLASSES,
            {"resourceRules": class_guard.RULES, **_IN_CONTROL_PLANES},
            class_guard.build_variables(),
            class_guard.build_validations(key_vault_user_client_id),
            class_guard.CONDITIONS,
            has_params=True,
        ),
        _build_policy(CONTROL_PLANES, {"resourceRules": _CONTROL_PLANE_RULES}, {}, [_ALONE], has_params=True),
    ]
    if key_vault_user_client_id is not None:
        policies.append(
            _build_policy(
                ELSEWHERE,
                {"resourceRules": elsewhere_guard.RULES, **_ELSEWHERE},
                {},
                elsewhere_guard.build_validations(),
                {
                    "uses-the-identity": elsewhere_guard.build_condition(key_vault_user_client_id),
                    "not-written-by-an-operator": class_guard.CONDITIONS["not-written-by-an-operator"],
                },
            )
        )
    objects = []
    for policy in policies:
        # Even in the seconds before the API server knows HostedControlPlanes, the first can be created.
        is_strict = is_fail_closed and policy["metadata"]["name"] != CONTROL_PLANES
        policy["spec"]["failurePolicy"] = "Fail" if is_strict else "Ignore"
        objects += [policy, *_build_bindings(policy, action)]
    return objects


def _build_policy(  # noqa: PLR0913 (each by its name)
    name: str,
    scope: dict[str, Any],
    variables: Mapping[str, Expression],
    validations: Sequence[Validation],
    conditions: Mapping[str, Expression] | None = None,
    *,
    has_params: bool = False,
) -> dict[str, Any]:
    listed = [{"name": key, "expression": str(text)} for key, text in (conditions or {}).items()]
    return {
        "apiVersion": API_VERSION,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name, "labels": LABELS},
        "spec": {
            **(
                {"paramKind": {"apiVersion": HYPERSHIFT_API_VERSION, "kind": "HostedControlPlane"}}
                if has_params
                else {}
            ),
            "matchConstraints": scope,
            **({"matchConditions": listed} if listed else {}),
            "variables": [{"name": key, "expression": str(text)} for key, text in variables.items()],
            "validations": [
                {"expression": str(expression), "messageExpression": str(message), "reason": "Forbidden"}
                for expression, message in validations
            ],
        },
    }


def _build_bindings(policy: Mapping[str, Any], action: Action) -> list[dict[str, Any]]:
    """Build a binding for each value of the label, and one for namespaces without it."""
    values = [each.lower() for each in ACTIONS]
    rest: dict[str, Any] = {"matchExpressions": [is_not_in(GUARD_LABEL, values)]}
    if policy["metadata"]["name"] != ELSEWHERE:
        rest["matchLabels"] = _CONTROL_PLANE_NAMESPACES
    chosen: list[tuple[str, Action, dict[str, Any]]] = [("default", action, rest)]
    chosen += [(each.lower(), each, {"matchLabels": {GUARD_LABEL: each.lower()}}) for each in ACTIONS]
    # With Deny, nothing could be created in a namespace while there is no HostedControlPlane.
    params = {"paramRef": {"selector": {}, "parameterNotFoundAction": "Allow"}}
    return [
        {
            "apiVersion": API_VERSION,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": f"{policy['metadata']['name']}-{name}", "labels": LABELS},
            "spec": {
                "policyName": policy["metadata"]["name"],
                **(params if "paramKind" in policy["spec"] else {}),
                "validationActions": _VALIDATION_ACTIONS[each],
                "matchResources": {"namespaceSelector": namespaces},
            },
        }
        for name, each, namespaces in chosen
    ]
