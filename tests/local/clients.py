"""What the emulator's tests ask it with: plain requests, assertions made with PyJWT, a clock."""

import base64
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Self

import jwt
from azure.core import PipelineClient
from azure.core.credentials import AccessToken
from azure.core.rest import HttpRequest, HttpResponse
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.local.azure.identity_certificates import CertificateIssuer

ARM = "https://management.azure.com"
VAULT = "https://vault.azure.net"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Clock:
    """A clock that moves only when it is set."""

    def __init__(self) -> None:
        self.at = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at

    def advance(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@cache
def _make_key(_: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def make_key(number: int = 0) -> rsa.RSAPrivateKey:
    """The tests' keys, always the same: making one takes 50 ms."""
    return _make_key(number)


def make_certificate(client_id: str = "test", *, number: int = 0, **validity: Any) -> x509.Certificate:
    issuer = CertificateIssuer(now=lambda: datetime.now(UTC), lifetime=3600, backdate=60)
    return issuer.issue(client_id, private_key=make_key(number), **validity).certificate


def make_authority_certificate(*, number: int) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority")])
    return _sign(subject=name, issuer=name, key=make_key(number), signer=make_key(number), ca=True)


def make_leaf_certificate(authority: x509.Certificate, *, number: int) -> x509.Certificate:
    """A certificate of the first key, signed by an authority with the given one."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a leaf")])
    return _sign(subject=name, issuer=authority.subject, key=make_key(), signer=make_key(number), ca=False)


def _sign(
    *, subject: x509.Name, issuer: x509.Name, key: rsa.RSAPrivateKey, signer: rsa.RSAPrivateKey, ca: bool
) -> x509.Certificate:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .sign(signer, hashes.SHA256())
    )


def digest(certificate: x509.Certificate, algorithm: hashes.HashAlgorithm | None = None) -> str:
    value = certificate.fingerprint(algorithm or hashes.SHA256())
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def encode_der(certificate: x509.Certificate) -> str:
    return base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()


class Client:
    """A registered client of an Azure, and everything right about its token request."""

    def __init__(self, azure: LocalAzure) -> None:
        self.azure = azure
        self.client_id = str(uuid.uuid4())
        self.key = make_key()
        self.certificate = make_certificate(self.client_id)
        azure.add_application(self.client_id, self.certificate)
        now = datetime.now(UTC).timestamp()
        self.headers: dict[str, Any] = {"x5t#S256": digest(self.certificate)}
        self.claims: dict[str, Any] = {
            "aud": f"{azure.authority}{azure.tenant_id}/oauth2/v2.0/token",
            "iss": self.client_id,
            "sub": self.client_id,
            "jti": str(uuid.uuid4()),
            "iat": int(now),
            "nbf": int(now),
            "exp": int(now) + 600,
        }
        self.form: dict[str, str] = {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "scope": f"{ARM}/.default",
            "client_assertion_type": ASSERTION_TYPE,
        }
        self.algorithm = "PS256"
        self.tenant = azure.tenant_id

    def ask(self) -> HttpResponse:
        claims = {name: value for name, value in self.claims.items() if value is not None}
        assertion = jwt.encode(claims, self.key, algorithm=self.algorithm, headers=self.headers)
        form = {"client_assertion": assertion, **self.form}
        url = f"{self.azure.authority}{self.tenant}/oauth2/v2.0/token"
        return send(self.azure, "POST", url, data={name: value for name, value in form.items() if value})


def send(
    azure: LocalAzure, method: str, url: str, *, read_timeout: float = 15, **options: Any
) -> HttpResponse:
    """Send one request over its own connection, and read the complete response."""
    with connect(azure) as client:
        return client.send_request(HttpRequest(method, url, **options), read_timeout=read_timeout)


@contextmanager
def connect(azure: LocalAzure) -> "Iterator[PipelineClient[HttpRequest, HttpResponse]]":
    options: dict[str, Any] = {"connection_verify": str(azure.ca_file)}
    client: PipelineClient[HttpRequest, HttpResponse] = PipelineClient("", policies=[], **options)
    with client:
        yield client


def issue_token(azure: LocalAzure, client_id: str, *, audience: str, thumbprint: str | None = None) -> str:
    """Issue an access token without HTTP; an unknown client becomes an application."""
    application = azure.directory.add_application(client_id, tenant_id=azure.tenant_id)
    return azure.tokens.issue(application, audience=audience, thumbprint=thumbprint)


def bearer(azure: LocalAzure, audience: str, *, client_id: str | None = None) -> dict[str, str]:
    """An Authorization header with a good token."""
    token = issue_token(azure, client_id or str(uuid.uuid4()), audience=audience)
    return {"Authorization": f"Bearer {token}"}


CALLER = "cccccccc-0000-0000-0000-000000000001"


class Caller:
    """A credential of a known application, which remembers the scopes that it was asked for."""

    def __init__(self, azure: LocalAzure) -> None:
        self.azure = azure
        self.asked: list[tuple[tuple[str, ...], str | None]] = []

    def get_token(self, *scopes: str, tenant_id: str | None = None, **_: Any) -> AccessToken:
        self.asked.append((scopes, tenant_id))
        token = issue_token(self.azure, CALLER, audience=scopes[0].removesuffix("/.default"))
        return AccessToken(token, int(datetime.now(UTC).timestamp()) + 3600)


class AsyncCaller:
    """The same for asyncio."""

    def __init__(self, azure: LocalAzure) -> None:
        self.caller = Caller(azure)
        self.asked = self.caller.asked

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        return self.caller.get_token(*scopes, **options)

    async def close(self) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass
