"""Policies and bindings as objects."""

from collections.abc import Mapping
from typing import Any, Final

from hcpcreds.manifests.policies.cel import Expression
from hcpcreds.manifests.policies.selection import RULES

API_VERSION: Final = "admissionregistration.k8s.io/v1"
LABELS: Final = {"app.kubernetes.io/managed-by": "hcpcreds", "app.kubernetes.io/part-of": "hcpcreds-policies"}


def build_mutating_policy(
    name: str, variables: Mapping[str, Expression], mutation: Expression
) -> dict[str, Any]:
    """Build a MutatingAdmissionPolicy.

    It has no matchConditions, which would convert each pod and its HostedControlPlane once more.

    Args:
        name: Its name.
        variables: Expressions by name; each may use those before it.
        mutation: The expression of its JSONPatch.
    """
    return {
        "apiVersion": API_VERSION,
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": name, "labels": LABELS},
        "spec": {
            "matchConstraints": {"resourceRules": RULES},
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "variables": [
                {"name": name, "expression": str(expression)} for name, expression in variables.items()
            ],
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": str(mutation)}}],
        },
    }


def build_mutating_binding(
    name: str, resources: dict[str, Any], params: dict[str, Any] | None = None, *, policy: str | None = None
) -> dict[str, Any]:
    """Build the binding of a MutatingAdmissionPolicy.

    Args:
        name: Its name.
        resources: Which pods it is for.
        params: The policy's `paramRef`.
        policy: The policy's name, if it is another.
    """
    return {
        "apiVersion": API_VERSION,
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": name, "labels": LABELS},
        "spec": {
            "policyName": policy or name,
            **({"paramRef": params} if params else {}),
            "matchResources": resources,
        },
    }
