"""Workloads to inject into, and strategies that make many."""

import copy
import re
from typing import Any

import yaml
from hypothesis import strategies as st
from tests.manifests.examples import KEY_VAULT_USER, make_manifest
from typing_extensions import override

from hcpcreds.components import WORKLOADS
from hcpcreds.hosted_cluster import parse_hosted_cluster
from hcpcreds.manifests.inject import InjectOptions

CLUSTER = parse_hosted_cluster(make_manifest())
_TEMPLATE = ("spec", "template", "spec")
POD_SPECS = {
    ("v1", "Pod"): ("spec",),
    ("apps/v1", "Deployment"): _TEMPLATE,
    ("apps/v1", "StatefulSet"): _TEMPLATE,
    ("apps/v1", "DaemonSet"): _TEMPLATE,
    ("apps/v1", "ReplicaSet"): _TEMPLATE,
    ("batch/v1", "Job"): _TEMPLATE,
    ("batch/v1", "CronJob"): ("spec", "jobTemplate", *_TEMPLATE),
}


def make_options(**options: Any) -> InjectOptions:
    """Options for the example cluster, unless given others."""
    if not options.keys() & {"cluster", "custom", "credentials_secret_name"}:
        options["cluster"] = CLUSTER
    return InjectOptions(key_vault_user_client_id=KEY_VAULT_USER, managed_service="ARO-HCP", **options)


def make_workload(
    kind: str = "Deployment", name: str = "ingress-operator", **pod_spec: Any
) -> dict[str, Any]:
    """A workload with one container of its own name, or what is given."""
    pod_spec.setdefault("containers", [{"name": name}])
    [(api_version, path)] = [(key[0], path) for key, path in POD_SPECS.items() if key[1] == kind]
    value: dict[str, Any] = pod_spec
    for key in reversed(path):
        value = {key: value}
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **value}


def get_pod_spec(workload: dict[str, Any]) -> dict[str, Any]:
    """Its pod's spec."""
    value = workload
    for key in POD_SPECS[workload["apiVersion"], workload["kind"]]:
        value = value[key]
    return value


def shuffled(mapping: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.permutations(list(mapping.items())).map(dict)


_texts = st.sampled_from(
    ["", "on", "1", "a: b", "# no comment", "it's", 'say "x"', "täglich", "two\nlines\n", "-"]
)
_extras = st.dictionaries(
    st.sampled_from(["image", "command", "note", "x-y"]),
    st.one_of(_texts, st.booleans(), st.integers(-3, 3), st.lists(_texts, max_size=2), st.none()),
    max_size=2,
)
_variables = st.builds(
    lambda name, value: {"name": name, **value},
    st.sampled_from(["A", "B", "PATH_TO"]),
    st.one_of(
        _texts.map(lambda text: {"value": text}),
        st.just({}),
        st.just({"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
    ),
)
_mounts = st.builds(lambda path: {"mountPath": path, "name": "other"}, st.sampled_from(["/a", "/b/c"]))
_volumes = st.sampled_from(
    [
        {"name": "other", "emptyDir": {}},
        {"configMap": {"name": "x", "items": [{"key": "a", "path": "b"}]}, "name": "settings"},
    ]
)


@st.composite
def _with_list(draw: st.DrawFn, mapping: dict[str, Any], key: str, items: Any) -> dict[str, Any]:
    """The mapping with a list that may be missing, null, empty or full."""
    how = draw(st.sampled_from(["missing", "null", "list", "list"]))
    if how == "null":
        return {**mapping, key: None}
    return {**mapping, key: draw(st.lists(items, max_size=3))} if how == "list" else mapping


@st.composite
def _containers(draw: st.DrawFn, name: str) -> dict[str, Any]:
    container = {"name": name, **draw(_extras)}
    container = draw(_with_list(container, "env", _variables))
    container = draw(_with_list(container, "volumeMounts", _mounts))
    return draw(shuffled(container))


@st.composite
def workloads(draw: st.DrawFn) -> dict[str, Any]:
    """Any workload that is a component's, in any kind, with lists missing, null, empty or full."""
    name = draw(st.sampled_from(list(WORKLOADS)))
    _, kind = draw(st.sampled_from(list(POD_SPECS)))
    names = [container for _, pod in WORKLOADS[name][:1] for container in pod.containers]
    names += draw(st.lists(st.sampled_from(["sidecar", "proxy"]), unique=True))
    pod_spec = {"containers": [draw(_containers(each)) for each in draw(st.permutations(names))]}
    if draw(st.booleans()):
        pod_spec["initContainers"] = [draw(_containers("init"))]
    pod_spec = draw(_with_list({**pod_spec, **draw(_extras)}, "volumes", _volumes))
    return copy.deepcopy(make_workload(kind, name, **draw(shuffled(pod_spec))))


class _Dumper(yaml.SafeDumper):
    """Writes equal parts out each time."""

    @override
    def ignore_aliases(self, data: Any) -> bool:
        return True


class _IndentedListsDumper(_Dumper):
    """Dashes further in than their key, as Helm charts have them."""

    @override
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)


def dump_yaml(draw: st.DrawFn, documents: list[dict[str, Any]]) -> bytes:
    """The documents as YAML, in one of many styles."""
    text: str = yaml.dump_all(
        documents,
        Dumper=draw(st.sampled_from([_Dumper, _IndentedListsDumper])),
        default_flow_style=draw(st.sampled_from([False, False, None, True])),
        indent=draw(st.sampled_from([2, 4, 7])),
        width=draw(st.sampled_from([20, 80, 10_000])),
        sort_keys=False,
        allow_unicode=draw(st.booleans()),
        explicit_start=len(documents) > 1,
        line_break=draw(st.sampled_from(["\n", "\r\n", "\r"])),
    )
    if draw(st.booleans()):
        text = re.sub(r"(?m)^([ -]*[A-Za-z]+:)$", r"\1   # a comment: {[", text)
    return text.encode()
