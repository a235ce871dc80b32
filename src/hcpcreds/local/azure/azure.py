"""A small Azure on this machine: Entra ID, Key Vault, the managed-identity data plane, ARM and IMDS.

For development and tests only: it listens on loopback, has a certificate authority of its own, and keeps
everything in memory. It verifies what it is given by itself, with other libraries than hcpcreds uses, so that
a bug in hcpcreds cannot agree with itself.

In a process of its own: `python -m hcpcreds.local.azure.azure --config FILE`, see `main`.
"""

import argparse
import os
import signal
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, Self

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from hcpcreds.errors import ChainError, InputError
from hcpcreds.local.azure.data_plane import ManagedIdentity
from hcpcreds.local.azure.identity_certificates import SecretFormat
from hcpcreds.local.azure.services import Services
from hcpcreds.local.azure.settings import Settings, read_settings
from hcpcreds.local.azure.vault import Vault
from hcpcreds.local.service import NOTICE
from hcpcreds.local.serving import ServingThread


class LocalAzure:
    """The local Azure, in a thread of its own. A context manager; every method may be called from any thread.

    Args:
        settings: What there is in it; the default is an empty one with one tenant and one vault.
        now: Clock giving an aware UTC time, for tokens, certificates and secrets alike.

    Attributes:
        settings: As given.
        faults: What goes wrong on purpose.
        requests: Counts of the requests that each service had.
        directory: Who is known to Entra: register and unregister certificates here.
        tokens: Issues and verifies access tokens.
        data_plane: The managed-identity data plane.
        ca_file: PEM file of the certificate authority to trust; gone after `close` unless the settings name
            a directory for it.
    """

    def __init__(
        self, settings: Settings | None = None, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.settings = settings or Settings()
        self._services = Services(self.settings, now=now)
        self.faults = self._services.faults
        self.requests = self._services.requests
        self.directory = self._services.directory
        self.tokens = self._services.tokens
        self.data_plane = self._services.data_plane
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self.ca_file = Path()
        self._thread = ServingThread("hcpcreds-local-azure", self._services.list(), self._listen)

    def start(self) -> Self:
        """Start it, and return when every service listens.

        Raises:
            OSError: There is no port, or no place for the file of the certificate authority.
        """
        self._thread.start()
        self._populate()
        return self

    def close(self) -> None:
        """Stop every service and remove what it made."""
        self._thread.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def check(self) -> None:
        """See that it still serves.

        Raises:
            ChainError: Its thread has ended.
        """
        if not self._thread.is_alive():
            raise ChainError("the local Azure no longer runs")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def tenant_id(self) -> str:
        """The first tenant: that of the vaults, the data plane and whatever names no other."""
        return self.settings.tenant_ids[0].lower()

    @property
    def authority(self) -> str:
        """Entra's URL, with a closing slash."""
        return self._services.entra.authority

    @property
    def resource_manager(self) -> str:
        """ARM's URL, without a closing slash."""
        return self._services.resource_manager.url

    @property
    def instance_metadata(self) -> str:
        """What AZURE_POD_IDENTITY_AUTHORITY_HOST is to be."""
        return self._services.instance_metadata.url

    @property
    def identity_url(self) -> str:
        """The data plane's URL for the one resource here: what `x-ms-identity-url` says."""
        return self.data_plane.identity_url

    def vault_url(self, name: str | None = None) -> str:
        """Say where a vault is.

        Args:
            name: The vault's; None means the first.

        Raises:
            KeyError: There is no such vault.
        """
        return self.vault(name).url

    def vault(self, name: str | None = None) -> Vault:
        """Give a vault: what lies in it can be put and seen there without asking over HTTP.

        Args:
            name: The vault's; None means the first.

        Raises:
            KeyError: There is no such vault.
        """
        return self._services.vaults[self.settings.vaults[0] if name is None else name]

    def add_application(
        self, client_id: str, *certificates: x509.Certificate, tenant_id: str | None = None
    ) -> None:
        """Make an application known, and the certificates that it signs with.

        Args:
            client_id: Its client id.
            certificates: Its certificates; more can follow later.
            tenant_id: Its tenant; None means the first.
        """
        self.directory.add_application(client_id, tenant_id=tenant_id or self.tenant_id)
        for certificate in certificates:
            self.directory.register(client_id, certificate)

    def add_identity(
        self,
        client_id: str,
        *,
        resource_id: str | None = None,
        tenant_id: str | None = None,
        object_id: str | None = None,
        system_assigned: bool = False,
    ) -> ManagedIdentity:
        """Make a managed identity known, here and to the data plane.

        Args:
            client_id: Its client id.
            resource_id: Its ARM id; None makes one from the client id.
            tenant_id: Its tenant; None means the first.
            object_id: Its object id; None makes one.
            system_assigned: Whether it is the resource's own.
        """
        identity = ManagedIdentity(
            client_id=client_id,
            tenant_id=(tenant_id or self.tenant_id).lower(),
            object_id=object_id or str(uuid.uuid4()),
            resource_id=resource_id or self._build_resource_id(client_id, system_assigned=system_assigned),
        )
        self.data_plane.add_identity(identity, system_assigned=system_assigned)
        return identity

    def assign_to_node(self, client_id: str, *, resource_id: str | None = None) -> None:
        """Let this node have tokens of an identity from its metadata service."""
        application = self.directory.add_application(client_id, tenant_id=self.tenant_id)
        self._services.instance_metadata.assign(application, resource_id=resource_id)

    def issue(  # noqa: PLR0913 (what a test may want otherwise, each by its name)
        self,
        client_id: str,
        *,
        private_key: rsa.RSAPrivateKey | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        secret_format: SecretFormat | None = None,
        registration_delay: float | None = None,
    ) -> dict[str, str]:
        """Issue a credential without asking over HTTP; an unknown client becomes a managed identity.

        Args:
            client_id: Whose it is.
            private_key: An existing RSA key, when no new one is needed: making one takes 50 ms.
            not_before: The certificate's beginning; by default strictly later than the last one's.
            not_after: Its end.
            secret_format: How certificate and key are rendered.
            registration_delay: Seconds until Entra knows the certificate; `math.inf` is never by itself.

        Returns:
            A credential file's content: encode it as JSON.
        """
        identity = self.data_plane.find_identity(client_id) or self.add_identity(client_id)
        return self.data_plane.issue(
            identity,
            private_key=private_key,
            not_before=not_before,
            not_after=not_after,
            secret_format=secret_format,
            registration_delay=registration_delay,
        )

    def issue_token(self, client_id: str, *, audience: str, thumbprint: str | None = None) -> str:
        """Issue an access token without asking for one; an unknown client becomes an application."""
        application = self.directory.add_application(client_id, tenant_id=self.tenant_id)
        return self.tokens.issue(application, audience=audience, thumbprint=thumbprint)

    def describe(self) -> dict[str, Any]:
        """Say where everything is."""
        return {
            "authority": self.authority,
            "tenant_id": self.tenant_id,
            "resource_manager": self.resource_manager,
            "identity_url": self.identity_url,
            "data_plane_audience": self.settings.data_plane_audience,
            "vaults": {name: vault.url for name, vault in self._services.vaults.items()},
            "instance_metadata": self.instance_metadata,
            "ca_file": str(self.ca_file),
        }

    def _build_resource_id(self, client_id: str, *, system_assigned: bool) -> str:
        if system_assigned:
            return self.settings.resource_id
        group = self.settings.resource_id.partition("/providers/")[0]
        return f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{client_id}"

    def _populate(self) -> None:
        for application in self.settings.applications:
            certificates = [x509.load_pem_x509_certificate(pem.encode()) for pem in application.certificates]
            self.add_application(application.client_id, *certificates, tenant_id=application.tenant_id)
        for identity in self.settings.identities:
            self.add_identity(
                identity.client_id,
                resource_id=identity.resource_id,
                tenant_id=identity.tenant_id,
                object_id=identity.object_id,
                system_assigned=identity.system_assigned,
            )
        for node_identity in self.settings.node_identities:
            self.assign_to_node(node_identity.client_id, resource_id=node_identity.resource_id)

    async def _listen(self) -> None:
        self.ca_file = self._find_place() / "ca.pem"
        await self._services.listen(self.ca_file)

    def _find_place(self) -> Path:
        if self.settings.state_directory is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="hcpcreds-azure-")
            return Path(self._temporary.name)
        place = Path(self.settings.state_directory)
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        return place


def main() -> NoReturn:
    """Run the local Azure until SIGTERM, SIGINT or the end of standard input; then the exit status is 0.

    When everything listens, one line on standard output says where, as JSON (see `LocalAzure.describe`).
    Standard input is how it notices that whoever started it is gone: keep a pipe open to it. The exit status
    is 2 when the configuration cannot be used, and 1 when it failed otherwise; standard error says why.
    """
    parser = argparse.ArgumentParser(
        prog="python -m hcpcreds.local.azure.azure", description=f"A small Azure, {NOTICE}."
    )
    parser.add_argument("--config", type=Path, required=True, help="JSON file, see Settings")
    arguments = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=_stop_with_standard_input, args=(stop,), daemon=True).start()
    try:
        settings = read_settings(arguments.config)
        with LocalAzure(settings) as azure:
            ready = {"event": "ready", "notice": NOTICE, **azure.describe()}
            os.write(1, msgspec.json.encode(ready) + b"\n")
            while not stop.wait(1.0):
                azure.check()
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None
    except Exception as error:  # noqa: BLE001 (whatever it was, one line says so)
        sys.stderr.write(f"the local Azure failed: {error}\n")
        raise SystemExit(1) from None
    raise SystemExit(0)


def _stop_with_standard_input(stop: threading.Event) -> None:
    while os.read(0, 4096):
        pass
    stop.set()


if __name__ == "__main__":
    main()
