"""What `check` makes of kustomize's files: patches, their bases, and what is built of them."""

import json
import os
import shutil

import pytest
import yaml
from tests.cli.test_check import run
from tests.manifests.examples import KEY_VAULT_USER, make_manifest
from tests.manifests.inject_examples import CLUSTER, make_options, make_workload

from hcpcreds.kubernetes.writing import render_yaml
from hcpcreds.manifests import inject, render
from hcpcreds.manifests.check import check

RENDERED = render(CLUSTER, key_vault_user_client_id=KEY_VAULT_USER)
INJECTED = inject(make_workload(), make_options())
POD = INJECTED["spec"]["template"]["spec"]
BARE = make_workload()
CONTAINER = {
    "name": "ingress-operator",
    **{key: POD["containers"][0][key] for key in ("volumeMounts", "env")},
}
PATCH = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "ingress-operator"},
    "spec": {"template": {"spec": {"containers": [CONTAINER]}}},
}
BASE = {
    **BARE,
    "spec": {"template": {"spec": {"containers": [{"name": "ingress-operator"}], "volumes": POD["volumes"]}}},
}
WRITABLE = make_workload(
    name="writable",
    containers=[{"name": "app", "volumeMounts": [{"name": "own", "mountPath": "/own/x", "subPath": "x"}]}],
    volumes=[
        {
            "name": "own",
            "csi": {"driver": "secrets-store.csi.k8s.io", "volumeAttributes": {"secretProviderClass": "own"}},
        }
    ],
)


@pytest.fixture
def repository(tmp_path):
    def write(name, *documents):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(render_yaml(documents))
        return file

    write("cluster.yaml", make_manifest(), *RENDERED)
    write("base/kustomization.yaml", {"resources": ["deployment.yaml"]})
    write("base/deployment.yaml", BASE, {**WRITABLE, "metadata": {"name": "other", "namespace": "shop"}})
    return write


@pytest.mark.parametrize(
    ("kustomization", "patch"),
    [
        ({"patches": [{"path": "patch.yaml"}]}, PATCH),
        ({"patchesStrategicMerge": ["patch.yaml"]}, PATCH),
        (
            {"patches": [{"path": "patch.yaml", "target": {"kind": "Deployment", "name": "ingress-.*"}}]},
            PATCH,
        ),
        ({"patches": [{"patch": yaml.safe_dump(PATCH)}]}, None),
        ({"patchesStrategicMerge": [yaml.safe_dump(PATCH)]}, None),
        ({"patchesJson6902": [{"path": "patch.yaml", "target": {"kind": "Deployment"}}]}, {"op": "test"}),
    ],
)
@pytest.mark.parametrize("name", ["kustomization.yaml", "kustomization.yml", "Kustomization"])
def test_patch_and_its_base_are_not_checked_as_whole_objects(
    repository, tmp_path, kustomization, patch, name
):
    assert run(tmp_path, "--select", "HC1,HC2", "--output", "json").returncode == 1
    repository(f"overlay/{name}", {"resources": ["../base"], **kustomization})
    if patch:
        repository("overlay/patch.yaml", patch)
    result = run(tmp_path, "--output", "json")
    found = {(finding["file"], finding["code"]) for finding in json.loads(result.stdout)}
    base = str(tmp_path / "base" / "deployment.yaml")
    is_for_all = "patchesJson6902" in kustomization
    assert found == (set() if is_for_all else {(base, "HC105"), (base, "HC109")})
    assert "not checked, which kustomize patches (see --kustomize)" in result.stderr


def test_object_is_checked_when_the_patch_is_for_another(repository, tmp_path):
    repository("overlay/kustomization.yaml", {"resources": ["../base"], "patches": [{"path": "patch.yaml"}]})
    repository("overlay/patch.yaml", {**PATCH, "metadata": {"name": "elsewhere"}})
    result = run(tmp_path, "--select", "HC114,HC206")
    assert "HC206" in result.stdout


def test_class_that_an_overlay_completes_is_known_by_name_alone(repository, tmp_path):
    repository(
        "overlay/kustomization.yaml", {"resources": ["class.yaml"], "patches": [{"path": "patch.yaml"}]}
    )
    metadata = {"name": "own", "namespace": "shop"}
    kind = {
        "apiVersion": "secrets-store.csi.x-k8s.io/v1",
        "kind": "SecretProviderClass",
        "metadata": metadata,
    }
    repository("overlay/class.yaml", {**kind, "spec": {"provider": "azure"}})
    repository("overlay/patch.yaml", {**kind, "spec": {"parameters": {"keyvaultName": "x"}}})
    parameters = {"keyvaultName": "vault"}
    other = {**kind, "metadata": {"name": "another"}, "spec": {"provider": "azure", "parameters": parameters}}
    volume = {
        "driver": "secrets-store.csi.k8s.io",
        "readOnly": True,
        "volumeAttributes": {"secretProviderClass": "own"},
    }
    pod = make_workload(
        "Pod",
        "p",
        containers=[{"name": "c", "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": True}]}],
        volumes=[{"name": "v", "csi": volume}],
    )
    repository("overlay/pod.yaml", pod, other)
    overlay = tmp_path / "overlay"
    assert run(overlay, "--select", "HC101,HC302").returncode == 0
    (overlay / "kustomization.yaml").unlink()
    assert run(overlay, "--select", "HC302").returncode == 1


@pytest.mark.parametrize(
    "directive",
    [
        {"spec": {"template": {"spec": {"$setElementOrder/containers": [], "containers": [CONTAINER]}}}},
        {"spec": {"template": {"spec": {"containers": [{"name": "ingress-operator", "$patch": "delete"}]}}}},
    ],
)
def test_object_with_a_directive_of_a_patch_is_not_checked(directive):
    assert check([make_manifest(), *RENDERED, {**PATCH, **directive}]) == []


needs_kustomize = pytest.mark.skipif(
    shutil.which("kubectl") is None and shutil.which("kustomize") is None,
    reason="neither kubectl nor kustomize",
)


@needs_kustomize
def test_built_kustomization_is_checked_as_a_whole(repository, tmp_path):
    overlay = {"resources": ["../base"], "patches": [{"path": "patch.yaml"}], "namespace": "clusters-otter"}
    repository("overlay/kustomization.yaml", overlay)
    repository("overlay/patch.yaml", PATCH)
    result = run("--kustomize", tmp_path, "--output", "json")
    found = {(finding["file"], finding["path"], finding["code"]) for finding in json.loads(result.stdout)}
    file = str(tmp_path / "overlay" / "kustomization.yaml")
    assert {(found_file, code) for found_file, _, code in found} == {(file, "HC105"), (file, "HC109")}
    assert all(path.startswith("$['Deployment/other'].spec") for _, path, _ in found)
    assert "not checked" not in result.stderr


def test_kustomization_is_a_problem_when_it_cannot_be_built(repository, tmp_path):
    repository("overlay/kustomization.yaml", {"resources": ["absent.yaml"]})
    repository("base/kustomization.yaml", {"resources": ["deployment.yaml", "absent.yaml"]})
    result = run("--kustomize", tmp_path)
    assert result.returncode == 2
    assert f"{tmp_path / 'overlay'}: " in result.stderr
    assert "HC109" in result.stdout  # the rest is checked


def test_building_needs_kubectl_or_kustomize(repository, tmp_path, monkeypatch):
    repository("overlay/kustomization.yaml", {"resources": ["../base"]})
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    result = run("--kustomize", tmp_path)
    assert result.returncode == 2
    assert "building it needs kubectl or kustomize" in result.stderr
