"""What goes wrong on purpose in the local Azure, and its counts."""

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest
from azure.core import PipelineClient
from azure.core.exceptions import ServiceRequestError, ServiceResponseError
from azure.core.rest import HttpRequest, HttpResponse
from cryptography.hazmat.primitives import hashes
from tests.local.clients import ARM, VAULT, Client, bearer, connect, digest, send
from tests.support.waiting import wait_until

from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.local.azure.entra_directory import build_thumbprint
from hcpcreds.local.azure.faults import SeenRequest

NAMES = ["entra", "vault", "data_plane", "resource_manager", "instance_metadata"]


def list_groups(azure: LocalAzure, **options: Any) -> HttpResponse:
    url = f"{azure.resource_manager}/subscriptions/s/resourcegroups?api-version=2021-04-01"
    return send(azure, "GET", url, headers=bearer(azure, ARM), **options)


def ask_any(azure: LocalAzure, service: str) -> HttpResponse:
    base = {
        "entra": f"{azure.authority}common/discovery/instance",
        "vault": azure.vault_url(),
        "data_plane": azure.identity_url,
        "resource_manager": azure.resource_manager,
        "instance_metadata": azure.instance_metadata,
    }[service]
    return send(azure, "GET", base)


@pytest.mark.parametrize("service", NAMES)
def test_every_service_says_that_it_is_for_development(local_azure: LocalAzure, service: str):
    assert ask_any(local_azure, service).headers["x-ms-hcpcreds-local"] == "for development and tests only"


@pytest.mark.parametrize("service", NAMES)
def test_fault_answers_with_its_status_and_retry_after_so_many_times(local_azure: LocalAzure, service: str):
    fault = local_azure.faults.add(service, status=503, retry_after=1.5, times=2)
    answers = [ask_any(local_azure, service) for _ in range(3)]
    assert [answer.status_code == 503 for answer in answers] == [True, True, False]
    assert answers[0].headers["Retry-After"] == "1.5"
    assert "error" in answers[0].json()
    assert fault.met == 2


def test_fault_applies_only_to_matching_requests(local_azure: LocalAzure):
    local_azure.faults.add("resource_manager", match="/elsewhere", status=500)
    local_azure.faults.add("resource_manager", method="POST", status=500)
    local_azure.faults.add("vault", status=500)
    assert list_groups(local_azure).status_code == 200


def test_fault_answers_garbage(local_azure: LocalAzure):
    local_azure.faults.add("resource_manager", body=b"\xff garbage", headers={"X-More": "yes"})
    answer = list_groups(local_azure)
    assert (answer.status_code, answer.content, answer.headers["X-More"]) == (200, b"\xff garbage", "yes")


def test_fault_delays_an_answer_and_then_gives_it(local_azure: LocalAzure):
    local_azure.faults.add("resource_manager", delay=0.3)
    began = time.monotonic()
    assert list_groups(local_azure).status_code == 200
    assert time.monotonic() - began >= 0.3


def test_fault_hangs_until_the_client_gives_up(local_azure: LocalAzure):
    local_azure.faults.add("resource_manager", hang=True, times=1)
    with pytest.raises(ServiceResponseError):
        list_groups(local_azure, read_timeout=0.2)
    assert list_groups(local_azure).status_code == 200


def test_fault_drops_the_connection(local_azure: LocalAzure):
    local_azure.faults.add("resource_manager", drop=True, times=1)
    with pytest.raises((ServiceResponseError, ServiceRequestError)):
        list_groups(local_azure)
    assert list_groups(local_azure).status_code == 200


@pytest.mark.parametrize("withheld", [{"drop": True}, {"status": 500}])
def test_fault_after_withholds_the_response_of_a_handled_request(
    local_azure: LocalAzure, withheld: dict[str, Any]
):
    url = f"{local_azure.vault_url()}/secrets/after-{uuid.uuid4()}?api-version=7.6"
    headers = bearer(local_azure, VAULT)
    local_azure.faults.add("vault", method="PUT", when="after", times=1, **withheld)
    try:
        assert send(local_azure, "PUT", url, json={"value": "v"}, headers=headers).status_code == 500
    except (ServiceResponseError, ServiceRequestError):
        assert "drop" in withheld
    assert send(local_azure, "GET", url, headers=headers).json()["value"] == "v"


def test_fault_after_with_only_a_delay_does_it_once(local_azure: LocalAzure):
    name = f"once-{uuid.uuid4()}"
    headers = bearer(local_azure, VAULT)
    local_azure.faults.add("vault", method="PUT", when="after", delay=0.01)
    url = f"{local_azure.vault_url()}/secrets/{name}"
    assert (
        send(local_azure, "PUT", f"{url}?api-version=7.6", json={"value": "v"}, headers=headers).status_code
        == 200
    )
    versions = send(local_azure, "GET", f"{url}/versions?api-version=7.6", headers=headers).json()
    assert len(versions["value"]) == 1


def test_limit_lets_so_many_through_in_a_span(local_azure: LocalAzure):
    limit = local_azure.faults.limit("resource_manager", requests=3, seconds=0.5)
    answers = [list_groups(local_azure) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert limit.refused == 2
    assert answers[-1].headers["Retry-After"] == "1"
    deadline = time.monotonic() + 5
    while list_groups(local_azure).status_code == 429:
        assert time.monotonic() < deadline


def test_latency_makes_requests_longer_but_not_wait_for_each_other(local_azure: LocalAzure):
    local_azure.faults.latency("resource_manager", 0.3)
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: list_groups(local_azure), range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert 0.3 <= time.monotonic() - began < 1.5


def test_clear_ends_every_fault_latency_and_limit(local_azure: LocalAzure):
    local_azure.faults.add("resource_manager", status=500)
    local_azure.faults.latency("resource_manager", 5)
    local_azure.faults.limit("resource_manager", requests=1, seconds=60)
    local_azure.faults.clear()
    assert [list_groups(local_azure).status_code for _ in range(2)] == [200, 200]


def test_requests_are_counted_by_service_method_and_path(local_azure: LocalAzure):
    list_groups(local_azure)
    send(local_azure, "GET", f"{local_azure.vault_url()}/secrets/a?api-version=7.6")
    send(local_azure, "PUT", f"{local_azure.vault_url()}/secrets/b?api-version=7.6")
    assert local_azure.requests.count("resource_manager") == 1
    assert local_azure.requests.count("vault") == 2
    assert local_azure.requests.count("vault", match="/secrets/b") == 1
    assert local_azure.requests.count("vault", method="GET") == 1
    local_azure.requests.clear()
    assert local_azure.requests.count("vault") == 0


def test_vault_answers_many_requests_a_second_over_one_connection(local_azure: LocalAzure):
    url = f"{local_azure.vault_url()}/secrets/fast?api-version=7.6"
    headers = bearer(local_azure, VAULT)
    send(local_azure, "PUT", url, json={"value": "v"}, headers=headers)

    def get_many(client: "PipelineClient[HttpRequest, HttpResponse]") -> float:
        began = time.monotonic()
        for _ in range(20):
            assert client.send_request(HttpRequest("GET", url, headers=headers)).status_code == 200
        return 20 / (time.monotonic() - began)

    with connect(local_azure) as client:
        # Alone on one core it is about 3000; here client and other tests share the machine, so it has tries.
        assert any(get_many(client) > 100 for _ in range(20))


def test_observer_sees_which_certificate_is_behind_a_token_and_a_call(local_azure: LocalAzure):
    client, seen = Client(local_azure), list[SeenRequest]()
    thumbprint = build_thumbprint(client.certificate)
    url = f"{local_azure.resource_manager}/subscriptions/s/resourcegroups?api-version=2021-04-01"
    local_azure.requests.observer = seen.append
    try:
        token = client.ask().json()["access_token"]
        for each in (token, "nonsense"):
            send(local_azure, "GET", url, headers={"Authorization": f"Bearer {each}"})
        client.headers = {"x5t": digest(client.certificate, hashes.SHA1())}  # noqa: S303 (the older name)
        local_azure.faults.add("entra", match="/token", status=503)
        client.ask()
        client.headers = {}
        client.ask()
        ask_any(local_azure, "entra")
        ask_any(local_azure, "vault")
    finally:
        local_azure.requests.observer = None
    assert [(each.service, each.status, each.certificate) for each in seen] == [
        ("entra", 200, thumbprint),
        ("resource_manager", 200, thumbprint),
        ("resource_manager", 401, None),
        ("entra", 503, thumbprint),
        ("entra", 503, None),
    ]
    assert [bool(each.error) for each in seen] == [False, False, True, True, True]
    assert all(before.at <= after.at for before, after in pairwise(seen))


def test_observer_sees_a_request_that_got_no_answer(local_azure: LocalAzure):
    client, seen = Client(local_azure), list[SeenRequest]()
    local_azure.requests.observer = seen.append
    local_azure.faults.add("entra", match="/token", drop=True)
    try:
        with pytest.raises(ServiceResponseError):
            client.ask()
        wait_until(lambda: seen, seconds=10)
    finally:
        local_azure.requests.observer = None
    assert (seen[0].status, seen[0].certificate) == (0, build_thumbprint(client.certificate))
