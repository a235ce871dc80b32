"""The local ARM: lists resource groups for callers with a valid token."""

import uuid
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from azure.mgmt.resource.resources import ResourceManagementClient
from tests.local.clients import ARM, VAULT, Clock, bearer, issue_token, make_key, send

from hcpcreds.clouds import CLOUDS
from hcpcreds.local.azure.azure import LocalAzure


class Static:
    """A credential that holds one token."""

    def __init__(self, token: str) -> None:
        self.token = token

    def get_token(self, *_: str, **__: Any) -> AccessToken:
        return AccessToken(self.token, 2**40)


def list_groups(azure: LocalAzure, headers: dict[str, str], query: str = "?api-version=2021-04-01") -> Any:
    url = f"{azure.resource_manager}/subscriptions/s/resourcegroups{query}"
    return send(azure, "GET", url, headers=headers)


def test_resource_management_client_of_the_azure_sdk_lists_the_groups(local_azure: LocalAzure):
    credential = Static(issue_token(local_azure, str(uuid.uuid4()), audience=ARM))
    options: dict[str, Any] = {
        "base_url": local_azure.resource_manager,
        "credential_scopes": [f"{ARM}/.default"],
        "connection_verify": str(local_azure.ca_file),
    }
    with ResourceManagementClient(credential, "s", **options) as client:
        assert [group.name for group in client.resource_groups.list()] == [
            "local-control-plane",
            "local-nodes",
        ]
    with (
        ResourceManagementClient(Static("nonsense"), "s", **options) as client,
        pytest.raises(ClientAuthenticationError, match="InvalidAuthenticationToken"),
    ):
        list(client.resource_groups.list())


def test_resource_manager_says_which_certificate_the_token_was_got_with(local_azure: LocalAzure):
    token = issue_token(local_azure, str(uuid.uuid4()), audience=ARM, thumbprint="ab12")
    answer = list_groups(local_azure, {"Authorization": f"Bearer {token}"})
    assert answer.headers["x-ms-hcpcreds-certificate"] == "ab12"
    assert "x-ms-hcpcreds-certificate" not in list_groups(local_azure, bearer(local_azure, ARM)).headers


@pytest.mark.parametrize("cloud", sorted(set(CLOUDS.values())), ids=lambda cloud: cloud.name)
def test_resource_manager_takes_every_clouds_audience_with_and_without_a_slash(
    local_azure: LocalAzure, cloud: Any
):
    for audience in (cloud.resource_manager, cloud.resource_manager_audience):
        for spelling in (audience.rstrip("/"), f"{audience.rstrip('/')}/"):
            assert list_groups(local_azure, bearer(local_azure, spelling)).status_code == 200


def test_resource_manager_refuses_a_token_that_is_wrong_in_one_thing(make_azure: Callable[..., LocalAzure]):
    clock = Clock()
    azure = make_azure(now=clock, token_lifetime=60)
    good = bearer(azure, ARM, client_id="c")
    forged = jwt.encode(
        jwt.decode(good["Authorization"][7:], options={"verify_signature": False}),
        make_key(),
        algorithm="RS256",
    )

    def refuse(headers: dict[str, str]) -> str:
        answer = list_groups(azure, headers)
        assert answer.status_code == 401
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
        return str(answer.json()["error"]["code"])

    assert refuse({}) == "AuthenticationFailed"
    assert refuse({"Authorization": "Basic eA=="}) == "AuthenticationFailed"
    assert refuse({"Authorization": "Bearer nonsense"}) == "InvalidAuthenticationToken"
    assert refuse({"Authorization": f"Bearer {forged}"}) == "InvalidAuthenticationToken"
    assert refuse(bearer(azure, VAULT)) == "InvalidAuthenticationTokenAudience"
    assert list_groups(azure, good).status_code == 200
    clock.advance(-400)
    assert refuse(good) == "InvalidAuthenticationToken"
    clock.advance(460)
    assert refuse(good) == "ExpiredAuthenticationToken"
    clock.advance(-1)
    assert list_groups(azure, good).status_code == 200
    azure.directory.remove_application("c")
    assert refuse(good) == "InvalidAuthenticationToken"


def test_resource_manager_refuses_another_azures_token(
    local_azure: LocalAzure, make_azure: Callable[..., LocalAzure]
):
    other = make_azure(tenant_ids=local_azure.settings.tenant_ids)
    assert list_groups(local_azure, bearer(other, ARM)).status_code == 401


def test_resource_manager_asks_for_an_api_version_and_knows_only_resource_groups(local_azure: LocalAzure):
    headers = bearer(local_azure, ARM)
    assert list_groups(local_azure, headers, "").json()["error"]["code"] == "MissingApiVersionParameter"
    answer = send(local_azure, "GET", f"{local_azure.resource_manager}/tenants", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NotFound")
