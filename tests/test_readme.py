"""The README's Python runs as it stands there."""

import re
import shutil
from pathlib import Path
from typing import Any

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
