"""Policies and bindings as objects."""

from collections.abc import Mapping
from typing import Any, Final

from hcpcreds.manifests.policies.cel import Expression
from hcpcreds.manifests.policies.selection import RULES

API_VERSION: Final = "admissionregistration.k8s.io/v1"
_PARAMS: Final = {"selector": {}, "parameterNotFoundAction": "Allow"}
"""With Deny, no pod at all could start in a namespace while there is no HostedControlPlane."""
LABELS: Final = {"app.kubernetes.io/managed-by": "hcpcreds", "app.kubernetes.io/part-of": "hcpcreds-policies"}


def build_mutating_policy(
    name: str, resources: Mapping[str, Any], variables: Mapping[str, Expression], mutation: Expression
) -> dict[str, Any]:
    """Build a MutatingAdmissionPolicy.

    It has no matchConditions, which would convert each pod and its HostedControlPlane once more.
    If the kind of its parameters is not there, it refuses all that its own selectors select, whatever its
    bindings say (k8s.io/apiserver, pkg/admission/plugin/policy/generic/policy_dispatcher.go).

    Args:
        name: Its name.
        resources: Selectors of the pods that it is for.
        variables: Expressions by name; each may use those before it.
        mutation: The expression of its JSONPatch.
    """
    return {
        "apiVersion": API_VERSION,
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": name, "labels": LABELS},
        "spec": {
            "matchConstraints": {"resourceRules": RULES, **resources},
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "variables": [
                {"name": name, "expression": str(expression)} for name, expression in variables.items()
            ],
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": str(mutation)}}],
        },
    }


def build_mutating_binding(
    policy: str, *, params: bool = False, name: str | None = None, resources: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Build the binding of a MutatingAdmissionPolicy.

    Args:
        policy: The policy's name.
        params: Whether the HostedControlPlane of the pod's namespace is its parameter.
        name: Its own name, if it is another.
        resources: Selectors in addition to the policy's.
    """
    return {
        "apiVersion": API_VERSION,
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": name or policy, "labels": LABELS},
        "spec": {
            "policyName": policy,
            **({"paramRef": _PARAMS} if params else {}),
            **({"matchResources": resources} if resources else {}),
        },
    }
