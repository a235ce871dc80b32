"""`hcpcreds up` as its user runs it: a process, its output, its exit status, and what is left behind."""

import codecs
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.clients.clients import install_javascript
from tests.manifests.examples import SELF_MANAGED, make_manifest
from tests.support.commands import run
from tests.support.processes import start

from hcpcreds.components import COMPONENTS

EXAMPLE = Path(__file__).parents[2] / "src/hcpcreds/up/example-hosted-cluster.yaml"
VALID = EXAMPLE.read_text()


def running(
    tmp_path: Path, *arguments: str, **environment: str
) -> AbstractContextManager[subprocess.Popen[str]]:
    """`hcpcreds up`, with a place of its own for temporary files."""
    # A company's proxy must not come between what is all on this machine.
    environment |= {"TMPDIR": str(tmp_path), "HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": ""}
    return start(sys.executable, "-m", "hcpcreds", "up", *arguments, env=environment)


def children(process: subprocess.Popen[str]) -> dict[int, str]:
    """The processes of a run: command line by id."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            command = status.with_name("cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if parent == process.pid and "hcpcreds" in command:
            found[int(status.parent.name)] = command
    return found


def read_json(url: str) -> dict[str, Any]:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as answer:
        document: dict[str, Any] = json.load(answer)
        return document


def find_child(process: subprocess.Popen[str], text: str) -> int:
    (found,) = (pid for pid, command in children(process).items() if text in command)
    return found


def wait_for_line(process: subprocess.Popen[str], text: str) -> None:
    """Read the run's plain lines up to one."""
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"it ended without saying {text!r}")


def wait_until(condition: Callable[[], bool], *, every: float = 0.05) -> None:
    while not condition():
        time.sleep(every)


def is_running(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for by its new parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until_ended(pids: list[int]) -> None:
    wait_until(lambda: not any(is_running(pid) for pid in pids))


def assert_nothing_is_left(tmp_path: Path, pids: list[int]) -> None:
    wait_until_ended(pids)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(120)
def test_up_prints_one_json_document_and_succeeds_when_every_certificate_was_used(tmp_path):
    with running(
        tmp_path, "--rotations", "2", "--rotate-every", "3", "--output", "json", str(EXAMPLE)
    ) as process:
        out, err = process.communicate()

    assert process.returncode == 0, err
    document = json.loads(out)
    assert document["ok"] is True
    assert document["problems"] == []
    components = document["components"]
    assert [component["component"] for component in components] == [
        component.name for component in COMPONENTS
    ]
    for component in components:
        assert len(set(component["thumbprints"])) == 3
        assert all(re.fullmatch("[0-9a-f]{64}", thumbprint) for thumbprint in component["thumbprints"])
        assert component["generations"] == [1, 2, 3]
        assert component["rotations"] == 2
        assert component["failed_calls"] == 0
        assert min(component["calls_by_certificate"]) >= 1
        assert all(0 <= took < 5000 for took in component["reload_ms"])
        assert all(0 < took < 30000 for took in component["first_call_ms"])
        assert len(component["reload_ms"]) == len(component["first_call_ms"]) == 2
    thumbprints = [thumbprint for component in components for thumbprint in component["thumbprints"]]
    assert len(set(thumbprints)) == 27
    assert not re.search(r"eyJ|LS0tLS1|PRIVATE KEY", out + err), "a token, a certificate or a key"
    assert [line[:3] for line in err.splitlines()] == ["1/6", "2/6", "3/6", "4/6", "5/6", "6/6"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(120)
def test_up_ends_every_process_and_removes_its_files_when_it_gets_a_signal(tmp_path):
    with running(tmp_path) as process:
        wait_for_line(process, "first call")
        pids = list(children(process))
        assert len(pids) == 11
        process.terminate()
        out, err = process.communicate()

    assert process.returncode == 0, err
    assert "problem" not in err
    assert out.count("managed-azure-") == 9, "the table is printed at the end"
    assert_nothing_is_left(tmp_path, pids)


@pytest.mark.measured_processes
@pytest.mark.timeout(120)
def test_up_shows_a_live_table_on_a_terminal_and_leaves_it_usable(tmp_path):
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 120, 0, 0))
    command = (sys.executable, "-m", "hcpcreds", "up", "--rotate-every", "2")
    environment = {"TMPDIR": str(tmp_path), "TERM": "xterm-256color"}
    with start(*command, stdin=end, stdout=end, stderr=end, env=environment) as process:
        os.close(end)
        decoder = codecs.getincrementaldecoder("utf-8")()
        shown = ""
        while not re.search(r"control-plane-operator.*cpo-cert +[0-9a-f]{12} +2 +[0-9.]+ s ago", shown):
            shown += decoder.decode(os.read(terminal, 65536))
        pids = list(children(process))
        assert len(pids) == 11
        process.send_signal(signal.SIGINT)
        with suppress(OSError):  # how a terminal says that nobody is at its other end
            while True:
                shown += decoder.decode(os.read(terminal, 65536))
        os.close(terminal)
        assert process.wait() == 0

    last = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line).rstrip() for line in shown.splitlines()]
    assert sum(line.startswith(" /") for line in last[-25:]) == 9, (
        "every component's file is in the last table"
    )
    assert max(map(len, last)) <= 120
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l"), "the cursor is back"
    assert_nothing_is_left(tmp_path, pids)


@pytest.mark.measured_processes
@pytest.mark.timeout(120)
def test_up_lets_a_renewer_renew_what_becomes_due_also_for_components_that_share_an_identity(tmp_path):
    manifest = yaml.safe_load(VALID)
    del manifest["spec"]["secretEncryption"]  # so there is no kube-apiserver
    azure = manifest["spec"]["platform"]["azure"]
    identities = azure["azureAuthenticationConfig"]["managedIdentities"]["controlPlane"]
    identities["ingress"] = identities["controlPlaneOperator"]
    cluster = tmp_path / "cluster.json"
    cluster.write_text(json.dumps(manifest))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    rotations = ("--renew", "--rotations", "2", "--rotate-every", "5")
    with running(scratch, *rotations, "--output", "json", str(cluster)) as process:
        out, err = process.communicate()

    assert process.returncode == 0, err
    assert err.splitlines()[-1].startswith("7/7 renew")
    assert not re.search(r"eyJ|LS0tLS1|PRIVATE KEY", out + err), "a token, a certificate or a key"
    assert list(scratch.iterdir()) == []
    renewed = {component["component"]: component for component in json.loads(out)["components"]}
    assert len(renewed) == 8
    assert "kube-apiserver" not in renewed
    assert renewed["ingress-operator"]["thumbprints"] == renewed["control-plane-operator"]["thumbprints"]
    for component in renewed.values():
        assert component["rotations"] >= 2
        assert component["generations"][:3] == [1, 2, 3]
        assert component["failed_calls"] == 0
        lives = [datetime.fromisoformat(expires) for expires in component["expires"]]
        # Each was due when 46/90 of its life were over: none lived on for long, and none was renewed early.
        assert all(5 <= (after - before).total_seconds() <= 12 for before, after in pairwise(lives))


@pytest.mark.timeout(120)
def test_up_leaves_no_process_behind_and_is_forgotten_when_it_is_killed(tmp_path, monkeypatch):
    with running(tmp_path, "--renew") as process:
        wait_for_line(process, "first call")
        wait_until(lambda: any("hcpcreds.up.tether" in command for command in children(process).values()))
        pids = list(children(process))
        process.kill()
        process.communicate()
    wait_until_ended(pids)
    # The next command beside it finds no chain any more, and removes what it has left.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    wait_until(
        lambda: run("inspect", "--local", "ingress-operator").returncode == 2 and not any(tmp_path.iterdir())
    )


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("hcpcreds.local.azure.azure", "the local Azure is gone: was killed by SIGKILL"),
        ("hcpcreds.local.node.node", "the node is gone: was killed by SIGKILL"),
    ],
)
def test_up_ends_with_the_reason_when_the_local_azure_or_the_node_is_killed(tmp_path, module, message):
    with running(tmp_path, "--rotations", "5", "--output", "json") as process:
        wait_until(lambda: len(children(process)) == 11)
        pids = list(children(process))
        os.kill(find_child(process, module), signal.SIGKILL)
        out, err = process.communicate()

    assert process.returncode == 1
    assert f"problem: {message}" in err
    document = json.loads(out)
    assert document["ok"] is False
    assert document["problems"][0] == message
    assert_nothing_is_left(tmp_path, pids)


@pytest.mark.timeout(120)
def test_up_ends_and_removes_its_files_when_its_output_is_closed(tmp_path):
    with running(tmp_path) as process:
        wait_for_line(process, "first call")
        pids = list(children(process))
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait() == 0
        assert_nothing_is_left(tmp_path, pids)
        assert process.stderr is not None
        assert [line[:3] for line in process.stderr] == ["1/6", "2/6", "3/6", "4/6", "5/6", "6/6"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("{", "YAML"),
        ("kind: Pod\napiVersion: v1\n", "HostedCluster"),
        (
            VALID.replace("ConfigType: ManagedIdentities", "ConfigType: WorkloadIdentities"),
            "ManagedIdentities",
        ),
        (
            json.dumps(make_manifest(SELF_MANAGED)),
            "it uses workload identities, whose credentials are not mounted",
        ),
        (re.sub(r"(credentialsSecretName: )(\S+)", r"\1bad_name", VALID, count=1), "credentialsSecretName"),
        (re.sub(r"(objectEncoding: )(\S+)", r"\1utf-16", VALID, count=1), "objectEncoding"),
        (
            VALID.replace("lighthouse-ingress", "Lighthouse-CPO"),
            "ingress-operator: its secret Lighthouse-CPO is also that of another clientID",
        ),
    ],
    ids=[
        "missing",
        "not YAML",
        "wrong kind",
        "no managed identities",
        "workload identities",
        "secret name",
        "encoding",
        "shared secret",
    ],
)
def test_up_starts_and_writes_nothing_when_the_input_is_wrong(tmp_path, monkeypatch, text, message):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    file = tmp_path / "cluster.yaml"
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    done = run("up", file)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("hcpcreds up: ")
    assert str(file) in done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["--rotations", "0"],
        ["--rotate-every", "1"],
        ["--rotate-every", "nan"],
        ["--renew", "--rotate-every", "4"],
        ["--renew", "--keyless"],
        ["--output", "xml"],
        ["one", "two"],
    ],
)
def test_up_refuses_wrong_usage(arguments):
    done = run("up", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: ")


def read_reachable(pid: int, root: Path) -> str:
    """Everything that a container's process finds: its environment and its files, also in its mounts."""
    texts = [Path(f"/proc/{pid}/environ").read_text()]
    for folder, _, names in os.walk(root, followlinks=True):
        for name in names:
            with suppress(FileNotFoundError):  # it was replaced meanwhile
                texts.append(Path(folder, name).read_text())
    return "".join(texts)


@pytest.mark.measured_processes
@pytest.mark.timeout(180)
def test_up_keyless_takes_every_component_through_rotations_as_its_row_says(tmp_path):
    scratch = tmp_path / "with a blank"
    scratch.mkdir()
    rotations = ("--keyless", "--rotations", "3", "--rotate-every", "2", "--output", "json")
    modules = install_javascript()
    rows = {component.consumer.workload: component.consumer.keyless for component in COMPONENTS}
    refused = {workload for workload, row in rows.items() if row is None or row.refused}
    keeping = {workload for workload, row in rows.items() if row is not None and row.keeps_mount}
    with running(scratch, *rotations, NODE_PATH=str(modules or "")) as process:
        assert process.stderr is not None
        steps: list[str] = []
        while not steps or not steps[-1].startswith("7/7"):
            steps.append(process.stderr.readline())
        sidecars = [command for command in children(process).values() if "hcpcreds serve" in command]
        assert len(sidecars) == 9 - len(refused)
        with_key: set[str] = set()
        with_assertion: set[str] = set()
        for pid, command in children(process).items():
            if "--resource-manager" not in command:
                continue
            root = Path(command.split("--root ")[1].partition(" --resource-manager")[0])
            workload = next(
                name for name in rows if root.name == name or root.parent.name.endswith(f"_{name}")
            )
            found = read_reachable(pid, root)
            with_key |= {workload} if "client_secret" in found else set()
            with_assertion |= {workload} if re.search(r"eyJ[\w-]+\.eyJ", found) else set()
            opened = []
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):  # it has closed that meanwhile
                    opened.append(str(descriptor.readlink()))
            assert workload in with_key or not any("/volumes/" in each for each in opened)
        assert with_key == refused | keeping
        assert with_assertion == rows.keys() - refused
        out, err = process.communicate()

    assert process.returncode == 0, err
    document = json.loads(out)
    assert (document["ok"], document["keyless"], document["problems"]) == (True, True, [])
    assert steps[5].startswith("6/7 serve   8 sidecars")
    assert any(
        "cluster-image-registry-operator: keeps its key: it takes its client id" in step for step in steps
    )
    assert any("control-plane-operator: keeps the mount" in step for step in steps)
    for component in document["components"]:
        assert component["failed_calls"] == 0
        assert component["rotations"] == 3
        assert component["generations"] == [1, 2, 3, 4]
        assert min(component["calls_by_certificate"]) >= 1
        workload = component["workload"]
        logins = (
            {"key"} if workload in refused else {"assertion"} | ({"key"} if workload in keeping else set())
        )
        assert component["calls_by_login"].keys() == logins
    languages = {component["workload"]: component["language"] for component in document["components"]}
    if modules is not None:
        assert languages.pop("cloud-network-config-controller") == "JavaScript"
    assert set(languages.values()) == {"Python"}
    assert not re.search(r"eyJ|LS0tLS1|PRIVATE KEY", out + err), "a token, a certificate or a key"
    assert list(scratch.iterdir()) == []


@pytest.mark.measured_processes
@pytest.mark.timeout(120)
def test_up_serves_a_page_reports_the_component_continues_and_fails_when_one_is_killed(tmp_path: Path):
    with running(tmp_path, "--rotations", "3", "--rotate-every", "4", "--web") as process:
        assert process.stderr is not None
        url = (
            next(line for line in process.stderr if line.startswith("page: ")).removeprefix("page: ").strip()
        )
        assert re.fullmatch(r"http://127\.0\.0\.1:[0-9]+/", url)

        def have_rotated() -> bool:
            components = read_json(f"{url}status.json")["components"]
            return all(each["facts"]["rotations"] and each["facts"]["calls"] for each in components)

        wait_until(have_rotated, every=0.25)  # making the page is work
        document = read_json(f"{url}status.json")
        assert [each["name"] for each in document["components"]] == [each.name for each in COMPONENTS]
        assert document["state"] == "ok"
        for each in document["components"]:
            assert {"previous", "in use"} <= {life["role"] for life in each["certificates"]}
            assert all(
                life["not_before"] < life["renew_from"] < life["not_after"] for life in each["certificates"]
            )
            assert each["facts"]["failed_calls"] == 0
        assert any("first used" in event["text"] for event in document["events"])
        pids = list(children(process))
        os.kill(find_child(process, "ingress-operator"), signal.SIGKILL)
        wait_until(lambda: read_json(f"{url}status.json")["state"] == "failing")
        failing = [
            each for each in read_json(f"{url}status.json")["components"] if each["state"] == "failing"
        ]
        assert [each["problems"][0]["text"] for each in failing] == ["Its process has ended."]
        out, err = process.communicate()
    assert process.returncode == 1
    assert "problem: ingress-operator: its process was killed by SIGKILL" in err
    # By the table: an event's line lacks its times when the news of the swap comes after it.
    assert len(re.findall(r" 3 +[0-9.]+ s ago", out)) == 8, "the others came through the rotations"
    assert_nothing_is_left(tmp_path, pids)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--web", "./cluster.yaml"], "--web expects HOST:PORT, not ./cluster.yaml; name FILE before --web."),
        (["--web", "cluster.yaml"], "cluster.yaml is not HOST:PORT"),
    ],
)
def test_up_says_what_web_expects(arguments: list[str], problem: str):
    done = run("up", *arguments)
    assert done.returncode == 2
    assert problem in done.stderr
