"""One contract for both data-plane clients, sync and asyncio, against the local Azure over HTTPS."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.dataplane.test_models import build_strategy
from tests.local.clients import CALLER, AsyncCaller, Caller
from tests.support.twins import describe, list_pairs

from hcpcreds import dataplane
from hcpcreds.dataplane import (
    ManagedIdentityCredentials,
    MoveIdentityRequest,
    UserAssignedIdentitiesRequest,
    aio,
    client,
)
from hcpcreds.dataplane.models import render_model
from hcpcreds.errors import InputError, IssueError
from hcpcreds.local.azure.azure import LocalAzure

CLIENT = "aaaaaaaa-0000-0000-0000-000000000001"


class Twin:
    """Calls either twin."""

    def __init__(self, azure: LocalAzure, kind: str) -> None:
        self.azure = azure
        self.kind = kind
        self.caller = AsyncCaller(azure) if kind == "aio" else Caller(azure)
        self.options: dict[str, Any] = {"retry_backoff_factor": 0}

    def call(self, *calls: tuple[str, Any], url: str | None = None) -> list[Any]:
        """Make calls in sequence through one factory; returns their results."""
        arguments: Any = (self.caller, self.azure.settings.data_plane_audience)
        options = {"connection_verify": str(self.azure.ca_file), "hosts": ("127.0.0.1",), **self.options}
        identity_url = url or self.azure.identity_url
        if self.kind == "sync":
            with dataplane.ManagedIdentityDataPlaneClientFactory(*arguments, **options) as factory:
                client = factory.create_client(identity_url)
                return [getattr(client, name)(*given) for name, given in calls]

        async def call() -> list[Any]:
            async with aio.ManagedIdentityDataPlaneClientFactory(*arguments, **options) as factory:
                client = factory.create_client(identity_url)
                return [await getattr(client, name)(*given) for name, given in calls]

        return asyncio.run(call())

    def issue(self, *resource_ids: str) -> ManagedIdentityCredentials:
        request = UserAssignedIdentitiesRequest(identity_ids=resource_ids)
        (answer,) = self.call(("get_user_assigned_identities_credentials", (request,)))
        assert isinstance(answer, ManagedIdentityCredentials)
        return answer


TWINS = list_pairs(client, aio, "ManagedIdentityDataPlaneClient", "ManagedIdentityDataPlaneClientFactory")


@pytest.mark.parametrize(("sync_one", "aio_one"), TWINS)
def test_client_has_the_same_signature_and_documentation_when_it_is_the_twin(sync_one: Any, aio_one: Any):
    assert describe(sync_one) == describe(aio_one)


@pytest.fixture(params=["sync", "aio"])
def twin(local_azure: LocalAzure, request: pytest.FixtureRequest) -> Twin:
    return Twin(local_azure, request.param)


def test_client_gets_every_credential_when_several_identities_are_requested(
    local_azure: LocalAzure, twin: Twin
):
    identities = [local_azure.add_identity(f"aaaaaaaa-0000-0000-0000-00000000000{n}") for n in range(3)]
    answer = twin.issue(*(identity.resource_id for identity in identities))
    assert [one.client_id for one in answer.explicit_identities or ()] == [i.client_id for i in identities]
    assert all(one.client_secret and one.renew_after for one in answer.explicit_identities or ())


def test_client_trusts_only_the_tenant_when_a_challenge_names_more(local_azure: LocalAzure, twin: Twin):
    identity = local_azure.add_identity(CLIENT)
    elsewhere = "BBBBBBBB-0000-0000-0000-00000000000B"
    local_azure.faults.add(
        "data_plane",
        status=401,
        times=1,
        headers={
            "WWW-Authenticate": f'Basic realm="a, b", Bearer resource="https://evil.example", scope="evil", '
            f'authorization="https://login.example/{elsewhere}"'
        },
    )
    twin.issue(identity.resource_id)
    scope = f"{local_azure.settings.data_plane_audience}/.default"
    assert twin.caller.asked == [((scope,), elsewhere.lower())]


def test_client_serves_every_caller_when_many_call_at_once(local_azure: LocalAzure):
    identities = [local_azure.add_identity(f"aaaaaaaa-0000-0000-0001-{n:012}") for n in range(12)]
    requests = [UserAssignedIdentitiesRequest(identity_ids=(found.resource_id,)) for found in identities]
    audience: str = local_azure.settings.data_plane_audience
    options: Any = {"connection_verify": str(local_azure.ca_file), "hosts": ("127.0.0.1",)}

    with (
        dataplane.ManagedIdentityDataPlaneClientFactory(Caller(local_azure), audience, **options) as factory,
        ThreadPoolExecutor(6) as threads,
    ):
        client = factory.create_client(local_azure.identity_url)
        answers = list(threads.map(client.get_user_assigned_identities_credentials, requests))

    async def ask() -> list[ManagedIdentityCredentials]:
        async with aio.ManagedIdentityDataPlaneClientFactory(
            AsyncCaller(local_azure), audience, **options
        ) as factory:
            client = factory.create_client(local_azure.identity_url)
            return await asyncio.gather(*map(client.get_user_assigned_identities_credentials, requests))

    for got in (answers, asyncio.run(ask())):
        issued = [one.client_id for answer in got for one in answer.explicit_identities or ()]
        assert issued == [identity.client_id for identity in identities]


def test_client_sends_one_request_without_a_token_when_it_makes_several_calls(
    local_azure: LocalAzure, twin: Twin
):
    identity = local_azure.add_identity(CLIENT)
    request = UserAssignedIdentitiesRequest(identity_ids=(identity.resource_id,))
    twin.call(*[("get_user_assigned_identities_credentials", (request,))] * 3)
    assert local_azure.requests.count("data_plane") == 4
    assert {tenant for _, tenant in twin.caller.asked} == {local_azure.tenant_id}


def test_client_renews_one_identity_when_given_its_client_secret_url(local_azure: LocalAzure, twin: Twin):
    identity = local_azure.add_identity(CLIENT)
    (first,) = twin.issue(identity.resource_id).explicit_identities or ()
    (answer,) = twin.call(("get_system_assigned_identity_credentials", ()), url=first.client_secret_url)
    (renewed,) = answer.explicit_identities
    assert renewed.client_id == CLIENT
    assert renewed.client_secret != first.client_secret


@pytest.mark.parametrize("kind", ["sync", "aio"])
def test_client_gets_moves_and_deletes_the_identity_when_it_is_system_assigned(
    make_azure: Callable[..., LocalAzure], kind: str
):
    azure = make_azure()
    twin = Twin(azure, kind)
    azure.add_identity(CLIENT, system_assigned=True)
    target = azure.settings.resource_id.replace("local", "elsewhere")
    before, moved = twin.call(
        ("get_system_assigned_identity_credentials", ()),
        ("move_identity", (MoveIdentityRequest(target_resource_id=target),)),
    )
    assert before.client_id == CLIENT
    assert target in moved.identity_url
    get, delete = ("get_system_assigned_identity_credentials", ()), ("delete_system_assigned_identity", ())
    assert [answer is None for answer in twin.call(get, delete, delete, url=moved.identity_url)] == [0, 1, 1]
    with pytest.raises(IssueError, match="HTTP 404"):
        twin.call(get, url=moved.identity_url)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_client_retries_when_the_service_is_busy(local_azure: LocalAzure, twin: Twin, status: int):
    identity = local_azure.add_identity(CLIENT)
    fault = local_azure.faults.add("data_plane", status=status, retry_after=0.01, times=2)
    assert twin.issue(identity.resource_id).explicit_identities
    assert fault.met == 2


def test_client_names_the_call_and_the_next_step_when_the_service_refuses(
    local_azure: LocalAzure, twin: Twin
):
    with pytest.raises(IssueError) as caught:
        twin.issue("/subscriptions/s/unknown")
    host = local_azure.identity_url.partition("//")[2].partition("/")[0]
    assert str(caught.value).startswith(f"POST {host}/subscriptions/")
    assert "HTTP 404, NotFound: The identity /subscriptions/s/unknown does not exist." in str(caught.value)
    assert "x-ms-identity-url" in str(caught.value)
    assert "arpid" not in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"body": b'{"client_secret": "sentinel'}, "unreadable"),
        ({"body": b'{"client_secret": "sentinel\xff"}'}, "unreadable"),
        ({"body": b'["sentinel"]'}, "unreadable"),
        ({"status": 400, "body": b"sentinel"}, "HTTP 400, but not from the data plane"),
        ({"status": 401, "headers": {"WWW-Authenticate": "Bearer sentinel=, x"}}, "unusable challenge"),
        ({"status": 401, "headers": {"WWW-Authenticate": "Negotiate"}}, "expected a Bearer challenge"),
        ({"status": 401}, "HTTP 401"),
        ({"status": 307, "headers": {"Location": "https://evil.example/sentinel"}}, "HTTP 307, Fault307"),
        ({"drop": True}, "POST 127.0.0.1"),
    ],
)
def test_client_never_shows_the_answer_when_it_cannot_be_used(
    local_azure: LocalAzure, twin: Twin, fault: dict[str, Any], said: str
):
    local_azure.faults.add("data_plane", **fault)
    with pytest.raises(IssueError) as caught:
        twin.issue("/subscriptions/s/any")
    assert said in str(caught.value)
    assert "sentinel" not in str(caught.value)


def test_client_raises_issue_error_when_there_is_no_token(twin: Twin, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: str, **__: Any) -> AccessToken:
        raise ClientAuthenticationError("AADSTS700016: unknown application")

    monkeypatch.setattr(Caller, "get_token", refuse)
    with pytest.raises(IssueError, match="AADSTS700016"):
        twin.issue("/subscriptions/s/any")


def test_client_asks_for_one_token_when_it_is_refused(local_azure: LocalAzure, twin: Twin):
    local_azure.directory.remove_application(CALLER)
    local_azure.faults.add(
        "data_plane", status=401, headers={"WWW-Authenticate": 'Bearer authorization="https://login/tenant"'}
    )
    with pytest.raises(IssueError, match="HTTP 401"):
        twin.issue("/subscriptions/s/any")
    assert len(twin.caller.asked) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1/credentials", "credentials", ""])
def test_factory_raises_when_an_identity_url_is_not_https(local_azure: LocalAzure, twin: Twin, url: str):
    with pytest.raises(InputError, match="identity URL"):
        twin.call(url=url or "ftp://host")
    assert local_azure.requests.count("data_plane") == 0


def test_client_logs_no_secret_when_told_to_log_everything(
    local_azure: LocalAzure, twin: Twin, caplog: pytest.LogCaptureFixture
):
    identity = local_azure.add_identity(CLIENT)
    twin.options["logging_enable"] = True
    with caplog.at_level(logging.DEBUG):
        (issued,) = twin.issue(identity.resource_id).explicit_identities or ()
    assert "credentials?" in caplog.text  # the URL is logged, as in any Azure SDK
    assert issued.client_secret
    assert issued.client_secret[:40] not in caplog.text
    assert "eyJ" not in caplog.text


@pytest.mark.parametrize("hosts", [None, ("identity.azure.net",), ("27.0.0.1",)])
def test_client_sends_nothing_when_the_host_is_not_allowed(local_azure: LocalAzure, twin: Twin, hosts: Any):
    twin.options["hosts"] = hosts
    with pytest.raises(InputError, match=r"its host 127\.0\.0\.1 is not among the allowed hosts") as caught:
        twin.issue("/subscriptions/s/any")
    assert str(caught.value).endswith("add it to the allowed data-plane hosts.")
    assert "arpid" not in str(caught.value)
    assert local_azure.requests.count("data_plane") == 0


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_client_returns_every_field_when_the_answer_is_as_described(
    local_azure: LocalAzure, twin: Twin, data: st.DataObject
):
    described = data.draw(build_strategy(ManagedIdentityCredentials))
    local_azure.faults.clear()
    local_azure.faults.add("data_plane", body=msgspec.json.encode(described))
    answer = twin.issue("/subscriptions/s/any")
    assert msgspec.json.decode(render_model(answer)) == described
