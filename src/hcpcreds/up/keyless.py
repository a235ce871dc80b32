"""Keyless pods: a sidecar alone mounts the credential, and the component is told of an assertion file."""

import asyncio
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from hcpcreds.constants import ARO_HCP_CLIENT_CREDENTIALS_PATH, MANAGED_AZURE_CREDENTIALS_FILE_PATH
from hcpcreds.errors import ChainError
from hcpcreds.up.pods import ComponentPod
from hcpcreds.up.processes import ChildProcess, Event, base_environment

ASSERTION_FILE: Final = "var/run/secrets/azure/tokens/azure-identity-token"
"""Path in the component's file system: where Cluster API's provider looks when it is told nothing."""
JAVASCRIPT_WORKLOAD: Final = "cloud-network-config-controller"
_PACKAGE: Final = "@azure/identity"
_POLL_SECONDS: Final = 0.05


@dataclass(frozen=True)
class Program:
    """A program that stands for a component."""

    command: tuple[str, ...]
    environment: dict[str, str]
    language: str


PYTHON: Final = Program((sys.executable, "-m", "hcpcreds.up.component"), {}, "Python")


@dataclass(frozen=True, kw_only=True)
class KeylessPod:
    """The main container and the sidecar of a pod."""

    pod: ComponentPod
    client_id: str
    tenant_id: str
    root: Path
    """The main container's file system."""

    @classmethod
    def make(cls, pod: ComponentPod, *, client_id: str, tenant_id: str, folder: Path) -> Self:
        """Make the main container's file system, in a folder for those of all pods."""
        keyless = cls(pod=pod, client_id=client_id, tenant_id=tenant_id, root=folder / pod.name)
        keyless.assertion.parent.mkdir(parents=True)
        return keyless

    @property
    def assertion(self) -> Path:
        """The assertion file on this machine."""
        return self.root / ASSERTION_FILE

    def build_environment(self, azure: Event) -> dict[str, str]:
        """Build what makes the component keyless: it has no path of a key, and is told of the assertion."""
        names = (MANAGED_AZURE_CREDENTIALS_FILE_PATH, ARO_HCP_CLIENT_CREDENTIALS_PATH)
        return {
            **{name: "" for name in names if name in self.pod.environment},
            "AZURE_CLIENT_ID": self.client_id,
            "AZURE_TENANT_ID": self.tenant_id,
            "AZURE_AUTHORITY_HOST": azure["authority"],
            "AZURE_FEDERATED_TOKEN_FILE": str(self.assertion),
        }

    async def start_sidecar(
        self, azure: Event, *, mounted: Path, seconds: float, on_end: Callable[[str], None]
    ) -> ChildProcess:
        """Start `hcpcreds serve`, the command itself; see `ChildProcess.start`.

        Args:
            azure: What the local Azure said of itself.
            mounted: The credential file on this machine.
            seconds: How long the first assertion may take.
            on_end: Called with the reason when it ends without `stop`.
        """
        name = f"{self.pod.name}'s sidecar"
        arguments = [
            *("hcpcreds.up.tether", "hcpcreds", "serve"),
            *("--credential", f"{self.assertion.name}={mounted}"),
            *("--assertion-directory", str(self.assertion.parent)),
            *("--authority", azure["authority"]),
            *("--ca-file", azure["ca_file"]),
        ]
        child = await ChildProcess.start(
            name, arguments, environment=base_environment(), on_event=lambda _: None, on_end=on_end
        )
        try:
            async with asyncio.timeout(seconds):
                while not self.assertion.exists():  # noqa: ASYNC110 (another process writes it)
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            await child.stop()
            raise ChainError(f"{name} wrote no assertion within {seconds:.0f} s") from None
        except BaseException:
            await child.stop()
            raise
        return child


async def find_javascript(ca_file: str) -> Program | None:
    """Find node and Azure's SDK for it, from the current directory and NODE_PATH; None without them."""
    node = shutil.which("node")
    if node is None:
        return None
    process = await asyncio.create_subprocess_exec(
        node,
        "--print",
        f"require.resolve({_PACKAGE!r})",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    out, _ = await process.communicate()
    place, found, _ = out.decode().partition(f"/{_PACKAGE}/")
    if not found:
        return None
    environment = {"NODE_PATH": place, "NODE_EXTRA_CA_CERTS": ca_file}
    return Program((node, str(Path(__file__).with_name("component.cjs"))), environment, "JavaScript")


def choose_program(pod: ComponentPod, javascript: Program | None) -> Program:
    """Choose what stands for a component: one is a JavaScript program where that can be."""
    return javascript if javascript and pod.name == JAVASCRIPT_WORKLOAD else PYTHON


def describe(pods: Sequence[ComponentPod], javascript: Program | None) -> str:
    """Describe who calls without a key."""
    chosen = [pod.component.name for pod in pods if choose_program(pod, javascript) is javascript]
    if javascript is None:
        return f"none has a key; none is a JavaScript program, for node does not find {_PACKAGE}"
    return f"none has a key; JavaScript: {', '.join(chosen) or 'none'}"
