"""The chain itself: start everything, rotate, listen, judge, stop everything."""

import asyncio
import os
import signal
import tempfile
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from hcpcreds.chain.pods import ComponentPod, build_pods
from hcpcreds.chain.processes import ChildProcess, Event, base_environment
from hcpcreds.chain.record import CertificateUse, ComponentRecord
from hcpcreds.chain.service_owner import Issued, ServiceOwner
from hcpcreds.constants import ARO_HCP_KEY_VAULT_MANAGED_IDENTITY_CLIENT_ID
from hcpcreds.errors import ChainError, HcpCredsError
from hcpcreds.hosted_cluster import read_hosted_cluster
from hcpcreds.local.azure_settings import (
    ApplicationSettings,
    IdentitySettings,
    NodeIdentitySettings,
)
from hcpcreds.local.azure_settings import Settings as AzureSettings
from hcpcreds.local.node import NodeConfig
from hcpcreds.manifests.render import render

EXAMPLE: Final = Path(__file__).with_name("example-hosted-cluster.yaml")
START_SECONDS: Final = 60.0
"""How long a process may take to say that it is ready."""
PATIENCE_SECONDS: Final = 30.0
"""How long the components may take to use a new certificate before that is a problem."""
NODE_POLL_SECONDS: Final = 0.5
"""How often the local node looks for new versions; the real driver's default is 120."""
KEY_VAULT_USER_CLIENT_ID: Final = "7d9f5b0a-4c1e-4b53-9a67-2e8c1f3d6a05"
"""The node's own identity, where the environment names none."""
SERVICE_OWNER_CLIENT_ID: Final = "1f0c7b52-8d3e-4a19-b6f4-90a5d2e7c813"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the chain runs."""

    rotate_every: float = 10.0
    """Seconds from one rotation to the next."""
    rotations: int | None = None
    """Stop after so many; None goes on until told to stop."""

    @property
    def token_lifetime(self) -> float:
        """Seconds that an access token lives: short, so that every certificate is really used."""
        return min(3.0, max(1.0, self.rotate_every / 3))


class Reporter:
    """Is told what happens. This one keeps quiet."""

    def step(self, text: str) -> None:
        """A step of the start-up or the end is done."""

    def started(self, records: Sequence[ComponentRecord]) -> None:
        """Every component has been started; the records live on."""

    def happened(self, record: ComponentRecord, text: str) -> None:
        """Something happened to a component that a person would want to know."""

    def problem(self, text: str) -> None:
        """Something went wrong."""

    def finished(self, records: Sequence[ComponentRecord]) -> None:
        """The last call has been made."""


class Chain:
    """One run of the whole chain.

    Args:
        file: The HostedCluster or HostedControlPlane.
        settings: How to run.
        reporter: Is told what happens, on the event loop.

    Raises:
        InputError: The file is not usable; nothing has been started or written.
    """

    def __init__(self, file: Path, settings: Settings, reporter: Reporter) -> None:
        self._cluster = read_hosted_cluster(file)
        self._settings = settings
        self._reporter = reporter
        self._key_vault_user = (
            os.environ.get(ARO_HCP_KEY_VAULT_MANAGED_IDENTITY_CLIENT_ID) or KEY_VAULT_USER_CLIENT_ID
        )
        self._objects = render(self._cluster, key_vault_user_client_id=self._key_vault_user)
        self._pods = build_pods(
            self._cluster,
            file.read_text(encoding="utf-8"),
            self._objects,
            key_vault_user_client_id=self._key_vault_user,
        )
        self._records = {
            pod.name: ComponentRecord(
                component=pod.component.name,
                workload=pod.name,
                volume=pod.mount.volume_name,
                secret_provider_class=pod.component.secret_provider_class,
                file=pod.file,
            )
            for pod in self._pods
        }
        identities = (
            f"/subscriptions/{self._cluster.subscription_id}/resourceGroups/{self._cluster.resource_group}"
            "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/"
        )
        self._resource_ids = {pod.name: identities + pod.component.name for pod in self._pods}
        self._components: list[ChildProcess] = []
        self._issued: dict[str, Issued] = {}
        """By pod: the newest credential."""
        self._rotations = 0
        self._problems: list[str] = []
        self._changed = asyncio.Event()
        self._main: asyncio.Task[Any] | None = None
        self._broken: str | None = None
        """Why nothing can go on, once a process is gone that everything stands on."""

    async def run(self) -> list[str]:
        """Start, rotate, stop; removes everything that it made, however it ends.

        Returns:
            What went wrong; nothing when every component used every certificate and no call failed.
        """
        self._main = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        ended_early = False
        try:
            with tempfile.TemporaryDirectory(prefix="hcpcreds-up-") as folder:
                async with AsyncExitStack() as stack:
                    owner = await self._start(Path(folder), stack)
                    await self._rotate(owner)
        except asyncio.CancelledError:
            ended_early = True
            self._add_early_end()
        except HcpCredsError as error:
            ended_early = True
            self._add_problem(str(error))
        for record in self._records.values():
            for problem in record.problems(ended_early=ended_early):
                self._add_problem(problem)
        self._reporter.finished(list(self._records.values()))
        return self._problems

    def as_json(self) -> dict[str, Any]:
        """The run as one JSON document."""
        return {
            "hosted_cluster": f"{self._cluster.namespace}/{self._cluster.name}",
            "rotate_every_seconds": self._settings.rotate_every,
            "rotations": self._rotations,
            "ok": not self._problems,
            "problems": self._problems,
            "components": [record.as_json() for record in self._records.values()],
        }

    async def _start(self, folder: Path, stack: AsyncExitStack) -> ServiceOwner:
        """Go along a credential's life once: issue, store, render, mount, use."""
        step = self._reporter.step
        certificate = trustme.CA().issue_cert("service-owner", key_type=trustme.KeyType.RSA)
        azure = await self._start_azure(folder, stack, certificate.cert_chain_pems[0].bytes().decode())
        step("1/6 azure   Entra ID, Key Vault, the managed-identity data plane and ARM listen on 127.0.0.1")

        owner = stack.enter_context(self._build_service_owner(azure, certificate))
        issued = await asyncio.to_thread(
            owner.issue, azure["identity_url"], list(self._resource_ids.values())
        )
        self._issued = dict(zip(self._resource_ids, issued, strict=True))
        step(f"2/6 issue   {len(issued)} certificates, one for each identity")

        await self._store(owner)
        step(f"3/6 store   {len(issued)} secrets in the vault {self._cluster.key_vault.name}")

        node_root = folder / "node"
        for pod in self._pods:
            pod.write_configuration(node_root)
        kinds = Counter(rendered["kind"] for rendered in self._objects)
        step(f"4/6 render  {', '.join(f'{number} {kind}' for kind, number in kinds.items())}")

        await self._start_node(folder, stack, azure)
        volumes = sum(len(pod.manifest["spec"]["volumes"]) for pod in self._pods)
        step(f"5/6 mount   {volumes} volumes in {len(self._pods)} pods")

        stack.push_async_callback(self._stop_components)
        for pod in self._pods:
            await self._start_component(pod, node_root, azure)
        step(f"6/6 use     {len(self._pods)} components call ARM every second")
        self._reporter.started(list(self._records.values()))
        return owner

    async def _start_azure(self, folder: Path, stack: AsyncExitStack, certificate: str) -> Event:
        cluster = self._cluster
        settings = AzureSettings(
            tenant_ids=tuple(dict.fromkeys((cluster.key_vault.tenant_id, cluster.tenant_id))),
            vaults=(cluster.key_vault.name,),
            applications=(
                ApplicationSettings(client_id=SERVICE_OWNER_CLIENT_ID, certificates=(certificate,)),
            ),
            identities=tuple(
                IdentitySettings(
                    client_id=pod.identity.client_id or str(uuid.uuid4()),
                    resource_id=self._resource_ids[pod.name],
                    tenant_id=cluster.tenant_id,
                )
                for pod in self._pods
            ),
            node_identities=(NodeIdentitySettings(client_id=self._key_vault_user),),
            token_lifetime=self._settings.token_lifetime,
            state_directory=str(folder / "azure"),
        )
        return await self._start_server("local Azure", "hcpcreds.local.azure", settings, folder, stack)

    async def _start_node(self, folder: Path, stack: AsyncExitStack, azure: Event) -> None:
        config = NodeConfig(
            root=str(folder / "node"),
            secret_provider_classes=[
                rendered for rendered in self._objects if rendered["kind"] == "SecretProviderClass"
            ],
            pods=[pod.manifest for pod in self._pods],
            vault_urls=azure["vaults"],
            ca_file=azure["ca_file"],
            poll_interval=NODE_POLL_SECONDS,
        )
        environment = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": azure["instance_metadata"]}
        await self._start_server(
            "node", "hcpcreds.local.node", config, folder, stack, environment=environment
        )

    async def _start_server(  # noqa: PLR0913 - what, how, where
        self,
        name: str,
        module: str,
        config: msgspec.Struct,
        folder: Path,
        stack: AsyncExitStack,
        *,
        environment: Mapping[str, str] | None = None,
    ) -> Event:
        """Start a process that everything stands on, and wait until it is ready."""
        file = folder / f"{name.replace(' ', '-')}.json"
        file.write_bytes(msgspec.json.encode(config))
        ready: asyncio.Future[Event] = asyncio.get_running_loop().create_future()

        def on_event(event: Event) -> None:
            if event["event"] == "ready":
                ready.set_result(event)
            else:
                self._on_node_event(event)

        child = await ChildProcess.start(
            name,
            [module, "--config", str(file)],
            environment={**base_environment(), **(environment or {})},
            on_event=on_event,
            on_end=partial(self._on_server_end, name),
        )
        stack.push_async_callback(child.stop)
        try:
            async with asyncio.timeout(START_SECONDS):
                return await ready
        except TimeoutError:
            raise ChainError(f"the {name} was not ready within {START_SECONDS:.0f} s") from None

    async def _start_component(self, pod: ComponentPod, node_root: Path, azure: Event) -> None:
        arguments = [
            "hcpcreds.chain.component",
            *("--root", str(pod.root_filesystem(node_root))),
            *("--resource-manager", azure["resource_manager"]),
            *("--ca-file", azure["ca_file"]),
            *("--cloud", self._cluster.cloud),
            *("--subscription", self._cluster.subscription_id),
            *pod.container["args"],
        ]
        child = await ChildProcess.start(
            pod.name,
            arguments,
            environment={**base_environment(), **pod.environment},
            on_event=partial(self._on_component_event, self._records[pod.name]),
            on_end=partial(self._on_component_end, self._records[pod.name]),
        )
        self._components.append(child)

    async def _stop_components(self) -> None:
        await asyncio.gather(*(child.stop() for child in self._components))

    def _build_service_owner(self, azure: Event, certificate: trustme.LeafCert) -> ServiceOwner:
        pem = certificate.private_key_pem.bytes()
        private_key = serialization.load_pem_private_key(pem, password=None)
        assert isinstance(private_key, rsa.RSAPrivateKey)  # noqa: S101 - as it was asked for
        return ServiceOwner(
            tenant_id=self._cluster.key_vault.tenant_id,
            client_id=SERVICE_OWNER_CLIENT_ID,
            certificate=x509.load_pem_x509_certificate(certificate.cert_chain_pems[0].bytes()),
            private_key=private_key,
            authority=azure["authority"],
            data_plane_audience=azure["data_plane_audience"],
            vault_url=azure["vaults"][self._cluster.key_vault.name],
            ca_file=Path(azure["ca_file"]),
        )

    async def _store(self, owner: ServiceOwner) -> None:
        """Store what has been issued, and expect it at the components."""

        async def store(pod: ComponentPod) -> None:
            issued = self._issued[pod.name]
            use = CertificateUse(issued.thumbprint, issued.expires)
            self._records[pod.name].certificates.append(use)
            use.version = await asyncio.to_thread(owner.store, pod.identity, issued)

        await asyncio.gather(*(store(pod) for pod in self._pods))

    async def _rotate(self, owner: ServiceOwner) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self._settings.rotate_every
            await self._wait_until_used()
            if self._rotations == self._settings.rotations:
                return
            await asyncio.sleep(due - loop.time())
            renewed = await asyncio.gather(
                *(asyncio.to_thread(owner.renew, self._issued[pod.name]) for pod in self._pods)
            )
            self._issued = dict(zip(self._records, renewed, strict=True))
            await self._store(owner)
            self._rotations += 1

    async def _wait_until_used(self) -> None:
        """Wait until every component that lives has used its newest certificate; not for ever."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not all(record.used_newest or record.ended for record in self._records.values()):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            for record in self._records.values():
                if not record.used_newest and not record.ended:
                    self._add_problem(
                        f"{record.component}: has not used its newest certificate in {PATIENCE_SECONDS:.0f} s"
                    )

    def _on_node_event(self, event: Event) -> None:
        record = self._records.get(event.get("pod", ""))
        if record is None or event["volume"] != record.volume:
            return
        if event["event"] == "failed":
            self._reporter.happened(record, f"the node could not mount {record.volume}: {event['reason']}")
        else:
            record.swapped(event["version"], event["at"])

    def _on_component_event(self, record: ComponentRecord, event: Event) -> None:
        first_use = False
        if event["event"] == "credential":
            record.reloaded(event["thumbprint"], event["generation"], event["at"])
        elif event["ok"]:
            first_use = record.called(event["thumbprint"], event["at"])
        else:
            record.failed(event["error"], event["at"])
            self._reporter.happened(record, f"call failed: {event['error']}")
        if first_use:
            self._reporter.happened(record, record.describe_newest())
        self._changed.set()

    def _on_component_end(self, record: ComponentRecord, reason: str) -> None:
        record.ended = reason
        self._add_problem(f"{record.component}: its process {reason}")
        self._changed.set()

    def _on_server_end(self, name: str, reason: str) -> None:
        self._broken = self._broken or f"the {name} is gone: {reason}"
        self._stop()

    def _add_early_end(self) -> None:
        if self._broken is not None:
            self._add_problem(self._broken)
        elif self._settings.rotations is not None:
            self._add_problem(f"stopped after {self._rotations} of {self._settings.rotations} rotations")

    def _add_problem(self, text: str) -> None:
        self._problems.append(text)
        self._reporter.problem(text)

    def _stop(self) -> None:
        """End the run, once: what is being ended already must not be disturbed."""
        if self._main is not None:
            self._main.cancel()
            self._main = None
