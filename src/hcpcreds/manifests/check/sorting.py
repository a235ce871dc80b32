"""Sorting documents into the subjects of the checks."""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final

import msgspec

from hcpcreds.constants import MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER
from hcpcreds.errors import InputError
from hcpcreds.hosted_cluster.forms import KINDS
from hcpcreds.kubernetes.documents import Document
from hcpcreds.kubernetes.nodes import Node
from hcpcreds.kubernetes.objects import (
    find_controller,
    find_objects,
    find_pod_template,
    is_object,
    is_over,
    is_patch,
)
from hcpcreds.manifests.check.cluster_wide import find_helm_values
from hcpcreds.manifests.check.reading import read_cluster, read_configs, read_pod
from hcpcreds.manifests.check.secret_objects import find_read_secrets
from hcpcreds.manifests.check.subjects import (
    COMPONENT_BY_CONFIG,
    COMPONENT_BY_VOLUME,
    PATH_SETTING,
    CloudConfig,
    Named,
    Pod,
    Subjects,
)
from hcpcreds.manifests.check.unlikely import UnlikelyPods

_UNIQUE_KINDS: Final = frozenset({"SecretProviderClass", "AzureClusterIdentity", "CSIDriver", *KINDS})
_MADE_KINDS: Final = frozenset({"Pod", "ReplicaSet", "ReplicationController", "Job"})
"""Kinds that controllers create from templates."""
_TELLING: Final = re.compile(
    r"azure|aro_|managed_|/certs|credential|creds|backup|kms|secrets-store|secretprovider", re.IGNORECASE
)
"""Texts in the names, paths and arguments of pods that may use a credential."""


def sort_documents(documents: Iterable[Document]) -> Subjects:
    """Sort documents; a List by its items.

    Objects that no check needs are dropped, so that a stream may be larger than memory.
    """
    subjects = Subjects()
    unlikely = UnlikelyPods()
    made: list[tuple[Named, tuple[str, ...]]] = []
    workloads: set[tuple[str, str, str]] = set()
    for node in _expand(documents, subjects):
        item = Named(
            node, node["kind"].text, node.at("metadata", "name").text, node.at("metadata", "namespace").text
        )
        subjects.note_name(item)
        template = find_pod_template(node.value) if isinstance(node.value, dict) else None
        if node.document.is_partial or (template is None and is_patch(node.value)):
            if item.kind == "SecretProviderClass":
                subjects.add_class(item, is_partial=True)
            continue
        if template is None:
            _keep(item, subjects)
            continue
        workloads.add((item.kind, item.name, item.namespace))
        if item.kind in _MADE_KINDS and find_controller(node.value):
            made.append((item, template))
        elif not is_over(node.value):
            _keep_pod(read_pod(item, template), subjects, unlikely)
    for item, template in _choose_made(made, workloads):
        _keep_pod(read_pod(item, template), subjects, unlikely)
    for pod in unlikely.find({config.holder.name for config in subjects.configs if config.holder}):
        subjects.add_pod(pod)
    return subjects


def count_subjects(document: Document) -> int:
    """Count objects, cloud configs, values of the driver's chart and descriptions of AKS clusters."""
    values = document.value if isinstance(document.value, list) else [document.value]
    with suppress(InputError):
        return sum(_is_known(Node(document, (), item)) for value in values for _, item in find_objects(value))
    return 0


def _is_known(node: Node) -> bool:
    return (
        is_object(node.value)
        or CloudConfig(node).find(PATH_SETTING).value is not None
        or any(root["addonProfiles"].is_set for root in (node, node["properties"], node["spec"]))
        or any(True for _ in find_helm_values(node))
    )


def _choose_made(
    made: list[tuple[Named, tuple[str, ...]]], workloads: set[tuple[str, str, str]]
) -> Iterator[tuple[Named, tuple[str, ...]]]:
    """Choose one live object of each owner that is not among the documents."""
    for item, template in made:
        kind, name = find_controller(item.node.value) or ("", "")
        owner = (kind, name, item.namespace)
        if owner not in workloads and not is_over(item.node.value):
            workloads.add(owner)
            yield item, template


def _expand(documents: Iterable[Document], subjects: Subjects) -> Iterator[Node]:
    for document in documents:
        value = document.value
        if document.problem:
            subjects.unreadable.append(document)
        elif isinstance(value, list):
            yield from (Node(document, (index,), item) for index, item in enumerate(value))
        else:
            try:
                for path, found in find_objects(value):
                    yield Node(document.at(path), (), found)
            except InputError as error:
                subjects.unreadable.append(msgspec.structs.replace(document, problem=error.problems[0]))


def _keep(item: Named, subjects: Subjects) -> None:
    """Keep an object that is not a workload, if a check needs its kind."""
    node = item.node
    if item.kind in _UNIQUE_KINDS or item.name in COMPONENT_BY_CONFIG:
        subjects.named.append(item)
    if not is_object(node.value) or any(node[key]["addonProfiles"].is_set for key in ("spec", "properties")):
        subjects.settings.append(node)
    if item.kind == "SecretProviderClass":
        subjects.add_class(item)
    elif item.kind == "CSIDriver" and item.name == MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER:
        subjects.drivers.append(node)
    elif item.kind == "AzureClusterIdentity":
        subjects.cluster_identities.append(item)
    elif item.kind in KINDS:
        read_cluster(item, subjects)
    elif item.kind in ("Secret", "ConfigMap"):
        subjects.configs += read_configs(item)
    elif not item.kind and not node["apiVersion"].is_set:
        config = CloudConfig(node)
        if config.find(PATH_SETTING).value is not None:
            subjects.configs.append(config)


def _keep_pod(pod: Pod, subjects: Subjects, unlikely: UnlikelyPods) -> None:
    """Keep a pod that may use a credential."""
    for secret in find_read_secrets(pod):
        subjects.secret_readers.setdefault(secret, {}).setdefault(pod.namespace, pod.name)
    if pod.rows or pod.kind == "DaemonSet" or any(map(_is_telling, _list_texts(pod))):
        if not is_patch(pod.node.value):
            subjects.add_pod(pod)
    else:
        unlikely.add(pod)


def _is_telling(text: str) -> bool:
    return text in COMPONENT_BY_VOLUME or _TELLING.search(text) is not None


def _list_texts(pod: Pod) -> Iterator[str]:
    for volume in pod.volumes:
        yield volume["name"].plain
        yield volume.at("csi", "driver").plain
        yield from (key for key, _ in volume.at("csi", "volumeAttributes").fields())
    for container in pod.containers:
        yield container.name
        yield from (mount[key].plain for mount in container.mounts for key in ("name", "mountPath"))
        yield from (variable["name"].plain for variable in container.env)
        yield from (argument.plain for key in ("command", "args") for argument in container.node[key].items())
