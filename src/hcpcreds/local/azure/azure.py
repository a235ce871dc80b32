"""A small Azure on this machine: Entra ID, Key Vault, the managed-identity data plane, ARM and IMDS.

For development and tests only: it listens on loopback, has its own certificate authority, and keeps
everything in memory. It verifies requests without any code of hcpcreds, so that a bug in hcpcreds does not
confirm itself.

As a process: `python -m hcpcreds.local.azure.azure --config FILE`, see `main`.
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
from hcpcreds.local.azure.settings import AzureSettings, read_settings
from hcpcreds.local.azure.vault import Vault
from hcpcreds.local.service import NOTICE
from hcpcreds.local.serving import ServingThread


class LocalAzure:
    """A local Azure that runs in its own thread. A context manager; methods may be called from any thread.

    Args:
        settings: What it contains; by default one tenant and one empty vault.
        now: Clock giving an aware UTC time, for tokens, certificates and secrets alike.

    Attributes:
        settings: As given.
        faults: Faults to inject.
        requests: Counts of the requests to each service.
        directory: What Entra ID knows; register and unregister certificates here.
        tokens: Issues and verifies access tokens.
        data_plane: The managed-identity data plane.
        ca_file: PEM file of the certificate authority to trust; removed by `close` unless the settings
            name a directory for it.
    """

    def __init__(
        self,
        settings: AzureSettings | None = None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.settings = settings or AzureSettings()
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
        """Start every service, and return when all of them listen.

        Raises:
            OSError: No port is free, or the certificate authority's file cannot be written.
        """
        self._thread.start()
        self._populate()
        return self

    def close(self) -> None:
        """Stop every service and remove its files."""
        self._thread.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def check(self) -> None:
        """Check that it still runs.

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
        """The first tenant: that of the vaults and the data plane, and the default elsewhere."""
        return self.settings.tenant_ids[0].lower()

    @property
    def authority(self) -> str:
        """Entra's URL, with a trailing slash."""
        return self._services.entra.authority

    @property
    def resource_manager(self) -> str:
        """ARM's URL, without a trailing slash."""
        return self._services.resource_manager.url

    @property
    def instance_metadata(self) -> str:
        """IMDS's URL, the value of AZURE_POD_IDENTITY_AUTHORITY_HOST."""
        return self._services.instance_metadata.url

    @property
    def identity_url(self) -> str:
        """The data plane's URL for the resource, as in the header `x-ms-identity-url`."""
        return self.data_plane.identity_url

    def vault_url(self, name: str | None = None) -> str:
        """Get the URL of a vault.

        Args:
            name: Name of the vault; None means the first.

        Raises:
            KeyError: There is no such vault.
        """
        return self.vault(name).url

    def vault(self, name: str | None = None) -> Vault:
        """Get a vault, to store and list secrets without HTTP.

        Args:
            name: Name of the vault; None means the first.

        Raises:
            KeyError: There is no such vault.
        """
        return self._services.vaults[self.settings.vaults[0] if name is None else name]

    def add_application(
        self, client_id: str, *certificates: x509.Certificate, tenant_id: str | None = None
    ) -> None:
        """Register an application, and the certificates that it signs with.

        Args:
            client_id: Its client id.
            certificates: Its certificates; more can be registered later.
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
        """Register a managed identity with Entra ID and the data plane.

        Args:
            client_id: Its client id.
            resource_id: Its ARM id; None makes one from the client id.
            tenant_id: Its tenant; None means the first.
            object_id: Its object id; None makes one.
            system_assigned: Whether it is the resource's system-assigned identity.
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
        """Assign an identity to the node, whose processes get its tokens from IMDS."""
        application = self.directory.add_application(client_id, tenant_id=self.tenant_id)
        self._services.instance_metadata.assign(application, resource_id=resource_id)

    def issue(  # noqa: PLR0913 (overrides, each by its name)
        self,
        client_id: str,
        *,
        private_key: rsa.RSAPrivateKey | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        secret_format: SecretFormat | None = None,
        registration_delay: float | None = None,
    ) -> dict[str, str]:
        """Issue a credential without HTTP; an unknown client becomes a managed identity.

        Args:
            client_id: Client id of the identity.
            private_key: RSA key to use; None generates one, which takes 50 ms.
            not_before: Start of the certificate's validity; by default later than that of the last one.
            not_after: End of its validity.
            secret_format: Format of certificate and key.
            registration_delay: Seconds until Entra ID knows the certificate; `math.inf` means until it is
                registered by hand.

        Returns:
            The content of a credential file, to encode as JSON.
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

    def describe(self) -> dict[str, Any]:
        """Describe where everything is."""
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
        self.ca_file = self._make_directory() / "ca.pem"
        await self._services.listen(self.ca_file)

    def _make_directory(self) -> Path:
        if self.settings.state_directory is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="hcpcreds-azure-")
            return Path(self._temporary.name)
        directory = Path(self.settings.state_directory)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return directory


def main() -> NoReturn:
    """Run the local Azure until SIGTERM, SIGINT or the end of standard input; then the exit status is 0.

    When every service listens, it prints one line of JSON on standard output (see `LocalAzure.describe`). The
    end of standard input means that its parent process has ended: keep a pipe open to it. The exit status is
    2 when the configuration cannot be used, and 1 after any other failure; standard error says why.
    """
    parser = argparse.ArgumentParser(
        prog="python -m hcpcreds.local.azure.azure", description=f"A small Azure, {NOTICE}."
    )
    parser.add_argument("--config", type=Path, required=True, help="JSON file, see AzureSettings")
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
    except Exception as error:  # noqa: BLE001 (reported in one line)
        sys.stderr.write(f"the local Azure failed: {error}\n")
        raise SystemExit(1) from None
    raise SystemExit(0)


def _stop_with_standard_input(stop: threading.Event) -> None:
    while os.read(0, 4096):
        pass
    stop.set()


if __name__ == "__main__":
    main()
