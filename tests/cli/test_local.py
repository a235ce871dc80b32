"""`--local`: commands that find the `hcpcreds up` that runs beside them."""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.test_up import running, wait_for_line
from tests.support.commands import run

PROXY = {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": ""}
"""A company's, which must not come between what is all on this machine."""


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A chain for all tests that only use it, and its directory for temporary files."""
    folder = tmp_path_factory.mktemp("chain")
    with running(folder, "--rotate-every", "600") as process:
        for _ in range(9):
            wait_for_line(process, "first call")
        yield process, folder


@pytest.fixture
def call(chain: tuple[subprocess.Popen[str], Path], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command beside the chain."""
    monkeypatch.setattr(tempfile, "tempdir", str(chain[1]))
    return lambda *arguments: run(*arguments, environment=PROXY)


def test_local_is_refused_when_no_chain_is_running(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    done = run("token", "--local", "ingress-operator")
    assert done.returncode == 2
    assert "no `hcpcreds up` is running" in done.stderr


@pytest.mark.timeout(120)
def test_local_finds_the_running_chain_by_component(call, chain):
    token = call("token", "--local", "--output", "json", "ingress-operator")
    assert token.returncode == 0, token.stderr
    inspection = call("inspect", "--local", "--output", "json", "/mnt/certs/lighthouse-ingress")
    assert inspection.returncode == 0, inspection.stdout
    (file,) = json.loads(inspection.stdout)["files"]
    assert json.loads(token.stdout)["certificate"]["sha256"] == file["certificates"][0]["sha256"]
    assert file["mount"]["layout"] == "atomic"
    (announced,) = chain[1].glob("*/running.json")
    assert announced.stat().st_mode & 0o777 == 0o600
    assert call("token", "--local", "--raw", file["path"]).returncode == 0


@pytest.mark.timeout(120)
def test_local_names_the_components_when_there_is_none_of_that_name(call):
    wrong = call("token", "--local", "ingres")
    assert wrong.returncode == 2
    assert "expected one of control-plane-operator, " in wrong.stderr


@pytest.mark.timeout(120)
def test_renew_local_renews_under_the_components_of_a_running_chain(call, chain):
    renewed = call("renew", "--local", "--once", "--before", "60d")
    assert "9 credentials, 9 renewed" in renewed.stdout, renewed.stderr
    assert renewed.returncode == 0
    for _ in range(9):
        wait_for_line(chain[0], ": reloaded")
