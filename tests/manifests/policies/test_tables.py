import pytest
from tests.manifests.examples import KEY_VAULT_USER

from hcpcreds.manifests.policies.cel import render
from hcpcreds.manifests.policies.tables import build_env, build_keys, build_mounts


@pytest.mark.parametrize("managed_service", ["", "ARO-HCP"])
def test_table_has_values_of_one_type_whatever_is_passed_on(managed_service: str):
    env = build_env(key_vault_user_client_id=KEY_VAULT_USER, managed_service=managed_service)
    assert "dyn(" not in render(env) + render(build_mounts()) + render(build_keys())
