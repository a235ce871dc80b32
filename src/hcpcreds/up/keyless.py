"""Keyless pods, as `inject --keyless` makes them: a sidecar with the key, and a component as its row says."""

import asyncio
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from hcpcreds.errors import ChainError
from hcpcreds.manifests.sidecar import ASSERTION_DIRECTORY
from hcpcreds.up.pods import ComponentPod, read_environment
from hcpcreds.up.processes import ChildProcess, Event, base_environment

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
    main: dict[str, Any]
    """The main container in the manifest."""
    sidecar: dict[str, Any]
    root: Path
    """The main container's file system."""
    sidecar_root: Path
    """The sidecar's, where the node mounts the key."""

    @classmethod
    def make(cls, pod: ComponentPod, *, folder: Path, node: Path) -> Self | None:
        """Make the file systems of a pod.

        Args:
            pod: The pod.
            folder: For the main containers of all pods.
            node: Where the node mounts.

        Returns:
            None if its component keeps its key, so that it has no sidecar.
        """
        spec = pod.keyless_spec
        if spec is None or "initContainers" not in spec:
            return None
        [sidecar], [main] = spec["initContainers"], spec["containers"]
        keyless = cls(
            pod=pod,
            main=main,
            sidecar=sidecar,
            root=folder / pod.name,
            sidecar_root=pod.root_filesystem(node),
        )
        keyless.assertion.parent.mkdir(parents=True)
        for mount in main["volumeMounts"]:
            place = keyless.root / mount["mountPath"].lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(keyless.sidecar_root / mount["mountPath"].lstrip("/"))
        return keyless

    @property
    def login(self) -> tuple[str, ...]:
        """How the component logs in."""
        row = self.pod.component.consumer.keyless
        return ("assertion", "key") if row is not None and row.keeps_mount else ("assertion",)

    @property
    def assertion(self) -> Path:
        """The assertion file on this machine."""
        return self.sidecar_root / ASSERTION_DIRECTORY.lstrip("/") / self.pod.identity.credentials_secret_name

    def build_environment(self, azure: Event) -> dict[str, str]:
        """Build the variables of the main container: those of the manifest, on this machine."""
        variables = read_environment(self.main)
        file = variables["AZURE_FEDERATED_TOKEN_FILE"].lstrip("/")
        return variables | {
            "AZURE_FEDERATED_TOKEN_FILE": str(self.root / file),
            "AZURE_AUTHORITY_HOST": azure["authority"],
        }

    def _build_sidecar(self, azure: Event) -> tuple[list[str], dict[str, str]]:
        """Build the sidecar's command and its variables: those of the manifest, on this machine."""
        variables = read_environment(self.sidecar)
        del variables["HCPCREDS_CLOUD"]  # which has another authority
        del variables["HCPCREDS_METRICS_ADDRESS"]  # of which every pod has one, but not this machine
        credential = self.sidecar_root / variables.pop("HCPCREDS_CREDENTIAL").lstrip("/")
        directory = self.sidecar_root / variables["HCPCREDS_ASSERTION_DIRECTORY"].lstrip("/")
        # An option, because blanks separate the credentials in the variable.
        command = [*self.sidecar["command"], "--credential", f"{credential.name}={credential}"]
        return command, variables | {
            "HCPCREDS_ASSERTION_DIRECTORY": str(directory),
            "HCPCREDS_AUTHORITY": azure["authority"],
            "HCPCREDS_CA_FILE": azure["ca_file"],
        }

    async def start_sidecar(
        self, azure: Event, *, seconds: float, on_end: Callable[[str], None]
    ) -> ChildProcess:
        """Start the sidecar's command, `hcpcreds serve`; see `ChildProcess.start`.

        Args:
            azure: What the local Azure said of itself.
            seconds: How long the first assertion may take.
            on_end: Called with the reason when it ends without `stop`.
        """
        name = f"{self.pod.name}'s sidecar"
        command, variables = self._build_sidecar(azure)
        child = await ChildProcess.start(
            name,
            ["hcpcreds.up.tether", *command],
            environment=base_environment() | variables,
            on_event=lambda _: None,
            on_end=on_end,
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
    """Choose what stands for a keyless component: one is a JavaScript program where that can be."""
    return javascript if javascript and pod.name == JAVASCRIPT_WORKLOAD else PYTHON


def describe(pods: Mapping[str, KeylessPod], javascript: Program | None) -> str:
    """Describe who calls without a key."""
    keyless = [each for each in pods.values() if each.login == ("assertion",)]
    text = f"{len(keyless)} have no key"
    if javascript is None:
        return f"{text}; none is a JavaScript program, for node does not find {_PACKAGE}"
    chosen = [
        each.pod.component.name for each in keyless if choose_program(each.pod, javascript) is javascript
    ]
    return f"{text}; JavaScript: {', '.join(chosen) or 'none'}"
