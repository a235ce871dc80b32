"""HC5xx: hosted clusters, objects that contradict each other, and the setup of the driver.

Sources: kubernetes-sigs/secrets-store-csi-driver v1.6 (cmd/secrets-store-csi-driver/main.go, its chart,
docs/book/src/topics/secret-auto-rotation.md); Microsoft's AKS documentation for the add-on.
"""

import posixpath
import re
from collections.abc import Iterator
from typing import Final

from hcpcreds.components import COMPONENTS
from hcpcreds.hosted_cluster.forms import KINDS
from hcpcreds.kubernetes.nodes import Node
from hcpcreds.kubernetes.objects import is_same
from hcpcreds.kubernetes.placeholders import holds_placeholder, is_placeholder
from hcpcreds.manifests.check.flags import FALSE, TRUE, Flag, read_flags
from hcpcreds.manifests.check.rules import Finding, report
from hcpcreds.manifests.check.spelling import describe_misspelt
from hcpcreds.manifests.check.subjects import (
    COMPONENT_BY_CONFIG,
    Container,
    Named,
    Subjects,
)

_DRIVER_CONTAINER: Final = "secrets-store"
_ROTATION_FLAG: Final = "enable-secret-rotation"
_INTERVAL_FLAG: Final = "rotation-poll-interval"
_DRIVER_BOOLEANS: Final = frozenset(
    {
        *(_ROTATION_FLAG, "enable-pprof", "log-format-json", "provider-health-check", "version"),
        *(
            "logtostderr",
            "alsologtostderr",
            "add_dir_header",
            "one_output",
            "skip_headers",
            "skip_log_headers",
        ),
    }
)
_CHART_KEYS: Final = ("enableSecretRotation", "rotationPollInterval", "filteredWatchSecret", "syncSecret")
_ENOUGH_CHART_KEYS: Final = 2
"""One of these keys alone could belong to another chart."""
_SUBCHART: Final = "secrets-store-csi-driver"
_DURATION: Final = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?(?:ns|us|µs|ms|s|m|h))+")
_PART: Final = re.compile(r"([0-9.]+)(ns|us|µs|ms|s|m|h)")
_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONG: Final = 3600.0
_REQUIRED: Final = "required, but not set"
_UNIQUE: Final = frozenset({"SecretProviderClass", "AzureClusterIdentity", *KINDS})


def check_cluster_wide(subjects: Subjects) -> Iterator[Finding]:
    """Check hosted clusters, duplicate names, and the driver's own manifests and values."""
    yield from _check_hosted_clusters(subjects)
    yield from _check_shared_secrets(subjects)
    yield from _check_duplicates(subjects)
    for pod in subjects.pods:
        for container in pod.containers:
            if pod.kind == "DaemonSet" and container.name == _DRIVER_CONTAINER:
                yield from _check_driver_arguments(container)
    for driver in subjects.drivers:
        yield from _check_csi_driver(driver["spec"])
    yield from _check_helm_values([values for node in subjects.settings for values in find_helm_values(node)])
    for node in subjects.settings:
        for root in (node, node["properties"], node["spec"]):
            yield from _check_add_on(root)


def _check_hosted_clusters(subjects: Subjects) -> Iterator[Finding]:
    for node, problem in subjects.unusable_clusters:
        path, _, reason = problem.partition(": ")
        *parents, key = path.split(".")
        siblings = [name for name, _ in node.at(*parents).fields()]
        if reason.startswith(_REQUIRED):
            reason = reason.replace(_REQUIRED, _REQUIRED + describe_misspelt(siblings, key), 1)
        fix = "Fix this field; nothing can be rendered until you do."
        yield report("HC507", node.at(*parents, key), reason, fix)


def _check_shared_secrets(subjects: Subjects) -> Iterator[Finding]:
    """Check that no two identities share a secret: each has its own certificate."""
    for cluster, node in subjects.clusters:
        seen: dict[str, str] = {}
        for component in COMPONENTS:
            identity = component.get_identity(cluster)
            if identity is None:
                continue
            secret = identity.credentials_secret_name.lower()
            first = seen.setdefault(secret, component.name)
            if first != component.name:
                yield report(
                    "HC510",
                    node,
                    f"{first} and {component.name} read the same secret, "
                    f"{identity.credentials_secret_name!r}, so one of them logs in as the other",
                    "Give each identity the credentialsSecretName of its own secret.",
                )


def _check_duplicates(subjects: Subjects) -> Iterator[Finding]:
    seen: dict[tuple[str, ...], list[Named]] = {}
    for item in subjects.named:
        is_whole = not item.node.document.is_partial and not holds_placeholder(item.node.value)
        if is_whole and (item.kind in _UNIQUE or item.name in COMPONENT_BY_CONFIG):
            # Files without a namespace are often overlays, each for its own namespace.
            place = item.namespace or f"in {item.node.document.file}"
            seen.setdefault((item.kind, place, item.name), []).append(item)
    for found in seen.values():
        for index, item in enumerate(found):
            others = (first for first in found[:index] if _are_together(first, item, subjects))
            first = next((other for other in others if not is_same(other.node.value, item.node.value)), None)
            if first is not None:
                file = first.node.document.file
                yield report(
                    "HC501",
                    item.node.at("metadata", "name"),
                    f"{item.kind} {item.name} is also in {file}, line {first.node.line}, and differs; the "
                    "one that is applied last wins",
                    "Keep the intended one, or give each its own name or namespace.",
                    file=file,
                )


def _are_together(first: Named, item: Named, subjects: Subjects) -> bool:
    """Whether two objects of one name are likely to be applied together.

    Different directories are often for different clusters. Two files that share more than one name are
    alternatives, such as two renderings of a template.
    """
    file, other = first.node.document.file, item.node.document.file
    if file == other:
        return True
    is_near = "-" in (file, other) or posixpath.dirname(file) == posixpath.dirname(other)
    return is_near and len(subjects.names[file] & subjects.names[other]) == 1


def _check_driver_arguments(container: Container) -> Iterator[Finding]:
    flags = read_flags(container, booleans=_DRIVER_BOOLEANS)
    if flags is None:
        return
    node, value = flags.get(_ROTATION_FLAG, Flag(container.node["args"], "false"))
    if value not in TRUE and not is_placeholder(value):
        yield _report_off(
            node,
            f"the driver runs without --{_ROTATION_FLAG}=true"
            if value in FALSE
            else f"--{_ROTATION_FLAG} is {value!r}, which is not a Go boolean",
            f"--{_ROTATION_FLAG}=true",
        )
    if _INTERVAL_FLAG in flags:
        yield from _check_interval(*flags[_INTERVAL_FLAG])


def _report_off(node: Node, reason: str, setting: str) -> Finding:
    return report(
        "HC502",
        node,
        f"{reason}: a renewed credential never reaches a running pod",
        f"Set {setting}.",
    )


def _check_interval(node: Node, value: str) -> Iterator[Finding]:
    if is_placeholder(value):
        return
    if not _DURATION.fullmatch(value):
        yield report(
            "HC503", node, f"{value!r} is not a valid Go duration", "Write it with its unit, such as 2m."
        )
    elif sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(value)) > _LONG:
        yield report(
            "HC504",
            node,
            f"the driver looks for a renewed credential only once in {value}",
            "Leave it at 2m, the driver's default, unless Key Vault throttles.",
        )


def _check_csi_driver(spec: Node) -> Iterator[Finding]:
    if spec["podInfoOnMount"].boolean is not True:
        yield report(
            "HC505",
            spec["podInfoOnMount"],
            "kubelet does not tell the driver which pod it mounts for, and the driver refuses to mount",
            "Set podInfoOnMount: true.",
        )
    if spec["requiresRepublish"].boolean is not True:
        yield report(
            "HC506",
            spec["requiresRepublish"],
            "kubelet does not call the driver again once a pod runs, so nothing rotates (from v1.6)",
            "Set requiresRepublish: true.",
        )


def find_helm_values(node: Node) -> Iterator[Node]:
    """Find the values of the driver's chart, or of a chart that contains it."""
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
        # Values often come in layers: a value that one layer leaves out may be in another.
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
