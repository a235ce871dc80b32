"""The list of all policies."""

import re
from typing import Any, Final

from hcpcreds.errors import InputError
from hcpcreds.kubernetes.fields import describe
from hcpcreds.manifests.inject.options import IMAGE
from hcpcreds.manifests.policies.custom import build_custom_mutation
from hcpcreds.manifests.policies.guard import PODS, Action, build_guard
from hcpcreds.manifests.policies.mutation import build_hosted_mutations
from hcpcreds.manifests.secret_provider_class import check_key_vault_user

KUBERNETES_VERSION: Final = "1.36"
"""The first with MutatingAdmissionPolicies (KEP-3962)."""
_FIRST_WITH_GUARD: Final = (1, 30)
"""The first with ValidatingAdmissionPolicies (KEP-3488)."""
_VERSION: Final = re.compile(r"v?(?P<major>\d{1,3})\.(?P<minor>\d{1,3})\b.{0,40}")
"""As people and clusters write it: 1.36, v1.36.3, 1.36+."""


def build_policies(  # noqa: PLR0913 (each by its name)
    *,
    key_vault_user_client_id: str | None = None,
    managed_service: str | None = None,
    image: str | None = None,
    hypershift: bool = True,
    kubernetes_version: str = KUBERNETES_VERSION,
    action: Action = "Deny",
) -> list[dict[str, Any]]:
    """Build the admission policies and their bindings, in an order that can be applied.

    Args:
        key_vault_user_client_id: Value of `ARO_HCP_KEY_VAULT_USER_CLIENT_ID`, a UUID, which pods pass on;
            needed for HyperShift's components.
        managed_service: Value of `MANAGED_SERVICE`, which pods pass on.
        image: The sidecar's image, which contains hcpcreds; without one, no pod becomes keyless.
        hypershift: Whether the cluster knows HostedControlPlanes. Otherwise the policies are for custom
            components only.
        kubernetes_version: The cluster's, for instance `1.36`. Before 1.36 there is the guard alone.
        action: What the guard does with a pod that it objects to, in namespaces that do not say.

    Raises:
        InputError: An argument is missing or outside its alphabet, or the cluster is older than 1.30.
    """
    version = parse_kubernetes_version(kubernetes_version)
    if image is not None and not IMAGE.pattern.fullmatch(image):
        raise InputError("image", [f"got {describe(image)}, expected {IMAGE.expected}"], options=["image"])
    if hypershift:
        check_key_vault_user(key_vault_user_client_id or "")
    guard = build_guard(key_vault_user_client_id=key_vault_user_client_id or None, action=action)
    if not hypershift:
        guard = [item for item in guard if PODS in (item["metadata"]["name"], item["spec"].get("policyName"))]
    if version < parse_kubernetes_version(KUBERNETES_VERSION):
        return guard
    hosted = (
        build_hosted_mutations(
            key_vault_user_client_id=key_vault_user_client_id or "",
            managed_service=managed_service,
            image=image,
        )
        if hypershift
        else []
    )
    return [*hosted, *build_custom_mutation(image=image), *guard]


def parse_kubernetes_version(text: str) -> tuple[int, int]:
    """Parse a version of Kubernetes.

    Returns:
        Major and minor.

    Raises:
        InputError: It is not one, or one without ValidatingAdmissionPolicies.
    """
    found = _VERSION.fullmatch(text)
    version = (int(found["major"]), int(found["minor"])) if found else (0, 0)
    if version < _FIRST_WITH_GUARD:
        expected = (
            "1.30 or later, which has ValidatingAdmissionPolicies; before, use hcpcreds inject and check"
        )
        problem = f"got {describe(text)}, expected {expected}"
        raise InputError("Kubernetes version", [problem], options=["kubernetes_version"])
    return version
