"""A real API server and etcd: the binaries that KUBEBUILDER_ASSETS names, as for envtest."""

import os
import secrets
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import pytest
import requests
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.support.processes import start
from tests.support.waiting import wait_until

PROGRAMS: Final = ("etcd", "kube-apiserver")


class ApiServer:
    """A client of the API server, as its administrator.

    Args:
        url: Its address.
        certificate: Path of its own certificate.
        token: The administrator's.
        folder: Where to write a kubeconfig.
    """

    def __init__(self, url: str, certificate: Path, token: str, folder: Path) -> None:
        self.url = url
        self.kubeconfig = folder / "kubeconfig"
        self._certificate = certificate
        self._token = token
        self._write_kubeconfig()

    def open_session(self) -> requests.Session:
        """Open connections of a client's own."""
        session = requests.Session()
        session.trust_env = False
        session.verify = str(self._certificate)
        session.headers["Authorization"] = f"Bearer {self._token}"
        return session

    def find_path(self, item: dict[str, Any]) -> str:
        """Return the path of an object's collection."""
        group = "apis/" if "/" in item["apiVersion"] else "api/"
        kind = item["kind"]
        plural = (
            f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}es" if kind.endswith("s") else f"{kind}s"
        )
        namespace = item["metadata"].get("namespace")
        within = f"namespaces/{namespace}/" if namespace else ""
        return f"{self.url}/{group}{item['apiVersion']}/{within}{plural.lower()}"

    def create(
        self, item: dict[str, Any], *, dry_run: bool = False, session: requests.Session | None = None
    ) -> requests.Response:
        """Create an object, or ask what it would become."""
        query = {"dryRun": "All"} if dry_run else {}
        return (session or self.open_session()).post(
            self.find_path(item), json=item, params=query, timeout=30
        )

    def apply(self, *items: dict[str, Any]) -> None:
        """Create objects, or replace them.

        The test is skipped if the API server does not know their kind, because its release is older.

        Raises:
            AssertionError: The server refuses one.
        """
        query = {"fieldManager": "tests", "force": "true"}
        with self.open_session() as session:
            for item in items:
                answer = session.patch(
                    f"{self.find_path(item)}/{item['metadata']['name']}",
                    data=yaml.safe_dump(item),
                    params=query,
                    headers={"Content-Type": "application/apply-patch+yaml"},
                    timeout=30,
                )
                if answer.status_code == HTTPStatus.NOT_FOUND:
                    pytest.skip(f"this API server does not know {item['kind']} {item['apiVersion']}")
                assert answer.ok, answer.text

    def delete(self, *items: dict[str, Any]) -> None:
        """Delete objects, which need not be there."""
        with self.open_session() as session:
            for item in items:
                session.delete(f"{self.find_path(item)}/{item['metadata']['name']}", timeout=30)

    def _write_kubeconfig(self) -> None:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [
                {
                    "name": "test",
                    "cluster": {"server": self.url, "certificate-authority": str(self._certificate)},
                }
            ],
            "users": [{"name": "test", "user": {"token": self._token}}],
        }
        self.kubeconfig.write_text(yaml.safe_dump(config))


@contextmanager
def run_api_server(assets: Path, folder: Path) -> Iterator[ApiServer]:
    """Run etcd and an API server for the length of a block."""
    etcd, peer, port = (_find_port() for _ in range(3))
    token = secrets.token_hex(16)
    (folder / "tokens").write_text(f"{token},admin,admin,system:masters\n")
    key = rsa.generate_private_key(65537, 2048)
    (folder / "key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    with ExitStack() as stack, (folder / "log").open("w") as log:
        _start(
            stack,
            log,
            [
                f"{assets}/etcd",
                f"--data-dir={folder}/etcd",
                f"--listen-client-urls=http://127.0.0.1:{etcd}",
                f"--advertise-client-urls=http://127.0.0.1:{etcd}",
                f"--listen-peer-urls=http://127.0.0.1:{peer}",
                "--unsafe-no-fsync",
            ],
        )
        _start(
            stack,
            log,
            [
                f"{assets}/kube-apiserver",
                f"--etcd-servers=http://127.0.0.1:{etcd}",
                "--bind-address=127.0.0.1",
                f"--secure-port={port}",
                f"--cert-dir={folder}/certificates",
                f"--token-auth-file={folder}/tokens",
                "--authorization-mode=RBAC",
                "--disable-admission-plugins=ServiceAccount",  # no controller makes accounts here
                "--allow-privileged",
                "--service-cluster-ip-range=10.0.0.0/24",
                "--service-account-issuer=https://kubernetes.test",
                f"--service-account-key-file={folder}/key",
                f"--service-account-signing-key-file={folder}/key",
            ],
        )
        certificate = folder / "certificates" / "apiserver.crt"
        wait_until(certificate.is_file, seconds=60)
        server = ApiServer(f"https://127.0.0.1:{port}", certificate, token, folder)
        wait_until(lambda: _is_ready(server), seconds=120)
        yield server


def find_assets() -> Path | str:
    """Find the binaries' folder.

    Returns:
        Or why there is none.
    """
    named = os.environ.get("KUBEBUILDER_ASSETS", "")
    if not named:
        return f"KUBEBUILDER_ASSETS names no folder with {' and '.join(PROGRAMS)}"
    missing = [name for name in PROGRAMS if not os.access(Path(named, name), os.X_OK)]
    return f"KUBEBUILDER_ASSETS: {named} has no {' and no '.join(missing)}" if missing else Path(named)


def _start(stack: ExitStack, log: Any, command: Sequence[str]) -> None:
    stack.enter_context(start(*command, stdout=log, stderr=log))


def _find_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _is_ready(server: ApiServer) -> bool:
    try:
        with server.open_session() as session:
            return session.get(f"{server.url}/readyz", timeout=5).ok
    except (requests.ConnectionError, requests.Timeout):
        return False
