"""The list of all policies."""

from typing import Any

from hcpcreds.manifests.policies.custom import build_custom_mutation
from hcpcreds.manifests.policies.mutation import build_hosted_mutations


def build_policies(
    *,
    key_vault_user_client_id: str,
    managed_service: str | None = None,
    image: str | None = None,
) -> list[dict[str, Any]]:
    """Build the admission policies and their bindings, in an order that can be applied.

    Args:
        key_vault_user_client_id: Value of `ARO_HCP_KEY_VAULT_USER_CLIENT_ID`, a UUID, which pods pass on.
        managed_service: Value of `MANAGED_SERVICE`, which pods pass on.
        image: The sidecar's image, which contains hcpcreds; without one, no pod becomes keyless.

    Raises:
        InputError: An argument is outside its alphabet.
    """
    hosted = build_hosted_mutations(
        key_vault_user_client_id=key_vault_user_client_id, managed_service=managed_service, image=image
    )
    return [*hosted, *build_custom_mutation(image=image)]
