"""HC5xx: hosted clusters, objects that contradict each other, and how the driver is set up.

Sources: kubernetes-sigs/secrets-store-csi-driver v1.6 (cmd/secrets-store-csi-driver/main.go, its chart,
docs/book/src/topics/secret-auto-rotation.md); Microsoft's AKS documentation for the add-on.
"""

import re
from collections.abc import Iterator
from typing import Final

from hcpcreds.constants import MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER
from hcpcreds.hosted_cluster import KINDS
from hcpcreds.kubernetes.nodes import Node
from hcpcreds.kubernetes.objects import is_same
from hcpcreds.kubernetes.placeholders import holds_placeholder, is_placeholder
from hcpcreds.manifests.check.rules import Finding, report
from hcpcreds.manifests.check.subjects import COMPONENT_BY_CONFIG, Named, Subjects

_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_DRIVER_CONTAINER: Final = "secrets-store"
_ROTATION_FLAG: Final = "enable-secret-rotation"
_INTERVAL_FLAG: Final = "rotation-poll-interval"
_CHART_KEYS: Final = ("enableSecretRotation", "rotationPollInterval", "filteredWatchSecret", "syncSecret")
_ENOUGH_CHART_KEYS: Final = 2
"""One alone could be another chart's."""
_SUBCHART: Final = "secrets-store-csi-driver"
_DURATION: Final = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?(?:ns|us|µs|ms|s|m|h))+")
_PART: Final = re.compile(r"([0-9.]+)(ns|us|µs|ms|s|m|h)")
_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONG: Final = 3600.0
_UNIQUE: Final = frozenset({"SecretProviderClass", "AzureClusterIdentity", *KINDS})


def check_cluster_wide(subjects: Subjects) -> Iterator[Finding]:
    """Check hosted clusters, names that are there twice, and the driver's own manifests and values."""
    yield from _check_hosted_clusters(subjects)
    yield from _check_duplicates(subjects)
    for pod in subjects.pods:
        for container in pod.containers:
            if pod.kind == "DaemonSet" and container.name == _DRIVER_CONTAINER:
                yield from _check_driver_arguments(container.node)
    for item in subjects.named:
        if item.kind == "CSIDriver" and item.name == MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER:
            yield from _check_csi_driver(item.node["spec"])
    yield from _check_helm_values([values for node in subjects.settings for values in find_helm_values(node)])
    for node in subjects.settings:
        for root in (node, node["properties"], node["spec"]):
            yield from _check_add_on(root)


def _check_hosted_clusters(subjects: Subjects) -> Iterator[Finding]:
    for node, problem in subjects.unusable_clusters:
        path, _, reason = problem.partition(": ")
        field = node.at(*path.split("."))
        if not is_placeholder(field.plain):
            yield report("HC507", field, reason, "Fix the field: nothing can be rendered.")


def _check_duplicates(subjects: Subjects) -> Iterator[Finding]:
    seen: dict[tuple[str, ...], Named] = {}
    for item in subjects.named:
        if (
            item.kind not in _UNIQUE and item.name not in COMPONENT_BY_CONFIG
        ) or item.node.document.is_partial:
            continue
        # Files without a namespace are often overlays, each for a namespace of its own.
        place = item.namespace or f"in {item.node.document.file}"
        first = seen.setdefault((item.kind, place, item.name), item)
        values = (first.node.value, item.node.value)
        # A template may stand beside what was rendered from it.
        if not is_same(*values) and not any(map(holds_placeholder, values)):
            file = first.node.document.file
            yield report(
                "HC501",
                item.node.at("metadata", "name"),
                f"{item.kind} {item.name} is in {file} line {first.node.line} too, and differs; the one that "
                "is applied last wins",
                "Keep the one that is meant, or give them names or namespaces of their own.",
                file=file,
            )


def _check_driver_arguments(container: Node) -> Iterator[Finding]:
    arguments = [*container["command"].items(), *container["args"].items()]
    flags = {}
    for argument in arguments:
        name, separator, value = argument.plain.lstrip("-").partition("=")
        if argument.plain.startswith("-"):
            flags[name] = (argument, value if separator else "true")
    node, value = flags.get(_ROTATION_FLAG, (container["args"], "false"))
    if value not in _TRUE and not is_placeholder(value):
        yield _report_off(
            node, f"the driver runs without --{_ROTATION_FLAG}=true", f"--{_ROTATION_FLAG}=true"
        )
    if _INTERVAL_FLAG in flags:
        yield from _check_interval(*flags[_INTERVAL_FLAG])


def _report_off(node: Node, reason: str, setting: str) -> Finding:
    return report(
        "HC502",
        node,
        f"{reason}: a renewed credential reaches no pod that is running",
        f"Set {setting}.",
    )


def _check_interval(node: Node, value: str) -> Iterator[Finding]:
    if is_placeholder(value):
        return
    if not _DURATION.fullmatch(value):
        yield report("HC503", node, f"{value!r} is no duration to Go", "Write it with its unit, such as 2m.")
    elif sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(value)) > _LONG:
        yield report(
            "HC504",
            node,
            f"the driver looks for a renewed credential only every {value}",
            "Leave it at 2m, the driver's default, unless Key Vault throttles.",
        )


def _check_csi_driver(spec: Node) -> Iterator[Finding]:
    if spec["podInfoOnMount"].boolean is not True:
        yield report(
            "HC505",
            spec["podInfoOnMount"],
            "the driver would not learn which pod it mounts for, and refuses",
            "Set podInfoOnMount: true.",
        )
    if spec["requiresRepublish"].boolean is not True:
        yield report(
            "HC506",
            spec["requiresRepublish"],
            "kubelet would not call the driver again after a pod's start, and so nothing rotates (from v1.6)",
            "Set requiresRepublish: true.",
        )


def find_helm_values(node: Node) -> Iterator[Node]:
    """Find the values of the driver's chart, or those of a chart that holds it."""
    if isinstance(node[_SUBCHART].value, dict):
        node = node[_SUBCHART]
    elif node["kind"].is_set or sum(node[key].value is not None for key in _CHART_KEYS) < _ENOUGH_CHART_KEYS:
        return
    if node["install"].boolean is not False:
        yield node


def _is_on(setting: Node) -> bool:
    return setting.boolean is True or setting.plain.lower() == "true"


def _check_helm_values(found: list[Node]) -> Iterator[Finding]:
    is_on = any(_is_on(values["enableSecretRotation"]) for values in found)
    for values in found:
        rotation, interval = values["enableSecretRotation"], values["rotationPollInterval"]
        # Values are often given in layers: what one of them leaves open, another one says.
        is_off = not _is_on(rotation) and not is_placeholder(rotation.plain)
        if is_off and (rotation.value is not None or not is_on):
            yield _report_off(rotation, "enableSecretRotation is not true", "enableSecretRotation: true")
        if interval.plain:
            yield from _check_interval(interval, interval.plain)


def _check_add_on(root: Node) -> Iterator[Finding]:
    for key, add_on in root["addonProfiles"].fields():
        if key.lower() != "azurekeyvaultsecretsprovider" or not _is_on(add_on["enabled"]):
            continue
        rotation = add_on.at("config", "enableSecretRotation")
        if not _is_on(rotation) and not is_placeholder(rotation.plain):
            yield _report_off(
                rotation, "the add-on's enableSecretRotation is not true", 'enableSecretRotation: "true"'
            )
        interval = add_on.at("config", "rotationPollInterval")
        if interval.plain:
            yield from _check_interval(interval, interval.plain)
