"""What the README and the pages show runs as it stands there."""

import json
import re
import shutil
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.docs import snippets
from tests.support import commands

MAKE = (snippets.ROOT / "Makefile").read_text()
EXTRAS = (snippets.ROOT / "pyproject.toml").read_text()
FOREIGN = {
    "apt-get",
    "cp",
    "curl",
    "docker",
    "go",
    "jq",
    "kubectl",
    "kustomize",
    "mvn",
    "npm",
    "skopeo",
    "sudo",
    "schemathesis",
    "export",
}
ENDLESS = {"docs/conform.md", "docs/first-steps.md"}
AUDIENCE = "https://dataplane.example.test"
KEY_VAULT_USER = "7d9f5b0a-4c1e-4b53-9a67-2e8c1f3d6a05"
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "ingress-operator", "namespace": "clusters-lighthouse"},
    "spec": {
        "selector": {"matchLabels": {"app": "ingress"}},
        "template": {
            "metadata": {"labels": {"app": "ingress"}},
            "spec": {"containers": [{"name": "ingress-operator", "image": "registry.example/ingress:1"}]},
        },
    },
}


@pytest.fixture
def places(tmp_path, local_azure, monkeypatch):
    """A reader's directory, and a pod's mounts beside it."""
    certificates = tmp_path / "certs"
    certificates.mkdir()
    for name in ("ingress", "kms"):
        (certificates / name).write_text(json.dumps(local_azure.issue(str(uuid.uuid4()))))
    (certificates / "app.password").write_text("of the reader")
    folder = tmp_path / "here"
    (folder / "deploy").mkdir(parents=True)
    shutil.copy(snippets.ROOT / "src/hcpcreds/up/example-hosted-cluster.yaml", folder / "hosted-cluster.yaml")
    (folder / "deploy" / "deployment.yaml").write_text(yaml.safe_dump(DEPLOYMENT))
    monkeypatch.chdir(folder)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(local_azure.ca_file))
    monkeypatch.setenv("ARO_HCP_KEY_VAULT_USER_CLIENT_ID", KEY_VAULT_USER)
    monkeypatch.setenv("AUDIENCE", AUDIENCE)
    return {"/mnt/certs": certificates, "/run/hcpcreds": tmp_path}


@pytest.mark.parametrize("page", snippets.PAGES)
def test_commands_of_a_page_run_as_they_stand(page, places):
    for number, block in enumerate(snippets.read_blocks(page, "yaml")):
        Path("deployment.yaml" if number == 0 else f"{number}.yaml").write_text(block)
    for command, shown in snippets.read_commands(page):
        printed = run_pipeline(command, places)
        if page == "docs/first-steps.md" and printed:
            lines = iter(printed.splitlines())
            assert [line for line in shown if line not in lines] == []  # in this order


def run_pipeline(command: str, places: dict[str, Path]) -> str:
    """Run what is hcpcreds in a command line, and look at the rest; answer what it has printed."""
    written = said = ""
    for words in snippets.split(command):
        match words:
            case ["kubectl", "hcpcreds", *rest] | ["hcpcreds", *rest]:
                written, said = snippets.run(rest, written, places)
            case ["make", target, *_]:
                assert re.search(rf"^{target}:", MAKE, re.MULTILINE)
            case ["pip", "install", package]:
                for extra in re.findall(r"\[(.+)\]", package):
                    assert f"\n{extra} = [" in EXTRAS
            case ["kustomize", "build", "."]:
                written = yaml.safe_dump(DEPLOYMENT)
            case [foreign, *_]:
                assert foreign in FOREIGN
    return written + said


# The programs on these pages do not end; the tests of conform run them.
@pytest.mark.parametrize(
    "page",
    [page for page in snippets.PAGES if snippets.read_blocks(page, "python") and page not in ENDLESS],
)
@pytest.mark.usefixtures("places")
def test_python_of_a_page_runs_as_it_stands(page):
    names: dict[str, Any] = {}
    for block in snippets.read_blocks(page, "python"):
        exec(compile(block, page, "exec"), names)  # noqa: S102 (our own text)
    for found in names.values():
        if callable(close := getattr(found, "close", None)) and not isinstance(found, type):
            close()


@pytest.mark.parametrize("page", snippets.PAGES)
def test_yaml_of_a_page_is_yaml(page):
    for block in snippets.read_blocks(page, "yaml"):
        assert list(yaml.safe_load_all(block))


@pytest.mark.usefixtures("places")
def test_manifests_page_builds_every_object_of_its_hosted_cluster():
    names: dict[str, Any] = {}
    for block in snippets.read_blocks("docs/manifests.md", "python"):
        exec(compile(block, "docs/manifests.md", "exec"), names)  # noqa: S102 (our own text)
    assert names["volume"]["csi"]["volumeAttributes"] == {"secretProviderClass": "managed-azure-ingress"}
    assert names["mount"]["mountPath"] == "/mnt/certs"
    assert names["environment"][0]["value"] == "/mnt/certs/ingress-credentials"
    assert len(names["objects"]) == 16


def test_keyless_walk_through_makes_its_deployment_keyless(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [manifest] = snippets.read_blocks("docs/keyless.md", "yaml")
    Path("deployment.yaml").write_text(manifest)
    shown = [command.split()[1:] for command, _ in snippets.read_commands("docs/keyless.md")]
    shown = [words for words in shown if words[-1] == "deployment.yaml" and words[0] in ("inject", "check")]
    assert [words[0] for words in shown] == ["inject", "check"]
    for words in shown:
        result = commands.run(*words)
        assert result.returncode == 0, result.stderr
    spec = yaml.safe_load(Path("deployment.yaml").read_text())["spec"]["template"]["spec"]
    [container], [sidecar] = spec["containers"], spec["initContainers"]
    assert [mount["name"] for mount in container["volumeMounts"]] == ["hcpcreds-assertion"]
    assert [variable["name"] for variable in container["env"]] == [
        "AZURE_CLIENT_ID",
        "AZURE_TENANT_ID",
        "AZURE_FEDERATED_TOKEN_FILE",
        "AZURE_AUTHORITY_HOST",
    ]
    assert sidecar["volumeMounts"][0]["name"] == "shop-cert"
    # Without its ids, serve does not read a service principal's certificate.
    assert sidecar["env"][0]["value"].startswith("/mnt/certs/shop,tenant_id=")


def test_runbook_has_every_alert_of_serve():
    alerts = re.findall(r"alert: (\w+)", (snippets.ROOT / "deploy/serve/prometheus-rule.yaml").read_text())
    runbook = (snippets.ROOT / "docs/no-token.md").read_text()
    assert [alert for alert in alerts if alert not in runbook] == []


def test_readme_keeps_to_one_screen_and_links_to_every_page():
    readme = (snippets.ROOT / "README.md").read_text()
    assert len(readme.splitlines()) <= 90
    index = (snippets.ROOT / "docs/index.md").read_text()
    pages = {path.stem for path in (snippets.ROOT / "docs").glob("*.md")} - {"index"}
    assert {page for page in pages if f"\n{page}\n" not in index} == set()


def test_links_lead_to_files_that_are_there():
    pages = [snippets.ROOT / page for page in (*snippets.PAGES, "CONTRIBUTING.md", "SECURITY.md")]
    links = {page: re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()) for page in pages}
    assert [
        link for page, found in links.items() for link in found if not (page.parent / link).exists()
    ] == []


def test_pictures_show_what_commands_print_and_not_how_they_failed_to_start():
    pictures = {path.name: path.read_text() for path in (snippets.ROOT / "docs/images").glob("*.svg")}
    assert pictures
    assert [name for name, drawn in pictures.items() if "Traceback" in drawn or "terminal.py" in drawn] == []
