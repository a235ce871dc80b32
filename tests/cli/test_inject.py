import json
import os
import pty
import shutil
import subprocess
import sys

import pytest
import yaml
from tests.manifests.examples import KEY_VAULT_USER, make_manifest
from tests.manifests.inject_examples import make_options, make_workload
from tests.support import commands

from hcpcreds.manifests.inject import inject


def run(*arguments, stdin=b"", **environment):
    inherited = {key: None for key in os.environ if key.startswith(("ARO_", "MANAGED_"))}
    return commands.run(
        "inject", *arguments, stdin=stdin, environment={**inherited, **environment}, text=False
    )


@pytest.fixture
def cluster(tmp_path):
    path = tmp_path / "hosted-cluster.yaml"
    path.write_text(json.dumps(make_manifest()))
    return path


@pytest.fixture
def deployment(tmp_path):
    path = tmp_path / "deployment.yaml"
    path.write_bytes(
        b"# ours\r\napiVersion: apps/v1\r\nkind: Deployment\r\nmetadata: {name: ingress-operator}\r\n"
        b"spec:\r\n  template:\r\n    spec:\r\n      containers:\r\n      - name: ingress-operator\r\n"
        b"        image: 'x'"
    )
    return path


def test_yaml_is_the_file_with_what_it_lacked_and_the_file_is_not_written(cluster, deployment):
    before = deployment.read_bytes()
    result = run(deployment, "--hosted-cluster", cluster)
    assert result.returncode == 0
    assert result.stdout.startswith(before + b"\r\n        env:\r\n        - name: MANAGED_AZURE_HCP")
    assert b"\n" not in result.stdout.replace(b"\r\n", b"")
    assert result.stderr == b"Deployment ingress-operator: 3 to change\n"
    assert deployment.read_bytes() == before


def test_output_of_one_run_is_the_input_of_the_next(cluster, deployment):
    once = run("-", "--hosted-cluster", cluster, stdin=deployment.read_bytes())
    twice = run("-", "--hosted-cluster", cluster, stdin=once.stdout)
    assert twice.stdout == once.stdout
    assert twice.stderr == b"Deployment ingress-operator: nothing to change\n"


def test_environment_hands_on_what_hypershift_hands_on(cluster):
    workload = json.dumps(make_workload(name="control-plane-operator")).encode()
    environment = {"ARO_HCP_KEY_VAULT_USER_CLIENT_ID": KEY_VAULT_USER, "MANAGED_SERVICE": "ARO-HCP"}
    result = run("-", "--hosted-cluster", cluster, stdin=workload, **environment)
    assert json.loads(result.stdout) == inject(json.loads(workload), make_options())


def test_jsonpatch_is_one_json_document(cluster, deployment):
    result = run(deployment, "--hosted-cluster", cluster, "--output", "jsonpatch")
    patch = json.loads(result.stdout)
    assert [operation["op"] for operation in patch] == ["add", "test", "add", "add"]
    assert patch[0]["path"] == "/spec/template/spec/volumes"


def test_jsonpatch_of_several_workloads_is_refused(cluster):
    stdin = "\n---\n".join(json.dumps(make_workload(kind)) for kind in ("Deployment", "DaemonSet")).encode()
    result = run("-", "--hosted-cluster", cluster, "--output", "jsonpatch", stdin=stdin)
    assert (result.returncode, result.stdout) == (2, b"")
    assert b"a JSON patch is for one workload; there are Deployment ingress-operator, Daemon" in result.stderr


def test_patch_has_a_document_for_each_workload(cluster):
    stdin = "\n---\n".join(json.dumps(make_workload(kind)) for kind in ("Deployment", "DaemonSet")).encode()
    result = run("-", "--hosted-cluster", cluster, "--output", "patch", stdin=stdin)
    deployment, daemon_set = yaml.safe_load_all(result.stdout)
    assert (deployment["kind"], daemon_set["kind"]) == ("Deployment", "DaemonSet")
    assert deployment["spec"] == daemon_set["spec"]
    assert deployment["spec"]["template"]["spec"]["containers"][0]["name"] == "ingress-operator"


@pytest.mark.parametrize("output", ["patch", "jsonpatch"])
def test_patches_are_there_for_a_file_that_cannot_be_changed(cluster, output):
    stdin = b"""\
apiVersion: v1
kind: Pod
metadata: {name: ingress-operator}
spec:
  containers:
  - {name: ingress-operator, env: &env [{name: A, value: b}]}
  - {name: proxy, env: *env}
"""
    refused = run("-", "--hosted-cluster", cluster, stdin=stdin)
    assert (refused.returncode, refused.stdout) == (2, b"")
    assert b"See --output." in refused.stderr
    result = run("-", "--hosted-cluster", cluster, "--output", output, stdin=stdin)
    assert result.returncode == 0
    assert b"/mnt/certs/otter-ingress" in result.stdout


def test_diff_applied_to_the_file_gives_what_is_printed_as_yaml(cluster, deployment):
    injected = run(deployment, "--hosted-cluster", cluster).stdout
    diff = run(deployment, "--hosted-cluster", cluster, "--output", "diff").stdout
    assert b"\x1b" not in diff
    diff = diff.replace(str(deployment.parent).lstrip("/").encode(), b"")
    git = shutil.which("git")
    assert git is not None
    subprocess.run([git, "apply", "-p2"], check=True, input=diff, cwd=deployment.parent)
    assert deployment.read_bytes() == injected
    again = run(deployment, "--hosted-cluster", cluster, "--output", "diff")
    assert (again.returncode, again.stdout) == (0, b"")


@pytest.mark.parametrize(("no_color", "has_color"), [("", True), ("1", False)])
def test_diff_is_coloured_on_a_terminal_only(cluster, deployment, no_color, has_color):
    primary, secondary = pty.openpty()
    arguments = ["inject", str(deployment), "--hosted-cluster", str(cluster), "--output", "diff"]
    environment = {**os.environ, "NO_COLOR": no_color}
    subprocess.run(
        [sys.executable, "-m", "hcpcreds", *arguments], check=True, stdout=secondary, env=environment
    )
    os.close(secondary)
    shown = os.read(primary, 100_000)
    os.close(primary)
    assert (b"\x1b[32m+" in shown) is has_color


def test_custom_component_goes_into_the_named_container():
    workload = make_workload("CronJob", "sweep", containers=[{"name": "a"}, {"name": "b"}])
    result = run(
        "-",
        *("--secret-provider-class", "mine", "--volume-name", "mine-cert", "--mount-path", "/var/mine"),
        *("--credentials-secret-name", "secret", "--container", "b"),
        stdin=json.dumps(workload).encode(),
    )
    template = json.loads(result.stdout)["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert template["containers"] == [
        {"name": "a"},
        {
            "name": "b",
            "volumeMounts": [{"name": "mine-cert", "mountPath": "/var/mine", "readOnly": True}],
            "env": [{"name": "MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH", "value": "/var/mine/secret"}],
        },
    ]


def test_credentials_secret_name_stands_for_the_hosted_cluster(deployment):
    result = run(deployment, "--credentials-secret-name", "mine")
    assert b"value: /mnt/certs/mine" in result.stdout


def test_workload_is_named_as_left_alone_when_only_its_container_has_a_components_name(cluster, deployment):
    copy = make_workload(name="ingress-copy", containers=[{"name": "ingress-operator"}])
    other = make_workload(name="other", containers=[{"name": "manager"}])
    stream = (
        deployment.read_bytes() + "".join(f"\n---\n{json.dumps(item)}" for item in (copy, other)).encode()
    )
    result = run("-", "--hosted-cluster", cluster, stdin=stream)
    assert result.returncode == 0
    assert result.stderr.decode() == (
        "Deployment ingress-operator: 3 to change\n"
        "Deployment ingress-copy: left alone; its name is not a component's, but that of its container "
        "ingress-operator is\n"
    )
    assert list(yaml.safe_load_all(result.stdout))[1:] == [copy, other]
    patch = run("-", "--hosted-cluster", cluster, "--output", "patch", stdin=stream)
    assert [item["metadata"]["name"] for item in yaml.safe_load_all(patch.stdout)] == ["ingress-operator"]
    alone = run("-", "--hosted-cluster", cluster, stdin=json.dumps(copy).encode())
    assert (alone.returncode, alone.stdout) == (2, b"")
    assert b"left alone" in alone.stderr
    assert b"no workload in it is a component's" in alone.stderr


OTHERS = {
    "chart/templates/all.yaml": "{{- if .Values.enabled }}\nkind: Deployment\n{{- end }}\n",
    "values.yaml": "image: {tag: v1}\n",
    "settings.json": "{\n  // editor\n}\n",
}


@pytest.fixture
def folder(tmp_path, deployment):
    folder = tmp_path / "deploy"
    config_map = '{"apiVersion": "v1", "kind": "ConfigMap"}'
    daemon_set = yaml.safe_dump(make_workload("DaemonSet"))
    for name, text in {**OTHERS, "a.json": config_map, "b.yml": f"---\n{daemon_set}"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "c.yaml").write_bytes(deployment.read_bytes())
    return folder


def test_several_files_are_one_stream_when_printed(cluster, folder):
    result = run(folder / "c.yaml", folder / "a.json", "--hosted-cluster", cluster)
    injected, config_map = yaml.safe_load_all(result.stdout)
    assert injected == inject(yaml.safe_load((folder / "c.yaml").read_bytes()), make_options())
    assert config_map["kind"] == "ConfigMap"
    assert result.stderr.decode() == f"{folder / 'c.yaml'}: Deployment ingress-operator: 3 to change\n"


def test_directory_stands_for_the_manifests_below_it(cluster, folder):
    result = run(folder, "--hosted-cluster", cluster)
    assert [item["kind"] for item in yaml.safe_load_all(result.stdout)] == [
        "ConfigMap",
        "DaemonSet",
        "Deployment",
    ]
    assert {str(folder / name) in result.stderr.decode() for name in OTHERS} == {False}


def test_in_place_writes_the_files_that_change_and_no_other(cluster, folder):
    before = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.rglob("*.*")}
    (folder / "c.yaml").chmod(0o640)
    link = folder / "d.yaml"
    link.symlink_to("c.yaml")
    result = run("--in-place", link, folder / "b.yml", folder / "a.json", "--hosted-cluster", cluster)
    assert (result.returncode, result.stdout) == (0, b"")
    written = [line for line in result.stderr.decode().splitlines() if line.endswith(": written")]
    assert written == [f"{file}: written" for file in (link, folder / "b.yml")]
    changed = {
        file.name for file, state in before.items() if (file.read_bytes(), file.stat().st_mtime_ns) != state
    }
    assert changed == {"b.yml", "c.yaml"}
    assert link.is_symlink()
    assert (folder / "c.yaml").stat().st_mode & 0o777 == 0o640
    assert set(folder.rglob("*.*")) == {*before, link}
    assert yaml.safe_load((folder / "c.yaml").read_bytes()) == inject(
        yaml.safe_load(before[folder / "c.yaml"][0]), make_options()
    )
    again = run("--in-place", folder, "--hosted-cluster", cluster)
    assert again.returncode == 0
    assert b"nothing to change" in again.stderr


def test_in_place_writes_nothing_when_one_file_cannot_be_changed(cluster, folder):
    conflict = json.dumps(make_workload(volumes=[{"name": "ingress-cert", "emptyDir": {}}]))
    (folder / "e.json").write_text(conflict)
    before = {file: file.read_bytes() for file in folder.rglob("*.*")}
    result = run("--in-place", folder, "absent.yaml", "--hosted-cluster", cluster)
    assert result.returncode == 2
    assert b"absent.yaml: cannot be read" in result.stderr
    result = run("--in-place", folder, "--hosted-cluster", cluster)
    assert result.returncode == 2
    assert f"{folder / 'e.json'}: Deployment ingress-operator: ".encode() in result.stderr
    assert {file: file.read_bytes() for file in folder.rglob("*.*")} == before


def test_diff_of_several_files_names_each(cluster, folder):
    diff = run(folder, "--hosted-cluster", cluster, "--output", "diff").stdout.decode()
    name = str(folder).lstrip("/")
    assert [line for line in diff.splitlines() if line.startswith("+++")] == [
        f"+++ b/{name}/b.yml",
        f"+++ b/{name}/c.yaml",
    ]


def test_document_that_cannot_be_read_is_passed_through(cluster, deployment):
    broken = b"a: [\n---\n\xff\n---\r\n" + deployment.read_bytes() + b"\r\n---\n{{ x }}\n"
    result = run("-", "--hosted-cluster", cluster, stdin=broken)
    assert result.returncode == 0
    assert result.stdout.startswith(b"a: [\n---\n\xff\n---\r\n# ours\r\n")
    assert result.stdout.endswith(b"managed-azure-ingress\r\n---\n{{ x }}\n")
    assert b"passed through: standard input: line 2: not YAML" in result.stderr


def test_one_component_for_workloads_of_several_files_is_refused(folder):
    result = run(folder, "--component", "ingress-operator", "--credentials-secret-name", "mine")
    assert result.returncode == 2
    assert b"one component for several workloads: DaemonSet ingress-operator, Deployment in" in result.stderr


def test_conflict_is_refused_and_replaced_when_asked(cluster):
    workload = json.dumps(make_workload(volumes=[{"name": "ingress-cert", "emptyDir": {}}])).encode()
    refused = run("-", "--hosted-cluster", cluster, stdin=workload)
    assert (refused.returncode, refused.stdout) == (2, b"")
    assert refused.stderr.startswith(
        b"hcpcreds inject: standard input: Deployment ingress-operator: spec.template"
    )
    assert b"'ingress-cert' is another (emptyDir), expected the SecretProviderClass" in refused.stderr
    assert run("-", "--hosted-cluster", cluster, "--replace", stdin=workload).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (["-"], b"kind: ConfigMap", b"no workload in it is a component's"),
        (["-"], b"", b"no workload in it is a component's"),
        (["-"], b"a: [", b"standard input: line 2: not YAML: "),
        (["-"], b"\xff", b"is not UTF-8"),
        (["absent.yaml"], b"", b"absent.yaml: cannot be read: No such file"),
        (["-", "--in-place"], b"", b"--in-place writes files"),
        (["x", "--in-place", "--output", "diff"], b"", b"--in-place writes files"),
        ([], b"", b"Missing argument 'FILE...|-'"),
        (["-", "--volume-name", "x"], b"", b"needs --secret-provider-class and --volume-name"),
        (["-", "--mount-path", "/x"], b"", b"--mount-path goes with"),
        (["-", "--component", "etcd"], b"", b"component: got 'etcd', expected one of control-plane-operator"),
        (["-", "--hosted-cluster", "absent.yaml"], b"", b"absent.yaml: cannot be read"),
        (["-", "--output", "xml"], b"", b"'xml' is not one of"),
    ],
)
def test_wrong_input_is_status_2_and_prints_nothing(arguments, stdin, message):
    result = run(*arguments, stdin=stdin)
    assert (result.returncode, result.stdout) == (2, b"")
    assert message in result.stderr
    assert b"Traceback" not in result.stderr


def test_help_shows_examples():
    result = run("--help")
    assert b"Examples:" in result.stdout
    assert b"kustomize build . | hcpcreds inject" in result.stdout


def test_keyless_moves_the_key_into_a_sidecar():
    ids = ("--client-id", KEY_VAULT_USER, "--tenant-id", KEY_VAULT_USER)
    custom = ("--secret-provider-class", "x", "--volume-name", "x", "--credentials-secret-name", "secret")
    stdin = json.dumps(make_workload(name="app")).encode()
    plain = run("-", *custom, stdin=stdin)
    result = run("-", "--keyless", *custom, *ids, stdin=plain.stdout, HCPCREDS_IMAGE="hcpcreds:1")
    spec = json.loads(result.stdout)["spec"]["template"]["spec"]
    assert b"/mnt/certs" not in json.dumps(spec["containers"]).encode()
    assert spec["initContainers"][0]["image"] == "hcpcreds:1"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--keyless",), "need --image"),
        (("--endpoint",), "need --image"),
        (("--endpoint", "--keyless"), "choose one"),
        (("--keep-mount",), "need --keyless"),
        (("--client-id", KEY_VAULT_USER), "need --keyless"),
    ],
)
def test_options_of_keyless_are_refused_without_what_they_need(deployment, arguments, expected):
    result = run(deployment, *arguments)
    assert (result.returncode, result.stdout) == (2, b"")
    assert expected in result.stderr.decode()
