"""HC116 and HC117: the types of the values in a pod that may use a credential.

Sources: Kubernetes' API (core/v1); kubernetes-sigs/secrets-store-csi-driver, pkg/secrets-store/nodeserver.go
(the volume's attributes are copied over the parameters).
"""

from collections.abc import Iterator
from typing import Final

from hcpcreds.kubernetes.documents import PlainScalar
from hcpcreds.kubernetes.nodes import Node
from hcpcreds.kubernetes.placeholders import is_placeholder
from hcpcreds.manifests.check.environment import KNOWN_VARIABLES
from hcpcreds.manifests.check.rules import Finding, report
from hcpcreds.manifests.check.subjects import Pod, Subjects, class_of
from hcpcreds.manifests.check.vault_access import PARAMETERS

_KINDS: Final = {bool: "a boolean", str: "text", dict: "a mapping", list: "a list"}
_LISTS: Final = ("volumes", "initContainers", "containers")
_CONTAINER_LISTS: Final = ("env", "volumeMounts")
_TEXTS: Final = {
    "volumes": ("name",),
    "initContainers": ("name",),
    "containers": ("name",),
    "env": ("name", "value"),
    "volumeMounts": ("name", "mountPath", "subPath", "subPathExpr"),
}


def check_shapes(subjects: Subjects) -> Iterator[Finding]:
    """Check the types of the values that other checks read, and the attributes of credential volumes."""
    for pod in subjects.pods:
        if _has_credentials(pod):
            for key in _LISTS:
                yield from _check_list(pod.node[key])
        for volume in pod.credential_volumes:
            yield from _check_attributes(volume, pod, subjects)


def _has_credentials(pod: Pod) -> bool:
    return bool(
        pod.rows
        or pod.credential_volumes
        or any(item["name"].text in KNOWN_VARIABLES for container in pod.containers for item in container.env)
    )


def _check_list(items: Node) -> Iterator[Finding]:
    key = str(items.path[-1])
    if items.value is not None and not isinstance(items.value, list):
        yield _report(items, "a list")
    for item in items.items():
        if not isinstance(item.value, dict):
            yield _report(item, "a mapping")
            continue
        for field in _TEXTS[key]:
            if item[field].value is not None and not isinstance(item[field].value, str):
                yield _report(item[field], "text")
        for nested in _CONTAINER_LISTS if key.endswith("ontainers") else ():
            yield from _check_list(item[nested])
        if key == "volumes":
            for _, attribute in item.at("csi", "volumeAttributes").fields():
                if not isinstance(attribute.value, str):
                    yield _report(attribute, "text")


def _report(node: Node, expected: str) -> Finding:
    key = node.path[-1]
    name = key if isinstance(key, str) else f"entry {key} of {node.path[-2]}"
    is_scalar = isinstance(node.value, PlainScalar | bool | int | float)
    return report(
        "HC116",
        node,
        f"{name} is {_describe(node.value)}, and the API server refuses the pod",
        "Put it in quotes." if expected == "text" and is_scalar else f"Write {expected}, or remove it.",
    )


def _describe(value: object) -> str:
    """Describe a value by its type; the value itself may be a secret."""
    if value is None:
        return "null"
    if isinstance(value, PlainScalar):
        return f"a {value.kind}"
    return next((name for kind, name in _KINDS.items() if isinstance(value, kind)), "a number")


def _check_attributes(volume: Node, pod: Pod, subjects: Subjects) -> Iterator[Finding]:
    classes = subjects.find_classes(class_of(volume).text, pod.namespace)
    for key, attribute in volume.at("csi", "volumeAttributes").fields():
        if key not in PARAMETERS or is_placeholder(attribute.text):
            continue
        parameters = [item.node.at("spec", "parameters", key) for item in classes]
        if not parameters or any(parameter.plain != attribute.plain for parameter in parameters):
            yield report(
                "HC117",
                attribute,
                f"the volume attribute {key} overrides the parameter of the SecretProviderClass",
                f"Remove {key} here, and set it in the SecretProviderClass.",
            )
