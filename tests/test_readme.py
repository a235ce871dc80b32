"""What the README and the walk-throughs show runs as it stands there."""

import re
import shutil
from pathlib import Path
from typing import Any

import yaml
from tests.support import commands

ROOT = Path(__file__).parents[1]


def test_readme_python_runs_as_it_stands(tmp_path, monkeypatch):
    shutil.copy(ROOT / "src/hcpcreds/up/example-hosted-cluster.yaml", tmp_path / "hosted-cluster.yaml")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)  # noqa: S102 (our own text)

    assert len(blocks) == 3
    assert names["credential"].status().path == "/mnt/certs/ingress"
    names["credential"].close()
    assert names["volume"]["csi"]["volumeAttributes"] == {"secretProviderClass": "managed-azure-ingress"}
    assert names["mount"]["mountPath"] == "/mnt/certs"
    assert names["environment"][0]["value"] == "/mnt/certs/ingress-credentials"
    assert len(names["objects"]) == 16


def test_keyless_walk_through_makes_its_deployment_keyless(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs/keyless.md").read_text()
    [manifest] = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    Path("deployment.yaml").write_text(manifest)
    shown = re.findall(r"^\$ hcpcreds (.+ deployment\.yaml)$", page, re.MULTILINE)
    assert [command.split()[0] for command in shown] == ["inject", "check"]
    for command in shown:
        result = commands.run(*command.split())
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
