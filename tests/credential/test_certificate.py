"""The certificate of a service principal: what is read, what is refused, what it is used for."""

import base64
import contextlib
import datetime as dt
import inspect
import logging
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import azure.identity
import jwt
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.core.pipeline.transport import RequestsTransport
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from tests.credential.conftest import OTHER_SCOPE, SCOPE, Identity, Make, render_pem
from tests.credential.files import (
    PASSWORD,
    Clock,
    Issued,
    encrypt_pem,
    issue,
    later,
    make_key,
    render_file,
    wait_for_generation,
)
from tests.support.waiting import wait_until
from typing_extensions import override

import hcpcreds.aio
from hcpcreds import CertificateCredential
from hcpcreds.credential_file.content import Content
from hcpcreds.credential_file.service_principal import ServicePrincipal
from hcpcreds.errors import CredentialExpiredError, InputError, MountAbsentError, MountFormatError

CLIENT = "11111111-2222-3333-4444-555555555555"
TENANT = "99999999-8888-7777-6666-555555555555"
ISSUED = issue()
NOW = dt.datetime.now(dt.UTC)
PBES = PrivateFormat.PKCS12.encryption_builder().kdf_rounds(1_000)


def render_pkcs12(issued: Issued, *, password: str | None = None, older: bool = False) -> bytes:
    algorithm = pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC if older else pkcs12.PBES.PBESv2SHA256AndAES256CBC
    encryption: Any = NoEncryption()
    if password:
        encryption = (
            PBES.key_cert_algorithm(algorithm)
            .hmac_hash(SHA1() if older else SHA256())  # noqa: S303 (as older programs write it)
            .build(password.encode())
        )
    return pkcs12.serialize_key_and_certificates(b"x", issued.key, issued.certificate, None, encryption)


def issue_chain() -> tuple[Issued, bytes]:
    """Issue a certificate by an authority, and return the authority's PEM with it."""
    authority_key, key = make_key(), make_key(1)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
    start = NOW.replace(microsecond=0) - dt.timedelta(hours=2)

    def build(subject: x509.Name, key: Any) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + dt.timedelta(days=90))
            .sign(authority_key, SHA256())
        )

    leaf = build(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, CLIENT)]), key)
    return Issued(leaf, key), build(name, authority_key).public_bytes(Encoding.PEM)


LEAF, AUTHORITY = issue_chain()
PLAIN_PKCS12 = render_pkcs12(ISSUED)


def parse(content: bytes, **arguments: Any) -> Any:
    principal = ServicePrincipal(tenant_id=TENANT, client_id=CLIENT, authority="https://login", **arguments)
    return principal.parse(Content(content), path="/mnt/certs/app", now=NOW)


@pytest.mark.parametrize(
    "content",
    [
        ISSUED.certificate_pem + ISSUED.key_pem,
        ISSUED.key_pem + ISSUED.certificate_pem,
        b"Bag Attributes: x\n" + ISSUED.key_pem + b"\n# comment\n" + ISSUED.certificate_pem,
        (ISSUED.certificate_pem + ISSUED.key_pem).replace(b"\n", b"\r\n"),
        PLAIN_PKCS12,
        base64.b64encode(PLAIN_PKCS12),
        base64.encodebytes(PLAIN_PKCS12),
        PLAIN_PKCS12.hex().encode(),
    ],
    ids=["PEM", "key first", "bags", "CRLF", "PKCS#12", "base64", "base64 in lines", "hex"],
)
def test_certificate_is_read_when_key_vault_may_have_written_it(content: bytes):
    file = parse(content)
    assert file.certificate.thumbprint == ISSUED.thumbprint
    assert (file.not_before, file.not_after) == (ISSUED.not_before, ISSUED.certificate.not_valid_after_utc)


@pytest.mark.parametrize(
    "content",
    [
        encrypt_pem(ISSUED),
        encrypt_pem(ISSUED).replace(b"\n", b"\r\n"),
        encrypt_pem(ISSUED, older=True),
        encrypt_pem(ISSUED, older=True).replace(b"\n", b"\r\n"),
        render_pkcs12(ISSUED, password=PASSWORD),
        render_pkcs12(ISSUED, password=PASSWORD, older=True),
        base64.b64encode(render_pkcs12(ISSUED, password=PASSWORD)),
    ],
    ids=["PKCS#8", "PKCS#8, CRLF", "older", "older, CRLF", "PKCS#12", "PKCS#12, 3DES", "base64"],
)
def test_certificate_is_decrypted_when_its_password_is_given(content: bytes):
    assert parse(content, password=PASSWORD.encode()).certificate.thumbprint == ISSUED.thumbprint
    with pytest.raises(MountFormatError, match=r"the password does not decrypt the (private key|PKCS#12)"):
        parse(content, password=b"wrong")
    with pytest.raises(MountFormatError, match="is encrypted, but no password was given"):
        parse(content)


def test_chain_is_ordered_when_the_leaf_does_not_come_first():
    file = parse(AUTHORITY + ISSUED.certificate_pem + LEAF.certificate_pem + LEAF.key_pem)
    assert [x509.load_der_x509_certificate(each) for each in file.certificate.chain] == [
        LEAF.certificate,
        x509.load_pem_x509_certificate(AUTHORITY),
    ]


def test_older_certificate_of_the_key_is_left_when_the_bundle_holds_both():
    newer = later(ISSUED)
    file = parse(ISSUED.certificate_pem + newer.certificate_pem + newer.key_pem)
    assert file.certificate.thumbprint == newer.thumbprint
    (warning,) = file.warnings
    end = f"{newer.certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
    assert warning == f"holds 2 certificates for its key; using the one that expires at {end}"


EC = issue(key=ec.generate_private_key(ec.SECP256R1()))
REFUSED = {
    "empty": (b"", "expected a PEM bundle or a PKCS#12"),
    "noise": (b"noise", "expected a PEM bundle or a PKCS#12"),
    "no key": (ISSUED.certificate_pem, "certificates, but no private key"),
    "chain only": (LEAF.certificate_pem + AUTHORITY, "certificates, but no private key"),
    "DER": (ISSUED.certificate.public_bytes(Encoding.DER), "certificates, but no private key"),
    "DER in PEM": (
        b"-----BEGIN CERTIFICATE-----\n\x30\x82\x01\xff\n-----END CERTIFICATE-----\n" + ISSUED.key_pem,
        "a certificate in the PEM bundle cannot be parsed",
    ),
    "no certificate": (ISSUED.key_pem, "a private key, but no certificate"),
    "another key": (
        issue(key=make_key(1)).certificate_pem + ISSUED.key_pem,
        "belongs to another certificate",
    ),
    "two keys": (ISSUED.certificate_pem + ISSUED.key_pem + ISSUED.key_pem, "2 private keys; expected one"),
    "EC": (EC.certificate_pem + EC.key_pem, "not RSA; Entra ID accepts only RSA keys"),
    "EC in PKCS#12": (render_pkcs12(EC), "not RSA; Entra ID accepts only RSA keys"),
    "JSON": (render_file(ISSUED), "the file holds JSON, as for a managed identity; expected PEM or PKCS#12"),
    "too large": (ISSUED.certificate_pem + ISSUED.key_pem + b"\n" * 200_000, "larger than 131072 bytes"),
    "unknown cipher": (
        encrypt_pem(ISSUED, older=True).replace(b"AES-256-CBC", b"CAMELLIA-256-CBC"),
        "encrypted in a way that is not supported; expected AES",
    ),
    "encrypted nonsense": (
        ISSUED.certificate_pem
        + b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----",
        "the private key in the PEM bundle cannot be parsed",
    ),
}


@pytest.mark.parametrize("row", REFUSED)
def test_certificate_is_refused_with_the_reason_when_it_is_unusable(row: str):
    content, message = REFUSED[row]
    with pytest.raises(MountFormatError, match=message) as raised:
        parse(content, password=b"x")
    assert str(raised.value).startswith("the certificate file /mnt/certs/app is not usable: ")
    assert raised.value.hint


@given(st.data())
@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_certificate_is_read_or_refused_when_it_is_damaged(data: st.DataObject):
    good = data.draw(
        st.sampled_from(
            [
                encrypt_pem(ISSUED, older=True),
                PLAIN_PKCS12,
                base64.b64encode(PLAIN_PKCS12),
                ISSUED.certificate_pem + ISSUED.key_pem,
            ]
        )
    )
    at, kept = data.draw(st.integers(0, len(good))), data.draw(st.integers(0, 40))
    content = good[:at] + data.draw(st.binary(max_size=40)) + good[at + kept :]
    with contextlib.suppress(MountFormatError):
        assert parse(content, password=PASSWORD.encode()).certificate.thumbprint


@given(st.binary(max_size=400), st.binary(min_size=1, max_size=40))
def test_content_is_refused_when_it_is_anything(content: bytes, password: bytes):
    with pytest.raises(MountFormatError):
        parse(content, password=password)


@given(password=st.text(min_size=1, max_size=30), older=st.booleans())
def test_pkcs12_is_decrypted_when_its_password_is_any_text(password: str, *, older: bool):
    with contextlib.suppress(UnicodeEncodeError):
        content = render_pkcs12(ISSUED, password=password, older=older)
        assert parse(content, password=password.encode()).certificate.thumbprint == ISSUED.thumbprint


# What the credential does with it


@pytest.fixture(params=["sync", "aio"])
def principal(request: pytest.FixtureRequest, identity: Identity) -> Iterator[Make]:
    """Makes credentials of a service principal as azure-identity's users do, with its defaults."""
    identity.render = render_pem
    options = {
        "tenant_id": identity.azure.tenant_id,
        "client_id": identity.client_id,
        "authority": identity.azure.authority,
        "connection_verify": str(identity.azure.ca_file),
    }
    make = Make(
        "CertificateCredential", is_aio=request.param == "aio", path=identity.mount.path, options=options
    )
    yield make
    make.close()


def issue_with_password(identity: Identity, password: str) -> bytes:
    secret = identity.issue()
    return render_pkcs12(
        Issued(x509.load_pem_x509_certificate(secret), load_pem_private_key(secret, None)), password=password
    )


def test_password_file_is_read_again_when_the_rotation_changes_both(identity: Identity, principal: Make):
    identity.mount.swap_all({"secret": issue_with_password(identity, "first"), "password": b"first\n"})
    credential = principal(password_file=identity.mount.directory / "password")
    wait_for_generation(credential, 1)
    identity.mount.swap_all({"secret": issue_with_password(identity, "second"), "password": b"second"})
    wait_for_generation(credential, 2)
    assert credential.get_token(SCOPE).token
    assert credential.status().last_error is None


def test_certificate_is_read_when_its_password_comes_later(
    identity: Identity, principal: Make, tmp_path: Path
):
    password = tmp_path / "elsewhere" / "password"
    identity.mount.swap(issue_with_password(identity, "right"))
    credential = principal(password_file=password)
    with pytest.raises(MountAbsentError, match=f"the password file {password} does not exist"):
        credential.get_token(SCOPE)
    password.parent.mkdir()
    password.write_text("wrong")
    wait_until(lambda: "does not decrypt" in str(credential.status().last_error))
    password.write_text("right")
    wait_for_generation(credential, 1)
    assert credential.get_token(SCOPE).token


def test_password_file_is_refused_when_it_is_too_long(identity: Identity, principal: Make, tmp_path: Path):
    identity.rotate()
    (tmp_path / "password").write_bytes(b"x" * 1025)
    credential = principal(password_file=tmp_path / "password")
    with pytest.raises(MountFormatError, match="holds more than 1024 bytes"):
        credential.get_token(SCOPE)
    (tmp_path / "password").write_bytes(b"x" * 1024)
    wait_for_generation(credential, 1)


def test_token_is_refused_when_the_certificate_has_expired(identity: Identity, principal: Make, clock: Clock):
    identity.rotate(not_after=dt.datetime.now(dt.UTC) + dt.timedelta(hours=1))
    clock.ahead = 7200
    credential = principal(clock=clock)
    with pytest.raises(CredentialExpiredError, match=f"certificate of identity {identity.client_id}"):
        credential.get_token(SCOPE)


def test_credentials_do_not_share_a_file_when_they_read_it_as_another_principal(
    identity: Identity, principal: Make
):
    identity.rotate()
    assert principal().get_token(SCOPE).token
    other = principal(client_id=CLIENT)
    with pytest.raises(ClientAuthenticationError, match=f"AADSTS700016.*{CLIENT}"):
        other.get_token(SCOPE)


def test_tenants_are_refused_when_they_are_not_allowed(
    identity: Identity, principal: Make, monkeypatch: pytest.MonkeyPatch
):
    identity.rotate()
    own, other = identity.azure.settings.tenant_ids
    with pytest.raises(
        ClientAuthenticationError, match=r"nor an allowed one\. .*additionally_allowed_tenants"
    ):
        principal().get_token(SCOPE, tenant_id=other)
    assert identity.count_requests() == 0
    for allowed in (["*"], [other.upper()]):
        with pytest.raises(ClientAuthenticationError, match="AADSTS700016"):
            principal(additionally_allowed_tenants=allowed).get_token(SCOPE, tenant_id=other)
    assert principal().get_token(SCOPE, tenant_id=own.upper()).token
    monkeypatch.setenv("AZURE_IDENTITY_DISABLE_MULTITENANTAUTH", "1")
    assert principal().get_token(OTHER_SCOPE, tenant_id=other).token


class RecordingTransport(RequestsTransport):  # type: ignore[misc]
    """Keeps the assertions that are sent."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.assertions: list[str] = []

    @override
    def send(self, request: Any, **options: Any) -> Any:
        self.assertions.append(request.data["client_assertion"])
        return super().send(request, **options)


@pytest.mark.parametrize("sends", [True, False])
def test_chain_is_sent_when_it_is_asked_for(identity: Identity, *, sends: bool):
    identity.render = render_pem
    identity.rotate()
    with (
        RecordingTransport(connection_verify=str(identity.azure.ca_file)) as transport,
        CertificateCredential(
            identity.mount.path,
            tenant_id=identity.azure.tenant_id,
            client_id=identity.client_id,
            authority=identity.azure.authority,
            send_certificate_chain=sends,
            transport=transport,
        ) as credential,
    ):
        credential.get_token(SCOPE)
    header = jwt.get_unverified_header(transport.assertions[0])
    assert len(header.get("x5c", ())) == sends
    assert header["x5t#S256"]


# What a user of azure-identity's passes


def get_arguments(kind: Any) -> set[str]:
    return set(inspect.signature(kind.__init__).parameters) - {"self", "kwargs"}


def test_arguments_are_those_of_azure_identity():
    documented = set(
        re.findall(
            r":(?:param|keyword) (?:\w+(?:\[\w+\])? )?(\w+):",
            azure.identity.CertificateCredential.__doc__ or "",
        )
    )
    assert {"authority", "certificate_data", "send_certificate_chain"} < documented
    assert documented | {"tenant_id"} <= get_arguments(CertificateCredential)
    assert inspect.signature(CertificateCredential) == inspect.signature(hcpcreds.aio.CertificateCredential)


def make_calls(path: Path) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    return [
        ((path,), {"tenant_id": TENANT, "client_id": CLIENT}),
        ((TENANT, CLIENT, path), {}),
        ((TENANT, CLIENT), {"certificate_path": path}),
        ((TENANT,), {"client_id": CLIENT, "certificate_path": str(path)}),
        ((), {"tenant_id": TENANT, "client_id": CLIENT, "certificate_path": path}),
    ]


@pytest.mark.parametrize("call", range(5))
def test_credential_takes_its_arguments_in_azure_identitys_order_too(tmp_path: Path, call: int):
    (tmp_path / "app.pem").write_bytes(ISSUED.certificate_pem + ISSUED.key_pem)
    arguments, named = make_calls(tmp_path / "app.pem")[call]
    with CertificateCredential(*arguments, **named) as credential:
        status = credential.status()
    assert (status.path, status.client_id, status.tenant_id) == (str(tmp_path / "app.pem"), CLIENT, TENANT)
    assert status.thumbprint == ISSUED.thumbprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"certificate_path": None}, "certificate_path: missing"),
        ({"certificate_path": None, "certificate_data": b"x"}, "certificate_data: bytes do not rotate"),
        ({"tenant_id": None}, "tenant_id: expected a UUID or a domain name"),
        ({"tenant_id": "contoso/../"}, "tenant_id: expected a UUID or a domain name"),
        ({"client_id": None}, "client_id: expected a UUID"),
        ({"client_id": "app"}, "client_id: expected a UUID"),
        ({"cache_persistence_options": object()}, "kept in memory only"),
        ({"password": "x", "password_file": "/x"}, "password_file: excludes password; pass one of them"),
        ({"password": "x" * 1025}, "password: expected at most 1024 bytes"),
        ({"authority": "http://login.example"}, "authority: expected an https URL"),
        ({"authority": "login.example/tenant?x"}, "authority: expected https://HOST/"),
        ({"cloud": "Mars"}, "unknown cloud"),
    ],
)
def test_credential_is_refused_when_an_argument_is_wrong(change: dict[str, Any], message: str):
    usual = {"certificate_path": "/mnt/certs/app", "tenant_id": TENANT, "client_id": CLIENT}
    with pytest.raises(InputError, match=message):
        CertificateCredential(**{**usual, **change})


@pytest.mark.parametrize(
    ("arguments", "variable", "host"),
    [
        ({}, None, "login.microsoftonline.com"),
        ({}, "https://login.microsoftonline.us/", "login.microsoftonline.us"),
        ({}, "login.microsoftonline.us", "login.microsoftonline.us"),
        ({"cloud": "AzureChinaCloud"}, "login.microsoftonline.us", "login.chinacloudapi.cn"),
        (
            {"cloud": "AzureChinaCloud", "authority": azure.identity.AzureAuthorityHosts.AZURE_GOVERNMENT},
            None,
            "login.microsoftonline.us",
        ),
        ({"authority": "https://westus2.login.microsoft.com"}, None, "westus2.login.microsoft.com"),
    ],
)
def test_authority_is_the_one_that_azure_identity_would_ask(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: dict[str, Any],
    variable: str | None,
    host: str,
):
    (tmp_path / "app.pem").write_bytes(ISSUED.certificate_pem + ISSUED.key_pem)
    if variable is not None:
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", variable)
    with (
        CertificateCredential(
            tmp_path / "app.pem",
            tenant_id="Contoso.example",
            client_id=CLIENT,
            proxies={"https": "http://127.0.0.1:9"},
            retry_total=0,
            **arguments,
        ) as credential,
        pytest.raises(
            ClientAuthenticationError, match=f"from https://{host}/contoso.example/oauth2/v2.0/token"
        ),
    ):
        credential.get_token(SCOPE)


def test_credential_comes_from_azure_identitys_variables(identity: Identity, monkeypatch: pytest.MonkeyPatch):
    identity.render = render_pem
    identity.mount.swap(issue_with_password(identity, "secret"))
    for name, value in {
        "AZURE_CLIENT_CERTIFICATE_PATH": str(identity.mount.path),
        "AZURE_TENANT_ID": identity.azure.tenant_id,
        "AZURE_CLIENT_ID": identity.client_id,
        "AZURE_CLIENT_CERTIFICATE_PASSWORD": "secret",
        "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN": "1",
        "AZURE_AUTHORITY_HOST": identity.azure.authority,
    }.items():
        monkeypatch.setenv(name, value)
    options = {"connection_verify": str(identity.azure.ca_file)}
    with CertificateCredential.from_environment(**options) as credential:
        assert credential.get_token(SCOPE).token
    with azure.identity.EnvironmentCredential(disable_instance_discovery=True, **options) as other:
        assert other.get_token(OTHER_SCOPE).token


def test_environment_is_refused_with_every_variable_that_is_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AZURE_TENANT_ID", TENANT)
    with pytest.raises(InputError, match="AZURE_CLIENT_CERTIFICATE_PATH: not set") as raised:
        CertificateCredential.from_environment()
    assert "AZURE_CLIENT_ID: not set" in str(raised.value)
    assert "AZURE_TENANT_ID" not in str(raised.value)


def test_password_is_not_shown_wherever_it_is_wrong(
    identity: Identity, principal: Make, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    sentinel = "pa55-word-sentinel"
    identity.mount.swap(issue_with_password(identity, "another"))
    credential = principal(password=sentinel, logging_enable=True)
    with pytest.raises(MountFormatError) as raised:
        credential.get_token(SCOPE)
    identity.mount.swap(issue_with_password(identity, sentinel))
    wait_for_generation(credential, 1)
    credential.get_token(SCOPE)
    shown = "".join(traceback.TracebackException.from_exception(raised.value, capture_locals=False).format())
    shown += f"{raised.value!r} {credential!r} {credential.status()!r}"
    real: Any = getattr(credential, "credential", credential)
    shown += f"{vars(real)} {real._source._format!r}"
    shown += "".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert sentinel not in shown
