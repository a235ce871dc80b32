"""Faults in the content of a credential file: each has its message, and no message reveals a secret."""

import base64
import datetime as dt
import json
import re
from typing import Any
from urllib.parse import urlsplit

import jwt
import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from tests.credential.files import CLIENT, TENANT, encode, issue, make_key, render_file

from hcpcreds.credential_file.file import MAX_FILE_BYTES, parse_authority, parse_credential_file
from hcpcreds.errors import MountFormatError

ISSUED = issue()
GOOD = render_file(ISSUED)
PEM = ISSUED.certificate_pem + ISSUED.key_pem


def with_secret(secret: bytes) -> bytes:
    return render_file(ISSUED, client_secret=encode(secret))


def encrypt_key(form: PrivateFormat) -> bytes:
    pem: bytes = ISSUED.key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"password"))
    return pem


def render_pkcs12(
    *, key: Any = ISSUED.key, certificate: Any = ISSUED.certificate, password: Any = None
) -> bytes:
    encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
    return pkcs12.serialize_key_and_certificates(b"name", key, certificate, None, encryption)


EC = issue(key=ec.generate_private_key(ec.SECP256R1()))
ED25519 = issue(key=ed25519.Ed25519PrivateKey.generate())
OTHER = issue(key=make_key(1))
ROWS = {
    "empty": (b"", "the file is empty"),
    "blank": (b" \n", "the file is empty"),
    "truncated": (GOOD[: len(GOOD) // 2], "expected a JSON object"),
    "binary": (b"\x00\xff\xfe\x80", "expected a JSON object"),
    "not UTF-8": (GOOD.replace(b"https", b"\xff\xfe"), "not UTF-8"),
    "not JSON": (b"client_id: x", "expected a JSON object"),
    "UTF-8 with BOM": (b"\xef\xbb\xbf" + GOOD, "the file begins with a byte order mark"),
    "UTF-16": (GOOD.decode().encode("utf-16"), "the file is UTF-16; expected UTF-8"),
    "UTF-16, big endian": (GOOD.decode().encode("utf-16-be"), "the file is UTF-16; expected UTF-8"),
    "UTF-16, little endian": (GOOD.decode().encode("utf-16-le"), "the file is UTF-16; expected UTF-8"),
    "NUL bytes alone": (bytes(4096), "only NUL bytes"),
    "NUL bytes after it": (GOOD + bytes(10), "the file contains NUL bytes"),
    "an array": (b"[]", "expected a JSON object"),
    "nested too deeply": (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    "a PEM file": (PEM, "expected a JSON object"),
    "too large": (GOOD + b" " * MAX_FILE_BYTES, "larger than 1048576 bytes"),
    "base64 of itself": (base64.b64encode(GOOD), "expected a JSON object"),
    "not_before unparsable": (render_file(ISSUED, not_before="yesterday"), "not_before: Invalid RFC3339"),
    "not_before empty": (render_file(ISSUED, not_before=""), "not_before: Invalid RFC3339"),
    "not_before a number": (render_file(ISSUED, not_before=True), "not_before: Expected `datetime`"),
    "not_after unparsable": (render_file(ISSUED, not_after="2026-13-01T00:00:00Z"), "not_after: Invalid"),
    "not_after beyond the years": (
        render_file(ISSUED, not_after="9999-12-31T23:59:59-12:00"),
        "not_after: expected a time within",
    ),
    "not_after too early": (render_file(ISSUED, not_after="1999-01-01T00:00:00Z"), "not_after: not later"),
    "client_id no UUID": (render_file(ISSUED, client_id="../x"), "client_id: expected a UUID"),
    "tenant_id no UUID": (render_file(ISSUED, tenant_id="common"), "tenant_id: expected a UUID"),
    "http authority": (render_file(ISSUED, authentication_endpoint="http://login.example/"), "https"),
    "authority without host": (render_file(ISSUED, authentication_endpoint="https:///x"), "https://HOST/"),
    "authority with user": (render_file(ISSUED, authentication_endpoint="https://a:b@h/"), "without user"),
    "authority in brackets": (render_file(ISSUED, authentication_endpoint="https://[x]/"), "without user"),
    "bad base64": (render_file(ISSUED, client_secret="%%%"), "client_secret: expected base64"),
    "empty secret": (render_file(ISSUED, client_secret=""), "expected a PEM bundle or a PKCS#12"),
    "secret of noise": (with_secret(b"noise"), "expected a PEM bundle or a PKCS#12"),
    "PEM without key": (with_secret(ISSUED.certificate_pem), "certificates, but no private key"),
    "PEM with two keys": (with_secret(PEM + ISSUED.key_pem), "2 private keys"),
    "key without certificate": (with_secret(ISSUED.key_pem), "no certificate"),
    "key of another certificate": (
        with_secret(OTHER.certificate_pem + ISSUED.key_pem),
        "another certificate",
    ),
    "encrypted PKCS#8 key": (
        with_secret(ISSUED.certificate_pem + encrypt_key(PrivateFormat.PKCS8)),
        "encrypted",
    ),
    "encrypted PKCS#1 key": (
        with_secret(ISSUED.certificate_pem + encrypt_key(PrivateFormat.TraditionalOpenSSL)),
        "encrypted",
    ),
    "key of noise": (
        with_secret(
            ISSUED.certificate_pem + b"-----BEGIN PRIVATE KEY-----\nbm9pc2U=\n-----END PRIVATE KEY-----\n"
        ),
        "the private key cannot be parsed",
    ),
    "certificate of noise": (
        with_secret(ISSUED.key_pem + b"-----BEGIN CERTIFICATE-----\nbm9pc2U=\n-----END CERTIFICATE-----\n"),
        "a certificate in the bundle cannot be parsed",
    ),
    "EC key": (with_secret(EC.certificate_pem + EC.key_pem), "Entra ID accepts only RSA"),
    "Ed25519 key": (with_secret(ED25519.certificate_pem + ED25519.key_pem), "Entra ID accepts only RSA"),
    "PKCS#12 with a password": (
        with_secret(render_pkcs12(password=b"x")),
        "the PKCS#12 is encrypted, but no password was given",
    ),
    "PKCS#12 without key": (with_secret(render_pkcs12(key=None)), "holds certificates, but no private key"),
    "PKCS#12 without certificate": (with_secret(render_pkcs12(certificate=None)), "no certificate"),
    **{
        f"{key} missing": (render_file(ISSUED, **{key: ...}), f"{key}: missing")
        for key in ("authentication_endpoint", "client_id", "tenant_id", "client_secret")
    },
    **{
        f"{key} null": (render_file(ISSUED, **{key: None}), f"{key}: Expected `str`, got `null`")
        for key in ("authentication_endpoint", "client_id", "tenant_id", "client_secret")
    },
    **{
        f"{key} a number": (render_file(ISSUED, **{key: 7}), f"{key}: Expected `str`, got `int`")
        for key in ("authentication_endpoint", "client_id", "tenant_id", "client_secret")
    },
}


@pytest.mark.parametrize("row", ROWS)
def test_file_is_refused_with_the_reason_when_it_is_unusable(row: str):
    content, message = ROWS[row]
    with pytest.raises(MountFormatError, match=re.escape(message)) as raised:
        parse_credential_file(content, path="/mnt/certs/x")
    assert "/mnt/certs/x" in str(raised.value)
    assert_tells_no_secret(raised.value)


def test_file_is_refused_with_every_reason_when_there_are_several():
    content = render_file(ISSUED, client_id=..., tenant_id=5, not_before="?", client_secret="%")
    with pytest.raises(MountFormatError) as raised:
        parse_credential_file(content, path="p")
    text = str(raised.value)
    assert all(key in text for key in ("client_id", "tenant_id", "not_before", "client_secret"))


def assert_tells_no_secret(error: BaseException | None) -> None:
    pem_lines = PEM.decode().split()
    secret = encode(PEM)
    while error is not None:
        text = f"{error} {error!r} {error.args} {vars(error)}"
        assert not any(secret[at : at + 24] in text for at in range(0, len(secret) - 24, 24))
        assert not any(line in text for line in pem_lines if len(line) > 30)
        error = error.__cause__


def test_file_is_parsed_when_it_is_valid():
    file = parse_credential_file(GOOD, path="p")
    assert (file.client_id, file.tenant_id, file.authority) == (CLIENT, TENANT, "https://login.example")
    assert file.certificate.thumbprint == ISSUED.thumbprint
    assert file.not_before == ISSUED.not_before
    assert file.warnings == ()


@pytest.mark.parametrize(
    "secret",
    [
        PEM,
        ISSUED.key_pem + ISSUED.certificate_pem,
        OTHER.certificate_pem + PEM,
        b"Bag Attributes\n  friendlyName: x\n" + PEM,
        PEM.replace(b"\n", b"\r\n"),
        ISSUED.certificate_pem
        + ISSUED.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        render_pkcs12(),
    ],
    ids=["certificate first", "key first", "another certificate first", "bags", "CRLF", "PKCS#1", "PKCS#12"],
)
def test_secret_is_opened_when_it_has_any_supported_form(secret: bytes):
    certificate = parse_credential_file(with_secret(secret), path="p").certificate
    assert certificate.thumbprint == ISSUED.thumbprint
    assert certificate.chain == (ISSUED.certificate.public_bytes(Encoding.DER),)


def test_secret_is_opened_when_its_base64_is_wrapped():
    wrapped = base64.encodebytes(PEM).decode()
    certificate = parse_credential_file(render_file(ISSUED, client_secret=wrapped), path="p").certificate
    assert certificate.thumbprint == ISSUED.thumbprint


def test_chain_is_leaf_first_when_the_bundle_is_in_any_order():
    root_key, middle_key = make_key(1), make_key(2)
    root = build_issued("root", "root", root_key, root_key)
    middle = build_issued("middle", "root", middle_key, root_key)
    leaf = build_issued("leaf", "middle", make_key(), middle_key)
    stray = issue(key=make_key(3)).certificate
    pems = b"".join(each.public_bytes(Encoding.PEM) for each in (root, stray, leaf, middle))
    certificate = parse_credential_file(with_secret(pems + ISSUED.key_pem), path="p").certificate
    assert certificate.chain == tuple(each.public_bytes(Encoding.DER) for each in (leaf, middle, root))


def build_issued(subject: str, issuer: str, key: Any, issuer_key: Any) -> x509.Certificate:
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=900))
        .sign(issuer_key, SHA256())
    )


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2026-01-15T10:00:00Z", dt.datetime(2026, 1, 15, 10, tzinfo=dt.UTC)),
        ("2026-01-15T10:00:00", dt.datetime(2026, 1, 15, 10, tzinfo=dt.UTC)),
        ("2026-01-15T10:00:00.250Z", dt.datetime(2026, 1, 15, 10, 0, 0, 250_000, dt.UTC)),
        ("2026-01-15T10:00:00.1234567Z", dt.datetime(2026, 1, 15, 10, 0, 0, 123_457, dt.UTC)),
        ("2026-01-15T12:00:00+02:00", dt.datetime(2026, 1, 15, 10, tzinfo=dt.UTC)),
    ],
)
def test_time_is_read_as_utc_when_it_has_any_rfc3339_form(written: str, meant: dt.datetime):
    assert parse_credential_file(render_file(ISSUED, not_before=written), path="p").not_before == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("https://login.microsoftonline.com/", "https://login.microsoftonline.com"),
        ("HTTPS://Login.Example//", "https://Login.Example"),
        ("https://127.0.0.1:65535", "https://127.0.0.1:65535"),
        ("https://[::1]:1/", "https://[::1]:1"),
        ("https://[::ffff:192.0.2.1]/", "https://[::ffff:192.0.2.1]"),
        ("https://xn--mnchen-3ya.example/adfs", "https://xn--mnchen-3ya.example/adfs"),
        ("https://my_host/a-b/c.d/~e", "https://my_host/a-b/c.d/~e"),
    ],
)
def test_authority_is_accepted_when_it_is_a_host_with_optional_port_and_path(written: str, meant: str):
    assert parse_authority(written) == meant


TENANT_PATH = "without the path of a tenant or a token"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("", "https"),
        ("login.example", "https"),
        ("http://login.example/", "https"),
        ("https://", "expected https://HOST/"),
        ("https://login..example/", "expected https://HOST/"),
        ("https://login.example./", "expected https://HOST/"),
        ("https://.login.example/", "expected https://HOST/"),
        ("https://login example/", "expected https://HOST/"),
        (" https://login.example/", "https"),
        ("https://login.example/ ", "expected https://HOST/"),
        ("https://login.example/\n", "expected https://HOST/"),
        ("https://m\u00fcnchen.example/", "expected https://HOST/"),
        ("https://login.example\u3002com/", "expected https://HOST/"),
        ("https://evil.example\\.login.microsoft.com/", "expected https://HOST/"),
        ("https://login.example/\x1b]0;title\x07", "expected https://HOST/"),
        ("https://login.example/%2e%2e", "expected https://HOST/"),
        ("https://login.example//x", "expected https://HOST/"),
        ("https://login.example?x", "expected https://HOST/"),
        ("https://login.example#x", "expected https://HOST/"),
        ("https://[::1", "expected https://HOST/"),
        ("https://[1.2.3.4]/", "expected https://HOST/"),
        ("https://[::1]x/", "expected https://HOST/"),
        (f"https://{'a.' * 130}b/", "expected https://HOST/"),
        (f"https://{'a' * 64}.example/", "expected https://HOST/"),
        ("https://login.example:abc/", "expected https://HOST/"),
        ("https://login.example:/", "expected https://HOST/"),
        ("https://login.example:0/", "port from 1 to 65535"),
        ("https://login.example:99999/", "port from 1 to 65535"),
        (f"https://login.example/{TENANT}", TENANT_PATH),
        (f"https://login.example/{TENANT}/oauth2/v2.0/token", TENANT_PATH),
        ("https://login.example/oauth2/v2.0/token", TENANT_PATH),
        ("https://login.example/common/", TENANT_PATH),
        ("https://login.microsoftonline.com/contoso.onmicrosoft.com", TENANT_PATH),
        ("https://login.example/../x", TENANT_PATH),
    ],
)
def test_authority_is_refused_with_the_reason_when_it_is_anything_else(written: str, message: str):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_authority(written)


@pytest.mark.parametrize("form", ["{}", "https://{}/", "https://[{}]/", "https://x/{}!", "https://{}:99999/"])
def test_authority_is_not_repeated_when_it_is_refused(form: str):
    with pytest.raises(ValueError, match="expected") as raised:
        parse_authority(form.format("sentinel" * 10))
    assert "sentinel" not in str(raised.value)


@given(st.text() | st.text().map("https://{}".format))
def test_authority_is_accepted_or_refused_when_it_is_anything(text: str):
    try:
        authority = parse_authority(text)
    except ValueError as error:
        reason = str(error)
        assert reason.startswith("expected ")
    else:
        url = urlsplit(authority)
        assert authority.isascii()
        assert url.hostname
        assert url.port is None or url.port > 0
        assert parse_authority(authority) == authority


@pytest.mark.parametrize("absent", [..., None])
@pytest.mark.parametrize("key", ["not_before", "not_after"])
def test_certificates_time_is_used_when_the_file_has_none(key: str, absent: Any):
    file = parse_credential_file(render_file(ISSUED, **{key: absent}), path="p")
    assert file.not_before == ISSUED.not_before
    assert file.not_after == ISSUED.certificate.not_valid_after_utc
    assert file.warnings == (f"{key} is missing; using the certificate's {key}",)


@given(
    st.binary(max_size=200)
    | st.recursive(st.text() | st.integers() | st.none(), st.lists).map(msgspec.json.encode)
)
def test_parser_accepts_or_refuses_the_content_when_it_is_anything(content: bytes):
    with pytest.raises(MountFormatError):
        parse_credential_file(content, path="p")


@given(st.data())
def test_parser_accepts_or_refuses_the_content_when_a_valid_file_is_damaged(data: st.DataObject):
    fields = json.loads(GOOD)
    key = data.draw(st.sampled_from(sorted(fields)))
    old = str(fields[key])
    at = data.draw(st.integers(0, len(old)))
    fields[key] = data.draw(
        st.text()
        | st.integers()
        | st.none()
        | st.booleans()
        | st.text(max_size=3).map(lambda x: old[:at] + x + old[at:])
    )
    try:
        file = parse_credential_file(json.dumps(fields).encode("utf-8", "surrogatepass"), path="p")
    except MountFormatError as error:
        assert_tells_no_secret(error)
    else:
        assert file.certificate.thumbprint == ISSUED.thumbprint


def test_assertion_has_the_claims_that_entra_requires_when_it_is_signed():
    certificate = parse_credential_file(GOOD, path="p").certificate
    assertion = certificate.sign_assertion(client_id=CLIENT, audience="https://a/token", now=1_700_000_000.7)
    header = jwt.get_unverified_header(assertion)
    claims = jwt.decode(
        assertion,
        ISSUED.key.public_key(),
        algorithms=["PS256"],
        audience="https://a/token",
        options={"verify_exp": False},
    )
    assert header["alg"] == "PS256"
    assert base64.urlsafe_b64decode(header["x5t#S256"] + "==").hex() == ISSUED.thumbprint
    assert [base64.b64decode(each) for each in header["x5c"]] == [
        ISSUED.certificate.public_bytes(Encoding.DER)
    ]
    assert (claims["iss"], claims["sub"]) == (CLIENT, CLIENT)
    assert (claims["nbf"], claims["exp"] - claims["nbf"]) == (1_700_000_000, 600)
    again = certificate.sign_assertion(client_id=CLIENT, audience="https://a/token", now=1_700_000_000.7)
    assert jwt.decode(again, options={"verify_signature": False})["jti"] != claims["jti"]


def test_assertion_has_no_padding_when_its_parts_are_of_any_length():
    """RFC 7515, section 2: base64url with all trailing '=' characters omitted."""
    certificate = parse_credential_file(GOOD, path="p").certificate
    for length in range(3):
        assertion = certificate.sign_assertion(client_id=CLIENT, audience="a" * length, now=0)
        assert "=" not in assertion
        assert "=" not in jwt.get_unverified_header(assertion)["x5t#S256"]
