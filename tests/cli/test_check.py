import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hcpcreds.manifests.check import RULES

FIXTURES = Path(__file__).parents[1] / "manifests" / "check_fixtures"
WRITABLE = FIXTURES / "HC106" / "failing.yaml"
CLEAN = FIXTURES / "HC106" / "clean.yaml"


def run(*arguments: str | Path, stdin: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hcpcreds", "check", *map(str, arguments)],
        input=stdin,
        check=False,
        capture_output=True,
        text=True,
        cwd=cwd,
    )


def test_check_says_where_why_and_how_to_fix():
    result = run(WRITABLE)
    assert result.returncode == 1
    line = WRITABLE.read_text().splitlines().index("            - name: ingress-cert") + 1
    assert result.stdout == (
        f"{WRITABLE}:{line}: HC106 warning: the container 'ingress-operator' mounts 'ingress-cert' writable\n"
        "    $.spec.template.spec.containers[0].volumeMounts[0].readOnly\n"
        "    Set readOnly: true, as HyperShift does.\n"
    )
    assert result.stderr == "1 finding in 2 documents\n"


def test_json_findings_have_stable_keys():
    [finding] = json.loads(run("--output", "json", WRITABLE).stdout)
    assert list(finding) == ["file", "line", "path", "code", "severity", "reason", "fix"]


def test_check_is_silent_and_succeeds_when_nothing_is_found():
    result = run(CLEAN)
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr == "0 findings in 2 documents\n"


def test_check_reads_standard_input_and_looks_at_all_files_together():
    secret_provider_class, deployment = CLEAN.read_text().split("---\n")
    other = secret_provider_class.replace("otter-ingress", "heron-ingress")
    assert run("-", stdin=deployment).returncode == 0
    result = run("-", stdin=f"{other}---\n{deployment}")
    assert result.returncode == 1
    assert result.stdout.startswith("-:")
    assert "HC202 error" in result.stdout


def test_check_takes_a_directory_for_the_yaml_and_json_below_it(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "one.yml").write_text(WRITABLE.read_text())
    (tmp_path / "two.json").write_text((FIXTURES / "HC403" / "failing.json").read_text())
    (tmp_path / "notes.txt").write_text("{")
    result = run("--output", "json", ".", cwd=tmp_path)
    assert [(finding["file"], finding["code"]) for finding in json.loads(result.stdout)] == [
        ("deep/one.yml", "HC106"),
        ("two.json", "HC403"),
    ]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--select", "HC106"], ["HC106"]),
        (["--select", "hc1,HC403"], ["HC106", "HC403"]),
        (["--select", "HC4", "--select", "HC2"], ["HC403"]),
        (["--ignore", "HC1"], ["HC403"]),
        (["--select", "HC1", "--ignore", "HC106"], []),
    ],
)
def test_select_and_ignore_take_codes_and_their_beginnings(arguments, found):
    result = run("--output", "json", *arguments, WRITABLE, FIXTURES / "HC403" / "failing.json")
    assert [finding["code"] for finding in json.loads(result.stdout)] == found
    assert result.returncode == (1 if found else 0)


def test_notes_are_shown_and_do_not_fail():
    result = run(FIXTURES / "HC504" / "failing.yaml")
    assert "HC504 note" in result.stdout
    assert result.returncode == 0


def test_sarif_has_rules_levels_and_regions(tmp_path):
    file = tmp_path / "a file.yaml"
    file.write_text(WRITABLE.read_text())
    log = json.loads(run("--output", "sarif", "a file.yaml", file, cwd=tmp_path).stdout)
    assert log["version"] == "2.1.0"
    (part,) = log["runs"]
    rules = part["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == list(RULES)
    uris = []
    for result in part["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"] == "HC106"
        assert result["level"] == "warning"
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
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


def test_every_file_that_cannot_be_used_is_named_at_once_and_nothing_is_reported(tmp_path):
    (tmp_path / "broken.yaml").write_text("a: [")
    (tmp_path / "empty").mkdir()
    result = run(WRITABLE, "absent.yaml", "broken.yaml", "empty", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert "3 problems" in result.stderr
    for problem in (
        "absent.yaml: cannot be read: No such file",
        "broken.yaml: not YAML: line ",
        "empty: the directory holds no",
    ):
        assert problem in result.stderr


def test_nothing_to_check_is_no_success():
    result = run("-", stdin="# kubectl failed\n")
    assert result.returncode == 2
    assert "-: empty; expected YAML or JSON" in result.stderr


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
    assert result.stdout.split() == ["plain,HC601", "plain,HC602", "plain,HC603", "plain,HC604"]
