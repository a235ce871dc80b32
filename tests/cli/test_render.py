"""`hcpcreds render` as its user runs it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.manifests.examples import (
    CONTROL_PLANE,
    KEY_VAULT_USER,
    REMOVED,
    SELF_MANAGED,
    WITH_CLIENT_IDS,
    make_manifest,
)
from tests.support import commands

from hcpcreds.hosted_cluster import parse_hosted_cluster
from hcpcreds.kubernetes.documents import parse_documents
from hcpcreds.manifests import render
from hcpcreds.manifests.rbac import build_rbac
from hcpcreds.manifests.render import render_guest

USER = "ARO_HCP_KEY_VAULT_USER_CLIENT_ID"
ROOT = Path(__file__).parents[2]
OBJECTS = render(parse_hosted_cluster(make_manifest()), key_vault_user_client_id=KEY_VAULT_USER)


def run(
    *arguments: str, text: str | None = None, user: str | None = KEY_VAULT_USER
) -> subprocess.CompletedProcess[str]:
    return commands.run("render", *arguments, stdin=text or "", environment={USER: user})


@pytest.fixture
def cluster(tmp_path) -> str:
    path = tmp_path / "hosted-cluster.json"
    path.write_text(json.dumps(make_manifest()))
    return str(path)


def test_render_prints_every_object_as_yaml_the_same_each_time(cluster):
    first, second = run(cluster), run(cluster)
    assert first.returncode == 0, first.stderr
    assert first.stderr == ""
    assert first.stdout == second.stdout
    assert parse_documents(first.stdout, where="output") == OBJECTS


def test_render_prints_one_list_as_json():
    result = run("-", "--output", "json", text=json.dumps(make_manifest()))
    assert json.loads(result.stdout) == {"apiVersion": "v1", "kind": "List", "items": OBJECTS}


def test_render_takes_the_vault_user_as_option_before_the_environment(cluster):
    option = ("--key-vault-user-client-id", KEY_VAULT_USER)
    assert run(cluster, *option, user=None).stdout == run(cluster).stdout
    assert run(cluster, *option, user="another").stdout == run(cluster).stdout


@pytest.mark.parametrize("user", [None, ""])
def test_render_names_both_ways_to_give_the_vault_user_when_it_is_missing(cluster, user):
    result = run(cluster, user=user)
    assert (result.returncode, result.stdout) == (2, "")
    assert "key vault user's client id: not set" in result.stderr
    assert "--key-vault-user-client-id" in result.stderr
    assert USER in result.stderr


def test_render_prints_only_the_requested_objects_in_the_given_namespace(cluster):
    result = run(cluster, "--component", "capi-provider", "--component", "kube-apiserver", "--kind", "Secret")
    assert [item["metadata"]["name"] for item in parse_documents(result.stdout, where="output")] == [
        "azure-kms-config"
    ]
    result = run(cluster, "--namespace", "elsewhere")
    namespaces = {item["metadata"]["namespace"] for item in parse_documents(result.stdout, where="output")}
    assert namespaces == {"elsewhere"}


def test_render_writes_a_file_for_each_object_and_keeps_other_files(cluster, tmp_path):
    folder = tmp_path / "deep" / "manifests"
    folder.mkdir(parents=True)
    (folder / "own.yaml").write_text("mine")
    (folder / "configmap-azure-cloud-config.yaml").write_text("of last week")
    result = run(cluster, "--output", f"dir={folder}")
    assert result.returncode == 0, result.stderr
    written = [Path(line) for line in result.stdout.splitlines()]
    assert [path.name for path in written] == [
        f"{item['kind'].lower()}-{item['metadata']['name']}.yaml" for item in OBJECTS
    ]
    assert [parse_documents(path.read_bytes(), where=str(path)) for path in written] == [
        [item] for item in OBJECTS
    ]
    assert sorted(folder.iterdir()) == sorted([*written, folder / "own.yaml"])
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert run(cluster, "--output", f"dir={folder}", "--kind", "Secret").returncode == 0
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_render_makes_files_that_others_may_read(cluster, tmp_path):
    run(cluster, "--output", f"dir={tmp_path / 'new'}", "--kind", "ConfigMap")
    (written,) = (tmp_path / "new").iterdir()
    usual = tmp_path / "usual"
    usual.touch()
    assert written.stat().st_mode == usual.stat().st_mode


def test_render_expands_the_home_directory_when_the_shell_does_not(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    result = run(cluster, "--output", "dir=~/manifests", "--kind", "ConfigMap")
    assert result.stdout == f"{tmp_path}/manifests/configmap-azure-cloud-config.yaml\n"


def test_render_writes_nothing_when_a_place_is_taken_by_something_else(cluster, tmp_path):
    folder = tmp_path / "manifests"
    (folder / "secret-azure-kms-config.yaml").mkdir(parents=True)
    result = run(cluster, "--output", f"dir={folder}")
    assert (result.returncode, result.stdout) == (2, "")
    assert "secret-azure-kms-config.yaml is a directory" in result.stderr
    assert len(list(folder.iterdir())) == 1

    result = run(cluster, "--output", f"dir={cluster}")
    assert result.returncode == 2
    assert "not a directory" in result.stderr
    assert json.loads(Path(cluster).read_text()) == make_manifest()


def test_render_fails_and_leaves_whole_files_when_the_disk_is_full(cluster, tmp_path):
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "configmap-azure-cloud-config.yaml").write_text("of last week")
    render_here = f'"{sys.executable}" -m hcpcreds render "{cluster}" --output "dir={folder}"'
    result = subprocess.run(
        ["bash", "-c", f"ulimit -f 0; exec {render_here}"],  # noqa: S607 (whichever bash there is)
        check=False,
        capture_output=True,
        text=True,
        # Without coverage, which could not write its own file either.
        env={USER: KEY_VAULT_USER, "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]},
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"hcpcreds render: {folder}: cannot be written: File too large\n"
    assert [path.read_text() for path in folder.iterdir()] == ["of last week"]


def _wrong_input() -> list[Any]:
    return [
        ("no YAML", "a: [", "line 2: not YAML: "),
        ("another kind", '{"apiVersion": "v1", "kind": "Pod"}', "found 'Pod'"),
        (
            "every problem",
            json.dumps(make_manifest({"spec.infraID": 5, f"{CONTROL_PLANE}.ingress": REMOVED})),
            "2 problems",
        ),
        (
            "a name that would break out",
            json.dumps(make_manifest({f"{CONTROL_PLANE}.ingress.credentialsSecretName": "a\n- b"})),
            "ingress.credentialsSecretName: got 'a\\n- b'",
        ),
    ]


@pytest.mark.parametrize(
    ("text", "message"), [row[1:] for row in _wrong_input()], ids=[row[0] for row in _wrong_input()]
)
def test_render_writes_nothing_when_the_input_is_wrong(tmp_path, text, message):
    result = run("-", "--output", f"dir={tmp_path / 'manifests'}", text=text)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("hcpcreds render: standard input: ")
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("output", ["xml", "dir=", "dir", ""])
def test_render_is_refused_when_the_output_is_unknown(cluster, output):
    result = run(cluster, "--output", output)
    assert (result.returncode, result.stdout) == (2, "")
    assert f"{output!r} is not one of yaml, json, dir=PATH" in result.stderr


def test_render_says_that_a_file_is_missing():
    result = run("nowhere.yaml")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "hcpcreds render: nowhere.yaml: cannot be read: No such file or directory\n"


def test_examples_of_the_help_and_the_readme_run_as_they_stand(tmp_path):
    shutil.copy(ROOT / "src/hcpcreds/up/example-hosted-cluster.yaml", tmp_path / "hosted-cluster.yaml")
    shown = run("--help").stdout + (ROOT / "docs/manifests.md").read_text()
    commands = re.findall(r"^(?:\$| ) (?: *)(hcpcreds render .*?)(?: *\||  +#|$)", shown, re.MULTILINE)
    assert len(commands) >= 3
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", command],  # noqa: S607 (whichever bash the reader has)
            check=False,
            capture_output=True,
            cwd=tmp_path,
            env={
                **os.environ,
                USER: KEY_VAULT_USER,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            },
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout


def test_render_prints_guest_secrets_instead_when_asked(cluster):
    result = run(cluster, "--guest", user=None)
    assert result.returncode == 0, result.stderr
    printed = parse_documents(result.stdout, where="output")
    assert printed == render_guest(parse_hosted_cluster(make_manifest()))


def test_render_prints_rbac_instead_when_asked(cluster):
    result = run(cluster, "--rbac", "--namespace", "elsewhere", user=None)
    printed = parse_documents(result.stdout, where="output")
    assert printed == build_rbac(parse_hosted_cluster(make_manifest()), namespace="elsewhere")


def test_render_prints_roles_as_json_and_names_what_is_unknown(cluster):
    result = run(cluster, "--roles", user=None)
    assert result.returncode == 0
    printed = json.loads(result.stdout)
    assert {tuple(item) for item in printed} == {
        ("component", "identity", "name", "assignee", "role", "scope"),
    }
    assert "ingress-operator: its identity has no clientID; set the assignee yourself\n" in result.stderr
    assert (
        "ingress-operator: its role on the resource group of the DNS zone is missing; add"
        " --dns-zone-resource-group\n"
    ) in result.stderr
    known = run(cluster, "--roles", "--dns-zone-resource-group", "dns", user=None)
    assert len(json.loads(known.stdout)) == len(printed) + 1
    assert "DNS zone" not in known.stderr


def test_render_logs_in_to_the_vault_as_vault_access_says(cluster):
    result = run(cluster, "--vault-access", "workload-identity", "--component", "ingress-operator")
    [item] = parse_documents(result.stdout, where="output")
    assert item["spec"]["parameters"]["clientID"] == KEY_VAULT_USER
    assert "useVMManagedIdentity" not in item["spec"]["parameters"]


def test_render_takes_a_cluster_with_workload_identities():
    result = run("-", text=json.dumps(make_manifest(SELF_MANAGED)), user=None)
    assert result.returncode == 0, result.stderr
    assert {item["kind"] for item in parse_documents(result.stdout, where="output")} == {
        "Secret",
        "ConfigMap",
        "AzureClusterIdentity",
    }


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--guest", "--roles"], "--guest and --roles are mutually exclusive."),
        (["--roles", "--output", "json"], "--roles cannot be combined with --output."),
        (["--guest", "--keyless"], "--guest cannot be combined with --keyless."),
        (["--guest", "--kind", "Secret"], "--guest cannot be combined with --kind."),
        (["--rbac", "--component", "ingress-operator"], "--rbac cannot be combined with --component."),
        (["--dns-zone-resource-group", "dns"], "--dns-zone-resource-group needs --roles."),
    ],
)
def test_render_is_refused_when_options_do_not_go_together(cluster, arguments, problem):
    result = run(cluster, *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert problem in result.stderr


def test_render_keyless_prints_objects_and_says_which_component_keeps_its_key():
    manifest = make_manifest(WITH_CLIENT_IDS)
    result = run("-", "--keyless", text=json.dumps(manifest))
    assert result.returncode == 0, result.stderr
    cluster = parse_hosted_cluster(manifest)
    expected = render(cluster, key_vault_user_client_id=KEY_VAULT_USER, keyless=True)
    assert parse_documents(result.stdout, where="output") == expected
    assert "cluster-image-registry-operator: keeps its key: " in result.stderr
