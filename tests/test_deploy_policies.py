"""deploy/policies: what render prints, and what each overlay makes of it."""

import copy
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from hcpcreds.manifests.policies import build_policies

FOLDER = Path(__file__).parent.parent / "deploy" / "policies"
NOBODY = "00000000-0000-0000-0000-000000000000"
POLICIES = build_policies(
    key_vault_user_client_id=NOBODY, image="registry.example/hcpcreds:1", managed_service="ARO-HCP"
)


def test_base_is_what_render_prints():
    committed = list(yaml.load_all((FOLDER / "base" / "policies.yaml").read_text(), yaml.CSafeLoader))
    assert committed == POLICIES, "make policies"


def build(overlay):
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run(
        [kubectl, "kustomize", FOLDER / "overlays" / overlay], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {
        (item["kind"], item["metadata"]["name"]): item["spec"]
        for item in yaml.load_all(done.stdout, yaml.CSafeLoader)
    }


def rendered():
    return {(item["kind"], item["metadata"]["name"]): item["spec"] for item in copy.deepcopy(POLICIES)}


def test_fail_closed_is_the_base():
    assert build("fail-closed") == rendered()


@pytest.mark.parametrize(
    ("overlay", "actions"), [("fail-open", ["Warn", "Audit"]), ("audit-only", ["Audit"])]
)
def test_overlay_changes_only_what_happens_to_whom(overlay, actions):
    built, expected = build(overlay), rendered()
    if overlay == "audit-only":
        expected = {key: spec for key, spec in expected.items() if key[0].startswith("Validating")}
    for (kind, name), spec in expected.items():
        if "failurePolicy" in spec:
            spec["failurePolicy"] = "Ignore"
        if kind == "ValidatingAdmissionPolicyBinding" and name.endswith("-default"):
            spec["validationActions"] = actions
    assert built == expected
