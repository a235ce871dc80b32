"""Whoever may write one secret must not get the key of another identity."""

import asyncio
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.local.clients import make_key
from tests.renewal.renewals import DAY, HOUR, Renewals, get_outcome, list_results, render_time

from hcpcreds.renewal.outcomes import Result, Walk
from hcpcreds.renewal.possession import choose_authority, choose_scope
from hcpcreds.vault.naming import render_identifier


class Secret:
    """A secret that somebody may fill with anything, and walks over it."""

    def __init__(self, renewals: Renewals) -> None:
        self.renewals = renewals
        self.azure = renewals.azure
        self.victim: dict[str, Any] = self.issue(str(uuid.uuid4()))
        self.own: dict[str, Any] = self.issue(str(uuid.uuid4()), private_key=make_key(1))

    def issue(self, client_id: str, **options: Any) -> dict[str, Any]:
        now = self.renewals.now()
        options = {"private_key": make_key(), **options}
        issued: dict[str, Any] = self.azure.issue(
            client_id, **{"not_before": now - 50 * DAY, "not_after": now + 40 * DAY, **options}
        )
        return {**issued, "renew_after": render_time(now - HOUR)}

    def walk(self, name: str, credential: dict[str, Any], **options: Any) -> Walk:
        """Store a credential, and walk."""
        self.renewals.client_ids[name] = credential.get("client_id", "")
        tags = {"renew_after": render_time(self.renewals.now() - HOUR), "cannot_renew_after": "soon"}
        self.renewals.write(name, credential, tags=tags)
        self.azure.requests.clear()
        return self.renewals.walk(attempts=2, **options)

    def check_refused(self, walk: Walk, name: str, *reasons: str, asked_entra: int = 0) -> None:
        """Check that no renewal was requested, and that the secret is unchanged."""
        outcome = get_outcome(walk, name)
        assert outcome.result is Result.FAILED
        for reason in reasons:
            assert reason in (outcome.reason or "")
        assert "a new credential issued" in (outcome.reason or "")
        assert self.azure.requests.count("data_plane", match="aid=") == 0
        assert self.azure.requests.count("entra") == asked_entra
        held = self.renewals.look(name)
        assert held is not None
        assert len(held.versions) == 1


@pytest.fixture
def secret(renewals: Renewals) -> Secret:
    return Secret(renewals)


@pytest.mark.parametrize(
    "name", ["a-cert", "uamsi-somebody", "msi-somebody", f"uamsi-{render_identifier('somebody')}"]
)
def test_renewal_is_refused_when_the_value_only_names_an_identity(secret: Secret, name: str):
    value = {key: secret.victim[key] for key in ("client_id", "client_secret_url")}
    secret.check_refused(secret.walk(name, value), name, "client_secret: missing", "tenant_id: missing")


@pytest.mark.parametrize("claims", [None, {"xms_az_tm": "user"}])
@pytest.mark.parametrize("name", ["a-cert", "uamsi-some-body", "msi-some-body"])
def test_renewal_is_refused_when_the_key_belongs_to_another_identity(secret: Secret, name: str, claims: Any):
    kept = ("client_id", "tenant_id", "client_secret_url", "resource_id")
    value = {**secret.own, **{key: secret.victim[key] for key in kept}, "custom_claims": claims}
    del value["object_id"]
    walk = secret.walk(name, value)
    secret.check_refused(
        walk, name, "AADSTS700027", "no proof that the key belongs to the identity", asked_entra=1
    )


def test_renewal_is_refused_when_the_authority_does_not_know_the_identity(secret: Secret):
    secret.azure.directory.remove_application(secret.victim["client_id"])
    secret.check_refused(secret.walk("a-cert", secret.victim), "a-cert", "AADSTS700016", asked_entra=1)


@pytest.mark.parametrize("field", ["authentication_endpoint", "client_id", "tenant_id", "client_secret"])
def test_renewal_is_refused_when_a_field_that_pods_need_is_missing(secret: Secret, field: str):
    value = {name: text for name, text in secret.victim.items() if name != field}
    secret.check_refused(secret.walk("a-cert", value), "a-cert", f"{field}: missing")


def test_renewal_is_refused_when_there_is_no_client_secret_url(secret: Secret):
    value = {**secret.victim, "client_secret_url": ""}
    secret.check_refused(secret.walk("a-cert", value), "a-cert", "no client_secret_url")


@pytest.mark.parametrize("prefix", ["uamsi", "msi", "UAMSI"])
@pytest.mark.parametrize("object_id", [None, "", "11111111-2222-3333-4444-555555555555"])
def test_renewal_is_refused_when_the_secret_is_named_after_another_object(
    secret: Secret, prefix: str, object_id: str | None
):
    name = f"{prefix}-{render_identifier('another' if object_id else '')}"
    value = {**secret.victim, **({} if object_id is None else {"object_id": object_id})}
    secret.check_refused(
        secret.walk(name, value), name, "object_id: the secret is named after another object id"
    )


@pytest.mark.parametrize(
    ("name", "field"), [("a-cert", "object_id"), ("msi-a-cluster", "custom_claims"), ("UAMSI-a-b", None)]
)
def test_credential_is_renewed_under_any_name_when_its_key_belongs_to_the_identity(
    secret: Secret, name: str, field: str | None
):
    value = {key: text for key, text in secret.victim.items() if key != field}
    assert list_results(secret.walk(name, value)) == {name: Result.RENEWED}
    assert secret.azure.requests.count("entra") == 1


def test_credential_is_renewed_when_its_name_is_in_capitals(secret: Secret):
    name = f"UAMSI-{render_identifier(secret.victim['object_id']).upper()}"
    assert list_results(secret.walk(name, secret.victim)) == {name: Result.RENEWED}


@pytest.mark.parametrize(
    "authority",
    ["https://evil.example/", "https://127.0.0.1:1/", "https://login.microsoftonline.com.evil.example"],
)
def test_renewal_is_refused_when_only_the_value_names_the_authority(secret: Secret, authority: str):
    value = {**secret.victim, "authentication_endpoint": authority}
    secret.check_refused(secret.walk("a-cert", value), "a-cert", "authentication_endpoint: ")


def test_expired_credential_is_renewed_when_the_secret_is_named_after_its_object(
    make_renewals: Callable[..., Renewals],
):
    clock = [datetime(2026, 1, 1, tzinfo=UTC)]
    secret = Secret(make_renewals(now=lambda: clock[0]))
    fits = f"uamsi-{render_identifier(secret.victim['object_id'])}"
    clock[0] += 41 * DAY
    assert list_results(secret.walk(fits, secret.victim)) == {fits: Result.RENEWED}
    assert secret.azure.requests.count("entra") == 0


@pytest.mark.parametrize("name", ["a-cert", "uamsi-some-body"])
def test_renewal_is_refused_when_the_certificate_has_expired_under_another_name(
    make_renewals: Callable[..., Renewals], name: str
):
    clock = [datetime(2026, 1, 1, tzinfo=UTC)]
    secret = Secret(make_renewals(now=lambda: clock[0]))
    clock[0] += 41 * DAY
    secret.check_refused(secret.walk(name, secret.victim), name, "client_secret: the certificate has expired")


def test_expired_credential_gets_no_other_identitys_key_when_it_is_named_after_its_writer(
    make_renewals: Callable[..., Renewals],
):
    clock = [datetime(2026, 1, 1, tzinfo=UTC)]
    secret = Secret(make_renewals(now=lambda: clock[0]))
    clock[0] += 41 * DAY
    name = f"uamsi-{render_identifier(secret.own['object_id'])}"
    value = {**secret.victim, "object_id": secret.own["object_id"]}
    walk = secret.walk(name, value)
    assert list_results(walk) == {name: Result.FAILED}
    assert "object_id: expected" in (get_outcome(walk, name).reason or "")
    held = secret.renewals.look(name)
    assert held is not None
    assert len(held.versions) == 1


@pytest.mark.parametrize("field", ["tenant_id", "object_id", "resource_id"])
def test_answer_is_not_stored_when_it_does_not_name_its_identity(secret: Secret, field: str):
    fresh = secret.azure.issue(secret.victim["client_id"], private_key=make_key(2))
    del fresh[field]
    secret.renewals.client_ids["a-cert"] = secret.victim["client_id"]
    secret.renewals.answer("a-cert", fresh)
    walk = secret.walk("a-cert", secret.victim)
    assert list_results(walk) == {"a-cert": Result.FAILED}
    assert f"{field}: expected" in (get_outcome(walk, "a-cert").reason or "")


@pytest.mark.parametrize(
    "field", ["authentication_endpoint", "client_secret_url", "mtls_authentication_endpoint"]
)
def test_answer_is_not_stored_when_its_urls_lead_elsewhere(secret: Secret, field: str):
    fresh = {
        **secret.azure.issue(secret.victim["client_id"], private_key=make_key(2)),
        field: "https://evil.example/x",
    }
    secret.renewals.client_ids["a-cert"] = secret.victim["client_id"]
    secret.renewals.answer("a-cert", fresh)
    walk = secret.walk("a-cert", secret.victim)
    assert list_results(walk) == {"a-cert": Result.FAILED}
    assert f"{field}: evil.example is neither" in (get_outcome(walk, "a-cert").reason or "")


@pytest.mark.parametrize("field", ["client_id", "tenant_id", "object_id", "resource_id"])
def test_key_is_not_shown_when_it_is_in_the_place_of_an_id(secret: Secret, field: str):
    value = {**secret.victim, field: secret.victim["client_secret"]}
    reason = get_outcome(secret.walk("a-cert", value), "a-cert").reason or ""
    assert field in reason
    assert len(reason) < 1000
    assert secret.victim["client_secret"][200:240] not in reason


@pytest.mark.parametrize(
    "fault", [{"status": 500}, {"drop": True}, {"status": 429, "retry_after": 0.1}, {"body": b"null"}]
)
def test_proof_is_retried_when_the_authority_fails_once(
    make_renewals: Callable[..., Renewals], fault: dict[str, Any]
):
    secret = Secret(make_renewals(refuse_replayed_assertions=True))
    secret.azure.faults.add("entra", times=1, **fault)
    assert list_results(secret.walk("a-cert", secret.victim)) == {"a-cert": Result.RENEWED}
    assert secret.azure.requests.count("entra") == 2


def test_renewal_fails_with_the_reason_when_the_authority_is_down(secret: Secret):
    secret.azure.faults.add("entra", status=500)
    walk = secret.walk("a-cert", secret.victim)
    assert list_results(walk) == {"a-cert": Result.FAILED}
    assert "500" in (get_outcome(walk, "a-cert").reason or "")
    assert secret.azure.requests.count("data_plane", match="aid=") == 0


def test_renewal_is_refused_when_the_secret_has_too_many_tags(renewals: Renewals):
    name = renewals.add(tags={f"tag-{number}": "a" for number in range(13)})
    assert list_results(renewals.walk()) == {name: Result.RENEWED}
    full = renewals.add("uamsi-full-house")
    renewals.vault.update_secret_properties(full, tags={f"tag-{number}": "a" for number in range(14)})
    renewals.azure.requests.clear()
    walk = renewals.walk()
    assert list_results(walk) == {full: Result.FAILED}
    reason = get_outcome(walk, full).reason or ""
    assert "14 tags" in reason
    assert "Remove 1 of them" in reason
    assert renewals.azure.requests.count("data_plane", match="aid=") == 0


def test_failure_says_to_remove_the_tags_when_the_secret_is_not_a_credential(renewals: Renewals):
    good = renewals.add()
    tags = {"renew_after": "2026-01-01T00:00:00Z", "cannot_renew_after": "2027-01-01T00:00:00Z"}
    renewals.vault.set_secret("a-password", "hunter2", tags=tags)
    walk = renewals.walk()
    assert list_results(walk) == {good: Result.RENEWED, "a-password": Result.FAILED}
    reason = get_outcome(walk, "a-password").reason or ""
    assert "remove its tags renew_after and cannot_renew_after" in reason
    assert "hunter2" not in reason


@pytest.mark.parametrize(
    ("named", "own", "asked"),
    [
        ("https://login.microsoftonline.com/", (), "https://login.microsoftonline.com"),
        ("https://westus2.login.microsoft.com/a/path", (), "https://westus2.login.microsoft.com"),
        ("https://login.microsoftonline.us", (), "https://login.microsoftonline.us"),
        ("https://evil.example/", (), None),
        ("https://login.microsoftonline.com.evil.example/", (), None),
        ("https://evil.example/login.microsoftonline.com", (), None),
        ("https://own.example:8443/x", ["https://OWN.example:8443/adfs/"], "https://OWN.example:8443/adfs"),
        ("https://own.example:8444/", ["https://own.example:8443/"], None),
    ],
)
def test_choose_authority_returns_it_when_it_is_entra_ids_or_the_operators(
    named: str, own: list[str], asked: str | None
):
    assert choose_authority(named, own) == asked


@pytest.mark.parametrize(
    ("authority", "scope"),
    [
        ("https://login.microsoftonline.com", "https://management.core.windows.net//.default"),
        ("https://westus2.login.microsoft.com", "https://management.core.windows.net//.default"),
        ("https://login.microsoftonline.us", "https://management.core.usgovcloudapi.net//.default"),
        ("https://login.partner.microsoftonline.cn", "https://management.core.chinacloudapi.cn//.default"),
        ("https://127.0.0.1:8443", None),
    ],
)
def test_choose_scope_returns_arm_of_the_cloud_when_the_authority_is_in_one(
    authority: str, scope: str | None
):
    assert choose_scope(authority) == scope


def test_walk_ends_when_it_is_stopped_while_the_authority_fails(secret: Secret):
    secret.azure.faults.add("entra", status=500)

    async def walk() -> Walk:
        stop = asyncio.Event()

        async def request_stop() -> None:
            stop.set()

        secret.renewals.meanwhile("POST", "/oauth2/v2.0/token", request_stop, after=True)
        async with secret.renewals.renewer(backoff_seconds=3600.0, attempts=9) as renewer:
            return await renewer.walk(stop)

    secret.renewals.client_ids["a-cert"] = secret.victim["client_id"]
    secret.renewals.write("a-cert", secret.victim)
    assert list_results(asyncio.run(walk())) == {"a-cert": Result.FAILED}
