import base64
import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.manifests.examples import KEY_VAULT_USER, REMOVED, make_manifest, manifests, secret_names
from tests.manifests.inject_examples import CLUSTER, get_pod_spec, make_options, make_workload, workloads

from hcpcreds.components import WORKLOADS
from hcpcreds.errors import InputError
from hcpcreds.hosted_cluster import parse_hosted_cluster
from hcpcreds.manifests import CustomComponent, Finding, build_pod_additions, check, inject, render
from hcpcreds.manifests.check import RULES, read_documents

FIXTURES = Path(__file__).parent / "check_fixtures"
PAGES = Path(__file__).parents[2] / "docs" / "checks"
RENDERED = render(CLUSTER, key_vault_user_client_id=KEY_VAULT_USER)
SENTINEL = "s3ntinel-of-a-secret"


def check_text(text: str | bytes, *, file: str = "manifests.yaml") -> list[Finding]:
    return check(read_documents(text, file=file))


def codes(documents) -> list[str]:
    return [finding.code for finding in check(documents)]


def build_workload(cluster, name, *, namespace=None):
    """A workload with what the table says, and a container beside those that call Azure."""
    additions = build_pod_additions(cluster, name, key_vault_user_client_id=KEY_VAULT_USER)
    containers = [
        {"name": container, "env": added.env, "volumeMounts": added.volume_mounts}
        for container, added in additions.containers.items()
    ]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace or cluster.control_plane_namespace},
        "spec": {
            "template": {
                "spec": {"containers": [{"name": "sidecar"}, *containers], "volumes": additions.volumes}
            }
        },
    }


def build_all(manifest):
    cluster = parse_hosted_cluster(manifest)
    objects = render(cluster, key_vault_user_client_id=KEY_VAULT_USER)
    return [manifest, *objects, *(build_workload(cluster, name) for name in WORKLOADS)]


@pytest.mark.parametrize(
    "file", sorted(FIXTURES.glob("*/failing*")), ids=lambda file: f"{file.parent.name}-{file.name}"
)
def test_failing_fixture_yields_its_code_and_no_other(file):
    findings = check_text(file.read_bytes())
    assert [finding.code for finding in findings] == [file.parent.name]
    (finding,) = findings
    assert finding.severity == RULES[finding.code].severity
    assert finding.line >= 1
    assert finding.path.startswith("$")
    assert finding.reason
    assert finding.fix.endswith(".")


@pytest.mark.parametrize(
    "file", sorted(FIXTURES.glob("*/clean*")), ids=lambda file: f"{file.parent.name}-{file.name}"
)
def test_clean_fixture_yields_nothing(file):
    assert check_text(file.read_bytes()) == []


def test_every_code_has_fixtures_and_a_page_that_agrees_with_the_table():
    assert {folder.name for folder in FIXTURES.iterdir()} == set(RULES)
    assert {page.stem for page in PAGES.iterdir()} == {*RULES, "README"}
    overview = (PAGES / "README.md").read_text()
    for code, rule in RULES.items():
        assert {file.stem for file in (FIXTURES / code).iterdir()} >= {"failing", "clean"}
        lines = (PAGES / f"{code}.md").read_text().splitlines()
        assert lines[:3] == [f"# {code}: {rule.title}", "", f"Severity: {rule.severity}"]
        headings = [line for line in lines if line.startswith("## ")]
        assert headings == ["## What", "## Why it matters", "## Fix", "## Source"]
        assert f"- [{code}]({code}.md) {rule.severity}: {rule.title}\n" in overview


@given(manifests())
def test_nothing_is_found_in_what_render_and_the_table_make_of_any_cluster(manifest):
    documents = build_all(manifest)
    assert check(documents) == []
    assert check(documents[1:]) == []  # without the hosted cluster


@given(manifests(), secret_names)
def test_another_secret_in_a_secret_provider_class_is_found_for_any_cluster(manifest, name):
    cluster, *objects = build_all(manifest)
    identity = parse_hosted_cluster(manifest).identities.ingress
    assert identity is not None
    changed = copy.deepcopy(objects)
    parameters = next(item for item in changed if item["metadata"]["name"] == "managed-azure-ingress")[
        "spec"
    ]["parameters"]
    parameters["objects"] = parameters["objects"].replace(
        f"objectName: {identity.credentials_secret_name}\n", f"objectName: {name}\n"
    )
    expected = [] if name == identity.credentials_secret_name else ["HC202", "HC315"]
    assert sorted(codes([cluster, *changed])) == expected


@given(workloads())
def test_nothing_is_found_in_what_inject_makes_of_any_workload(workload):
    custom = CustomComponent(
        secret_provider_class="shop", volume_name="shop", mount_path="/shop", credentials_secret_name="shop"
    )
    container = get_pod_spec(workload)["containers"][-1]["name"]
    own = copy.deepcopy(workload)
    own["metadata"]["name"] = "shop"
    injected = [
        inject(workload, make_options()),
        inject(own, make_options(custom=custom, container=container, init_containers=True)),
    ]
    assert check([make_manifest(), *RENDERED, *injected]) == []
    assert check([*RENDERED, *injected]) == []
    assert check(injected) == []


@pytest.mark.parametrize(
    "name", [name for name, rows in WORKLOADS.items() if any(pod.needs_credential for _, pod in rows)]
)
def test_workload_that_was_left_out_of_inject_is_found_beside_the_hosted_cluster(name):
    containers = dict.fromkeys(container for _, row in WORKLOADS[name] for container in row.containers)
    workload = make_workload(name=name, containers=[{"name": container} for container in containers])
    assert set(codes([make_manifest(), workload])) & {"HC114", "HC206"}
    assert codes([make_manifest(), inject(workload, make_options())]) == []


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["spec", "name", "metadata", "template", "containers", "volumes", "csi", "driver", "env"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.data())
def test_no_document_makes_check_fail_whatever_is_wrong_in_it(data):
    documents = [make_manifest(), *build_all(make_manifest())[1:]]
    document = copy.deepcopy(data.draw(st.sampled_from(documents)))
    place = document
    while True:  # walk to some place, and put something else there
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        child = place[key]
        if not isinstance(child, dict | list) or not child or data.draw(st.booleans()):
            place[key] = data.draw(_json)
            break
        place = child
    findings = check([*documents, document])
    assert findings == sorted(findings)
    assert {finding.code for finding in findings} <= set(RULES)


@given(
    _json,
    st.sampled_from(["Deployment", "Pod", "SecretProviderClass", "Secret", "List", "HostedCluster", None]),
)
def test_no_shape_makes_check_fail(value, kind):
    check([value if kind is None or not isinstance(value, dict) else {**value, "kind": kind}])


def test_sample_of_the_reference_document_yields_the_shadowing():
    sample = """{
"cloud": "AzurePublicCloud",
"tenantId": "<tenant-id>",
"subscriptionId": "<subscription-id>",
"resourceGroup": "<resource-group>",
"location": "<location>",
"useManagedIdentityExtension": true,
"aadMSIDataPlaneIdentityPath": "/mnt/certs/<credential-secret-name>"
}"""
    (finding,) = check_text(sample, file="cloud.conf")
    assert (finding.file, finding.line, finding.path) == ("cloud.conf", 7, "$.useManagedIdentityExtension")
    assert finding.code == "HC403"
    assert "never reads the file" in finding.reason


def test_findings_are_immutable_and_sort_by_where_they_stand():
    early, late = (
        Finding(file=file, line=line, path="$", code="HC101", severity="error", reason="r", fix="m")
        for file, line in (("a", 9), ("b", 1))
    )
    assert sorted([late, early]) == [early, late]
    with pytest.raises(AttributeError, match="immutable"):
        early.line = 2  # type: ignore[misc]


@pytest.mark.parametrize("name", list(WORKLOADS))
def test_workload_alone_is_not_blamed_for_what_is_not_among_the_documents(name):
    cluster = parse_hosted_cluster(make_manifest())
    assert check([build_workload(cluster, name)]) == []
    bare = build_workload(cluster, name)
    bare["spec"]["template"]["spec"] = {
        "containers": [{"name": row.containers[0]} for _, row in WORKLOADS[name]]
    }
    assert check([bare]) == []


def test_workload_of_another_namespace_is_not_taken_for_the_control_planes():
    cluster = parse_hosted_cluster(make_manifest())
    objects = render(cluster, key_vault_user_client_id=KEY_VAULT_USER)
    other = {"kind": "Deployment", "metadata": {"name": "ingress-operator", "namespace": "openshift-ingress"}}
    assert check([make_manifest(), *objects, {**other, "spec": {"template": {"spec": {}}}}]) == []


def test_component_that_the_cluster_does_not_have_is_not_missed():
    manifest = make_manifest({"spec.secretEncryption": REMOVED})
    operator = build_workload(parse_hosted_cluster(manifest), "control-plane-operator")
    assert codes([manifest, operator]) == []
    assert codes([make_manifest(), operator]) == ["HC114"]


def test_hosted_cluster_of_another_platform_is_passed_over():
    assert check([{"kind": "HostedCluster", "spec": {"platform": {"type": "AWS"}}}]) == []


def test_every_wrong_field_of_a_hosted_cluster_is_a_finding_at_its_line():
    text = (FIXTURES / "HC507" / "failing.yaml").read_text().replace("westeurope", '""')
    found = [(finding.code, text.splitlines()[finding.line - 1].strip()) for finding in check_text(text)]
    assert found == [("HC507", 'location: ""'), ("HC507", "tenantID: otter")]


def test_missing_infra_id_is_not_a_finding_because_hypershift_sets_it():
    assert check([make_manifest({"spec.infraID": REMOVED})]) == []


@pytest.mark.parametrize(
    "kind", ["Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob"]
)
def test_pods_are_found_in_every_kind_of_workload(kind):
    pod = build_workload(parse_hosted_cluster(make_manifest()), "ingress-operator")["spec"]["template"]
    pod["spec"]["volumes"][0]["csi"].pop("readOnly")
    spec = {"Pod": pod["spec"], "CronJob": {"jobTemplate": {"spec": {"template": pod}}}}
    workload = {"kind": kind, "metadata": {"name": "shop"}, "spec": spec.get(kind, {"template": pod})}
    assert codes([workload]) == ["HC105"]
    (finding,) = check([{"kind": "List", "items": [{"kind": "Service"}, workload]}])
    assert finding.path.startswith("$.items[1].spec.")


def test_init_containers_are_looked_at_too():
    deployment = build_workload(parse_hosted_cluster(make_manifest()), "ingress-operator")
    spec = deployment["spec"]["template"]["spec"]
    mount = {"name": "ingress-cert", "mountPath": "/mnt/certs"}
    spec["initContainers"] = [{"name": "wait", "volumeMounts": [mount]}]
    (finding,) = check([deployment])
    assert (finding.code, finding.path) == (
        "HC106",
        "$.spec.template.spec.initContainers[0].volumeMounts[0].readOnly",
    )


def test_cloud_config_is_read_from_data_and_from_string_data_and_from_a_config_map():
    settings = json.dumps(
        {"aadMSIDataPlaneIdentityPath": "/mnt/certs/a", "useManagedIdentityExtension": True}
    )
    for kind, section, text in (
        ("Secret", "data", base64.b64encode(settings.encode()).decode()),
        ("Secret", "stringData", settings),
        ("ConfigMap", "data", settings),
    ):
        (finding,) = check([{"kind": kind, "metadata": {"name": "mine"}, section: {"azure.json": text}}])
        assert finding.code == "HC403"
        assert finding.path == f"$.{section}['azure.json'].useManagedIdentityExtension"


@pytest.mark.parametrize("text", ["", "[global]\nregion = west", "{"])
def test_cloud_conf_of_another_platform_is_passed_over(text):
    assert (
        check([{"kind": "ConfigMap", "metadata": {"name": "gcp-cloud-config"}, "data": {"cloud.conf": text}}])
        == []
    )


@pytest.mark.parametrize(
    ("kind", "data", "source"),
    [("Secret", "stringData", "secret"), ("ConfigMap", "data", "configMap")],
)
def test_cloud_config_through_a_projected_volume_is_followed_to_its_reader(kind, data, source):
    settings = json.dumps({"aadMSIDataPlaneIdentityPath": "/mnt/certs/a"})
    config = {"kind": kind, "metadata": {"name": "mine"}, data: {"cloud.conf": settings}}
    container = {"name": "c", "volumeMounts": [{"name": "conf", "mountPath": "/etc/cloud"}]}
    volume: Any = {"name": "conf", "projected": {"sources": [{source: {"name": "mine"}}]}}
    pod = {"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [container], "volumes": [volume]}}
    assert codes([config, pod]) == ["HC402"]
    volume["projected"]["sources"][0][source]["name"] = "another"
    assert codes([config, pod]) == []


def test_no_finding_repeats_a_secret():
    settings = {
        "cloud": "AzurePublicCloud",
        "aadMSIDataPlaneIdentityPath": "/mnt/certs/a",
        "aadClientSecret": SENTINEL,
        "useManagedIdentityExtension": SENTINEL,
    }
    broken = "{" + json.dumps(settings)
    documents = [
        {"kind": "Secret", "metadata": {"name": f"azure-{index}-config"}, section: {"azure.json": text}}
        for index, (section, text) in enumerate(
            [
                ("stringData", json.dumps(settings)),
                ("stringData", broken),
                ("data", base64.b64encode(broken.encode()).decode()),
                ("data", SENTINEL),
            ]
        )
    ]
    documents[-1]["metadata"] = {"name": "azure-kms-config"}
    findings = check(documents)
    assert {finding.code for finding in findings} == {"HC401", "HC403", "HC408"}
    assert SENTINEL not in repr(findings)


def test_findings_are_one_line_and_do_not_repeat_what_is_too_long_for_a_name():
    text = (FIXTURES / "HC302" / "failing.yaml").read_text()
    for value, shown in (('"a\\nb\\e[2J"', "'a\\nb\\x1b[2J'"), ("a" * 300, "'***'")):
        (finding,) = check_text(text.replace("otter-vault.vault.azure.net", value))
        assert finding.reason == f"keyvaultName is {shown}, which is not a vault's name"
    text = (FIXTURES / "HC102" / "failing.yaml").read_text()
    (finding,) = check_text(text.replace("namespace: clusters\n", 'namespace: "a\\nb"\n'))
    assert "is in the namespace a b, and the pod in clusters-otter" in finding.reason


POD = """\
kind: Pod
metadata: {name: p}
spec:
  volumes:
    - name: tls
      csi: {driver: secrets-store.csi.k8s.io, readOnly: true}
  containers:
    - name: c
      volumeMounts: [{name: tls, mountPath: /tls, readOnly: true}]
"""


POD_AS_JSON = """{
\t"kind": "Pod", "metadata": {"name": "\\ud83d\\ude00\\\\"},
\t"spec": {
\t\t"containers": [{"name": "c", "volumeMounts": [{"name": "t", "mountPath": "\\/t", "readOnly": true}]}],
\t\t"volumes": [{"name": "t", "csi": {"driver": "secrets-store.csi.k8s.io", "readOnly": true}}]
\t}
}"""  # tabs and escapes that YAML does not take


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (POD, 6),
        (POD.replace("\n", "\r\n"), 6),
        ("\ufeff" + POD, 6),
        ("# comment\n---\n\n---\nkind: Service\n---\n" + POD, 12),
        ("null\n---\n" + POD, 8),
        ('kind: Service\nports: &same ["\t"]\nmore: &same {}\nagain: *same\n---\n' + POD, 11),
        (
            POD.replace("csi: {driver", "csi:\n        driver").replace(
                ", readOnly: true}\n  c", "\n        readOnly: yes\n  c"
            ),
            6,
        ),
        (POD_AS_JSON, 5),
    ],
    ids=["plain", "crlf", "bom", "stream", "null", "anchors", "block", "json"],
)
def test_findings_have_the_line(text, line):
    findings = [finding for finding in check_text(text) if finding.code == "HC108"]
    assert [finding.line for finding in findings] == [line]


def test_lines_are_found_through_merge_keys_and_aliases():
    text = """\
kind: Pod
metadata: {name: p}
spec:
  volumes:
    - name: one
      csi: &source
        driver: secrets-store.csi.k8s.io
        readOnly: false
        volumeAttributes: {secretProviderClass: a}
    - name: two
      csi: {<<: *source}
    - name: three
      csi: *source
"""
    assert [(finding.code, finding.line) for finding in check_text(text)] == [("HC105", 8)] * 2 + [
        ("HC105", 8)
    ]


@pytest.mark.parametrize(
    ("fixture", "old", "new", "expected"),
    [
        ("HC101", "secretProviderClass: shop-tls", "secretProviderClass: managed-azure-ingres", ["HC101"]),
        (
            "HC109",
            "readOnly: true\n      volumes",
            "readOnly: true\n              subPathExpr: $(A)\n      volumes",
            ["HC109"],
        ),
        ("HC113", "mountPath: /mnt/kms", "mountPath: /mnt/certs", ["HC110", "HC113"]),
        ("HC201", "otter-ingress\n          volume", "deep/otter-ingress\n          volume", ["HC202"]),
        ("HC203", "value: /mnt/certs/otter-ingress", "value: /mnt/certs/", ["HC203"]),
        ("HC207", "value: managed-azure-network", "value: managed-azure-ingress", ["HC207"]),
        ("HC304", 'usePodIdentity: "false"', "usePodIdentity: 'no'", ["HC304"]),
        ("HC304", 'useVMManagedIdentity: "true"', 'useVMManagedIdentity: "false"', ["HC304"]),
        ("HC306", "objectName", "\t", ["HC306"]),
        ("HC306", "array:", "objects:", ["HC306"]),
        ("HC307", "objectType: secret", "objectType: cert", ["HC307", "HC308"]),
        ("HC308", "objectType: secret", "objectFormat: pem", ["HC308"]),
        ("HC309", "objectName: otter-ingress", "objectName: null", ["HC309"]),
        ("HC316", "objectEncoding: utf-8", "objectEncoding: base64", ["HC316"]),
        ("HC316", "          objectEncoding: utf-8\n", "", []),
        ("HC317", "tenantId: bbbbbbbb", "tenantID: cccccccc", ["HC317"]),
        ("HC318", 'filePermission: "0440"', "objectFormat: der", ["HC318"]),
        ("HC402", '"/mnt/certs/otter-ccm"', '"/mnt/certs"', ["HC405"]),
        ("HC402", '"/mnt/certs/otter-ccm"', '"certs/otter-ccm"', ["HC405"]),
        ("HC402", '"/mnt/certs/otter-ccm"', '"/mnt/certs/otter-cpo"', ["HC406"]),
        (
            "HC403",
            '"useManagedIdentityExtension": false',
            '"useFederatedWorkloadIdentityExtension": true',
            ["HC403"],
        ),
        ("HC403", '"useManagedIdentityExtension": false', '"aadClientSecret": "x"', ["HC403"]),
        ("HC403", '"useManagedIdentityExtension": false', '"aadClientCertPath": "/c"', ["HC403"]),
        ("HC408", '"/mnt/certs/otter-ccm"', "7", ["HC407", "HC408"]),
        ("HC502", "--enable-secret-rotation=true", "--enable-secret-rotation", []),
        ("HC502", "--enable-secret-rotation=true", "--enable-secret-rotation=f", ["HC502"]),
        ("HC503", "=2m", "=1h30m0.5s", ["HC504"]),
    ],
)
def test_variants_of_a_mistake_are_found(fixture, old, new, expected):
    (file,) = (file for file in (FIXTURES / fixture).iterdir() if file.stem == "clean")
    text = file.read_text()
    assert old in text
    assert sorted(finding.code for finding in check_text(text.replace(old, new))) == expected


@pytest.mark.parametrize(
    "data", ["%%%", base64.b64encode(b"\xff").decode(), base64.b64encode(b"[1]").decode()]
)
def test_unreadable_cloud_config_is_found(data):
    secret = {"kind": "Secret", "metadata": {"name": "azure-cloud-config"}, "data": {"cloud.conf": data}}
    assert codes([secret]) == ["HC401"]


def test_text_that_is_still_to_be_filled_in_is_not_judged():
    text = (FIXTURES / "HC317" / "clean.yaml").read_text()
    for value in ("otter-vault", "otter-ingress", "66666666-7777-4888-8999-aaaaaaaaaaaa", "AzurePublicCloud"):
        for placeholder in ("$VALUE", "${VALUE}", "$(VALUE)", "<value>", "'{{ .Values.value }}'"):
            found = check_text(text.replace(value, placeholder))
            assert {finding.code for finding in found} <= {"HC702"}


def test_hosted_cluster_and_its_hosted_control_plane_are_compared_as_one():
    manifest = make_manifest()
    control_plane = make_manifest({"kind": "HostedControlPlane", "metadata.namespace": "clusters-otter"})
    objects = render(parse_hosted_cluster(manifest), key_vault_user_client_id=KEY_VAULT_USER)
    objects[0]["spec"]["parameters"]["keyvaultName"] = "heron-vault"
    assert codes([manifest, control_plane, *objects]) == ["HC317"]


def test_clusters_are_told_apart_by_the_namespace_of_their_control_planes():
    otter, heron = make_manifest(), make_manifest({"metadata.name": "heron"})
    for manifest in (otter, heron):
        manifest["spec"]["infraID"] = manifest["metadata"]["name"]
    assert check([*build_all(otter), *build_all(heron)]) == []


def test_volume_claim_of_a_stateful_set_may_have_a_credentials_path():
    claim = {"metadata": {"name": "certs"}}
    container = {"name": "c", "volumeMounts": [{"name": "certs", "mountPath": "/mnt/certs"}]}
    spec = {"template": {"spec": {"containers": [container]}}, "volumeClaimTemplates": [claim]}
    assert check([{"kind": "StatefulSet", "metadata": {"name": "s"}, "spec": spec}]) == []


def test_container_that_somebody_chose_for_the_credential_is_accepted():
    cluster = parse_hosted_cluster(make_manifest())
    workload = build_workload(cluster, "ingress-operator")
    sidecar, operator = workload["spec"]["template"]["spec"]["containers"]
    sidecar["env"], sidecar["volumeMounts"] = operator.pop("env"), operator.pop("volumeMounts")
    assert check([make_manifest(), workload]) == []


def test_objects_without_a_namespace_clash_only_within_a_file():
    one, other = (
        (FIXTURES / "HC501" / "failing.yaml")
        .read_text()
        .replace("  namespace: clusters-otter\n", "")
        .split("---\n")
    )
    assert check([*read_documents(one, file="dev.yaml"), *read_documents(other, file="prod.yaml")]) == []
    assert codes(read_documents(f"{one}---\n{other}", file="all.yaml")) == ["HC501"]
    assert check_text(f"{one}---\n{one}") == []


def test_helm_values_in_layers_need_rotation_only_once():
    base = {"syncSecret": {"enabled": False}, "filteredWatchSecret": True}
    assert codes([base]) == ["HC502"]
    assert codes([base, {"enableSecretRotation": True, "rotationPollInterval": "2m"}]) == []
    assert codes([{"secrets-store-csi-driver": base}]) == ["HC502"]
    assert codes([{"secrets-store-csi-driver": {"install": False}}]) == []
    assert codes([{"syncSecret": {"enabled": True}}]) == []  # of another chart, perhaps


@given(st.one_of(st.text(max_size=40), st.text("{}[]:,-?&*a \t\n'\"|<", max_size=40), st.binary(max_size=40)))
def test_any_stream_is_read_with_positions_or_refused(stream):
    try:
        documents = read_documents(stream, file="f")
    except InputError:
        return
    for document in documents:
        assert document.find(()).line >= 1
    check(documents)


def test_deep_json_and_aliases_of_themselves_do_no_harm():
    deep = '{"a":' * 900 + "1" + "}" * 900
    assert check_text(deep) == []
    loop = (
        "kind: SecretProviderClass\nmetadata: {name: a, namespace: b}\n"
        "spec: &spec\n  provider: gcp\n  more: *spec\n"
    )
    assert codes(read_documents(f"{loop}---\n{loop}", file="f")) == []
    assert codes(read_documents(f"{loop}---\n{loop}  less: 1\n", file="f")) == ["HC501"]


@pytest.mark.parametrize(
    "name", [name for name, rows in WORKLOADS.items() if any(row.mount for _, row in rows)]
)
def test_credential_mounted_elsewhere_is_found_in_every_workload(name):
    workload = build_workload(CLUSTER, name)
    for container in workload["spec"]["template"]["spec"]["containers"]:
        for mount in container.get("volumeMounts", []):
            mount["mountPath"] += "-elsewhere"
    assert set(codes([*RENDERED, workload])) <= {"HC113", "HC201", "HC601"}
    assert codes([*RENDERED, workload])


def test_secret_volume_under_the_name_of_a_credential_volume_is_no_credential():
    workload = build_workload(CLUSTER, "ingress-operator")
    workload["spec"]["template"]["spec"]["volumes"] = [
        {"name": "ingress-cert", "secret": {"secretName": "x"}}
    ]
    assert codes([*RENDERED, workload]) == ["HC114"]


def test_secret_provider_class_of_ones_own_in_a_components_volume_is_another_identity():
    own = {"kind": "SecretProviderClass", "metadata": {"name": "own"}, "spec": {"provider": "gcp"}}
    workload = build_workload(CLUSTER, "azure-cloud-controller-manager")
    volume = workload["spec"]["template"]["spec"]["volumes"][0]
    volume["csi"]["volumeAttributes"]["secretProviderClass"] = "own"
    assert codes([*RENDERED, own, workload]) == ["HC112"]


def test_skeleton_that_an_operator_fills_in_is_passed_over():
    metadata = {"name": "managed-azure-ingress", "namespace": "clusters-otter"}
    assert check([{"kind": "SecretProviderClass", "metadata": metadata, "spec": {}}]) == []
    secret = {"kind": "Secret", "metadata": {"name": "azure-cloud-config"}, "data": {"cloud.conf": ""}}
    assert check([secret]) == []


def test_json_is_checked_without_pyyaml():
    code = (
        "import sys; sys.modules['yaml'] = None\n"
        "from hcpcreds.manifests.check import check, read_documents\n"
        "findings = check(read_documents(sys.stdin.read(), file='f'))\n"
        "print([(finding.code, finding.line) for finding in findings])"
    )
    sample = (FIXTURES / "HC403" / "failing.json").read_text()
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, check=True, capture_output=True, text=True, input=sample)
    assert result.stdout == "[('HC403', 1)]\n"


@pytest.mark.parametrize(
    ("fixture", "shown"),
    [
        ("HC404", '"cloud": "AzurePublic",'),
        ("HC405", '"aadMSIDataPlaneIdentityPath": "/mnt/certs/"'),
        ("HC307", "- |"),
        ("HC313", "- |"),
    ],
)
def test_findings_within_a_block_of_text_have_their_own_line(fixture, shown):
    text = (FIXTURES / fixture / "failing.yaml").read_text()
    (finding,) = check_text(text)
    assert text.splitlines()[finding.line - 1].strip() == shown
