"""A small node, for development and tests: mounts SecretProviderClasses into directories.

It does what kubelet, the Secrets Store CSI driver and its Azure provider do for a pod, on one machine and
without a cluster: it fetches through the real Azure SDK with a managed identity, writes with the atomic
writer, polls for changes, and keeps a SecretProviderClassPodStatus for each mount. There is no isolation: the
directory of a pod is a plain directory, and a mount is a symlink::

    <root>/pods/<namespace>_<pod>/volumes/<volume>/      the volume
    <root>/pods/<namespace>_<pod>/rootfs/<mountPath>     -> the volume, once it has content
    <root>/secretproviderclasspodstatuses/<namespace>/<pod>-<namespace>-<class>.json

As a process: `python -m hcpcreds.local.node.node --config FILE`, see `main`.
"""

import argparse
import os
import queue
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final, Literal, NoReturn

import msgspec

from hcpcreds.constants import MANAGED_AZURE_SECRET_PROVIDER_CLASS, MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER
from hcpcreds.errors import HcpCredsError, InputError, MountError
from hcpcreds.local.node.atomic_writer import PayloadFile, write_payload
from hcpcreds.local.node.objects import parse_parameters
from hcpcreds.local.node.provider import FetchedObject, Provider
from hcpcreds.local.node.shapes import (
    CsiVolumeSource,
    Metadata,
    Pod,
    SecretProviderClass,
    VolumeMount,
    parse_objects_of,
)

WORKERS: Final = 8
NODE_NAME: Final = "hcpcreds-local"


class NodeEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event of the node; fields that do not apply to it are empty."""

    event: Literal["ready", "mounted", "rotated", "failed"]
    namespace: str = ""
    pod: str = ""
    volume: str = ""
    secret_provider_class: str = ""
    file: str = ""
    version: str = ""
    at: float = 0.0
    """Unix seconds; for `mounted` and `rotated`, just before the rename that makes it visible."""
    reason: str = ""


@dataclass
class _MountedVolume:
    """One volume of one pod."""

    pod: Metadata
    volume: str
    csi: CsiVolumeSource
    mount_paths: list[VolumeMount]
    versions: dict[str, str] | None = None
    """Version of each mounted file; None before the first mount."""

    @property
    def target(self) -> str:
        return f"{self.pod.namespace}/{self.pod.name}/{self.volume}"

    @property
    def class_name(self) -> str:
        return self.csi.volume_attributes.get(MANAGED_AZURE_SECRET_PROVIDER_CLASS, "")

    def build_event(
        self,
        event: Literal["mounted", "rotated", "failed"],
        *,
        at: datetime,
        file: str = "",
        version: str = "",
        reason: str = "",
    ) -> NodeEvent:
        return NodeEvent(
            event=event,
            namespace=self.pod.namespace,
            pod=self.pod.name,
            volume=self.volume,
            secret_provider_class=self.class_name,
            file=file,
            version=version,
            at=at.timestamp(),
            reason=reason,
        )


class Node:
    """Mounts the Secrets Store volumes of pods, and keeps them up to date with Key Vault.

    For development and tests; see the module. Use it from one thread.

    Args:
        root: Directory for everything that is written.
        secret_provider_classes: SecretProviderClass objects in the API's JSON shape.
        vault_urls: URLs by vault name, in place of DNS; any other vault is at
            `https://<name>.vault.azure.net`.
        ca_file: CA certificates (PEM) to verify vaults with; None means those of the machine.
        on_event: Called with each NodeEvent, on the thread that called `mount` or `poll_once`.
        now: Clock giving an aware UTC time.

    Raises:
        InputError: A SecretProviderClass does not have the shape of the API.

    Tokens for the identity that reads the vaults come from the URL in the environment variable
    AZURE_POD_IDENTITY_AUTHORITY_HOST; without it, from the metadata service of the machine.
    """

    def __init__(  # noqa: PLR0913 (its parts, each by its name)
        self,
        root: Path,
        *,
        secret_provider_classes: Iterable[Mapping[str, Any]],
        vault_urls: Mapping[str, str] | None = None,
        ca_file: Path | None = None,
        on_event: Callable[[NodeEvent], None] = lambda _event: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._root = root.absolute()
        self._on_event = on_event
        self._now = now
        self._classes = {
            (found.metadata.namespace, found.metadata.name): found
            for found in parse_objects_of(SecretProviderClass, secret_provider_classes)
        }
        self._provider = Provider(vault_urls=vault_urls or {}, ca_file=ca_file)
        self._mounts: list[_MountedVolume] = []

    def mount(self, *pods: Mapping[str, Any]) -> None:
        """Mount every Secrets Store volume of these pods, and poll them from now on.

        A volume that cannot be mounted is reported as an event, and retried at each poll.

        Args:
            pods: Pods in the API's JSON shape; only names, volumes and mounts are read.

        Raises:
            InputError: A pod does not have the shape of the API, or is mounted already; none of them is
                mounted then.
        """
        mounts = [
            _MountedVolume(
                pod=pod.metadata,
                volume=volume.name,
                csi=volume.csi,
                mount_paths=[
                    mount
                    for container in pod.spec.containers
                    for mount in container.volume_mounts
                    if mount.name == volume.name
                ],
            )
            for pod in parse_objects_of(Pod, pods)
            for volume in pod.spec.volumes
            if volume.csi is not None and volume.csi.driver == MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER
        ]
        # Two writers of one volume would undo each other's changes.
        writers = Counter(mount.target for mount in (*self._mounts, *mounts))
        if twice := [target for target, count in writers.items() if count > 1]:
            raise InputError("Pod", [f"volume {target} would be mounted twice" for target in twice])
        # The provider makes the files of pods readable by everybody, so the directory must not be.
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._mounts += mounts
        self._publish_all(mounts)

    def poll_once(self) -> None:
        """Fetch the content of every mount, and write what has changed.

        Returns when the slowest fetch has ended. A mount that fails keeps its content.
        """
        self._publish_all(self._mounts)

    def close(self) -> None:
        """Close the connections; mounted files stay."""
        self._provider.close()

    def _publish_all(self, mounts: Sequence[_MountedVolume]) -> None:
        waiting: queue.SimpleQueue[_MountedVolume] = queue.SimpleQueue()
        done: queue.SimpleQueue[list[NodeEvent]] = queue.SimpleQueue()
        for mount in mounts:
            waiting.put(mount)

        def work() -> None:
            while True:
                try:
                    mount = waiting.get_nowait()
                except queue.Empty:
                    return
                done.put(self._try_publish(mount))

        for _ in range(min(WORKERS, len(mounts))):
            threading.Thread(target=work, name="hcpcreds-node", daemon=True).start()
        for _ in mounts:
            for event in done.get():
                self._on_event(event)

    def _try_publish(self, mount: _MountedVolume) -> list[NodeEvent]:
        try:
            return self._publish(mount)
        except (HcpCredsError, OSError) as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 (one mount does not stop the others)
            reason = f"unexpected {type(error).__name__}"  # its text could contain a secret
        return [mount.build_event("failed", at=self._now(), reason=reason)]

    def _publish(self, mount: _MountedVolume) -> list[NodeEvent]:
        """Do what NodePublishVolume does, at the first mount and at each poll."""
        if not mount.csi.read_only:
            raise MountError("the volume must be readOnly: true")
        fetched = self._provider.fetch(parse_parameters(self._find_parameters(mount)))
        pod_directory = self._root / "pods" / f"{mount.pod.namespace}_{mount.pod.name}"
        volume = pod_directory / "volumes" / mount.volume
        volume.mkdir(parents=True, exist_ok=True)
        payload = {found.file: PayloadFile(found.content, found.mode) for found in fetched}
        swapped_at = write_payload(volume, payload, now=self._now)
        self._write_status(mount, volume, fetched)
        for mount_path in mount.mount_paths:
            _link_mount_path(pod_directory / "rootfs", mount_path, volume)

        before, mount.versions = mount.versions, {found.file: found.version for found in fetched}
        if before is None:
            at = swapped_at or self._now()
            return [
                mount.build_event("mounted", file=file, version=version, at=at)
                for file, version in mount.versions.items()
            ]
        if swapped_at is None:
            return []
        return [
            mount.build_event("rotated", file=file, version=version, at=swapped_at)
            for file, version in mount.versions.items()
            if before.get(file) != version
        ]

    def _find_parameters(self, mount: _MountedVolume) -> Mapping[str, str]:
        if not mount.class_name:
            raise MountError("secretProviderClass is not set in volumeAttributes")
        where = f"SecretProviderClass {mount.pod.namespace}/{mount.class_name}"
        found = self._classes.get((mount.pod.namespace, mount.class_name))
        if found is None:
            raise MountError(f"{where}: not found", hint="A pod mounts only classes of its own namespace.")
        if found.spec.provider != "azure":
            raise MountError(f"{where}: provider {found.spec.provider!r} is not azure, the only one here")
        return found.spec.parameters

    def _write_status(self, mount: _MountedVolume, volume: Path, fetched: Iterable[FetchedObject]) -> None:
        name = f"{mount.pod.name}-{mount.pod.namespace}-{mount.class_name}"
        status = {
            "apiVersion": "secrets-store.csi.x-k8s.io/v1",
            "kind": "SecretProviderClassPodStatus",
            "metadata": {
                "name": name,
                "namespace": mount.pod.namespace,
                "labels": {"internal.secrets-store.csi.k8s.io/node-name": NODE_NAME},
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Pod", "name": mount.pod.name, "uid": mount.pod.uid}
                ],
            },
            "status": {
                "podName": mount.pod.name,
                "secretProviderClassName": mount.class_name,
                "mounted": True,
                "targetPath": str(volume),
                "objects": [
                    {"id": id_, "version": version}
                    for id_, version in sorted({found.id: found.version for found in fetched}.items())
                ],
            },
        }
        directory = self._root / "secretproviderclasspodstatuses" / mount.pod.namespace
        directory.mkdir(parents=True, exist_ok=True)
        # Two volumes of one pod may name the same class, so each has its own temporary file.
        temporary = directory / f".{name}.{mount.volume}"
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(status)))
        temporary.rename(directory / f"{name}.json")


def _link_mount_path(rootfs: Path, mount: VolumeMount, volume: Path) -> None:
    """Make a volume visible where a container mounts it."""
    path = PurePosixPath(mount.mount_path)
    if not path.is_absolute() or ".." in path.parts or path == PurePosixPath("/"):
        raise InputError("mountPath", [f"{mount.mount_path!r} must be an absolute path below / without '..'"])
    if mount.sub_path:
        raise InputError("subPath", ["this small node does not support it; such a file would never rotate"])
    link = rootfs / path.relative_to("/")
    # Volumes are mounted concurrently: the first to make the link has the path, so there is no check before.
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(volume)
    except FileExistsError:
        if not link.is_symlink():
            raise MountError(f"{mount.mount_path} is taken: another volume is mounted below it") from None
        if link.readlink() != volume:
            raise MountError(
                f"{mount.mount_path} is taken: {link.readlink().name} is mounted there"
            ) from None


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The configuration of the node's process, as JSON."""

    root: str
    secret_provider_classes: list[dict[str, Any]]
    pods: list[dict[str, Any]]
    vault_urls: dict[str, str] = {}
    ca_file: str | None = None
    poll_interval: Annotated[float, msgspec.Meta(gt=0)] = 120.0
    """Seconds between two polls; the default is that of the driver."""


def read_config(path: Path) -> NodeConfig:
    """Read the configuration of the node's process.

    Raises:
        InputError: The file cannot be read, or is not a configuration; the message names the field.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=NodeConfig)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(str(path), [str(error)]) from None


def run(config: NodeConfig) -> NoReturn:
    """Mount every pod, then poll until stopped; print each event as a line of JSON."""
    node = Node(
        Path(config.root),
        secret_provider_classes=config.secret_provider_classes,
        vault_urls=config.vault_urls,
        ca_file=None if config.ca_file is None else Path(config.ca_file),
        on_event=_print_event,
    )
    node.mount(*config.pods)
    _print_event(NodeEvent(event="ready"))
    while True:
        time.sleep(config.poll_interval)
        node.poll_once()


def _print_event(event: NodeEvent) -> None:
    # Unbuffered: a whole line or nothing, whenever the process ends.
    os.write(1, msgspec.json.encode(event) + b"\n")


def _end(*_: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise SystemExit(0)


def _end_with_standard_input() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Run the node until SIGTERM, SIGINT or the end of standard input; then the exit status is 0.

    The end of standard input means that its parent process has ended: keep a pipe open to it. The exit status
    is 2 when the configuration cannot be used, and then nothing was written.
    """
    parser = argparse.ArgumentParser(
        prog="python -m hcpcreds.local.node.node", description="A small node for development and tests."
    )
    parser.add_argument("--config", type=Path, required=True, help="JSON file, see NodeConfig")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    threading.Thread(target=_end_with_standard_input, name="hcpcreds-stdin", daemon=True).start()
    try:
        run(read_config(arguments.config))
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None
    except BrokenPipeError:
        raise SystemExit(0) from None  # nobody reads the events any more


if __name__ == "__main__":
    main()
