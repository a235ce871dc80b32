"""A small cluster with a vault: pods whose volumes the driver mounts, and programs with metrics."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import msgspec
from click.testing import CliRunner, Result
from prometheus_client import CollectorRegistry, generate_latest
from tests.local.clients import Caller, make_key
from tests.local.node_cluster import NODE_IDENTITY, VAULT, build_class, build_pod
from typing_extensions import override

from hcpcreds import UserAssignedIdentityCredential
from hcpcreds.cli.root import hcpcreds
from hcpcreds.dataplane import UserAssignedIdentityCredentials
from hcpcreds.dataplane.models import parse_model
from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.local.kubernetes.api import KubernetesApi
from hcpcreds.local.node.node import Node
from hcpcreds.metrics import CredentialMetrics
from hcpcreds.vault import store

NAMESPACE: Final = "hcp"
OWN: Final = "cccccccc-0000-0000-0000-000000000001"
LONG_AGO: Final = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Container:
    """A container that mounts the secret."""

    name: str = "main"
    started: datetime | None = LONG_AGO
    port: int | None = None
    """Of its metrics."""
    env: dict[str, str] = field(default_factory=dict)


class MountedPod:
    """A pod with a volume of the driver.

    Args:
        fleet: Where it is.
        name: Its name.
        secret: The secret that it mounts.
        containers: Its containers; the volume is mounted before they start.
    """

    def __init__(self, fleet: "Fleet", name: str, secret: str, containers: Sequence[Container]) -> None:
        self.azure, self.name, self.secret = fleet.azure, name, secret
        self._api = fleet.api
        self._root = fleet.root / name
        self._class = build_class(secret, {"objectName": secret})
        self._api.put(self._class)
        self._pod: dict[str, Any] = build_pod(name, secret)
        self.write(*containers)
        self._pod["metadata"]["uid"] = self._api.find_all("pods", NAMESPACE)[name]["metadata"]["uid"]
        self.node = Node(
            self._root,
            secret_provider_classes=[self._class],
            vault_urls={VAULT: self.azure.vault_url()},
            ca_file=self.azure.ca_file,
        )
        self.node.mount(self._pod)
        self._publish()

    @property
    def path(self) -> Path:
        """The mounted file."""
        return self._root / "pods" / f"{NAMESPACE}_{self.name}" / "rootfs/mnt/certs" / self.secret

    @property
    def status_name(self) -> str:
        return f"{self.name}-{NAMESPACE}-{self.secret}"

    def write(self, *containers: Container, **status: Any) -> None:
        """Tell the API server what containers there are, and how they are."""
        self._pod["spec"]["containers"] = [
            {
                "name": each.name,
                "volumeMounts": [{"name": "cert", "mountPath": "/mnt/certs"}],
                "env": [{"name": name, "value": value} for name, value in each.env.items()],
                "ports": [{"name": "hcpcreds", "containerPort": each.port}] if each.port else [],
            }
            for each in containers
        ]
        states: list[dict[str, Any]] = [
            {"running": {"startedAt": f"{each.started:%Y-%m-%dT%H:%M:%SZ}"}}
            if each.started
            else {"waiting": {}}
            for each in containers
        ]
        self._pod["status"] = {
            "phase": "Running",
            "podIP": "127.0.0.1",
            "containerStatuses": [
                {"name": each.name, "state": state} for each, state in zip(containers, states, strict=True)
            ],
            **status,
        }
        self._api.put(self._pod)

    def poll(self) -> None:
        """Let the driver rotate it."""
        self.node.poll_once()
        self._publish()

    def _publish(self) -> None:
        """Write the driver's status to the API server, which counts changes and notes their time."""
        written = json.loads(
            (self._root / f"secretproviderclasspodstatuses/{NAMESPACE}/{self.status_name}.json").read_bytes()
        )
        before = self._api.find_all("secretproviderclasspodstatuses", NAMESPACE).get(self.status_name)
        at = LONG_AGO if before is None else datetime.now(UTC)
        metadata = {"generation": 1, "managedFields": [{"time": f"{at:%Y-%m-%dT%H:%M:%SZ}"}]}
        if before is not None:
            if before["status"] == written["status"]:
                return
            metadata["generation"] = before["metadata"]["generation"] + 1
        written["metadata"] |= metadata
        self._api.put(written)


class Fleet:
    """Pods, a vault, and the commands of who is on call.

    Args:
        azure: With the vault.
        api: The API server.
        root: Directory for everything.
    """

    def __init__(self, azure: LocalAzure, api: KubernetesApi, root: Path) -> None:
        self.azure, self.api, self.root = azure, api, root
        self.stack = ExitStack()
        azure.assign_to_node(NODE_IDENTITY)
        self._own = root / "own.json"
        self._own.write_text(json.dumps(azure.issue(OWN, private_key=make_key())))

    def store(self, secret: str, client_id: str, **options: Any) -> str:
        """Issue a certificate, and store it as a new version; returns its thumbprint."""
        application = self.azure.directory.find_application(client_id)
        before = set(application.certificates) if application else set()
        issued = self.azure.issue(client_id, private_key=make_key(), **options)
        application = self.azure.directory.find_application(client_id)
        assert application is not None
        credentials = parse_model(msgspec.json.encode(issued), UserAssignedIdentityCredentials)
        with self.open_vault() as client:
            store(client, credentials, name=secret)
        (thumbprint,) = set(application.certificates) - before
        return thumbprint

    def open_vault(self) -> Any:
        from azure.keyvault.secrets import SecretClient  # noqa: PLC0415 (only this needs it)

        return SecretClient(
            self.azure.vault_url(),
            Caller(self.azure),
            verify_challenge_resource=False,
            connection_verify=str(self.azure.ca_file),
        )

    def add(self, name: str, secret: str, *containers: Container) -> MountedPod:
        """Start a pod."""
        pod = MountedPod(self, name, secret, containers or [Container()])
        self.stack.callback(pod.node.close)
        return pod

    def remove(self, pod: MountedPod) -> None:
        """Delete a pod, and what the driver says of it."""
        del self.api.find_all("pods", NAMESPACE)[pod.name]
        del self.api.find_all("secretproviderclasspodstatuses", NAMESPACE)[pod.status_name]

    def use(self, pod: MountedPod) -> tuple[UserAssignedIdentityCredential, int]:
        """Run a program that uses the library; returns its credential, and the port of its metrics."""
        credential = UserAssignedIdentityCredential(str(pod.path), connection_verify=str(self.azure.ca_file))
        self.stack.enter_context(credential)
        registry = CollectorRegistry()
        CredentialMetrics(registry).add(pod.secret, credential)
        return credential, self.stack.enter_context(serving_page(lambda: generate_latest(registry)))

    @property
    def place(self) -> list[str]:
        """The options that name the vault."""
        return [
            *("--vault", self.azure.vault_url(), "--credential-file", str(self._own)),
            *("--ca-file", str(self.azure.ca_file)),
        ]

    def rollout(self, *arguments: str) -> Result:
        """Run `hcpcreds rollout` in this process."""
        environment = {"KUBECONFIG": str(self.api.kubeconfig)}
        command = ["rollout", *self.place, "-n", NAMESPACE, *arguments]
        return CliRunner().invoke(hcpcreds, command, env=environment)

    def judge(self, *arguments: str) -> dict[str, Any]:
        """Run it, and return its last report."""
        done = self.rollout("--output", "json", *arguments)
        report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        assert done.exit_code == (0 if report["done"] else 1), done.output
        return report

    def list_states(self, secret: str) -> dict[str, str]:
        """Return the state of each pod that mounts a secret."""
        return {row["pod"]: row["state"] for row in self.judge(secret)["rows"]}

    def renew_now(self, secret: str) -> Result:
        """Run `hcpcreds renew --now` in this process."""
        audience = self.azure.settings.data_plane_audience
        place = [*self.place, "--audience", audience, "--data-plane-host", "127.0.0.1"]
        return CliRunner().invoke(hcpcreds, ["renew", "--now", secret, *place])


@contextmanager
def serving_page(
    read: Callable[[], bytes],
    *,
    ahead: Callable[[], timedelta] = timedelta,
    status: int = 200,
    encoding: str = "identity",
) -> Iterator[int]:
    """Serve a page at every path of a port that is yielded.

    Args:
        read: Returns it.
        ahead: How far the clock of the program is ahead.
        status: The status of the answer.
        encoding: What it says of the encoding of its content.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = read()
            self.send_response(status if self.path == "/metrics" else 200)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Encoding", encoding)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        @override
        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string((datetime.now(UTC) + ahead()).timestamp())

        @override
        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,), name="test-page", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
