"""What `check` makes of streams: of any size, of live objects, of templates, of files of one repository."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.manifests.examples import KEY_VAULT_USER, make_manifest
from tests.manifests.inject_examples import CLUSTER, make_options, make_workload

from hcpcreds.hosted_cluster import parse_hosted_cluster
from hcpcreds.kubernetes.placeholders import is_placeholder
from hcpcreds.kubernetes.writing import render_yaml
from hcpcreds.manifests import inject, render
from hcpcreds.manifests.check import check, read_documents

RENDERED = render(CLUSTER, key_vault_user_client_id=KEY_VAULT_USER)


def find(documents):
    return [(finding.code, finding.path) for finding in check(documents)]


def codes(documents):
    return [finding.code for finding in check(documents)]


def make_live(kind, name, owner=None, **spec):
    """A workload with a mistake, as the API server has it."""
    mount = {"name": "own", "mountPath": "/mnt/certs/x", "subPath": "x", "readOnly": True}
    csi = {
        "driver": "secrets-store.csi.k8s.io",
        "readOnly": True,
        "volumeAttributes": {"secretProviderClass": "own"},
    }
    workload = make_workload(
        kind,
        name,
        containers=[{"name": "app", "volumeMounts": [mount]}],
        volumes=[{"name": "own", "csi": csi}],
    )
    workload["metadata"] |= {"namespace": "shop", "uid": name, "resourceVersion": "1"}
    if owner is not None:
        owner_kind, owner_name = owner
        workload["metadata"]["ownerReferences"] = [
            {"kind": owner_kind, "name": owner_name, "controller": True}
        ]
    workload["spec"] |= spec
    workload["status"] = {}
    return workload


DEPLOYMENT = make_live("Deployment", "orders")
OLD = make_live("ReplicaSet", "orders-1", ("Deployment", "orders"), replicas=0)
NEW = make_live("ReplicaSet", "orders-2", ("Deployment", "orders"), replicas=2)
PODS = [make_live("Pod", f"orders-2-{letter}", ("ReplicaSet", "orders-2")) for letter in "abc"]
MOUNT = "spec.containers[0].volumeMounts[0].subPath"


@pytest.mark.parametrize(
    ("objects", "paths"),
    [
        ([DEPLOYMENT, OLD, NEW, *PODS], ["$.spec.template." + MOUNT]),
        ([*PODS, NEW, OLD, DEPLOYMENT], ["$.spec.template." + MOUNT]),
        ([OLD, NEW, *PODS], ["$.spec.template." + MOUNT]),
        (PODS, ["$." + MOUNT]),
        ([OLD], []),
        (
            [PODS[0], {**PODS[0], "metadata": {**PODS[0]["metadata"], "namespace": "other"}}],
            ["$." + MOUNT] * 2,
        ),
        (
            [make_live("Pod", "etcd-node", ("Node", "a")), make_live("Pod", "etcd-b", ("Node", "a"))],
            ["$." + MOUNT] * 2,
        ),
        (
            [make_live("Deployment", "x", ("HostedControlPlane", "otter"))] * 2,
            ["$.spec.template." + MOUNT] * 2,
        ),
    ],
)
@pytest.mark.parametrize("form", ["objects", "List", "yaml"])
def test_mistake_in_live_objects_is_told_once_at_their_owner(objects, paths, form):
    documents: Any = objects
    if form == "List":
        documents = [{"kind": "List", "apiVersion": "v1", "items": objects}]
    elif form == "yaml":
        documents = read_documents(render_yaml(objects), file="live.yaml")
    found = check(documents)
    if form == "objects":  # which have no lines to tell them apart
        assert {finding.path for finding in found} == set(paths)
    else:
        assert [
            finding.path.removeprefix("$.items[") for finding in found if finding.code == "HC109"
        ] or not paths
        assert len(found) == len(paths)


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_pod_is_passed_over_when_it_has_finished(phase):
    pod = make_live("Pod", "backup")
    assert codes([pod]) == ["HC109"]
    assert codes([{**pod, "status": {"phase": phase}}]) == []


@pytest.mark.unmeasured
def test_memory_stays_small_when_the_stream_is_large_and_not_about_credentials():
    spec = {
        "containers": [
            {"name": "web", "image": "x" * 500, "volumeMounts": [{"name": "c", "mountPath": "/c"}]}
        ]
    }
    volumes = [{"name": "c", "configMap": {"name": "web"}}]
    workload = make_workload("Deployment", "web", **spec, volumes=volumes)
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "web"},
        "data": {"a": "b" * 2000},
    }
    text = "".join(f"{json.dumps(item)}\n" for item in [workload, config_map] * 2000)
    tracemalloc.start()
    try:
        assert check(read_documents(text.encode(), file="f")) == []
        assert tracemalloc.get_traced_memory()[1] < 3 * len(text)
        assert tracemalloc.get_traced_memory()[1] < 25_000_000
    finally:
        tracemalloc.stop()


def test_pod_that_reads_a_cloud_config_is_judged_when_the_config_comes_long_after_it():
    settings = json.dumps({"aadMSIDataPlaneIdentityPath": "/mnt/certs/a"})
    config = {
        "kind": "Secret",
        "apiVersion": "v1",
        "metadata": {"name": "mine"},
        "stringData": {"cloud.conf": settings},
    }
    reader = {"name": "app", "volumeMounts": [{"name": "conf", "mountPath": "/etc/cloud"}]}
    for volume in (
        {"name": "conf", "secret": {"secretName": "mine"}},
        {
            "name": "conf",
            "projected": {"sources": [{"secret": {"name": "mine"}}, {"configMap": {"name": "x"}}]},
        },
    ):
        pod = make_workload("Deployment", "app", containers=[{"name": "side"}, reader], volumes=[volume])
        text = render_yaml([pod, make_workload("Deployment", "other"), config])
        [finding] = check(read_documents(text, file="x.yaml"))
        assert (finding.code, finding.path) == ("HC402", "$.spec.template.spec.containers[1]")
        assert text.splitlines()[finding.line - 1].strip() == "- name: app"


def test_many_clusters_are_told_apart_by_their_namespaces():
    documents: list[Any] = []
    for number in range(20):
        manifest = json.loads(json.dumps(make_manifest()).replace("otter", f"otter{number}"))
        cluster = parse_hosted_cluster(manifest)
        workload = inject(make_workload(), make_options(cluster=cluster))
        workload["metadata"]["namespace"] = cluster.control_plane_namespace
        documents += [manifest, *render(cluster, key_vault_user_client_id=KEY_VAULT_USER), workload]
    assert codes(documents) == []
    documents[-1]["spec"]["template"]["spec"]["containers"][0]["env"] = []
    assert codes(documents) == ["HC206"]


DIALECTS = [
    "{{ .Values.vault }}",
    "{{- x -}}",
    "{% raw %}",
    "${VAULT}",
    "$VAULT",
    "$(VAULT)",
    "$[variables.vault]",
    "#{vault}#",
    "#{vault}",
    "__VAULT__",
    "@@VAULT@@",
    "@VAULT@",
    "%VAULT%",
    "<vault>",
    "<% vault %>",
    "((vault))",
    "ENC[AES256_GCM,data:abc,type:str]",
    "ref+azurekeyvault://a/b",
    "AgBy" + "a8" * 150,
]


@pytest.mark.parametrize("placeholder", DIALECTS)
def test_placeholder_of_any_dialect_is_not_judged(placeholder):
    [item] = [item for item in RENDERED if item["metadata"]["name"] == "managed-azure-ingress"]
    text = json.dumps(item)
    for value in ("otter-vault", "otter-ingress", "utf-8", KEY_VAULT_USER):
        changed = text.replace(value, json.dumps(placeholder)[1:-1])
        assert changed != text or value == "utf-8"
        assert check([make_manifest(), json.loads(changed)]) == []
    parameters = item["spec"]["parameters"]
    for key in parameters:
        value = placeholder if placeholder.startswith("Ag") else f"a-{placeholder}-b"
        spec = {**item["spec"], "parameters": {**parameters, key: value}}
        assert check([{**item, "spec": spec}]) == []


@given(st.from_regex(r"[a-z0-9]([-a-z0-9./:]*[a-z0-9])?", fullmatch=True) | st.uuids().map(str))
def test_plain_value_is_not_taken_for_a_placeholder(text):
    assert not is_placeholder(text) or "://" in text


@pytest.mark.parametrize("change", [{"keyvaultName": "heron-vault"}, {"keyvaultName": "${VAULT}"}])
def test_template_beside_its_rendering_is_not_a_duplicate(change):
    [item] = [item for item in RENDERED if item["metadata"]["name"] == "managed-azure-ingress"]
    other = {**item, "spec": {**item["spec"], "parameters": {**item["spec"]["parameters"], **change}}}
    assert ("HC501" in codes([item, other])) is ("$" not in change["keyvaultName"])
    named = {**other, "metadata": {"name": "${NAME}-kv", "namespace": "${NS}"}}
    again = {**item, "metadata": named["metadata"]}
    assert "HC501" not in codes([named, again])


@pytest.mark.parametrize("field", ["subscriptionID", "tenantID", "vnetID"])
def test_hosted_cluster_with_placeholders_is_a_template_and_the_rest_is_judged(field):
    manifest = make_manifest()
    manifest["spec"]["platform"]["azure"][field] = "${X}"
    assert set(codes([manifest, make_live("Deployment", "x")])) == {"HC109", "HC702"}


@pytest.mark.parametrize(
    "name", ["a/" * 150 + "x.yaml", "b" * 240 + ".yaml", "/".join(["c0FFee"] * 30), "Bearer abc.yaml"]
)
def test_name_of_a_file_is_shown_whole_however_long_it_is(name):
    folder = name[: name.rfind("/") + 1]
    item = {"kind": "SecretProviderClass", "metadata": {"name": "own", "namespace": "shop"}}
    documents = [
        *read_documents(json.dumps({**item, "spec": {"provider": "azure"}}), file=name),
        *read_documents(json.dumps({**item, "spec": {"provider": "x"}}), file=f"{folder}z.yaml"),
    ]
    [finding] = [finding for finding in check(documents) if finding.code == "HC501"]
    assert f" is also in {name}, line 1, and differs; " in finding.reason
    assert finding.file == f"{folder}z.yaml"


def test_name_of_a_file_is_printable_in_a_finding():
    document = make_live("Pod", "p")
    [finding] = check(read_documents(json.dumps(document), file="a\x1b[2J\u202e\nb.yaml"))
    assert (
        finding.file
        == "a\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}b.yaml"
    )


@pytest.mark.parametrize("length", [160, 240, 350])
def test_wrong_resource_id_is_repeated_with_what_was_expected(length):
    manifest = make_manifest()
    azure = manifest["spec"]["platform"]["azure"]
    wrong = azure["vnetID"].replace("virtualNetworks", "virtual-networks")
    azure["vnetID"] = wrong + ".x" * ((length - len(wrong)) // 2)
    [finding] = check([manifest])
    assert finding.code == "HC507"
    assert finding.reason.startswith(f"got '{wrong}")
    assert "', expected /subscriptions/{subscription}/" in finding.reason
