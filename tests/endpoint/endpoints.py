"""Endpoints that tests ask with real clients: each on an event loop in a thread of its own."""

import asyncio
import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jwt
from tests.credential.files import make_key
from tests.support.volume import Mount

from hcpcreds.endpoint.assertion_file import AssertionFile
from hcpcreds.endpoint.service import Access, Endpoint, TokenSettings, open_endpoint
from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.local.azure.entra_directory import RegisteredCertificate
from hcpcreds.local.azure.entra_tokens import CERTIFICATE_CLAIM
from hcpcreds.serving import ListenAddress

SECRET = "a-secret-of-the-tests"
ANY_PORT = ListenAddress("127.0.0.1")
TOKENS = TokenSettings(app_service=ANY_PORT, secret=SECRET, imds=ANY_PORT)
ARM = "https://management.azure.com"
VAULT = "https://vault.azure.net"


class Identity:
    """A managed identity, which gets certificates, and a mount that they go to."""

    def __init__(self, azure: LocalAzure, directory: Path, name: str, client_id: str | None = None) -> None:
        self.azure = azure
        self.mount = Mount(directory, name)
        self.name = name
        self.client_id = client_id or str(uuid.uuid4())

    @property
    def path(self) -> Path:
        return self.mount.path

    def issue(self, **options: Any) -> tuple[bytes, str]:
        """Issue a certificate, strictly later than the one before; returns the file and the thumbprint."""
        before = set(self.certificates)
        issued = self.azure.issue(self.client_id, private_key=make_key(), **options)
        (thumbprint,) = set(self.certificates) - before
        return json.dumps(issued).encode(), thumbprint

    def rotate(self, **options: Any) -> str:
        """Issue a certificate, mount it, and tell its thumbprint."""
        content, thumbprint = self.issue(**options)
        self.mount.swap(content)
        return thumbprint

    def register(self, thumbprint: str) -> None:
        """Let Entra know a certificate that it was not told of yet."""
        self.azure.directory.register(self.client_id, self.certificates[thumbprint].certificate)

    @property
    def certificates(self) -> dict[str, RegisteredCertificate]:
        application = self.azure.directory.find_application(self.client_id)
        return dict(application.certificates) if application else {}


class RunningEndpoint:
    """An endpoint, as its programs see it."""

    def __init__(self, endpoint: Endpoint, stop: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
        self.endpoint = endpoint
        self._stop = stop
        self._loop = loop

    def get_file(self, name: str) -> AssertionFile:
        (file,) = [each.file for each in self.endpoint.served if each.name == name]
        assert file is not None
        return file

    def find_unready(self) -> list[str]:
        return self.endpoint.find_unready()

    @property
    def app_service_url(self) -> str:
        assert self.endpoint.app_service is not None
        return f"http://{self.endpoint.app_service}/msi/token"

    @property
    def imds_host(self) -> str:
        assert self.endpoint.imds is not None
        return f"http://{self.endpoint.imds}"

    def close(self) -> None:
        with suppress(RuntimeError):  # it has ended already
            self._loop.call_soon_threadsafe(self._stop.set)


@contextmanager
def running(*identities: Identity, **options: Any) -> Iterator[RunningEndpoint]:
    """Serve identities for the length of a block. Options are those of `open_endpoint`."""
    azure = identities[0].azure
    access = Access(
        paths={each.name: str(each.path) for each in identities},
        ca_file=str(azure.ca_file),
        **options.pop("access", {}),
    )
    ready = threading.Event()
    found: list[RunningEndpoint | BaseException] = []

    async def main() -> None:
        async with open_endpoint(access, **options) as endpoint:
            stop = asyncio.Event()
            found.append(RunningEndpoint(endpoint, stop, asyncio.get_running_loop()))
            ready.set()
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:  # noqa: BLE001 (raised in the test's own thread)
            found.append(error)
            ready.set()

    thread = threading.Thread(target=run, name="test-endpoint", daemon=True)
    thread.start()
    assert ready.wait(30)
    first = found[0]
    try:
        if isinstance(first, BaseException):
            raise first
        yield first
    finally:
        if isinstance(first, RunningEndpoint):
            first.close()
        thread.join(30)
        assert not thread.is_alive()
    if isinstance(found[-1], BaseException):
        raise found[-1]


def read_claims(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def get_signer(token: str) -> str:
    """Tell the thumbprint of the certificate that an access token was got with."""
    return str(read_claims(token)[CERTIFICATE_CLAIM])
