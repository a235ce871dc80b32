"""HC2xx: environment variables.

Source: openshift/hypershift, support/config/constants.go and the operators' deployments.
"""

import posixpath
from collections.abc import Iterator
from typing import Final

from hcpcreds.components import COMPONENTS, Component, Variable
from hcpcreds.components import Pod as PodRow
from hcpcreds.constants import (
    ARO_HCP,
    ARO_HCP_CLIENT_CREDENTIALS_PATH,
    ARO_HCP_KEY_VAULT_MANAGED_IDENTITY_CLIENT_ID,
    MANAGED_AZURE_CREDENTIALS_FILE_PATH,
    MANAGED_SERVICE,
)
from hcpcreds.hosted_cluster.forms import UUID
from hcpcreds.kubernetes.nodes import Node
from hcpcreds.kubernetes.placeholders import is_placeholder
from hcpcreds.manifests.check.rules import Finding, report
from hcpcreds.manifests.check.secret_objects import is_written
from hcpcreds.manifests.check.spelling import describe_misspelt
from hcpcreds.manifests.check.subjects import (
    ASSERTION_VARIABLE,
    Container,
    Pod,
    Subjects,
    normalize_path,
    path_of,
)

_PATHS: Final = frozenset({MANAGED_AZURE_CREDENTIALS_FILE_PATH, ARO_HCP_CLIENT_CREDENTIALS_PATH})
_NETWORK: Final = next(component for component in COMPONENTS if component.identity == "network")
_BARE_NAME: Final = {
    (pod.workload, container)
    for component in COMPONENTS
    for pod in component.pods
    for container in pod.containers
    if any(
        variable.name == MANAGED_AZURE_CREDENTIALS_FILE_PATH and variable.value == "{secret}"
        for variable in pod.env
    )
}
"""Containers that append the name to a directory of their own."""
_CLASS_VARIABLES: Final = {
    variable.name: component
    for component in COMPONENTS
    for pod in component.pods
    for variable in pod.env
    if variable.value == component.secret_provider_class
}
KNOWN_VARIABLES: Final = frozenset(
    {*_PATHS, *_CLASS_VARIABLES, MANAGED_SERVICE, ARO_HCP_KEY_VAULT_MANAGED_IDENTITY_CLIENT_ID}
)


def check_environment(subjects: Subjects) -> Iterator[Finding]:
    """Check the environment variables of every container that concern credentials."""
    for pod in subjects.pods:
        for container in pod.containers:
            values: dict[str, str] = {}
            for variable in container.env:
                yield from _check_twice(variable, values)
                value = variable["value"]
                if value.text and not is_placeholder(value.text):
                    yield from _check_variable(variable, container, pod, subjects)
                elif not value.is_set:
                    yield from _check_empty(variable, container)
            yield from _check_needed(container, pod, subjects)


def _check_twice(variable: Node, values: dict[str, str]) -> Iterator[Finding]:
    name, value = variable["name"].text, variable["value"].text
    if name in KNOWN_VARIABLES and values.setdefault(name, value) != value:
        yield report(
            "HC208",
            variable["name"],
            f"{name} is set twice, to different values; the later one wins",
            "Keep the one that is meant.",
        )


def _check_empty(variable: Node, container: Container) -> Iterator[Finding]:
    name = variable["name"].text
    is_on_purpose = name == MANAGED_SERVICE or any(
        other["name"].text == ASSERTION_VARIABLE
        or (other["name"].text == name and other["value"].is_set)  # HC208
        for other in container.env
    )
    if name in KNOWN_VARIABLES and not variable["valueFrom"].is_set and not is_on_purpose:
        yield report(
            "HC212",
            variable,
            f"{name} is empty, which {container.name!r} takes for not set",
            "Set it, or remove it.",
        )


def _check_variable(variable: Node, container: Container, pod: Pod, subjects: Subjects) -> Iterator[Finding]:
    name, value = variable["name"].text, variable["value"]
    if name in _PATHS | _CLASS_VARIABLES.keys() and value.text != value.text.strip():
        yield report(
            "HC211",
            value,
            f"{name} is {value.text!r}, with blanks or a line break at an end",
            "Remove them. A YAML block after `|` or `>` ends in a line break; one after `|-` does not.",
        )
    elif name in _PATHS and (pod.name, container.name) in _BARE_NAME:
        yield from _check_bare_name(name, value, pod, subjects)
    elif name in _PATHS:
        yield from _check_path(name, value, container, pod, subjects)
    elif name in _CLASS_VARIABLES:
        expected = _CLASS_VARIABLES[name].secret_provider_class
        if value.text != expected and not subjects.find_classes(value.text, pod.namespace):
            yield report(
                "HC207",
                value,
                f"{name} names {value.text!r}, which is not the SecretProviderClass {expected}",
                f"Set it to {expected}.",
            )
    elif name == MANAGED_SERVICE and value.text != ARO_HCP:
        if value.text.strip().upper().replace("_", "-") == ARO_HCP:
            yield report(
                "HC209",
                value,
                f"{MANAGED_SERVICE} is {value.text!r}, and HyperShift compares it exactly",
                f"Set it to {ARO_HCP}.",
            )
    elif name == ARO_HCP_KEY_VAULT_MANAGED_IDENTITY_CLIENT_ID and not UUID.pattern.fullmatch(value.text):
        yield report(
            "HC210",
            value,
            f"{name} is not a UUID",
            "Set it to the client id of the identity that reads the vault.",
        )


def _check_bare_name(name: str, value: Node, pod: Pod, subjects: Subjects) -> Iterator[Finding]:
    if "/" in value.text:
        yield report(
            "HC205",
            value,
            f"{pod.name} appends {name} to a directory of its own, so {value.text!r} would name no file",
            f"Set it to {posixpath.basename(value.text)!r}.",
        )
        return
    yield from _check_file(
        name, value, value.text, subjects.find_files(_NETWORK.secret_provider_class, pod.namespace)
    )


def _check_path(
    name: str, value: Node, container: Container, pod: Pod, subjects: Subjects
) -> Iterator[Finding]:
    if not value.text.startswith("/"):
        yield report(
            "HC204",
            value,
            f"{name} is {value.text!r}, which is not an absolute path",
            "Put the directory where the credential is mounted before it, such as /mnt/certs/.",
        )
        return
    path = normalize_path(value.text)
    mount = container.find_mount(path)
    if mount is None:
        yield from _check_has_mount(name, value, container, pod, subjects)
        return
    files = subjects.find_files(pod.get_class(mount), pod.namespace) if pod.get_class(mount) else frozenset()
    file = path.removeprefix(path_of(mount)).removeprefix("/")
    is_directory = not file or any(known.startswith(f"{file}/") for known in files)
    if (is_directory or value.text.endswith("/")) and not (
        path_of(mount) == path and mount["subPath"].is_set
    ):
        yield report(
            "HC203",
            value,
            f"{name} is {value.text!r}, the directory and not the file in it",
            "Append the file's name, which is the name of the secret.",
        )
    elif file:
        yield from _check_file(name, value, file, files)


def _check_has_mount(
    name: str, value: Node, container: Container, pod: Pod, subjects: Subjects
) -> Iterator[Finding]:
    path = normalize_path(value.text)
    if any(twin.find_mount(path) for _, twin in subjects.find_twins(pod, container)):
        return
    mounts = [item["mountPath"].text for item in container.mounts if pod.get_class(item)]
    yield report(
        "HC201",
        value,
        f"{name} is {value.text!r}, and the container {container.name!r} mounts nothing there",
        f"Its credentials are in: {', '.join(mounts)}." if mounts else "Mount the credential there.",
    )


def _check_file(name: str, value: Node, file: str, files: frozenset[str]) -> Iterator[Finding]:
    if files and not is_written(file, files):
        yield report(
            "HC202",
            value,
            f"{name} names the file {file!r}, and what is mounted there is {', '.join(sorted(files))}",
            "Name the secret of the component's identity.",
        )


def _check_needed(container: Container, pod: Pod, subjects: Subjects) -> Iterator[Finding]:
    if container.is_init or container.node["envFrom"].is_set:
        return
    for component, row in pod.rows:
        if container.name not in row.containers:
            continue
        # A container that is not in the table was chosen by the user, with hcpcreds inject --container.
        chosen = [other for other in pod.containers if other.name not in row.containers and not other.is_init]
        twins = [twin for _, twin in subjects.find_twins(pod, container)]
        names = {variable["name"].text for item in (container, *chosen, *twins) for variable in item.env}
        keyless = row.path_variables if pod.is_keyless(container) else ()
        for variable in _list_needed(component, row, pod, subjects):
            if variable.name not in (*names, *keyless):
                yield report(
                    "HC206",
                    container.node,
                    f"the container {container.name!r} needs {variable.name} for {component.name}"
                    f"{describe_misspelt(sorted(names - KNOWN_VARIABLES), variable.name)}",
                    "Set it, as hcpcreds inject does.",
                )


def _list_needed(component: Component, row: PodRow, pod: Pod, subjects: Subjects) -> list[Variable]:
    """List the variables that a pod needs, which depend on the kind of the component's identity."""
    cluster = subjects.find_cluster(pod.namespace)
    if cluster is not None and component.get_workload_identity(cluster) is not None:
        return list(row.token.env) if row.token else []
    if not subjects.has_component(component, pod):
        return []
    return [variable for variable in row.env if not variable.optional]
