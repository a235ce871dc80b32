"""The local Entra ID: each thing that it checks, wrong by itself."""

import asyncio
import base64
import json
import math
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CertificateCredential, ClientAssertionCredential
from azure.identity.aio import CertificateCredential as AioCertificateCredential
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.local.clients import (
    ARM,
    VAULT,
    Client,
    Clock,
    digest,
    encode_der,
    make_authority_certificate,
    make_certificate,
    make_key,
    make_leaf_certificate,
    send,
)

from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.local.azure.entra_directory import build_thumbprint

HOUR = timedelta(hours=1)


@pytest.fixture
def client(local_azure: LocalAzure) -> Client:
    return Client(local_azure)


def read_error(client: Client) -> tuple[int, str, list[int]]:
    answer = client.ask()
    body = answer.json()
    assert body["error_description"].startswith(f"AADSTS{body['error_codes'][0]}: ")
    return answer.status_code, body["error"], body["error_codes"]


def test_entra_answers_a_token_that_says_who_asked_and_with_which_certificate(client: Client):
    answer = client.ask().json()
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 3600)
    claims = jwt.decode(answer["access_token"], options={"verify_signature": False})
    assert claims["aud"] == ARM
    assert claims["appid"] == claims["azp"] == client.client_id
    assert claims["oid"] == claims["sub"]
    assert claims["tid"] == client.azure.tenant_id
    assert claims["appidacr"] == "2"
    assert claims["iss"].startswith(client.azure.authority)
    assert claims["hcpcreds_certificate"] == build_thumbprint(client.certificate)
    assert claims["exp"] - claims["iat"] == pytest.approx(3600, abs=1)
    assert "refresh_in" not in answer


def test_entra_publishes_the_key_that_its_tokens_verify_with(client: Client):
    base = f"{client.azure.authority}{client.azure.tenant_id}"
    config = send(client.azure, "GET", f"{base}/v2.0/.well-known/openid-configuration").json()
    assert config["token_endpoint"] == f"{base}/oauth2/v2.0/token"
    jwks = jwt.PyJWKSet.from_dict(send(client.azure, "GET", config["jwks_uri"]).json())
    token = client.ask().json()["access_token"]
    key = jwks[jwt.get_unverified_header(token)["kid"]]
    jwt.decode(token, key, algorithms=["RS256"], audience=ARM, issuer=config["issuer"])


@pytest.mark.parametrize(
    ("algorithm", "headers"),
    [
        ("RS256", lambda certificate: {"x5t": digest(certificate, hashes.SHA1())}),  # noqa: S303 (x5t is SHA-1)
        ("RS256", lambda certificate: {"x5t#S256": digest(certificate)}),
        ("PS256", lambda certificate: {"x5t#S256": digest(certificate), "x5c": [encode_der(certificate)]}),
    ],
)
def test_entra_takes_an_assertion_as_any_msal_makes_it(
    client: Client, algorithm: str, headers: Callable[[Any], dict[str, Any]]
):
    client.algorithm, client.headers = algorithm, headers(client.certificate)
    assert client.ask().status_code == 200


Change = Callable[[Client], object]


@pytest.mark.parametrize("added", ["openid offline_access profile", "openid", "profile email"])
def test_entra_takes_openid_scopes_beside_that_of_the_resource_as_go_sends_them(client: Client, added: str):
    client.form["scope"] = f"{ARM}/.default {added}"
    assert jwt.decode(client.ask().json()["access_token"], options={"verify_signature": False})["aud"] == ARM


def set_claims(**claims: Any) -> Change:
    return lambda client: client.claims.update(claims)


def set_times(**seconds: int) -> Change:
    """Set times of the assertion, in seconds from when the test runs: collecting may be minutes ago."""
    return lambda client: client.claims.update(
        {name: client.claims["iat"] + after for name, after in seconds.items()}
    )


def set_form(**form: str) -> Change:
    return lambda client: client.form.update(form)


def set_headers(**headers: Any) -> Change:
    return lambda client: client.headers.update(headers)


def sign_with(*, number: int) -> Change:
    return lambda client: setattr(client, "key", make_key(number))


def send_chain(*numbers: int) -> Change:
    def change(client: Client) -> None:
        others = [encode_der(make_certificate(number=number)) for number in numbers]
        client.headers["x5c"] = [encode_der(client.certificate), *others]

    return change


def use_certificate(**validity: Any) -> Change:
    def change(client: Client) -> None:
        certificate = make_certificate(client.client_id, **validity)
        client.azure.directory.register(client.client_id, certificate)
        client.headers["x5t#S256"] = digest(certificate)

    return change


def use_elliptic_key(client: Client) -> None:
    client.key, client.algorithm = ec.generate_private_key(ec.SECP256R1()), "ES256"  # type: ignore[assignment]


WRONG: list[tuple[str, Change, tuple[int, str, int]]] = [
    ("grant_type missing", set_form(grant_type=""), (400, "invalid_request", 900144)),
    ("client_id missing", set_form(client_id=""), (400, "invalid_request", 900144)),
    ("scope missing", set_form(scope=""), (400, "invalid_request", 900144)),
    ("assertion type missing", set_form(client_assertion_type=""), (400, "invalid_request", 900144)),
    ("assertion type", set_form(client_assertion_type="jwt"), (400, "invalid_request", 90011)),
    ("assertion missing", set_form(client_assertion=""), (401, "invalid_client", 7000218)),
    (
        "secret instead",
        set_form(client_assertion="", client_secret="s"),
        (401, "invalid_client", 7000215),
    ),
    ("assertion no JWT", set_form(client_assertion="a.b.c"), (400, "invalid_request", 50027)),
    ("grant type", set_form(grant_type="password"), (400, "unsupported_grant_type", 70003)),
    ("client unknown", set_form(client_id=str(uuid.uuid4())), (400, "unauthorized_client", 700016)),
    (
        "tenant unknown",
        lambda client: setattr(client, "tenant", str(uuid.uuid4())),
        (400, "invalid_tenant", 90002),
    ),
    ("two scopes", set_form(scope=f"{ARM}/.default {VAULT}/.default"), (400, "invalid_scope", 70011)),
    ("openid scopes alone", set_form(scope="openid offline_access"), (400, "invalid_scope", 70011)),
    ("scope not .default", set_form(scope=f"{ARM}/user"), (400, "invalid_scope", 1002012)),
    (
        "audience unknown",
        set_form(scope="https://example.org/.default"),
        (400, "invalid_resource", 500011),
    ),
    ("claims no JSON", set_form(claims="{"), (400, "invalid_request", 90004)),
    ("claims no object", set_form(claims="[]"), (400, "invalid_request", 90004)),
    ("algorithm", use_elliptic_key, (400, "invalid_request", 5002730)),
    (
        "no thumbprint",
        lambda client: client.headers.clear(),
        (400, "invalid_request", 50027),
    ),
    ("thumbprint no text", set_headers(**{"x5t#S256": 7}), (400, "invalid_request", 50027)),
    (
        "thumbprint not base64url",
        lambda client: client.headers.update({"x5t#S256": client.headers["x5t#S256"] + "!"}),
        (400, "invalid_request", 50027),
    ),
    (
        "certificate not registered",
        set_headers(**{"x5t#S256": digest(make_certificate(number=1))}),
        (401, "invalid_client", 700027),
    ),
    (
        "certificate expired",
        use_certificate(not_before=datetime.now(UTC) - 2 * HOUR, not_after=datetime.now(UTC) - HOUR),
        (401, "invalid_client", 700027),
    ),
    (
        "certificate not yet valid",
        use_certificate(not_before=datetime.now(UTC) + HOUR, not_after=datetime.now(UTC) + 2 * HOUR),
        (401, "invalid_client", 700027),
    ),
    ("signed by another key", sign_with(number=1), (401, "invalid_client", 700027)),
    ("x5c no list", set_headers(x5c="text"), (401, "invalid_client", 50012)),
    ("x5c no certificate", set_headers(x5c=["text"]), (401, "invalid_client", 50012)),
    ("x5c empty", set_headers(x5c=[]), (401, "invalid_client", 50012)),
    (
        "x5c of another",
        set_headers(x5c=[encode_der(make_certificate(number=1))]),
        (401, "invalid_client", 50012),
    ),
    ("x5c broken link", send_chain(1), (401, "invalid_client", 50012)),
    ("aud another", set_claims(aud="https://example.org/"), (401, "invalid_client", 700023)),
    ("aud missing", set_claims(aud=None), (401, "invalid_client", 700023)),
    ("iss and sub another", set_claims(iss="a", sub="a"), (401, "invalid_client", 700021)),
    ("sub not iss", set_claims(sub="a"), (401, "invalid_client", 50048)),
    ("iss not sub", set_claims(iss="a"), (401, "invalid_client", 50048)),
    ("expired", set_times(iat=-700, nbf=-700, exp=-100), (401, "invalid_client", 700024)),
    ("lives too long", set_times(exp=7200), (401, "invalid_client", 700024)),
    ("nbf ahead", set_times(nbf=500), (401, "invalid_client", 700024)),
    ("iat ahead", set_times(iat=500), (401, "invalid_client", 700024)),
    ("exp out of range", set_claims(exp=10**18), (401, "invalid_client", 700024)),
    ("exp missing", set_claims(exp=None), (400, "invalid_request", 50027)),
    ("exp no number", set_claims(exp="soon"), (400, "invalid_request", 50027)),
    ("exp infinite", set_claims(exp=math.inf), (400, "invalid_request", 50027)),
    ("nbf not a number", set_claims(nbf=math.nan), (400, "invalid_request", 50027)),
    ("jti missing", set_claims(jti=None), (400, "invalid_request", 50027)),
    ("jti no text", set_claims(jti={}), (400, "invalid_request", 50027)),
]


@pytest.mark.parametrize(("change", "expected"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_entra_refuses_with_its_own_code_when_one_thing_is_wrong(
    client: Client, change: Change, expected: tuple[int, str, int]
):
    change(client)
    status, error, code = expected
    assert read_error(client) == (status, error, [code])


def test_entra_refuses_a_client_in_a_tenant_that_is_not_its_own(make_azure: Callable[..., LocalAzure]):
    azure = make_azure(tenant_ids=(str(uuid.uuid4()), str(uuid.uuid4())))
    client = Client(azure)
    client.tenant = azure.settings.tenant_ids[1]
    assert read_error(client) == (400, "unauthorized_client", [700016])


def test_entra_refuses_a_form_that_is_not_text(local_azure: LocalAzure):
    url = f"{local_azure.authority}{local_azure.tenant_id}/oauth2/v2.0/token"
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=nonsense"}
    answer = send(local_azure, "POST", url, headers=headers, content=b"client_id=x")
    assert (answer.status_code, answer.json()["error_codes"]) == (400, [90004])


def test_entra_refuses_an_assertion_that_it_has_seen(make_azure: Callable[..., LocalAzure]):
    client = Client(make_azure())
    assert client.ask().status_code == 200
    assert read_error(client) == (400, "invalid_request", [50027])
    client.claims["jti"] = str(uuid.uuid4())
    assert client.ask().status_code == 200


def test_entra_has_not_seen_an_assertion_whose_request_failed(make_azure: Callable[..., LocalAzure]):
    client = Client(make_azure())
    client.azure.faults.add("entra", status=500, times=1)
    assert [client.ask().status_code for _ in range(2)] == [500, 200]


def test_entra_takes_a_chain_whose_links_hold(client: Client):
    root = make_authority_certificate(number=1)
    leaf = make_leaf_certificate(root, number=1)
    client.azure.directory.register(client.client_id, leaf)
    client.headers = {"x5t#S256": digest(leaf), "x5c": [encode_der(leaf), encode_der(root)]}
    assert client.ask().status_code == 200
    impostor = make_authority_certificate(number=2)
    client.headers["x5c"] = [encode_der(leaf), encode_der(impostor)]
    assert read_error(client) == (401, "invalid_client", [50012])


def test_entra_explains_an_error_with_ids_and_a_time(client: Client):
    client.form["scope"] = "x"
    body = client.ask().json()
    assert uuid.UUID(body["trace_id"]) != uuid.UUID(body["correlation_id"])
    datetime.strptime(body["timestamp"], "%Y-%m-%d %H:%M:%SZ").replace(tzinfo=UTC)
    assert body["error_uri"].endswith("code=1002012")


def test_entra_knows_a_certificate_only_after_its_registration_delay(make_azure: Callable[..., LocalAzure]):
    clock = Clock()
    client = Client(make_azure(now=clock))
    client.claims |= dict.fromkeys(("iat", "nbf"))
    client.claims["exp"] = clock().timestamp() + 600
    certificate = make_certificate(
        client.client_id, number=2, not_before=clock() - HOUR, not_after=clock() + HOUR
    )
    client.key = make_key(2)
    client.headers["x5t#S256"] = digest(certificate)
    client.azure.directory.register(client.client_id, certificate, delay=30)
    assert read_error(client)[2] == [700027]
    clock.advance(31)
    assert client.ask().status_code == 200


def test_entra_knows_a_certificate_registered_by_hand_until_it_is_unregistered(
    make_azure: Callable[..., LocalAzure],
):
    azure = make_azure(refuse_replayed_assertions=False)
    client = Client(azure)
    azure.directory.unregister(build_thumbprint(client.certificate))
    azure.directory.register(client.client_id, client.certificate, delay=math.inf)
    assert read_error(client)[2] == [700027]
    azure.directory.register(client.client_id, client.certificate)
    assert client.ask().status_code == 200
    azure.directory.unregister(build_thumbprint(client.certificate).upper())
    assert read_error(client)[2] == [700027]


def test_entra_echoes_client_capabilities_and_proposes_a_refresh(make_azure: Callable[..., LocalAzure]):
    client = Client(make_azure(token_lifetime=2.5, refresh_in=1))
    wanted = {"xms_cc": {"values": ["CP1"]}, "nbf": {"essential": True, "value": "1700000000"}}
    client.form["claims"] = json.dumps({"access_token": wanted})
    answer = client.ask().json()
    assert (answer["expires_in"], answer["refresh_in"]) == (2, 1)
    claims = jwt.decode(answer["access_token"], options={"verify_signature": False, "verify_exp": False})
    assert claims["xms_cc"] == ["CP1"]
    assert claims["hcpcreds_claims"] == wanted
    assert claims["exp"] - time.time() <= 2.5


def test_entra_describes_only_its_own_instance(local_azure: LocalAzure):
    url = f"{local_azure.authority}common/discovery/instance"
    endpoint = f"{local_azure.authority}{local_azure.tenant_id}/oauth2/v2.0/authorize"
    found = send(local_azure, "GET", url, params={"authorization_endpoint": endpoint}).json()
    assert send(local_azure, "GET", found["tenant_discovery_endpoint"]).status_code == 200
    other = "https://login.microsoftonline.com/common/oauth2/v2.0/authorize"
    answer = send(local_azure, "GET", url, params={"authorization_endpoint": other})
    assert answer.json()["error"] == "invalid_instance"


def test_entra_refuses_to_describe_an_unknown_tenant(local_azure: LocalAzure):
    url = f"{local_azure.authority}{uuid.uuid4()}/v2.0/.well-known/openid-configuration"
    assert send(local_azure, "GET", url).json()["error"] == "invalid_tenant"


@pytest.mark.parametrize("secret_format", ["pem", "pkcs12"])
@pytest.mark.parametrize("send_chain", [True, False])
def test_certificate_credential_of_the_azure_sdk_gets_a_token(
    local_azure: LocalAzure, secret_format: str, *, send_chain: bool
):
    issued = local_azure.issue(str(uuid.uuid4()), private_key=make_key(), secret_format=secret_format)  # type: ignore[arg-type]
    options: dict[str, Any] = {
        "authority": issued["authentication_endpoint"],
        "certificate_data": base64.b64decode(issued["client_secret"]),
        "disable_instance_discovery": True,
        "connection_verify": str(local_azure.ca_file),
        "send_certificate_chain": send_chain,
    }
    with CertificateCredential(issued["tenant_id"], issued["client_id"], **options) as credential:
        assert credential.get_token(f"{ARM}/.default").token
        assert credential.get_token_info(f"{VAULT}/.default", options={"enable_cae": True}).token

    async def ask() -> str:
        async with AioCertificateCredential(issued["tenant_id"], issued["client_id"], **options) as aio:
            return (await aio.get_token(f"{ARM}/.default")).token

    assert asyncio.run(ask())


def test_client_assertion_credential_of_the_azure_sdk_gets_the_reason_when_it_is_refused(client: Client):
    client.claims["aud"] = "https://example.org"
    options: dict[str, Any] = {
        "authority": client.azure.authority,
        "disable_instance_discovery": True,
        "connection_verify": str(client.azure.ca_file),
    }

    def sign() -> str:
        return jwt.encode(client.claims, client.key, algorithm="PS256", headers=client.headers)

    with (
        ClientAssertionCredential(client.azure.tenant_id, client.client_id, sign, **options) as credential,
        pytest.raises(ClientAuthenticationError, match="AADSTS700023"),
    ):
        credential.get_token(f"{ARM}/.default")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(assertion=st.text(max_size=80) | st.binary(max_size=60).map(lambda raw: f"e30.{raw.hex()}.e30"))
def test_entra_refuses_any_text_that_is_not_an_assertion(local_azure: LocalAzure, assertion: str):
    client = Client(local_azure)
    client.form["client_assertion"] = assertion
    assert client.ask().status_code in (400, 401)
