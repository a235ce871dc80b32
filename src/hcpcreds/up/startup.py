"""Starts the processes of a chain, along a credential's life: issue, store, render, mount, use."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from hcpcreds.clouds import get_cloud
from hcpcreds.errors import ChainError
from hcpcreds.local.node.node import NodeConfig
from hcpcreds.manifests.render import describe_keyless
from hcpcreds.up.keyless import PYTHON, KeylessPod, Program, choose_program, describe, find_javascript
from hcpcreds.up.plan import Plan
from hcpcreds.up.pods import ComponentPod
from hcpcreds.up.processes import ChildProcess, Event, base_environment
from hcpcreds.up.record import ComponentRecord
from hcpcreds.up.recorder import Recorder
from hcpcreds.up.renewer import start_renewer
from hcpcreds.up.rotation import Rotation
from hcpcreds.up.running import RunningChain, RunningComponent, RunningVault, announce
from hcpcreds.up.service_owner import OwnIdentity, ServiceOwner
from hcpcreds.up.settings import Reporter, RunSettings

START_SECONDS: Final = 60.0
"""How long a process may take to say that it is ready."""
NODE_POLL_SECONDS: Final = 0.5
"""How often the local node looks for new versions; the real driver's default is 120."""
RENEWER_INTERVAL_SECONDS: Final = 1.0
"""How often the renewer walks over the vault."""


class Startup:
    """One start of every process of a chain.

    Args:
        plan: What to start.
        settings: How the chain runs.
        records: By workload.
        recorder: Gets the events of the processes.
        reporter: Shows each step.
        folder: Directory for everything that the processes write.
        stack: Stops each process, in the reverse order.
        on_server_end: Called with a name and the reason when a process ends that everything depends on.
    """

    def __init__(  # noqa: PLR0913 (its parts, each by its name)
        self,
        plan: Plan,
        settings: RunSettings,
        *,
        records: Mapping[str, ComponentRecord],
        recorder: Recorder,
        reporter: Reporter,
        folder: Path,
        stack: AsyncExitStack,
        on_server_end: Callable[[str, str], None],
    ) -> None:
        self._plan = plan
        self._settings = settings
        self._records = records
        self._recorder = recorder
        self._reporter = reporter
        self._folder = folder
        self._node_root = folder / "node"
        self._stack = stack
        self._on_server_end = on_server_end
        self._keyless: dict[str, KeylessPod] = {}
        """By workload; empty when the components mount their credentials."""
        self._components: list[ChildProcess] = []
        self._steps = 0

    async def run(self) -> Rotation:
        """Start everything, and return when every component has been started.

        Raises:
            ChainError: A process did not start.
            IssueError: The data plane did not issue a credential.
            StoreError: The vault did not take one.
        """
        plan = self._plan
        own_identity = OwnIdentity.make(plan.vault.tenant_id)
        azure = await self._start_server(
            "local Azure",
            "hcpcreds.local.azure.azure",
            plan.build_azure_settings(self._settings, service_owner=own_identity, folder=self._folder),
        )
        self._report(
            "azure   Entra ID, Key Vault, the managed-identity data plane and ARM listen on 127.0.0.1"
        )

        owner = ServiceOwner(
            own_identity,
            authority=azure["authority"],
            data_plane_audience=azure["data_plane_audience"],
            vault_url=azure["vaults"][plan.vault.name],
            ca_file=Path(azure["ca_file"]),
        )
        self._stack.enter_context(owner)
        await self._stack.enter_async_context(self._recorder.looking_up(owner))
        own_identity.write_credential_file(self._folder / "service-owner.json", authority=azure["authority"])
        rotation = Rotation(owner, plan, self._records)
        await rotation.issue(azure["identity_url"])
        self._report(f"issue   {len(plan.identities)} certificates, one for each identity")

        await rotation.store()
        self._report(f"store   {len(plan.identities)} secrets in the vault {plan.vault.name}")

        for pod in plan.pods:
            keyless = KeylessPod.make(pod, folder=self._folder / "keyless", node=self._node_root)
            if keyless is not None:
                self._keyless[pod.name] = keyless
                self._records[pod.name].logins = keyless.login
            pod.write_configuration(self._find_root(pod))
        kinds = Counter(rendered["kind"] for rendered in plan.objects)
        self._report(f"render  {', '.join(f'{number} {kind}' for kind, number in kinds.items())}")

        await self._start_node(azure)
        volumes = sum(len(pod.manifest["spec"]["volumes"]) for pod in plan.pods)
        self._report(f"mount   {volumes} volumes in {len(plan.pods)} pods")

        if self._keyless:
            await self._start_sidecars(azure)
        who = await self._start_components(azure)
        running = self._describe_running(azure)
        self._stack.enter_context(announce(running, self._folder))
        self._report(f"use     {len(plan.pods)} components call ARM every second{who}")
        self._reporter.started(list(self._records.values()))

        if self._settings.renew:
            await self._start_renewer(running)
        return rotation

    def _report(self, step: str) -> None:
        self._steps += 1
        self._reporter.step(f"{self._steps}/{6 + self._settings.renew + self._settings.keyless} {step}")

    async def _start_server(
        self,
        name: str,
        module: str,
        config: msgspec.Struct,
        *,
        environment: Mapping[str, str] | None = None,
    ) -> Event:
        """Start a process that everything depends on, and wait until it is ready."""
        file = self._folder / f"{name.replace(' ', '-')}.json"
        file.write_bytes(msgspec.json.encode(config))
        ready: asyncio.Future[Event] = asyncio.get_running_loop().create_future()

        def on_event(event: Event) -> None:
            if event["event"] == "ready":
                ready.set_result(event)
            else:
                self._recorder.on_node_event(event)

        child = await ChildProcess.start(
            name,
            [module, "--config", str(file)],
            environment={**base_environment(), **(environment or {})},
            on_event=on_event,
            on_end=partial(self._on_server_end, name),
        )
        self._stack.push_async_callback(child.stop)
        try:
            async with asyncio.timeout(START_SECONDS):
                return await ready
        except TimeoutError:
            raise ChainError(f"the {name} was not ready within {START_SECONDS:.0f} s") from None

    async def _start_node(self, azure: Event) -> None:
        classes = [each for each in self._plan.objects if each["kind"] == "SecretProviderClass"]
        config = NodeConfig(
            root=str(self._node_root),
            secret_provider_classes=classes,
            pods=[pod.manifest for pod in self._plan.pods],
            vault_urls=azure["vaults"],
            ca_file=azure["ca_file"],
            poll_interval=NODE_POLL_SECONDS,
        )
        environment = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": azure["instance_metadata"]}
        await self._start_server("node", "hcpcreds.local.node.node", config, environment=environment)

    async def _start_sidecars(self, azure: Event) -> None:
        """Start the sidecars, and return when each has written an assertion that the authority takes."""

        async def start(keyless: KeylessPod) -> None:
            child = await keyless.start_sidecar(
                azure,
                seconds=START_SECONDS,
                on_end=partial(self._on_server_end, f"sidecar of {keyless.pod.name}"),
            )
            self._stack.push_async_callback(child.stop)

        await asyncio.gather(*(start(keyless) for keyless in self._keyless.values()))
        self._report(f"serve   {len(self._keyless)} sidecars mount the keys and write assertions")
        for text in describe_keyless(self._plan.cluster):
            self._reporter.step(f"            {text}")

    async def _start_components(self, azure: Event) -> str:
        """Start the components; tells who they are where that is not always the same."""
        self._stack.push_async_callback(self._stop_components)
        javascript = await find_javascript(azure["ca_file"]) if self._keyless else None
        for pod in self._plan.pods:
            await self._start_component(pod, azure, javascript)
        return f": {describe(self._keyless, javascript)}" if self._keyless else ""

    async def _stop_components(self) -> None:
        await asyncio.gather(*(child.stop() for child in self._components))

    def _find_root(self, pod: ComponentPod) -> Path:
        """Find the file system of the component's container."""
        keyless = self._keyless.get(pod.name)
        return pod.root_filesystem(self._node_root) if keyless is None else keyless.root

    async def _start_component(self, pod: ComponentPod, azure: Event, javascript: Program | None) -> None:
        keyless = self._keyless.get(pod.name)
        program = PYTHON if keyless is None else choose_program(pod, javascript)
        cluster, record = self._plan.cluster, self._records[pod.name]
        record.language = program.language
        arguments = [
            *("--root", str(self._find_root(pod))),
            *("--resource-manager", azure["resource_manager"]),
            *("--ca-file", azure["ca_file"]),
            *("--cloud", cluster.cloud),
            *("--scope", get_cloud(cluster.cloud).resource_manager_scope),
            *("--subscription", cluster.subscription_id),
            *pod.container["args"],
        ]
        child = await ChildProcess.start(
            pod.name,
            arguments,
            interpreter=program.command,
            environment={
                **base_environment(),
                **(keyless.build_environment(azure) if keyless else pod.environment),
                **program.environment,
            },
            on_event=partial(self._recorder.on_component_event, record),
            on_end=partial(self._recorder.on_component_end, record),
        )
        self._components.append(child)

    async def _start_renewer(self, running: RunningChain) -> None:
        renewer = await start_renewer(
            running,
            interval=RENEWER_INTERVAL_SECONDS,
            on_event=self._recorder.on_renewer_event,
            on_end=partial(self._on_server_end, "renewer"),
        )
        self._stack.push_async_callback(renewer.stop)
        self._report("renew   `hcpcreds renew` walks over the vault every second")

    def _describe_running(self, azure: Event) -> RunningChain:
        return RunningChain(
            started_at=time.time(),
            cloud=self._plan.cluster.cloud,
            authority=azure["authority"],
            ca_file=azure["ca_file"],
            components=[
                RunningComponent(
                    component=pod.component.name,
                    workload=pod.name,
                    file=pod.file,
                    path=str(pod.find_mounted(self._node_root)),
                )
                for pod in self._plan.pods
            ],
            vault=RunningVault(
                vault_url=azure["vaults"][self._plan.vault.name],
                data_plane_audience=azure["data_plane_audience"],
                data_plane_host=str(urlsplit(azure["identity_url"]).hostname),
                credential_file=str(self._folder / "service-owner.json"),
            ),
        )
