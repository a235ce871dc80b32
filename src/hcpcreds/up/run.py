"""The chain itself: start everything, rotate, listen, judge, stop everything."""

import asyncio
import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from hcpcreds.constants import ARO_HCP_KEY_VAULT_MANAGED_IDENTITY_CLIENT_ID
from hcpcreds.errors import ChainError, HcpCredsError, InputError
from hcpcreds.hosted_cluster import parse_hosted_cluster
from hcpcreds.kubernetes.documents import read_source
from hcpcreds.local.node.node import NodeConfig
from hcpcreds.manifests.render import render
from hcpcreds.up.listener import Listener
from hcpcreds.up.pods import ComponentPod, build_pods
from hcpcreds.up.processes import ChildProcess, Event, base_environment
from hcpcreds.up.record import CertificateUse, ComponentRecord
from hcpcreds.up.renewer import start_renewer
from hcpcreds.up.running import (
    DIRECTORY_PREFIX,
    RunningChain,
    RunningComponent,
    RunningVault,
    announce,
)
from hcpcreds.up.service_owner import Issued, OwnIdentity, ServiceOwner
from hcpcreds.up.settings import Reporter, Settings, build_azure_settings, build_identities

EXAMPLE: Final = Path(__file__).with_name("example-hosted-cluster.yaml")
START_SECONDS: Final = 60.0
"""How long a process may take to say that it is ready."""
PATIENCE_SECONDS: Final = 30.0
"""How long the components may take to use a new certificate before that is a problem."""
NODE_POLL_SECONDS: Final = 0.5
"""How often the local node looks for new versions; the real driver's default is 120."""
RENEWER_INTERVAL_SECONDS: Final = 1.0
"""How often the renewer walks over the vault."""
KEY_VAULT_USER_CLIENT_ID: Final = "7d9f5b0a-4c1e-4b53-9a67-2e8c1f3d6a05"
"""The node's own identity, where the environment names none."""


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
        source = read_source(file)  # once: it may be a pipe
        self._cluster = parse_hosted_cluster(source, where=str(file))
        if self._cluster.key_vault is None:
            problem = "it uses workload identities, whose credentials are not mounted"
            raise InputError(str(file), [problem], hint="Give a hosted cluster with managed identities.")
        self._vault = self._cluster.key_vault
        self._settings = settings
        self._reporter = reporter
        self._key_vault_user = (
            os.environ.get(ARO_HCP_KEY_VAULT_MANAGED_IDENTITY_CLIENT_ID) or KEY_VAULT_USER_CLIENT_ID
        )
        self._objects = render(self._cluster, key_vault_user_client_id=self._key_vault_user)
        self._pods = build_pods(
            self._cluster, source, self._objects, key_vault_user_client_id=self._key_vault_user
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
        self._listener = Listener(
            self._records,
            secret_names={pod.name: pod.secret_name for pod in self._pods},
            reporter=reporter,
            stop=self._stop,
        )
        self._identities = build_identities(self._cluster, self._pods, where=str(file))
        self._components: list[ChildProcess] = []
        self._issued: dict[str, Issued] = {}
        """By the secret's name: the newest credential."""
        self._rotations = 0
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
            with tempfile.TemporaryDirectory(prefix=DIRECTORY_PREFIX) as folder:
                async with AsyncExitStack() as stack:
                    owner, running = await self._start(Path(folder), stack)
                    if self._settings.renew:
                        await self._watch_renewals(running, stack)
                    else:
                        await self._rotate(owner)
        except asyncio.CancelledError:
            ended_early = True
            self._add_early_end()
        except HcpCredsError as error:
            ended_early = True
            self._listener.add_problem(str(error))
        for record in self._records.values():
            # A renewer goes on by itself: the newest certificate may not have had its turn.
            for problem in record.problems(ended_early=ended_early or self._settings.renew):
                self._listener.add_problem(problem)
        self._reporter.finished(list(self._records.values()))
        return self._listener.problems

    def as_json(self) -> dict[str, Any]:
        """The run as one JSON document."""
        return {
            "hosted_cluster": f"{self._cluster.namespace}/{self._cluster.name}",
            "rotate_every_seconds": self._settings.rotate_every,
            "rotations": self._rotations,
            "ok": not self._listener.problems,
            "problems": self._listener.problems,
            "components": [record.as_json() for record in self._records.values()],
        }

    async def _start(self, folder: Path, stack: AsyncExitStack) -> tuple[ServiceOwner, RunningChain]:
        """Go along a credential's life once: issue, store, render, mount, use."""
        steps = 7 if self._settings.renew else 6

        def step(text: str) -> None:
            number, _, said = text.partition(" ")
            self._reporter.step(f"{number}/{steps} {said}")

        own_identity = OwnIdentity.make(self._vault.tenant_id)
        azure = await self._start_server(
            "local Azure",
            "hcpcreds.local.azure.azure",
            build_azure_settings(
                self._cluster,
                self._vault,
                identities=self._identities.values(),
                service_owner=own_identity,
                key_vault_user_client_id=self._key_vault_user,
                settings=self._settings,
                folder=folder,
            ),
            folder,
            stack,
        )
        step("1 azure   Entra ID, Key Vault, the managed-identity data plane and ARM listen on 127.0.0.1")

        owner = stack.enter_context(
            ServiceOwner(
                own_identity,
                authority=azure["authority"],
                data_plane_audience=azure["data_plane_audience"],
                vault_url=azure["vaults"][self._vault.name],
                ca_file=Path(azure["ca_file"]),
            )
        )
        await stack.enter_async_context(self._listener.looking_up(owner))
        own_identity.write_credential_file(folder / "service-owner.json", authority=azure["authority"])
        issued = await asyncio.to_thread(
            owner.issue,
            azure["identity_url"],
            [str(identity.resource_id) for identity in self._identities.values()],
        )
        self._issued = dict(zip(self._identities, issued, strict=True))
        step(f"2 issue   {len(issued)} certificates, one for each identity")

        await self._store(owner)
        step(f"3 store   {len(issued)} secrets in the vault {self._vault.name}")

        node_root = folder / "node"
        for pod in self._pods:
            pod.write_configuration(node_root)
        kinds = Counter(rendered["kind"] for rendered in self._objects)
        step(f"4 render  {', '.join(f'{number} {kind}' for kind, number in kinds.items())}")

        await self._start_server(
            "node",
            "hcpcreds.local.node.node",
            NodeConfig(
                root=str(node_root),
                secret_provider_classes=[
                    rendered for rendered in self._objects if rendered["kind"] == "SecretProviderClass"
                ],
                pods=[pod.manifest for pod in self._pods],
                vault_urls=azure["vaults"],
                ca_file=azure["ca_file"],
                poll_interval=NODE_POLL_SECONDS,
            ),
            folder,
            stack,
            environment={"AZURE_POD_IDENTITY_AUTHORITY_HOST": azure["instance_metadata"]},
        )
        volumes = sum(len(pod.manifest["spec"]["volumes"]) for pod in self._pods)
        step(f"5 mount   {volumes} volumes in {len(self._pods)} pods")

        stack.push_async_callback(self._stop_components)
        for pod in self._pods:
            await self._start_component(pod, node_root, azure)
        running = self._describe_running(folder, azure)
        stack.enter_context(announce(running, folder))
        step(f"6 use     {len(self._pods)} components call ARM every second")
        self._reporter.started(list(self._records.values()))
        return owner, running

    async def _start_server(  # noqa: PLR0913 (what, how, where)
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
                self._listener.hear_node(event)

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
            "hcpcreds.up.component",
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
            on_event=partial(self._listener.hear_component, self._records[pod.name]),
            on_end=partial(self._listener.end_component, self._records[pod.name]),
        )
        self._components.append(child)

    def _describe_running(self, folder: Path, azure: Event) -> RunningChain:
        return RunningChain(
            started_at=time.time(),
            cloud=self._cluster.cloud,
            authority=azure["authority"],
            ca_file=azure["ca_file"],
            components=[
                RunningComponent(
                    component=pod.component.name,
                    workload=pod.name,
                    file=pod.file,
                    path=str(pod.root_filesystem(folder / "node")) + pod.file,
                )
                for pod in self._pods
            ],
            vault=RunningVault(
                vault_url=azure["vaults"][self._vault.name],
                data_plane_audience=azure["data_plane_audience"],
                data_plane_host=str(urlsplit(azure["identity_url"]).hostname),
                credential_file=str(folder / "service-owner.json"),
            ),
        )

    async def _stop_components(self) -> None:
        await asyncio.gather(*(child.stop() for child in self._components))

    async def _store(self, owner: ServiceOwner) -> None:
        """Store what has been issued, and expect it at the components."""

        async def store(name: str, issued: Issued) -> None:
            pods = [pod for pod in self._pods if pod.secret_name == name]
            uses = [CertificateUse(issued.thumbprint, issued.expires) for _ in pods]
            for pod, use in zip(pods, uses, strict=True):
                self._records[pod.name].certificates.append(use)
            version = await asyncio.to_thread(owner.store, pods[0].identity, issued)
            for use in uses:
                use.version = version

        await asyncio.gather(*(store(name, issued) for name, issued in self._issued.items()))

    async def _rotate(self, owner: ServiceOwner) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self._settings.rotate_every
            await self._wait_until_used()
            if self._rotations == self._settings.rotations:
                return
            await asyncio.sleep(due - loop.time())
            renewed = await asyncio.gather(
                *(asyncio.to_thread(owner.renew, issued) for issued in self._issued.values())
            )
            self._issued = dict(zip(self._issued, renewed, strict=True))
            await self._store(owner)
            self._rotations += 1

    async def _watch_renewals(self, running: RunningChain, stack: AsyncExitStack) -> None:
        """Let a real `hcpcreds renew` do it, until every component has come through enough rotations."""
        renewer = await start_renewer(
            running,
            interval=RENEWER_INTERVAL_SECONDS,
            on_event=self._listener.hear_renewer,
            on_end=partial(self._on_server_end, "renewer"),
        )
        stack.push_async_callback(renewer.stop)
        self._reporter.step("7/7 renew   `hcpcreds renew` walks over the vault every second")
        while self._settings.rotations is None or self._rotations < self._settings.rotations:
            try:
                async with asyncio.timeout(self._settings.rotate_every + PATIENCE_SECONDS):
                    await self._wait_for_rotation(self._rotations + 1)
            except TimeoutError:
                self._listener.add_problem(
                    f"rotation {self._rotations + 1} has not come to every component in time"
                )
                return
            if all(record.ended for record in self._records.values()):
                return  # each is a problem already
            self._rotations += 1

    async def _wait_for_rotation(self, number: int) -> None:
        while any(record.rotations < number and not record.ended for record in self._records.values()):
            self._listener.changed.clear()
            await self._listener.changed.wait()

    async def _wait_until_used(self) -> None:
        """Wait until every component that lives has used its newest certificate; not for ever."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not all(record.used_newest or record.ended for record in self._records.values()):
                    self._listener.changed.clear()
                    await self._listener.changed.wait()
        except TimeoutError:
            for record in self._records.values():
                if not record.used_newest and not record.ended:
                    self._listener.add_problem(
                        f"{record.component}: has not used its newest certificate in {PATIENCE_SECONDS:.0f} s"
                    )

    def _on_server_end(self, name: str, reason: str) -> None:
        self._broken = self._broken or f"the {name} is gone: {reason}"
        self._stop()

    def _add_early_end(self) -> None:
        if self._broken is not None:
            self._listener.add_problem(self._broken)
        elif self._settings.rotations is not None:
            self._listener.add_problem(
                f"stopped after {self._rotations} of {self._settings.rotations} rotations"
            )

    def _stop(self) -> None:
        """End the run, once: what is being ended already must not be disturbed."""
        if self._main is not None:
            self._main.cancel()
            self._main = None
