"""What findings say, and the many ways to write what they are about."""

import json
from pathlib import Path

import pytest
from tests.manifests.examples import KEY_VAULT_USER, make_manifest
from tests.manifests.inject_examples import CLUSTER, make_options, make_workload

from hcpcreds.manifests import check, inject, render
from hcpcreds.manifests.check import RULES, read_documents

FIXTURES = Path(__file__).parent / "check_fixtures"
FINDINGS = Path(__file__).parent / "findings.json"
"""For each failing fixture where the finding is, its reason and the fix."""

TRUE = ["true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y"]
FALSE = ["false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N"]
NO_BOOLEANS = ['"true"', '"yes"', "yEs", "tRUE", "1", "null", "[]", ""]
GO_TRUE = ["1", "t", "T", "true", "TRUE", "True"]
GO_FALSE = ["0", "f", "F", "false", "FALSE", "False"]


def codes(text: str) -> list[str]:
    return [finding.code for finding in check(read_documents(text, file="x.yaml"))]


def find(file: Path) -> list[str]:
    return [
        f"{finding.line} {finding.path}: {finding.reason}. {finding.fix}"
        for finding in check(read_documents(file.read_bytes(), file=file.name))
    ]


@pytest.mark.parametrize("code", RULES)
def test_findings_of_a_code_say_what_is_wrong_and_what_to_do(code):
    expected = json.loads(FINDINGS.read_text())
    found = {f"{code}/{file.name}": find(file) for file in sorted((FIXTURES / code).glob("failing*"))}
    assert found == {name: texts for name, texts in expected.items() if name.startswith(code)}


DRIVER = "kind: CSIDriver\nmetadata: {name: secrets-store.csi.k8s.io}\n"
BOOLEANS = {
    "HC105": """\
kind: Pod
metadata: {name: p}
spec:
  volumes:
  - name: tls
    csi: {driver: secrets-store.csi.k8s.io, readOnly: SAID, volumeAttributes: {secretProviderClass: tls}}
""",
    "HC106": """\
kind: Pod
metadata: {name: p}
spec:
  containers: [{name: c, volumeMounts: [{name: tls, mountPath: /tls, readOnly: SAID}]}]
  volumes:
  - name: tls
    csi: {driver: secrets-store.csi.k8s.io, readOnly: true, volumeAttributes: {secretProviderClass: tls}}
""",
    "HC505": f"{DRIVER}spec: {{podInfoOnMount: SAID, requiresRepublish: true}}\n",
    "HC506": f"{DRIVER}spec: {{podInfoOnMount: true, requiresRepublish: SAID}}\n",
    "HC502": "enableSecretRotation: SAID\nrotationPollInterval: 2m\n",
}


@pytest.mark.parametrize("code", BOOLEANS)
@pytest.mark.parametrize("said", [*TRUE, *FALSE, *NO_BOOLEANS])
def test_boolean_is_read_as_kubectl_reads_it(code, said):
    is_text_too = code == "HC502" and said in ('"true"', "tRUE")
    is_unset = code == "HC502" and said in ("null", "")
    expected = [] if said in TRUE or is_text_too else [code]
    if not is_unset:  # which another file of values may set
        assert codes(BOOLEANS[code].replace("SAID", said)) == expected


@pytest.mark.parametrize("said", [*GO_TRUE, *GO_FALSE, "yes", "on", "tRUE", "2"])
def test_parameter_and_flag_are_read_as_go_reads_them(said):
    flag = f"--enable-secret-rotation={said}"
    driver = {
        "kind": "DaemonSet",
        "metadata": {"name": "csi"},
        "spec": {"template": {"spec": {"containers": [{"name": "secrets-store", "args": [flag]}]}}},
    }
    assert [finding.code for finding in check([driver])] == ([] if said in GO_TRUE else ["HC502"])
    text = (FIXTURES / "HC304" / "clean.yaml").read_text()
    chosen = text.replace('useVMManagedIdentity: "true"', f'useVMManagedIdentity: "{said}"')
    assert (codes(chosen) == []) is (said in GO_TRUE)
    other = text.replace('usePodIdentity: "false"', f'usePodIdentity: "{said}"')
    assert (codes(other) == []) is (said in GO_FALSE)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("2m", []),
        ("3600s", []),
        ("3600000ms", []),
        ("60m", []),
        ("1h", []),
        ("3600000000us", []),
        ("3600000000µs", []),
        ("3600000000000ns", []),
        ("3601s", ["HC504"]),
        ("3600001ms", ["HC504"]),
        ("60.1m", ["HC504"]),
        ("1.01h", ["HC504"]),
        ("1h1ns", ["HC504"]),
        ("3700000000us", ["HC504"]),
        ("3700000000µs", ["HC504"]),
        ("3700000000000ns", ["HC504"]),
        ("120", ["HC503"]),
        ("2 m", ["HC503"]),
        ("2d", ["HC503"]),
        ("m", ["HC503"]),
        ("2M", ["HC503"]),
    ],
)
def test_poll_interval_is_read_as_go_reads_it(said, expected):
    assert codes(f'enableSecretRotation: true\nrotationPollInterval: "{said}"\n') == expected


RENDERED = render(CLUSTER, key_vault_user_client_id=KEY_VAULT_USER)
MOUNT = {"name": "ingress-cert", "mountPath": "/mnt/certs", "readOnly": True}


def make_ingress(init):
    """The ingress operator as inject makes it, with an init container beside it."""
    workload = inject(make_workload(), make_options())
    workload["metadata"]["namespace"] = "clusters-otter"
    spec = workload["spec"]["template"]["spec"]
    spec["initContainers"] = [init]
    return workload, spec["containers"][0]


@pytest.mark.parametrize("name", ["wait", "ingress-operator"])
def test_init_container_does_not_stand_in_for_the_container_when_it_has_mount_and_variable(name):
    workload, container = make_ingress({"name": name, "volumeMounts": [MOUNT]})
    env = container["env"]
    assert check([make_manifest(), *RENDERED, workload]) == []
    workload, container = make_ingress({"name": name, "volumeMounts": [MOUNT], "env": env})
    del container["volumeMounts"], container["env"]
    findings = check([make_manifest(), *RENDERED, workload])
    place = "$.spec.template.spec.containers[0]"
    assert [(finding.code, finding.path) for finding in findings] == [("HC114", place), ("HC206", place)]


def test_init_container_is_not_taken_for_a_reader_of_the_cloud_config():
    settings = json.dumps({"aadMSIDataPlaneIdentityPath": "/mnt/certs/a"})
    config = {"kind": "Secret", "metadata": {"name": "mine"}, "stringData": {"cloud.conf": settings}}
    reader = {"name": "copy", "volumeMounts": [{"name": "conf", "mountPath": "/etc/cloud"}]}
    spec = {"volumes": [{"name": "conf", "secret": {"secretName": "mine"}}]}
    pod = {"kind": "Pod", "metadata": {"name": "p"}}
    assert check([config, {**pod, "spec": {**spec, "initContainers": [reader]}}]) == []
    assert len(check([config, {**pod, "spec": {**spec, "containers": [reader]}}])) == 1


def test_inject_gives_the_container_what_only_an_init_container_has():
    workload, container = make_ingress({"name": "ingress-operator", "volumeMounts": [MOUNT]})
    wanted = dict(container)
    del container["volumeMounts"], container["env"]
    spec = inject(workload, make_options())["spec"]["template"]["spec"]
    assert spec["containers"] == [wanted]
    assert spec["initContainers"] == [{"name": "ingress-operator", "volumeMounts": [MOUNT]}]
