"""The pods of the chain: what each component's manifest gives it, for a process on this machine."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hcpcreds.components import COMPONENTS, Component, Content, Mount, PathSource
from hcpcreds.hosted_cluster import HostedCluster, ManagedIdentity
from hcpcreds.manifests.cloud_config import CLOUD_CONFIG_KEY
from hcpcreds.manifests.inject import InjectOptions, Sidecar, inject
from hcpcreds.manifests.workload import build_pod_additions

Manifest = dict[str, Any]

API_OBJECT_PATH: Final = "/var/run/api-object"
"""Where a component finds the object that it would get from the API server in a cluster."""


@dataclass(frozen=True, kw_only=True)
class ComponentPod:
    """A component's pod, reduced to the one container that calls Azure."""

    component: Component
    identity: ManagedIdentity
    manifest: Manifest
    configuration: dict[str, bytes]
    """The object that names the credential file, if one does: its content by its path in the container."""
    keyless_spec: Manifest | None = None
    """Its spec as `inject --keyless` makes it, with a sidecar unless the component keeps its key."""

    @property
    def name(self) -> str:
        """Name of the pod, and of its workload."""
        return self.component.consumer.workload

    @property
    def mount(self) -> Mount:
        """The volume with the credential file, and where it is mounted."""
        mount = self.component.consumer.mount
        assert mount is not None  # noqa: S101 (every consumer mounts one)
        return mount

    @property
    def file(self) -> str:
        """Path of the credential file in the container."""
        return f"{self.mount.path}/{self.identity.credentials_secret_name}"

    @property
    def secret_name(self) -> str:
        """Name of the secret in lower case, as the vault ignores case."""
        return self.identity.credentials_secret_name.lower()

    @property
    def container(self) -> Manifest:
        """The container in the manifest."""
        container: Manifest = self.manifest["spec"]["containers"][0]
        return container

    @property
    def environment(self) -> dict[str, str]:
        """The container's environment, from its manifest only."""
        return read_environment(self.container)

    def root_filesystem(self, node_root: Path) -> Path:
        """The directory of the container's file system on the node."""
        metadata = self.manifest["metadata"]
        return node_root / "pods" / f"{metadata['namespace']}_{metadata['name']}" / "rootfs"

    def find_mounted(self, node_root: Path) -> Path:
        """The credential file on the node."""
        return self.root_filesystem(node_root) / self.file.lstrip("/")

    def write_configuration(self, root: Path) -> None:
        """Write the configuration where the container with this file system expects it, as kubelet would."""
        for path, content in self.configuration.items():
            file = root / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)


def read_environment(container: Manifest) -> dict[str, str]:
    """Read a container's environment, from its manifest only."""
    return {variable["name"]: variable["value"] for variable in container["env"]}


def build_pods(
    cluster: HostedCluster,
    source: bytes,
    rendered: Sequence[Manifest],
    *,
    key_vault_user_client_id: str,
    keyless: bool,
) -> list[ComponentPod]:
    """Build a pod for each component that the cluster has.

    Args:
        cluster: The hosted cluster.
        source: The file that it was read from.
        rendered: Its objects, from `hcpcreds.manifests.render`.
        key_vault_user_client_id: The identity that reads the vault.
        keyless: Whether pods get a sidecar that alone has the key.

    Raises:
        InputError: It is not known what a keyless pod needs instead of its key.
    """
    options = InjectOptions(
        cluster=cluster,
        sidecar=Sidecar(image="hcpcreds"),
        key_vault_user_client_id=key_vault_user_client_id,
    )
    pods = []
    for component in COMPONENTS:
        identity = component.get_identity(cluster)
        if identity is None:
            continue
        workload, container = component.consumer.workload, component.consumer.containers[0]
        additions = build_pod_additions(cluster, workload, key_vault_user_client_id=key_vault_user_client_id)
        arguments, configuration = _find_configuration(component, source, rendered)
        manifest = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": workload, "namespace": cluster.control_plane_namespace},
            "spec": {
                "containers": [
                    {
                        "name": container,
                        "args": arguments,
                        "env": additions.containers[container].env,
                        "volumeMounts": additions.containers[container].volume_mounts,
                    }
                ],
                "volumes": additions.volumes,
            },
        }
        pods.append(
            ComponentPod(
                component=component,
                identity=identity,
                manifest=manifest,
                configuration=configuration,
                keyless_spec=inject(manifest, options)["spec"] if keyless else None,
            )
        )
    return pods


def _find_configuration(
    component: Component, source: bytes, rendered: Sequence[Manifest]
) -> tuple[list[str], dict[str, bytes]]:
    """Find how a component learns the path of its credential file: arguments, and files by their paths."""
    mount = component.consumer.mount
    assert mount is not None  # noqa: S101 (every consumer mounts one)
    match mount.source:
        case PathSource.CLOUD_CONFIG:
            config = mount.cloud_config
            assert config is not None  # noqa: S101 (every row with this source has one)
            secret = _find(rendered, "Secret", config.secret_name)
            content = base64.b64decode(secret["data"][CLOUD_CONFIG_KEY])
            is_kms = any(item.content is Content.KMS_CONFIG for item in component.objects)
            option = "--kms-config" if is_kms else "--cloud-config"
            return [option, config.path], {config.path: content}
        case PathSource.AZURE_CLUSTER_IDENTITY:
            content = json.dumps(_find(rendered, "AzureClusterIdentity")).encode()
            return ["--azure-cluster-identity", API_OBJECT_PATH], {API_OBJECT_PATH: content}
        case PathSource.HOSTED_CONTROL_PLANE:
            return ["--hosted-control-plane", API_OBJECT_PATH], {API_OBJECT_PATH: source}
        case PathSource.ENVIRONMENT:
            return [], {}


def _find(rendered: Sequence[Manifest], kind: str, name: str | None = None) -> Manifest:
    return next(
        found
        for found in rendered
        if found["kind"] == kind and (name is None or found["metadata"]["name"] == name)
    )
