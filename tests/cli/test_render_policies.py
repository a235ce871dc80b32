"""`hcpcreds render --admission-policy` as its user runs it."""

import subprocess

import pytest
from tests.manifests.examples import KEY_VAULT_USER
from tests.support import commands

from hcpcreds.kubernetes.documents import parse_documents
from hcpcreds.manifests.policies import build_policies

IMAGE = "registry.example/hcpcreds:1"


def run(*arguments: str, user: str | None = KEY_VAULT_USER) -> subprocess.CompletedProcess[str]:
    return commands.run(
        "render", "--admission-policy", *arguments, environment={"ARO_HCP_KEY_VAULT_USER_CLIENT_ID": user}
    )


def test_render_prints_policies_that_the_library_builds():
    result = run("--image", IMAGE, "--managed-service", "ARO-HCP", "--guard", "warn")
    assert result.stderr == ""
    assert parse_documents(result.stdout, where="output") == build_policies(
        key_vault_user_client_id=KEY_VAULT_USER, managed_service="ARO-HCP", image=IMAGE, action="Warn"
    )


def test_render_says_what_policies_cannot_do_when_no_image_is_given():
    result = run()
    assert result.returncode == 0
    assert "without --image, pods that ask to be keyless stay as they are" in result.stderr


def test_render_prints_the_guard_alone_when_kubernetes_has_no_mutating_policies():
    result = run("--kubernetes-version", "v1.35.2")
    kinds = {item["kind"] for item in parse_documents(result.stdout, where="output")}
    assert kinds == {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
    assert "Kubernetes v1.35.2 has no MutatingAdmissionPolicies" in result.stderr
    assert "hcpcreds inject" in result.stderr


def test_render_prints_policies_without_parameters_when_the_cluster_has_no_hypershift():
    result = run("--without-hypershift", "--image", IMAGE, user=None)
    items = parse_documents(result.stdout, where="output")
    assert {item["metadata"]["name"] for item in items if item["kind"] == "MutatingAdmissionPolicy"} == {
        "hcpcreds-custom-components"
    }
    assert [item for item in items if {"paramKind", "paramRef"} & item["spec"].keys()] == []


@pytest.mark.parametrize(
    ("arguments", "user", "expected"),
    [
        (["--kubernetes-version", "1.29"], KEY_VAULT_USER, "expected 1.30 or later"),
        (["--kubernetes-version", "new"], KEY_VAULT_USER, "See --kubernetes-version."),
        ([], None, "See --key-vault-user-client-id."),
        (["--image", "no image"], KEY_VAULT_USER, "expected the name of a container image"),
        (["cluster.yaml"], KEY_VAULT_USER, "--admission-policy takes no FILE"),
        (["--component", "ingress-operator"], KEY_VAULT_USER, "cannot be combined with --component"),
    ],
)
def test_render_refuses_what_makes_no_policies(arguments, user, expected):
    result = run(*arguments, user=user)
    assert result.returncode == 2
    assert result.stdout == ""
    assert expected in result.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "Missing argument 'FILE|-'"),
        (["--guard", "warn", "-"], "need --admission-policy"),
    ],
)
def test_render_refuses_a_cluster_that_is_missing_or_options_of_the_policies(arguments, expected):
    result = commands.run("render", *arguments)
    assert result.returncode == 2
    assert expected in result.stderr
