"""HC4xx: cloud configs.

Sources: kubernetes-sigs/cloud-provider-azure, pkg/azclient (the order in which it takes credentials);
openshift/hypershift, control-plane-operator/.../cloud_controller_manager/azure/config.go.
"""

import posixpath
from collections.abc import Iterator
from typing import Final

from hcpcreds.clouds import CLOUDS
from hcpcreds.kubernetes.nodes import Node
from hcpcreds.kubernetes.placeholders import is_placeholder
from hcpcreds.manifests.check.rules import Finding, report
from hcpcreds.manifests.check.secret_provider_classes import CLOUD_NAMES
from hcpcreds.manifests.check.subjects import (
    COMPONENT_BY_CONFIG,
    PATH_SETTING,
    CloudConfig,
    Container,
    Named,
    Pod,
    Subjects,
    is_same,
)

_SHADOWS: Final = (
    "useFederatedWorkloadIdentityExtension",
    "useWorkloadIdentityExtension",  # the KMS plugin's name for it
    "useManagedIdentityExtension",
    "aadClientSecret",
    "aadClientCertPath",
)
"""In the order in which cloud-provider-azure looks for a credential, all before the path."""
_BOOLEANS: Final = (
    "useFederatedWorkloadIdentityExtension",
    "useWorkloadIdentityExtension",
    "useManagedIdentityExtension",
    "useInstanceMetadata",
    "cloudProviderBackoff",
    "disableOutboundSNAT",
)


def check_cloud_configs(subjects: Subjects) -> Iterator[Finding]:
    """Check every cloud config, and whether who reads it finds the file that it names."""
    for config in subjects.configs:
        if config.problem:
            yield report("HC401", config.node, config.problem, "Write the cloud config as one JSON object.")
            continue
        yield from _check_types(config.node)
        yield from _check_cloud(config.node)
        path = config.node[PATH_SETTING]
        if path.text:
            yield from _check_shadows(config.node)
            yield from _check_path(path, config, subjects)
        elif config.holder is not None and config.holder.kind == "Secret":
            yield from _check_has_credential(config)


def _check_types(settings: Node) -> Iterator[Finding]:
    for key in _BOOLEANS:
        node = settings[key]
        if node.value is not None and node.boolean is None:
            yield report(
                "HC408",
                node,
                f"{key} is no boolean, and cloud-provider-azure refuses the config",
                "Write true or false, without quotes.",
            )
    path = settings[PATH_SETTING]
    if path.value is not None and not isinstance(path.value, str):
        yield report("HC408", path, f"{PATH_SETTING} is no text", "Write the path in quotes.")


def _check_cloud(settings: Node) -> Iterator[Finding]:
    cloud = settings["cloud"].plain
    if cloud and cloud.lower() not in CLOUD_NAMES and not is_placeholder(cloud):
        yield report(
            "HC404",
            settings["cloud"],
            f"there is no cloud {cloud!r}",
            f"Use one of: {', '.join(CLOUDS)}.",
        )


def _is_used(settings: Node, key: str) -> bool:
    return settings[key].is_set if key not in _BOOLEANS else settings[key].boolean is True


def _check_shadows(settings: Node) -> Iterator[Finding]:
    for key in _SHADOWS:
        if _is_used(settings, key):
            yield report(
                "HC403",
                settings[key],
                f"with {key} set, cloud-provider-azure never reads the file in {PATH_SETTING}",
                f"Set {key} to false." if key.startswith("use") else f"Take {key} away.",
            )


def _check_path(path: Node, config: CloudConfig, subjects: Subjects) -> Iterator[Finding]:
    readers = list(_find_readers(config.holder, subjects)) if config.holder else []
    directories = {mount["mountPath"].text.rstrip("/") for _, reader in readers for mount in reader.mounts}
    if not path.text.startswith("/") or path.text.endswith("/") or path.text in directories:
        yield report(
            "HC405",
            path,
            f"{PATH_SETTING} is {path.text!r}, which is no absolute path of a file",
            "Write the directory of the mount and the name of the secret: /mnt/certs/<secret>.",
        )
        return
    for pod, container in readers:
        if container.find_mount(path.text) is None:
            yield report(
                "HC402",
                container.node,
                f"the container {container.name!r} of {pod.name} reads a cloud config with {PATH_SETTING} "
                f"{path.text!r}, and mounts nothing there",
                "Mount the credential there: hcpcreds inject does.",
            )
    yield from _check_file(path, config, readers, subjects)


def _check_file(
    path: Node, config: CloudConfig, readers: list[tuple[Pod, Container]], subjects: Subjects
) -> Iterator[Finding]:
    expected: dict[str, frozenset[str]] = {}
    component = COMPONENT_BY_CONFIG.get(config.holder.name) if config.holder else None
    if component and config.holder:
        name = component.secret_provider_class
        expected[name] = subjects.find_files(name, config.holder.namespace)
    for pod, container in readers:
        mount = container.find_mount(path.text)
        name = pod.get_class(mount) if mount else ""
        if name:
            expected[name] = subjects.find_files(name, pod.namespace)
    file = posixpath.basename(path.text)
    for name, files in expected.items():
        if files and file not in files and not is_placeholder(file):
            yield report(
                "HC406",
                path,
                f"{PATH_SETTING} names the file {file!r}, but {name} mounts {', '.join(sorted(files))}",
                "Name the secret of the component's identity.",
            )


def _check_has_credential(config: CloudConfig) -> Iterator[Finding]:
    if not any(_is_used(config.node, key) for key in _SHADOWS):
        yield report(
            "HC407",
            config.node[PATH_SETTING],
            f"{PATH_SETTING} is empty, and no other credential is set",
            "Set it to the path of the mounted credential: hcpcreds render writes the whole config.",
        )


def _find_readers(holder: Named, subjects: Subjects) -> Iterator[tuple[Pod, Container]]:
    """The containers that mount a cloud config. In a workload of the table, those that call Azure."""
    for pod in subjects.pods:
        if not is_same(pod.namespace, holder.namespace):
            continue
        volumes = {volume["name"].text for volume in pod.volumes if _holds(volume, holder)}
        callers = {name for _, row in pod.rows for name in row.containers}
        for container in pod.containers:
            mounted = {mount["name"].text for mount in container.mounts}
            if mounted & volumes and (not callers or container.name in callers) and not container.is_init:
                yield pod, container


def _holds(volume: Node, holder: Named) -> bool:
    sources = [volume, *volume.at("projected", "sources").items()]
    if holder.kind == "ConfigMap":
        return any(source.at("configMap", "name").text == holder.name for source in sources)
    return volume.at("secret", "secretName").text == holder.name or any(
        source.at("secret", "name").text == holder.name for source in sources
    )
