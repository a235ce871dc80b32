"""HC4xx: cloud configs.

Sources: kubernetes-sigs/cloud-provider-azure, pkg/azclient (the order in which it tries credentials);
openshift/hypershift, control-plane-operator/.../cloud_controller_manager/azure/config.go.
"""

from collections.abc import Iterator
from typing import Final

from hcpcreds.clouds import CLOUDS
from hcpcreds.constants import MANAGED_AZURE_CERTIFICATE_MOUNT_PATH
from hcpcreds.kubernetes.nodes import Node
from hcpcreds.kubernetes.placeholders import is_placeholder
from hcpcreds.manifests.check.rules import Finding, report
from hcpcreds.manifests.check.secret_objects import is_written
from hcpcreds.manifests.check.spelling import find_misspelt
from hcpcreds.manifests.check.subjects import (
    COMPONENT_BY_CONFIG,
    PATH_SETTING,
    CloudConfig,
    Container,
    Named,
    Pod,
    Subjects,
    is_below,
    is_same,
    list_sources,
    normalize_path,
    path_of,
)
from hcpcreds.manifests.check.vault_access import CLOUD_NAMES

_SHADOWS: Final = (
    "useFederatedWorkloadIdentityExtension",
    "useWorkloadIdentityExtension",  # the KMS plugin's name for it
    "useManagedIdentityExtension",
    "aadClientSecret",
    "aadClientCertPath",
)
"""In the order in which cloud-provider-azure looks for a credential; it tries all of them before the path."""
_KMS_SHADOWS: Final = ("useWorkloadIdentityExtension",)
_BOOLEANS: Final = (
    "useWorkloadIdentityExtension",
    "useFederatedWorkloadIdentityExtension",
    "useWorkloadIdentityExtension",
    "useManagedIdentityExtension",
    "useInstanceMetadata",
    "cloudProviderBackoff",
    "disableOutboundSNAT",
)


def check_cloud_configs(subjects: Subjects) -> Iterator[Finding]:
    """Check every cloud config, and whether its readers have the file that it names."""
    for config in subjects.configs:
        if config.problem:
            yield report("HC401", config.node, config.problem, config.fix)
            continue
        yield from _check_types(config)
        yield from _check_cloud(config)
        path = config.find(PATH_SETTING)
        if path.text:
            yield from _check_shadows(config)
            yield from _check_path(path, config, subjects)
        else:
            yield from _check_has_credential(config)


def _check_types(config: CloudConfig) -> Iterator[Finding]:
    for key in _BOOLEANS:
        node = config.find(key)
        if node.value is not None and node.boolean is None and not is_placeholder(node.text):
            yield report(
                "HC408",
                node,
                f"{key} is not a boolean, and the program refuses the config",
                "Write true or false, without quotes.",
            )
    path = config.find(PATH_SETTING)
    if path.value is not None and not isinstance(path.value, str):
        yield report("HC408", path, f"{PATH_SETTING} is not text", "Write the path in quotes.")


def _check_cloud(config: CloudConfig) -> Iterator[Finding]:
    cloud = config.find("cloud")
    if cloud.plain and cloud.plain.lower() not in CLOUD_NAMES and not is_placeholder(cloud.plain):
        yield report(
            "HC404",
            cloud,
            f"there is no cloud {cloud.plain!r}, and cloud-provider-azure takes the public one instead",
            f"Use one of: {', '.join(CLOUDS)}.",
        )


def _is_used(config: CloudConfig, key: str) -> bool:
    node = config.find(key)
    return node.is_set if key not in _BOOLEANS else node.boolean is True


def _check_shadows(config: CloudConfig) -> Iterator[Finding]:
    for key in _SHADOWS:
        if _is_used(config, key):
            yield report(
                "HC403",
                config.find(key),
                f"with {key} set, cloud-provider-azure never reads the file in {PATH_SETTING}",
                f"Set {key} to false." if key.startswith("use") else f"Remove {key}.",
            )


def _check_path(path: Node, config: CloudConfig, subjects: Subjects) -> Iterator[Finding]:
    if is_placeholder(path.text):
        return
    readers = list(_find_readers(config.holder, subjects)) if config.holder else []
    file = normalize_path(path.text)
    directories = {path_of(mount) for _, reader in readers for mount in reader.mounts}
    if path.text != path.text.strip():
        yield report(
            "HC405",
            path,
            f"{PATH_SETTING} is {path.text!r}, with blanks or a line break at an end, and names no file",
            "Remove them.",
        )
        return
    if not path.text.startswith("/") or path.text.endswith("/") or file in directories:
        yield report(
            "HC405",
            path,
            f"{PATH_SETTING} is {path.text!r}, which is not the absolute path of a file",
            "Write the directory of the mount and the name of the secret: /mnt/certs/<secret>.",
        )
        return

    for pod, container in readers:
        if pod.is_keyless(container) and any(
            row.keyless is not None and not row.keyless.beside for _, row in pod.rows
        ):
            continue  # its environment overrides the config
        twins = (twin for _, twin in subjects.find_twins(pod, container))
        if all(item.find_mount(file) is None for item in (container, *twins)):
            yield report(
                "HC402",
                container.node,
                f"the container {container.name!r} of {pod.name} reads a cloud config with {PATH_SETTING} "
                f"{path.text!r}, and mounts nothing there",
                "Mount the credential there, as hcpcreds inject does.",
            )
    yield from _check_file(path, config, readers, subjects)


def _check_file(
    path: Node, config: CloudConfig, readers: list[tuple[Pod, Container]], subjects: Subjects
) -> Iterator[Finding]:
    expected: dict[tuple[str, str], frozenset[str]] = {}
    component = COMPONENT_BY_CONFIG.get(config.holder.name) if config.holder else None
    full = normalize_path(path.text)
    if component and config.holder:
        name, directory = component.secret_provider_class, MANAGED_AZURE_CERTIFICATE_MOUNT_PATH
        if is_below(full, directory):
            file = full.removeprefix(f"{directory}/")
            expected[name, file] = subjects.find_files(name, config.holder.namespace)
    for pod, container in readers:
        mount = container.find_mount(full)
        name = pod.get_class(mount) if mount else ""
        if mount and name:
            expected[name, full.removeprefix(f"{path_of(mount)}/")] = subjects.find_files(name, pod.namespace)
    for (name, file), files in expected.items():
        if files and not is_written(file, files):
            yield report(
                "HC406",
                path,
                f"{PATH_SETTING} names the file {file!r}, but {name} mounts {', '.join(sorted(files))}",
                "Name the secret of the component's identity.",
            )


def _check_has_credential(config: CloudConfig) -> Iterator[Finding]:
    for key, node, meant in find_misspelt(config.node, (PATH_SETTING,)):
        yield report("HC409", node, f"no program reads the key {key!r}", f"Call it {meant}.")
        return
    # A ConfigMap holds no credential: its reader may have its own.
    is_secret = config.holder is None or config.holder.kind == "Secret"
    if is_secret and not any(_is_used(config, key) for key in (*_SHADOWS, *_KMS_SHADOWS)):
        yield report(
            "HC407",
            config.find(PATH_SETTING),
            f"{PATH_SETTING} is empty, and no other credential is set",
            "Set it to the path of the mounted credential; hcpcreds render writes the whole config.",
        )


def _find_readers(holder: Named, subjects: Subjects) -> Iterator[tuple[Pod, Container]]:
    """List the containers that mount a cloud config; in a known workload, only those that call Azure."""
    source = (holder.kind, holder.name)
    for pod in subjects.readers.get(source, ()):
        if not is_same(pod.namespace, holder.namespace):
            continue
        volumes = {volume["name"].text for volume in pod.volumes if source in list_sources(volume)}
        callers = {name for _, row in pod.rows for name in row.containers}
        for container in pod.containers:
            mounted = {mount["name"].text for mount in container.mounts}
            if mounted & volumes and (not callers or container.name in callers) and not container.is_init:
                yield pod, container
