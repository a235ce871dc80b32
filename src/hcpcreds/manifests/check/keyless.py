"""HC123 to HC128, HC201 and HC214: pods whose programs log in through a sidecar that alone has the key.

Sources: Kubernetes (concepts/workloads/pods/sidecar-containers); the Azure SDKs, which prefer different ways
if several are set (azure-identity for Python, @azure/identity, azidentity);
openshift/cluster-ingress-operator, pkg/dns/azure/client/auth.go; proc(5), /proc/pid/root.
"""

from collections.abc import Iterator
from typing import Final

from hcpcreds.constants import ARO_HCP_CLIENT_CREDENTIALS_PATH, MANAGED_AZURE_CREDENTIALS_FILE_PATH
from hcpcreds.kubernetes.nodes import Node
from hcpcreds.kubernetes.placeholders import is_placeholder
from hcpcreds.manifests.check.rules import Finding, report
from hcpcreds.manifests.check.subjects import (
    ASSERTION_VARIABLE,
    TOKEN_ADDRESSES,
    Container,
    Pod,
    Subjects,
    is_below,
    normalize_path,
    path_of,
)
from hcpcreds.manifests.sidecar import KEEP_MOUNT, SHARED_PROCESSES

_ENDPOINT: Final = "IDENTITY_ENDPOINT"
_OTHER_WAYS: Final = (
    MANAGED_AZURE_CREDENTIALS_FILE_PATH,
    ARO_HCP_CLIENT_CREDENTIALS_PATH,
    "AZURE_CLIENT_CERTIFICATE_PATH",
    _ENDPOINT,
)
"""Variables that some or all programs prefer to an assertion."""
_PROBES: Final = {
    "startupProbe": "the others start before there is anything to log in with",
    "readinessProbe": "nobody learns that it has nothing to log in with",
    "livenessProbe": "one that hangs is not restarted",
}


def check_keyless(subjects: Subjects) -> Iterator[Finding]:
    """Check every pod with the sidecar, and every container for a second way to log in."""
    for pod in subjects.pods:
        for container in pod.containers:
            yield from _check_ways(container)
        sidecar = pod.sidecar
        users = [container for container in pod.containers if _is_user(container, pod)]
        if sidecar is None or not users:
            continue
        yield from _check_sidecar(sidecar)
        yield from _check_processes(sidecar, pod)
        yield from _check_network(sidecar, pod)
        for container in users:
            yield from _check_key(container, sidecar, pod)
            if pod.is_keyless(container):
                yield from _check_assertion(container, sidecar, pod, subjects)


def _is_user(container: Container, pod: Pod) -> bool:
    return pod.is_keyless(container) or container.get_variable(_ENDPOINT) is not None


def _check_ways(container: Container) -> Iterator[Finding]:
    ways = [name for name in (ASSERTION_VARIABLE, *_OTHER_WAYS) if container.get_variable(name) is not None]
    chosen = next((name for name in (ASSERTION_VARIABLE, _ENDPOINT) if name in ways), None)
    for name in ways:
        variable = container.get_variable(name)
        if chosen is None or name == chosen or variable is None:
            continue
        yield report(
            "HC214",
            variable,
            f"the container {container.name!r} has both {name} and {chosen}, and which one wins depends on "
            "the program",
            f"Remove {name}, or set it to the empty text."
            if name != _ENDPOINT
            else f"Remove {chosen}, or {_ENDPOINT} and IDENTITY_HEADER.",
        )


def _check_sidecar(sidecar: Container) -> Iterator[Finding]:
    policy = sidecar.node["restartPolicy"]
    if not sidecar.is_init:
        yield report(
            "HC126",
            sidecar.node,
            f"the container {sidecar.name!r} starts together with those that need it, and may be too late",
            "Make it an init container with restartPolicy: Always.",
        )
    elif policy.text != "Always" and not is_placeholder(policy.text):
        yield report(
            "HC126",
            policy,
            f"the init container {sidecar.name!r} never ends, so the containers after it never start",
            "Set restartPolicy: Always, which makes it a sidecar (Kubernetes 1.29 or later).",
        )
    missing = [key for key in _PROBES if not sidecar.node[key].is_set]
    if missing:
        yield report(
            "HC125",
            sidecar.node,
            f"the sidecar {sidecar.name!r} has no {missing[0]}: {_PROBES[missing[0]]}",
            f"Add {' and '.join(missing)}, as hcpcreds inject --keyless does.",
        )


def _check_key(container: Container, sidecar: Container, pod: Pod) -> Iterator[Finding]:
    kept = {
        component.secret_provider_class
        for component, row in pod.rows
        if row.keyless is not None and row.keyless.keeps_mount
    }
    keep_mount = sidecar.get_variable(KEEP_MOUNT)
    if keep_mount is not None and keep_mount["value"].text == "true":
        return
    keys = _find_keys(sidecar, pod)
    for mount in container.mounts:
        if mount["name"].text in keys and pod.get_class(mount) not in kept:
            yield report(
                "HC123",
                mount,
                f"the container {container.name!r} logs in through the sidecar, and mounts the key all the "
                "same",
                "Remove the mount: only the sidecar needs it. If the program needs it too, give the sidecar "
                f'{KEEP_MOUNT}: "true", as hcpcreds inject --keep-mount does.',
            )


def _check_processes(sidecar: Container, pod: Pod) -> Iterator[Finding]:
    keys = _find_keys(sidecar, pod)
    if not keys:
        return
    for key in SHARED_PROCESSES:
        if pod.node[key].boolean:
            yield report(
                "HC127",
                pod.node[key],
                f"a program of the sidecar's user, or of root, reads the key through /proc: with {key}, it "
                f"sees the processes of {sidecar.name!r}",
                f"Remove {key}.",
            )
    for container in pod.node["ephemeralContainers"].items():
        name, target = container["name"].text, container["targetContainerName"]
        if target.text == sidecar.name:
            yield report(
                "HC127",
                target,
                f"the ephemeral container {name!r} sees the processes of the sidecar {sidecar.name!r}, and "
                "so the key through /proc",
                "Delete the pod when you are done: an ephemeral container cannot be removed.",
            )
        for mount in container["volumeMounts"].items():
            if mount["name"].text in keys:
                yield report(
                    "HC127",
                    mount,
                    f"the ephemeral container {name!r} mounts the key",
                    "Delete the pod when you are done: an ephemeral container cannot be removed.",
                )


def _check_network(sidecar: Container, pod: Pod) -> Iterator[Finding]:
    gives_tokens = any(sidecar.get_variable(name) for name in TOKEN_ADDRESSES)
    if gives_tokens and pod.node["hostNetwork"].boolean:
        yield report(
            "HC128",
            pod.node["hostNetwork"],
            f"every process on the node's network reaches the token endpoint of {sidecar.name!r}",
            "Remove hostNetwork, or give the programs assertions, as hcpcreds inject --keyless does.",
        )


def _find_keys(sidecar: Container, pod: Pod) -> set[str]:
    """The names of the volumes whose key only the sidecar is to have."""
    return {mount["name"].text for mount in sidecar.mounts if pod.get_class(mount)}


def _check_assertion(
    container: Container, sidecar: Container, pod: Pod, subjects: Subjects
) -> Iterator[Finding]:
    variable = container.get_variable(ASSERTION_VARIABLE)
    directory = _find_directory(sidecar)
    if variable is None or is_placeholder(variable["value"].text) or directory is None:
        return
    path = normalize_path(variable["value"].text)
    mount = container.find_mount(path)
    source = sidecar.find_mount(directory)
    if mount is None and not any(twin.find_mount(path) for _, twin in subjects.find_twins(pod, container)):
        yield report(
            "HC201",
            variable["value"],
            f"{ASSERTION_VARIABLE} is {path!r}, and the container {container.name!r} mounts nothing there",
            f"Mount the directory where the sidecar {sidecar.name!r} writes its assertions there.",
        )
    is_shared = mount is not None and source is not None and mount["name"].text == source["name"].text
    for key in ("subPath", "subPathExpr"):
        if mount is not None and is_shared and mount[key].is_set and is_below(path, path_of(mount)):
            yield report(
                "HC124",
                mount[key],
                f"a file mounted with {key} never changes: {container.name!r} keeps an assertion that soon "
                "expires",
                f"Mount the whole volume: remove {key}, and make mountPath a directory.",
            )


def _find_directory(sidecar: Container) -> str | None:
    """Find where the sidecar writes assertions, if its environment says so."""
    variable: Node | None = sidecar.get_variable("HCPCREDS_ASSERTION_DIRECTORY")
    return normalize_path(variable["value"].text) if variable is not None else None
