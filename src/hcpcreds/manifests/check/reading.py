"""Pods, hosted clusters and cloud configs, read out of manifests."""

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Final

from hcpcreds.errors import InputError
from hcpcreds.hosted_cluster import parse_hosted_cluster
from hcpcreds.kubernetes.nodes import Node
from hcpcreds.kubernetes.placeholders import holds_placeholder
from hcpcreds.manifests.check.subjects import (
    COMPONENT_BY_CONFIG,
    PATH_SETTING,
    CloudConfig,
    Container,
    Named,
    Pod,
    Subjects,
)
from hcpcreds.manifests.cloud_config import CLOUD_CONFIG_KEY

_CONFIG_KEYS: Final = frozenset({CLOUD_CONFIG_KEY, "azure.json", "cloud-config"})
_FIX_BASE64: Final = "Encode the text with base64, or put it into stringData as it is."
_FIX_JSON: Final = "Write the cloud config as one JSON object."


def read_pod(item: Named, template: tuple[str, ...]) -> Pod:
    """Read a workload's pod template."""
    spec = item.node.at(*template, "spec")
    containers = [
        Container(
            node,
            node["name"].text,
            key == "initContainers",
            node["volumeMounts"].items(),
            node["env"].items(),
        )
        for key in ("initContainers", "containers")
        for node in spec[key].items()
    ]
    claims = [
        Node(claim.document, claim.path, {"name": claim.at("metadata", "name").text})
        for claim in item.node.at("spec", "volumeClaimTemplates").items()
    ]
    volumes = [*spec["volumes"].items(), *claims]
    return Pod(spec, item.kind, item.name, item.namespace, volumes, containers)


def read_cluster(item: Named, subjects: Subjects) -> None:
    """Read a hosted cluster on Azure; note one that is unusable or a template."""
    value = item.node.value
    platform = item.node.at("spec", "platform")
    if platform["type"].text != "Azure" or not isinstance(platform["azure"].value, dict):
        return
    if not item.node.at(
        "spec", "infraID"
    ).is_set:  # HyperShift sets it, so it is missing from a directory of manifests
        value = {**value, "spec": {**value["spec"], "infraID": "not-set"}}
    metadata = value.get("metadata")
    if not item.namespace and isinstance(metadata, dict):  # kubectl fills it in
        value = {**value, "metadata": {**metadata, "namespace": "default"}}
    try:
        subjects.add_cluster(parse_hosted_cluster(value), item.node)
    except InputError as error:
        if holds_placeholder(value):
            subjects.templates.append(item.node)
            return
        subjects.unusable_clusters += [(item.node, problem) for problem in error.problems]


def read_configs(item: Named) -> Iterator[CloudConfig]:
    """Read the cloud configs in a Secret or ConfigMap; stringData takes precedence over data."""
    texts = {key: node for section in ("data", "stringData") for key, node in item.node[section].fields()}
    is_ours = item.name in COMPONENT_BY_CONFIG
    for key, node in texts.items():
        if key not in _CONFIG_KEYS or node.text == "":  # empty: an operator fills it in
            continue
        is_encoded = item.kind == "Secret" and "data" in node.path
        text = _decode(node.text) if is_encoded else node.text
        # Other platforms have a cloud.conf too.
        if is_ours or (text is not None and PATH_SETTING.lower() in text.lower()):
            yield _parse_config(node, text, item)
    if is_ours and texts and texts.keys().isdisjoint(_CONFIG_KEYS):
        data = item.node["stringData" if item.node["stringData"].fields() else "data"]
        yield CloudConfig(
            Node(data.document, data.path, None),
            f"the {item.kind} {item.name} has no key {CLOUD_CONFIG_KEY}, and no pod finds its cloud config",
            f"Add the cloud config under the key {CLOUD_CONFIG_KEY}; hcpcreds render writes it.",
            item,
        )


def _decode(text: str) -> str | None:
    try:
        return base64.b64decode(re.sub("[\r\n]", "", text), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None


def _parse_config(node: Node, text: str | None, holder: Named) -> CloudConfig:
    nothing = Node(node.document, node.path, None)
    if text is None:
        is_plain = "{" in node.text
        return CloudConfig(
            nothing,
            f"{node.path[-1]} is plain text, and data takes base64"
            if is_plain
            else f"{node.path[-1]} is not the base64 of a text",
            _FIX_BASE64,
            holder,
        )
    settings = node.parse(None if text == node.text else text)
    if settings.document.problem:
        problem = f"{node.path[-1]} cannot be read: {settings.document.problem}"
        return CloudConfig(Node(settings.document, (), None), problem, _FIX_JSON, holder)
    if not isinstance(settings.value, dict):
        return CloudConfig(nothing, f"{node.path[-1]} is not one JSON object", _FIX_JSON, holder)
    return CloudConfig(settings, holder=holder)
