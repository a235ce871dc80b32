"""The local managed-identity data plane: what it issues, and to whom."""

import base64
import math
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from azure.core.rest import HttpRequest, HttpResponse
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key, pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.local.clients import ARM, Clock, bearer, connect, make_key, send

from hcpcreds.local.azure.azure import LocalAzure

VERSION = "api-version=2024-01-01"


def call(
    azure: LocalAzure, method: str, url: str | None = None, *, path: str = "", **options: Any
) -> HttpResponse:
    """Call as a known application, with the api-version added to the URL's own query."""
    parts = urlsplit(url or azure.identity_url)
    target = parts._replace(path=parts.path + path, query=f"{parts.query}&{VERSION}").geturl()
    headers = bearer(azure, azure.settings.data_plane_audience)
    return send(azure, method, target, headers=headers, **options)


def issue(azure: LocalAzure, *resource_ids: str, url: str | None = None) -> list[dict[str, Any]]:
    answer = call(azure, "POST", url, json={"identityIds": list(resource_ids)})
    assert answer.status_code == 200, answer.text()
    found: list[dict[str, Any]] = answer.json()["explicit_identities"]
    return found


def load_certificate(credential: dict[str, Any]) -> x509.Certificate:
    return x509.load_pem_x509_certificate(base64.b64decode(credential["client_secret"]))


def test_data_plane_issues_a_credential_for_each_identity(local_azure: LocalAzure):
    identities = [local_azure.add_identity(str(uuid.uuid4())) for _ in range(3)]
    issued = issue(local_azure, *(identity.resource_id.upper() for identity in identities))
    for identity, credential in zip(identities, issued, strict=True):
        assert credential["client_id"] == identity.client_id
        assert credential["object_id"] == identity.object_id
        assert credential["resource_id"] == identity.resource_id
        assert credential["tenant_id"] == local_azure.tenant_id
        assert credential["authentication_endpoint"] == local_azure.authority
        times = [credential[key] for key in ("not_before", "renew_after", "not_after", "cannot_renew_after")]
        moments = [datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC) for text in times]
        assert moments == sorted(moments)
        assert moments[0] < datetime.now(UTC) < moments[1]


def test_data_plane_issues_a_certificate_for_client_authentication(local_azure: LocalAzure):
    identity = local_azure.add_identity(str(uuid.uuid4()))
    (credential,) = issue(local_azure, identity.resource_id)
    certificate = load_certificate(credential)
    key = load_pem_private_key(base64.b64decode(credential["client_secret"]), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.key_size == 2048
    assert key.public_key() == certificate.public_key()
    assert certificate.subject.rfc4514_string() == f"CN={identity.client_id}"
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert certificate.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert f"{certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}" == credential["not_before"]
    assert f"{certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}" == credential["not_after"]


def test_data_plane_issues_pkcs12_without_a_password_when_it_is_the_secret_format(
    make_azure: Callable[..., LocalAzure],
):
    azure = make_azure(secret_format="pkcs12")
    identity = azure.add_identity("c")
    (credential,) = issue(azure, identity.resource_id)
    key, certificate, _ = pkcs12.load_key_and_certificates(
        base64.b64decode(credential["client_secret"]), None
    )
    assert key is not None
    assert certificate is not None
    assert key.public_key() == certificate.public_key()


def test_data_plane_issues_ever_later_certificates_even_within_one_second(
    make_azure: Callable[..., LocalAzure],
):
    clock = Clock()
    azure = make_azure(now=clock)
    issued = [azure.issue("c", private_key=make_key()) for _ in range(5)]
    assert all(before["not_before"] < after["not_before"] for before, after in pairwise(issued))
    assert all(credential["not_before"] < clock().isoformat() for credential in issued)


def test_data_plane_registers_new_certificates_and_keeps_older_ones_valid(local_azure: LocalAzure):
    identity = local_azure.add_identity(str(uuid.uuid4()))
    for _ in range(2):
        issue(local_azure, identity.resource_id)
    application = local_azure.directory.find_application(identity.client_id)
    assert application is not None
    assert [known.is_known(datetime.now(UTC)) for known in application.certificates.values()] == [True, True]


def test_data_plane_registers_later_when_there_is_a_registration_delay(make_azure: Callable[..., LocalAzure]):
    azure = make_azure(registration_delay=3600)
    identity = azure.add_identity("c")
    issue(azure, identity.resource_id)
    azure.data_plane.registration_delay = math.inf
    issue(azure, identity.resource_id)
    application = azure.directory.find_application("c")
    assert application is not None
    assert [known.is_known(datetime.now(UTC)) for known in application.certificates.values()] == [
        False,
        False,
    ]


def test_data_plane_renews_one_identity_by_its_own_url(local_azure: LocalAzure):
    identity = local_azure.add_identity(str(uuid.uuid4()))
    (first,) = issue(local_azure, identity.resource_id)
    url = first["client_secret_url"]
    (second,) = call(local_azure, "GET", url).json()["explicit_identities"]
    (third,) = issue(local_azure, identity.resource_id, url=url)
    assert first["not_before"] < second["not_before"] < third["not_before"]
    assert len({credential["client_secret"] for credential in (first, second, third)}) == 3
    assert call(local_azure, "POST", url, json={"identityIds": []}).status_code == 400
    assert call(local_azure, "DELETE", url).status_code == 405


def test_data_plane_renews_only_between_renew_after_and_cannot_renew_after(
    make_azure: Callable[..., LocalAzure],
):
    clock = Clock()
    azure = make_azure(now=clock, certificate_lifetime=900, token_lifetime=10_000, renew_early=False)
    identity = azure.add_identity("c")
    (first,) = issue(azure, identity.resource_id)
    url = first["client_secret_url"]

    def renew() -> HttpResponse:
        return call(azure, "GET", url)

    clock.advance(459)
    assert renew().json()["explicit_identities"] == [first]
    (asked,) = issue(azure, identity.resource_id)  # the resource's own URL always issues
    clock.advance(462)
    (renewed,) = renew().json()["explicit_identities"]
    assert renewed["not_before"] > asked["not_before"] > first["not_before"]
    clock.advance(1801)
    assert renew().status_code == 403


def test_data_plane_takes_its_keys_in_turn_when_there_is_a_pool(make_azure: Callable[..., LocalAzure]):
    azure = make_azure(key_pool=2)
    keys = []
    for number in range(3):
        pem = base64.b64decode(azure.issue(str(number))["client_secret"])
        keys.append(x509.load_pem_x509_certificate(pem).public_key())
    assert keys[0] == keys[2] != keys[1]


def test_data_plane_gives_a_resource_its_own_identity(make_azure: Callable[..., LocalAzure]):
    azure = make_azure()
    assert call(azure, "GET").status_code == 404
    azure.add_identity("own", system_assigned=True)
    user_assigned = azure.add_identity("other")
    first = call(azure, "GET").json()
    assert (first["client_id"], first["explicit_identities"]) == ("own", [])
    assert call(azure, "GET", first["client_secret_url"]).json()["client_id"] == "own"
    both = call(azure, "POST", json={"identityIds": [user_assigned.resource_id]}).json()
    assert [both["client_id"], both["explicit_identities"][0]["client_id"]] == ["own", "other"]
    assert [call(azure, "DELETE").status_code for _ in range(2)] == [200, 204]
    assert call(azure, "GET").status_code == 404


def test_data_plane_moves_a_resource(make_azure: Callable[..., LocalAzure]):
    azure = make_azure()
    azure.add_identity("own", system_assigned=True)
    before = azure.identity_url
    target = azure.settings.resource_id.replace("/local/", "/elsewhere/")
    moved = call(azure, "POST", path="/proxy/move", json={"targetResourceId": target}).json()["identityUrl"]
    assert target in moved
    assert call(azure, "GET", moved).json()["client_id"] == "own"
    assert call(azure, "GET", before).status_code == 404
    assert call(azure, "POST", moved, path="/proxy/move", json={"targetResourceId": 1}).status_code == 400


def test_data_plane_takes_the_closing_slash_of_generated_clients(local_azure: LocalAzure):
    identity = local_azure.add_identity(str(uuid.uuid4()))
    answer = call(local_azure, "POST", path="/", json={"identityIds": [identity.resource_id]})
    assert answer.status_code == 200


def test_data_plane_hands_custom_claims_back(local_azure: LocalAzure):
    identity = local_azure.add_identity(str(uuid.uuid4()))
    body = {"identityIds": [identity.resource_id], "customClaims": {"xms_az_tm": "azureinfra"}}
    (credential,) = call(local_azure, "POST", json=body).json()["explicit_identities"]
    assert credential["custom_claims"] == {"xms_az_tm": "azureinfra"}


def test_data_plane_challenges_with_its_tenant_in_capitals(local_azure: LocalAzure):
    answer = send(local_azure, "GET", f"{local_azure.identity_url}&{VERSION}")
    assert answer.status_code == 401
    tenant = local_azure.tenant_id.upper()
    assert answer.headers["WWW-Authenticate"] == f'Bearer authorization="{local_azure.authority}{tenant}"'
    wrong = bearer(local_azure, ARM)
    assert send(local_azure, "GET", f"{local_azure.identity_url}&{VERSION}", headers=wrong).status_code == 401


def test_data_plane_refuses_a_caller_of_another_tenant(make_azure: Callable[..., LocalAzure]):
    azure = make_azure(tenant_ids=(str(uuid.uuid4()), str(uuid.uuid4())))
    azure.add_application("foreigner", tenant_id=azure.settings.tenant_ids[1])
    foreign = bearer(azure, azure.settings.data_plane_audience, client_id="foreigner")
    answer = send(azure, "GET", f"{azure.identity_url}&{VERSION}", headers=foreign)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "Unauthorized")


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda url: url.replace("api-version=2024-01-01", "api-version=2020-01-01"), 400),
        (lambda url: url.replace("arpid=", "arpid=0"), 404),
        (lambda url: url.replace("hcpOpenShiftClusters", "others"), 404),
        (lambda url: url.partition("?")[0] + f"?{VERSION}", 404),
    ],
)
def test_data_plane_refuses_another_url(local_azure: LocalAzure, change: Callable[[str], str], status: int):
    headers = bearer(local_azure, local_azure.settings.data_plane_audience)
    url = change(f"{local_azure.identity_url}&{VERSION}")
    assert send(local_azure, "POST", url, headers=headers, json={"identityIds": []}).status_code == status


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ([], 400),
        ({"identityIds": "text"}, 400),
        ({"identityIds": [7]}, 400),
        ({"customClaims": [7]}, 400),
        ({"delegatedResources": ["x"]}, 400),
        ({"identityIds": ["/subscriptions/unknown"]}, 404),
        ({"identityIds": [""]}, 404),
    ],
)
def test_data_plane_refuses_another_body(local_azure: LocalAzure, body: Any, status: int):
    answer = call(local_azure, "POST", json=body)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"code", "message"}


def test_data_plane_url_names_the_identity_in_its_query(local_azure: LocalAzure):
    issued = local_azure.issue(str(uuid.uuid4()), private_key=make_key())
    query = parse_qs(urlsplit(issued["client_secret_url"]).query)
    assert query["aid"] == [issued["client_id"]]
    assert query["tid"] == [issued["tenant_id"]]


def test_data_plane_lets_others_be_answered_while_it_makes_keys(make_azure: Callable[..., LocalAzure]):
    local_azure = make_azure(key_pool=None)
    identities = [local_azure.add_identity(str(uuid.uuid4())) for _ in range(9)]
    done = threading.Event()

    def issue_all() -> None:
        issue(local_azure, *(identity.resource_id for identity in identities))
        done.set()

    url = f"{local_azure.authority}{local_azure.tenant_id}/discovery/v2.0/keys"
    with connect(local_azure) as client:
        client.send_request(HttpRequest("GET", url))
        worker = threading.Thread(target=issue_all)
        worker.start()
        answered = 0
        while not done.is_set():
            client.send_request(HttpRequest("GET", url))
            answered += 1
        worker.join()
    assert answered > 2 * len(identities)  # were keys made in between, there would be one answer for each
