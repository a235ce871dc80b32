import json
import os
import pty
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder
from tests.support import commands

from hcpcreds.manifests.check import RULES

PAGES = Path(__file__).parents[2] / "docs" / "checks"
FIXTURES = Path(__file__).parents[1] / "manifests" / "check_fixtures"
FAILING = FIXTURES / "HC109" / "failing.yaml"
CLEAN = FIXTURES / "HC109" / "clean.yaml"


def run(*arguments: str | Path, stdin: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return commands.run("check", *arguments, stdin=stdin, cwd=cwd)


def test_check_says_where_why_and_how_to_fix():
    result = run(FAILING)
    assert result.returncode == 1
    line = next(
        number for number, text in enumerate(FAILING.read_text().splitlines(), 1) if "subPath" in text
    )
    assert result.stdout == (
        f"{FAILING}\n"
        f"  {line}: HC109 error: a file mounted with subPath never changes: 'ingress-operator' keeps the "
        "credential that it started with\n"
        "      $.spec.template.spec.containers[0].volumeMounts[0].subPath\n"
        "      Mount the whole volume: remove subPath, and make mountPath a directory.\n"
    )
    assert result.stderr == "1 error found in 2 objects\n"


def test_findings_are_grouped_by_file_and_counted_by_severity():
    other = FIXTURES / "HC203" / "failing.yaml"
    result = run(FAILING, other, FIXTURES / "HC504" / "failing.yaml")
    assert result.stdout.count(f"{FAILING}\n") == result.stdout.count(f"{other}\n") == 1
    assert "make mountPath a directory.\n\n" in result.stdout
    assert result.stderr.startswith("2 errors, 1 note found in ")


def test_json_findings_have_stable_keys():
    [finding] = json.loads(run("--output", "json", FAILING).stdout)
    assert list(finding) == ["file", "line", "path", "code", "severity", "reason", "fix"]


def test_check_is_silent_and_succeeds_when_nothing_is_found():
    result = run(CLEAN)
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr == "nothing found in 2 objects\n"


def test_check_reads_standard_input_and_looks_at_all_files_together():
    secret_provider_class, deployment = CLEAN.read_text().split("---\n")
    other = secret_provider_class.replace("otter-ingress", "heron-ingress")
    assert run("-", stdin=deployment).returncode == 0
    result = run("-", stdin=f"{other}---\n{deployment}")
    assert result.returncode == 1
    assert result.stdout.startswith("-\n  ")
    assert "HC202 error" in result.stdout


def test_check_takes_a_directory_for_the_yaml_and_json_below_it(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "one.yml").write_text(FAILING.read_text())
    (tmp_path / "two.json").write_text((FIXTURES / "HC403" / "failing.json").read_text())
    (tmp_path / "notes.txt").write_text("{")
    (tmp_path / "cloud.conf").write_text((FIXTURES / "HC403" / "failing.json").read_text())
    result = run("--output", "json", ".", cwd=tmp_path)
    assert [(finding["file"], finding["code"]) for finding in json.loads(result.stdout)] == [
        ("cloud.conf", "HC403"),
        ("deep/one.yml", "HC109"),
        ("two.json", "HC403"),
    ]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--select", "HC109"], ["HC109"]),
        (["--select", "hc1,HC403"], ["HC109", "HC403"]),
        (["--select", "HC4", "--select", "HC2"], ["HC403"]),
        (["--ignore", "HC1"], ["HC403"]),
        (["--select", "HC1", "--ignore", "HC109"], []),
    ],
)
def test_select_and_ignore_take_codes_and_their_beginnings(arguments, found):
    result = run("--output", "json", *arguments, FAILING, FIXTURES / "HC403" / "failing.json")
    assert [finding["code"] for finding in json.loads(result.stdout)] == found
    assert result.returncode == (1 if found else 0)


def test_notes_are_shown_and_do_not_fail():
    result = run(FIXTURES / "HC504" / "failing.yaml")
    assert "HC504 note" in result.stdout
    assert result.returncode == 0


def test_sarif_has_rules_levels_and_regions(tmp_path):
    file = tmp_path / "a file.yaml"
    file.write_text(FAILING.read_text())
    log = json.loads(run("--output", "sarif", "a file.yaml", file, cwd=tmp_path).stdout)
    assert log["version"] == "2.1.0"
    (part,) = log["runs"]
    rules = part["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == list(RULES)
    uris = []
    for result in part["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"] == "HC109"
        assert result["level"] == "error"
        (location,) = result["locations"]
        assert location["physicalLocation"]["region"]["startLine"] > 1
        uris.append(location["physicalLocation"]["artifactLocation"]["uri"])
    assert sorted(uris) == ["a%20file.yaml", f"file://{tmp_path}/a%20file.yaml"]


def test_github_commands_are_escaped(tmp_path):
    (tmp_path / "a,b%:c.yaml").write_text((FIXTURES / "HC203" / "failing.yaml").read_text())
    result = run("--output", "github", "a,b%:c.yaml", cwd=tmp_path)
    assert result.stdout.count("\n") == 1
    assert result.stdout.startswith("::error file=a%2Cb%25%3Ac.yaml,line=")
    assert ",title=HC203%3A Variable names a directory::$.spec" in result.stdout


def test_list_shows_every_code_without_a_file():
    result = run("--list")
    assert result.returncode == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == list(RULES)


@pytest.mark.parametrize(("no_color", "has_color"), [("", True), ("1", False)])
def test_findings_are_coloured_on_a_terminal_only(no_color, has_color):
    primary, secondary = pty.openpty()
    environment = {**os.environ, "NO_COLOR": no_color}
    command = [sys.executable, "-m", "hcpcreds", "check", str(FAILING)]
    subprocess.run(command, check=False, stdout=secondary, stderr=subprocess.DEVNULL, env=environment)
    os.close(secondary)
    shown = os.read(primary, 100_000)
    os.close(primary)
    assert (b"\x1b" in shown) is has_color


@pytest.mark.parametrize("code", ["HC305", "hc701"])
def test_explain_prints_the_page_of_a_code(code):
    result = run("--explain", code)
    assert result.returncode == 0
    assert result.stdout == (PAGES / f"{code.upper()}.md").read_text()


def test_pages_ship_with_the_package(tmp_path):
    [wheel] = WheelBuilder(str(PAGES.parents[1])).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        shipped = archive.read("hcpcreds/manifests/check/pages/HC305.md")
    assert shipped == (PAGES / "HC305.md").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--explain", "HC999"], "there is no code 'HC999'"),
        ([], "Missing argument 'FILE...|-'"),
        (["--select", "HC9", "-"], "no code begins with 'HC9'"),
        (["--ignore", "", "-"], "no code begins with ''"),
        (["--output", "xml", "-"], "'xml' is not one of"),
    ],
)
def test_wrong_usage_is_refused(arguments, message):
    result = run(*arguments)
    assert result.returncode == 2
    assert message in result.stderr


def test_everything_else_is_checked_when_something_named_cannot_be_used(tmp_path):
    (tmp_path / "broken.yaml").write_text("a: [")
    (tmp_path / "empty").mkdir()
    (tmp_path / "good.yaml").write_text(FAILING.read_text())
    result = run("absent.yaml", "broken.yaml", "empty", "good.yaml", cwd=tmp_path)
    assert result.returncode == 2
    assert "HC109" in result.stdout
    assert "broken.yaml\n  2: HC701 error: not YAML: " in result.stdout
    assert "3 problems" in result.stderr
    for problem in (
        "absent.yaml: cannot be read: No such file",
        "broken.yaml: no document in it can be read",
        "empty: the directory holds no",
    ):
        assert problem in result.stderr


HELM = "{{- if .Values.enabled }}\nkind: Deployment\napiVersion: apps/v1\n{{- end }}\n"


def test_directory_is_read_to_the_end_when_there_are_files_in_it_that_are_not_for_kubernetes(tmp_path):
    others = {
        "chart/templates/all.yaml": HELM,
        "chart/templates/late.yaml": "apiVersion: v1\nkind: Pod\nmetadata:\n  a: b\n {{ end }}\n",
        "chart/values.yaml": "image: {tag: v1}\n",
        ".vscode/settings.json": '{\n  // editor\n  "editor.tabSize": 2,\n}\n',
        "play.yml": "- hosts: all\n  tasks: [{name: a}]\n- {% x %}\n",
        "data.json": "\xff\x00",
        "empty.yaml": "",
    }
    for name, text in {**others, "deploy/one.yaml": FAILING.read_text()}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(text.encode("latin-1"))
    result = run(".", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stdout.startswith("deploy/one.yaml\n")
    assert result.stdout.count("HC") == 1
    assert result.stderr == "1 error found in 2 objects; 7 files passed over (-v lists them)\n"
    verbose = run("-v", ".", cwd=tmp_path).stderr
    for name in others:
        assert f"\n  {name}: " in verbose
    assert "all.yaml: line 1: a template: render it first\n" in verbose
    assert "values.yaml: no Kubernetes object in it\n" in verbose


@pytest.mark.parametrize(
    "text",
    [
        "apiVersion: v1\nkind: [\n",
        '{"kind": "Pod", "apiVersion": "v1",\n]}',
        "kind: P\napiVersion: v1\nkind: P\n",
    ],
)
def test_manifest_in_a_directory_is_a_finding_when_it_cannot_be_read(tmp_path, text):
    (tmp_path / "bad.yaml").write_text(text)
    (tmp_path / "good.yaml").write_text(CLEAN.read_text())
    result = run(tmp_path)
    assert result.returncode == 1
    assert f"{tmp_path / 'bad.yaml'}\n" in result.stdout
    assert "HC701 error" in result.stdout


def test_file_in_a_directory_is_named_when_it_cannot_be_opened(tmp_path):
    (tmp_path / "good.yaml").write_text(FAILING.read_text())
    (tmp_path / "loop.yaml").symlink_to("good.yaml/x")
    (tmp_path / "memory.json").symlink_to("/proc/self/mem")
    result = run(tmp_path)
    assert "HC109" in result.stdout
    assert f"{tmp_path / 'memory.json'}: cannot be read: Input/output error" in result.stderr
    assert result.returncode == 2


def test_broken_document_is_a_finding_when_others_stand_beside_it(tmp_path):
    (tmp_path / "stream.yaml").write_text(f"a: 1\nkind: X\na: 2\n---\n{FAILING.read_text()}---\n{HELM}")
    result = run("--output", "json", tmp_path / "stream.yaml")
    found = {(finding["line"], finding["code"]) for finding in json.loads(result.stdout)}
    assert {(3, "HC701"), (47, "HC109")} <= found
    assert "HC702" in {code for _, code in found}
    assert result.returncode == 1


@pytest.mark.parametrize("text", ["# kubectl failed\n", "[]", "a: b\n", HELM])
def test_nothing_to_check_is_not_a_success(text):
    result = run("-", stdin=text)
    assert result.returncode == 2
    assert "-: there is nothing to check" in result.stderr
    assert "nothing found" not in result.stderr


def test_bare_list_of_objects_is_not_a_success():
    result = run("-", stdin='[{"apiVersion": "v1", "kind": "ConfigMap"}]')
    assert result.returncode == 2
    assert "HC701 error: a bare list of objects, which kubectl does not read" in result.stdout


def test_help_shows_an_example():
    result = run("--help")
    assert result.returncode == 0
    assert "\n    hcpcreds check deploy/ hosted-cluster.yaml\n" in result.stdout


def test_shell_completes_codes():
    environment = {
        "_HCPCREDS_COMPLETE": "bash_complete",
        "COMP_WORDS": "hcpcreds check --select HC60",
        "COMP_CWORD": "3",
    }
    result = subprocess.run(
        [sys.executable, "-m", "hcpcreds"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    assert result.stdout.split() == [f"plain,{code}" for code in RULES if code.startswith("HC6")]
