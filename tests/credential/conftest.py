"""Fixtures: a local Azure, identities in it, and credentials for them."""

import base64
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from tests.credential.files import Clock, make_key
from tests.credential.subjects import AioSubject, Loop, Subject
from tests.support.measuring import measuring
from tests.support.volume import Mount

import hcpcreds.aio
import hcpcreds.credential
from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.local.azure.entra_tokens import CERTIFICATE_CLAIM
from hcpcreds.local.azure.settings import AzureSettings

SCOPE = "https://management.azure.com/.default"
OTHER_SCOPE = "https://vault.azure.net/.default"


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    return Mount(tmp_path / "certs")


@pytest.fixture(scope="session")
def shared_clock() -> Clock:
    return Clock()


@pytest.fixture
def clock(shared_clock: Clock) -> Iterator[Clock]:
    """The clock of the local Azure; pass it to a credential, too, so that both agree."""
    yield shared_clock
    shared_clock.ahead = 0.0


@pytest.fixture(scope="session")
def shared_azure(shared_clock: Clock) -> Iterator[LocalAzure]:
    settings = AzureSettings(tenant_ids=(str(uuid.uuid4()), str(uuid.uuid4())))
    with measuring.unmeasured():
        azure = LocalAzure(settings, now=shared_clock.now).start()
    yield azure
    azure.close()


@pytest.fixture
def azure(shared_azure: LocalAzure) -> Iterator[LocalAzure]:
    lifetime = shared_azure.tokens.lifetime
    before = list_requests()
    shared_azure.requests.clear()
    yield shared_azure
    shared_azure.faults.clear()
    shared_azure.tokens.lifetime = lifetime
    # A request that is still on its way would count in the next test. One that hangs has been counted.
    deadline = time.monotonic() + 0.5
    while list_requests() - before and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(0.005)  # one that was cancelled after it had been sent arrives all the same


def list_requests() -> set[threading.Thread]:
    """List the requests under way; those of earlier tests may hang until they time out."""
    return {thread for thread in threading.enumerate() if thread.name == "hcpcreds-token"}


def render_json(credential: dict[str, Any]) -> bytes:
    return json.dumps(credential).encode()


def render_pem(credential: dict[str, Any]) -> bytes:
    return base64.b64decode(credential["client_secret"])


class Identity:
    """A managed identity, and the mount that its certificates are written to."""

    def __init__(self, azure: LocalAzure, mount: Mount) -> None:
        self.azure = azure
        self.mount = mount
        self.client_id = str(uuid.uuid4())
        self.render: Callable[[dict[str, Any]], bytes] = render_json
        """What is mounted for a credential of the data plane."""

    def issue(self, **options: Any) -> bytes:
        """Issue a certificate that is strictly later than the previous one."""
        return self.render(self.azure.issue(self.client_id, private_key=make_key(), **options))

    def rotate(self, **options: Any) -> str:
        """Issue a certificate, mount it, and return its thumbprint."""
        before = set(self._get_certificates())
        content = self.issue(**options)
        self.mount.swap(content)
        (thumbprint,) = set(self._get_certificates()) - before
        return thumbprint

    def count_requests(self) -> int:
        return self.azure.requests.count("entra", match="/token")

    def _get_certificates(self) -> list[str]:
        application = self.azure.directory.find_application(self.client_id)
        return list(application.certificates) if application else []


@pytest.fixture
def identity(azure: LocalAzure, mount: Mount) -> Identity:
    return Identity(azure, mount)


def get_signer(token: str) -> str:
    """Return the thumbprint of the certificate that signed the request for a token."""
    claims = jwt.decode(token, options={"verify_signature": False})
    return str(claims[CERTIFICATE_CLAIM])


class Make:
    """Creates credentials of one kind, and closes them at the end."""

    def __init__(self, kind: str, *, is_aio: bool, path: Path, options: dict[str, Any]) -> None:
        self._kind = kind
        self._path = path
        self._options = options
        self._loop = Loop() if is_aio else None
        self._made: list[Subject] = []

    def __call__(self, **options: Any) -> Subject:
        return self._make(lambda kind, usual: kind(self._path, **usual, **options), options)

    def from_environment(self) -> Subject:
        return self._make(lambda kind, usual: kind.from_environment(**usual), {})

    def from_cloud_config(self, config: Path) -> Subject:
        return self._make(lambda kind, usual: kind.from_cloud_config(config, **usual), {})

    def close(self) -> None:
        for subject in self._made:
            subject.close()
        if self._loop is not None:
            self._loop.close()

    def _make(self, build: Callable[[Any, dict[str, Any]], Any], options: dict[str, Any]) -> Subject:
        usual = {name: value for name, value in self._options.items() if name not in options}
        subject: Subject
        if self._loop is None:
            subject = build(getattr(hcpcreds.credential, self._kind), usual)
        else:
            aio = getattr(hcpcreds.aio, self._kind)
            subject = AioSubject(self._loop, lambda: build(aio, usual))
        self._made.append(subject)
        return subject


def open_make(identity: Identity, kind: str, twin: str, **options: Any) -> Iterator[Make]:
    options |= {"connection_verify": str(identity.azure.ca_file), "retry_backoff_factor": 0.01}
    make = Make(kind, is_aio=twin == "aio", path=identity.mount.path, options=options)
    yield make
    make.close()


@pytest.fixture(params=["sync", "aio"])
def make_identity(request: pytest.FixtureRequest, identity: Identity) -> Iterator[Make]:
    """For what is a managed identity's own."""
    yield from open_make(identity, "UserAssignedIdentityCredential", request.param)


@pytest.fixture(params=["identity", "identity-aio", "certificate", "certificate-aio"])
def make(request: pytest.FixtureRequest, identity: Identity) -> Iterator[Make]:
    """For what holds for the credential of a service principal too."""
    kind, _, twin = request.param.partition("-")
    if kind == "identity":
        yield from open_make(identity, "UserAssignedIdentityCredential", twin)
        return
    identity.render = render_pem
    principal = {"tenant_id": identity.azure.tenant_id, "client_id": identity.client_id}
    options = {"authority": identity.azure.authority, "additionally_allowed_tenants": ["*"]}
    yield from open_make(identity, "CertificateCredential", twin, **principal, **options)
