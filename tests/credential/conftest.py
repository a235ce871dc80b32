"""A local Azure, identities in it, and credentials for them."""

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from tests.credential.files import Clock, Mount, make_key
from tests.credential.subjects import AioSubject, Loop, Subject

import hcpcreds.aio
import hcpcreds.credential
from hcpcreds.local.azure import LocalAzure
from hcpcreds.local.azure_settings import Settings
from hcpcreds.local.entra_tokens import CERTIFICATE_CLAIM

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
    """The clock of the local Azure; a credential that is given it too agrees with it."""
    yield shared_clock
    shared_clock.ahead = 0.0


@pytest.fixture(scope="session")
def shared_azure(shared_clock: Clock) -> Iterator[LocalAzure]:
    settings = Settings(tenant_ids=(str(uuid.uuid4()), str(uuid.uuid4())))
    with LocalAzure(settings, now=shared_clock.now) as azure:
        yield azure


@pytest.fixture
def azure(shared_azure: LocalAzure) -> Iterator[LocalAzure]:
    lifetime = shared_azure.tokens.lifetime
    shared_azure.requests.clear()
    yield shared_azure
    shared_azure.faults.clear()
    shared_azure.tokens.lifetime = lifetime


class Identity:
    """A managed identity, which gets certificates, and a mount that they go to."""

    def __init__(self, azure: LocalAzure, mount: Mount) -> None:
        self.azure = azure
        self.mount = mount
        self.client_id = str(uuid.uuid4())

    def issue(self, **options: Any) -> bytes:
        """Issue a certificate; strictly later than the one before."""
        return json.dumps(self.azure.issue(self.client_id, private_key=make_key(), **options)).encode()

    def rotate(self, **options: Any) -> str:
        """Issue a certificate, mount it, and tell its thumbprint."""
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
    """Tell the thumbprint of the certificate that a token was got with."""
    claims = jwt.decode(token, options={"verify_signature": False})
    return str(claims[CERTIFICATE_CLAIM])


Make = Callable[..., Subject]


@pytest.fixture(params=["sync", "aio"])
def make(request: pytest.FixtureRequest, azure: LocalAzure, mount: Mount) -> Iterator[Make]:
    made: list[Subject] = []
    loop = Loop() if request.param == "aio" else None

    def make(path: Path = mount.path, **options: Any) -> Subject:
        options = {"connection_verify": str(azure.ca_file), "retry_backoff_factor": 0.01, **options}
        subject: Subject
        if loop is None:
            subject = hcpcreds.credential.UserAssignedIdentityCredential(path, **options)
        else:
            subject = AioSubject(loop, lambda: hcpcreds.aio.UserAssignedIdentityCredential(path, **options))
        made.append(subject)
        return subject

    yield make
    for subject in made:
        subject.close()
    if loop is not None:
        loop.close()
