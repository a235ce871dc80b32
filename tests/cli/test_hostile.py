"""Names and texts of strangers through every command: none reaches a terminal as it is."""

import base64
import json
import logging
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner
from tests.manifests.examples import KEY_VAULT_USER, make_manifest

from hcpcreds.cli.check_report import render_findings
from hcpcreds.cli.renew_report import RenewalReport
from hcpcreds.cli.root import hcpcreds
from hcpcreds.cli.up_report import LinesReporter, TableReporter
from hcpcreds.errors import IssueError
from hcpcreds.manifests.check import check, read_documents
from hcpcreds.renewal.outcomes import Outcome, Result, Walk
from hcpcreds.up.record import ComponentRecord
from hcpcreds.vault.secret import StoredCredential

HOSTILE = "x\x1b]0;owned\x07\x1b[2J\x9b2J\x7f\u202eevil\u2066\u2028y"
FIXTURES = Path(__file__).parents[1] / "manifests" / "check_fixtures"
FILE_NAME = HOSTILE + "\n::error::forged"
EVERYWHERE = re.compile(r"\x1b\[\d*m")
"""Our own colours, which stand around what is shown."""


def make_credential(name: str, at: datetime) -> StoredCredential:
    return StoredCredential(
        name=name, enabled=True, not_before=at, expires_on=at, renew_after=at, cannot_renew_after=at
    )


def assert_is_safe(shown: str) -> None:
    shown = EVERYWHERE.sub("", shown)
    assert {each for each in shown if not each.isprintable()} <= {"\n"}
    assert "forged" not in [line.rpartition(":")[2] for line in shown.splitlines() if line.startswith("::")]


def write(folder: Path, text: str, name: str = FILE_NAME) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def make_deployment(**changes: Any) -> str:
    container = {"name": HOSTILE, "volumeMounts": [{"name": HOSTILE, "mountPath": f"/{HOSTILE}"}]}
    volume = {"name": HOSTILE, "csi": {"driver": HOSTILE, "volumeAttributes": {HOSTILE: HOSTILE}}}
    return json.dumps(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": HOSTILE, "namespace": HOSTILE},
            "spec": {"template": {"spec": {"containers": [container, container], "volumes": [volume] * 2}}},
            **changes,
        }
    )


def make_cluster() -> str:
    return json.dumps(make_manifest())


@pytest.fixture
def issue(local_azure) -> Callable[..., str]:
    return lambda **fields: json.dumps({**local_azure.issue(str(uuid.uuid4())), **fields})


@pytest.fixture
def run(local_azure) -> Callable[..., str]:
    def run(*arguments: str, **environ: str) -> str:
        arguments = tuple(each.replace("CA-FILE", str(local_azure.ca_file)) for each in arguments)
        result = CliRunner(env=environ).invoke(hcpcreds, arguments, color=True)
        return result.output

    return run


@pytest.mark.parametrize("arguments", [["inspect"], ["inspect", "--output", "json"]], ids=" ".join)
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"authentication_endpoint": f"https://login.example/{HOSTILE}"},
        {"authentication_endpoint": HOSTILE},
        {"client_id": HOSTILE, "tenant_id": HOSTILE, "object_id": HOSTILE, "resource_id": HOSTILE},
        {"not_after": HOSTILE, "not_before": HOSTILE, "client_secret": HOSTILE, HOSTILE: HOSTILE},
    ],
    ids=["valid", "endpoint", "no-url", "ids", "rest"],
)
def test_inspect_shows_nothing_as_it_is_when_file_and_name_are_hostile(
    run, issue, tmp_path, arguments, fields
):
    assert_is_safe(run(*arguments, write(tmp_path, issue(**fields))))
    assert_is_safe(run(*arguments, str(tmp_path)))


@pytest.mark.parametrize("name", ["missing", "/mnt/missing"])
@pytest.mark.parametrize(
    "command",
    ["inspect", "inspect --local", "token", "token --local", "check", "inject", "render", "up", "renew"],
)
def test_command_fails_safely_when_the_name_that_it_is_given_is_hostile(run, tmp_path, command, name):
    shown = run(*command.split(), f"{name}{FILE_NAME}", TMPDIR=str(tmp_path))
    assert shown
    assert_is_safe(shown)


@pytest.mark.parametrize(
    "arguments",
    [
        [HOSTILE],
        ["render", "--kind", HOSTILE, "FILE"],
        ["render", "--output", HOSTILE, "FILE"],
        ["render", "--namespace", HOSTILE, "FILE"],
        ["render", "--component", HOSTILE, "FILE"],
        ["token", "--scope", HOSTILE, "--timeout", "1", "--ca-file", "CA-FILE", "FILE"],
        ["token", "--cloud", HOSTILE, "FILE"],
        ["token", "--authority", HOSTILE, "FILE"],
        ["token", "--tenant", HOSTILE, "--ca-file", "CA-FILE", "FILE"],
        ["check", "--select", HOSTILE, "FILE"],
        ["inject", "--workload", HOSTILE, "FILE"],
        ["inject", "--component", HOSTILE, "FILE"],
        ["renew", "--once", "--vault", HOSTILE, "--audience", HOSTILE],
        ["renew", "--interval", HOSTILE],
        ["renew", "--once", "--vault", "east", "--audience", HOSTILE],
        [
            "renew",
            "--once",
            "--vault",
            "east",
            "--audience",
            "https://a.example",
            "--metrics-address",
            HOSTILE,
        ],
        ["serve", "--credential", HOSTILE, "--assertion-directory", "/missing"],
        ["serve", "--credential", f"{HOSTILE}=/mnt/file", "--assertion-directory", "/missing"],
        ["serve", "--assertion-directory", "/missing", "--assertion-mode", HOSTILE],
        ["serve", "--assertion-directory", "/missing", "--assertion-group", HOSTILE],
        ["serve", "--assertion-directory", "/missing", "--assertion-life", HOSTILE],
        ["serve", "--credential", f"/mnt/file,{HOSTILE}=x", "--assertion-directory", "/missing"],
        [
            "serve",
            "--credential",
            f"/mnt/file,tenant_id={HOSTILE},client_id=x",
            "--assertion-directory",
            "/m",
        ],
        ["token", "--client-id", HOSTILE, "--tenant", HOSTILE, "/missing"],
        ["exec", "--credential", HOSTILE, "--signal-on-rotation", HOSTILE, "--", "true"],
        ["exec", "--credential", f"{HOSTILE}=/mnt/file", "--", HOSTILE],
        ["exec", "--credential", "/mnt/file", "--provide", HOSTILE, "--", "true"],
        ["conform", "--fault", HOSTILE, "--", "true"],
        ["conform", "--with", HOSTILE, "--hold", HOSTILE, "--", "true"],
        ["conform", "--", HOSTILE],
        ["explain", HOSTILE],
        ["explain", f"pod/{HOSTILE}"],
        ["explain", "--context", HOSTILE],
        ["rollout", "--vault", HOSTILE],
        ["rollout", "--vault", "east", HOSTILE],
        ["rollout", "--vault", "east", "--context", HOSTILE],
        ["renew", "--now", HOSTILE, "--vault", "east", "--audience", "https://a.example"],
        ["completion", HOSTILE],
    ],
    ids=lambda arguments: " ".join(arguments[:2]).replace(HOSTILE, "HOSTILE"),
)
def test_command_fails_safely_when_an_option_is_hostile(run, issue, tmp_path, arguments):
    content = issue() if arguments[0] == "token" else make_cluster()
    file = write(tmp_path, content, name="file")
    shown = run(*(file if each == "FILE" else each for each in arguments))
    assert shown
    assert_is_safe(shown)


@pytest.mark.parametrize("output", ["text", "json", "github", "sarif"])
def test_check_shows_nothing_as_it_is_when_manifest_and_name_are_hostile(run, tmp_path, output):
    text = (FIXTURES / "HC303" / "failing.yaml").read_text()
    text = re.sub(r"name: \S+", lambda _: f"name: {json.dumps(HOSTILE)}", text, count=1)
    shown = run("check", "--output", output, write(tmp_path, text))
    assert "HC" in shown
    assert_is_safe(shown)


@pytest.mark.unmeasured
@pytest.mark.parametrize("folder", sorted(FIXTURES.iterdir()), ids=lambda folder: folder.name)
def test_finding_shows_nothing_as_it_is_when_any_text_in_the_manifest_is_hostile(folder):
    for file in folder.glob("failing*"):
        text = json.dumps(list(yaml.safe_load_all(file.read_text())))
        for found in {*re.findall(r'"(?:[^"\\]|\\.)*"', text)}:
            hostile = text.replace(found, json.dumps(json.loads(found) + HOSTILE))
            source = "\n---\n".join(map(json.dumps, json.loads(hostile)))
            findings = check(read_documents(source, file=FILE_NAME))
            assert_is_safe(render_findings(findings, "text"))
            assert_is_safe(render_findings(findings, "github"))


@pytest.mark.parametrize("text", ["\x1b[2J: 1", "a: [\x9b", "a: \u202e\n\tb", "*x\u202e", "{", HOSTILE])
@pytest.mark.parametrize("command", ["check", "inject", "render", "up", "inspect", "token"])
def test_command_fails_safely_when_the_file_cannot_be_read(run, tmp_path, command, text):
    shown = run(command, write(tmp_path, text))
    assert shown
    assert_is_safe(shown)


@pytest.mark.parametrize("output", ["patch", "jsonpatch", "diff"])
def test_inject_shows_nothing_as_it_is_when_manifest_and_name_are_hostile(run, tmp_path, output):
    cluster = write(tmp_path, make_cluster(), name="cluster.json")
    container = {"name": "ingress-operator"}
    pod = {"containers": [container], "volumes": [{"name": HOSTILE, "emptyDir": {}}]}
    metadata = {"name": HOSTILE, "labels": {"hcpcreds.io/component": "ingress-operator"}}
    file = write(tmp_path, make_deployment(metadata=metadata, spec={"template": {"spec": pod}}))
    shown = run("inject", "--hosted-cluster", cluster, "--output", output, file)
    assert "to change" in shown
    if output == "diff":  # where nobody looks, `patch` gets the file's own bytes
        shown = "\n".join(line for line in shown.splitlines() if line[0] not in " -+" or line[:3] == "+++")
    assert_is_safe(shown)


def test_inject_names_what_is_in_the_way_safely(run, tmp_path):
    cluster = write(tmp_path, make_cluster(), name="cluster.json")
    for component in ("ingress-operator", HOSTILE):
        metadata = {"name": HOSTILE, "labels": {"hcpcreds.io/component": component}}
        file = write(tmp_path, make_deployment(metadata=metadata))
        shown = run("inject", "--hosted-cluster", cluster, file)
        assert shown
        assert_is_safe(shown)


@pytest.mark.parametrize("arguments", [[], ["--output", "json"], ["--output", "dir=DIR"]], ids=" ".join)
@pytest.mark.parametrize(
    "field", ["location", "resourceGroup", "subscriptionID", "vnetID", "subnetID", "cloud"]
)
def test_render_shows_nothing_as_it_is_when_the_cluster_is_hostile(run, tmp_path, arguments, field):
    manifest = make_manifest()
    azure = manifest["spec"]["platform"]["azure"]
    for hostile in (HOSTILE, "x\x9b2J\u202e", azure.get(field, "") + "\x9b2J\u202e"):
        azure[field] = hostile
        arguments = [each.replace("DIR", str(tmp_path / FILE_NAME)) for each in arguments]
        file = write(tmp_path, json.dumps(manifest))
        shown = run("render", "--key-vault-user-client-id", KEY_VAULT_USER, *arguments, file)
        assert shown
        assert_is_safe(shown)


@pytest.mark.parametrize("output", ["text", "json"])
def test_token_shows_nothing_as_it_is_when_the_authority_is_hostile(
    run, issue, tmp_path, local_azure, output
):
    def encode(fields: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode().rstrip("=")

    token = f"{encode({})}.{encode({HOSTILE: HOSTILE, 'exp': HOSTILE, 'aud': [HOSTILE]})}.x"
    good = {"access_token": token, "expires_in": 3600, "token_type": "Bearer"}
    error = {"error": HOSTILE, "error_description": HOSTILE, "error_codes": [HOSTILE]}
    for status, body in (
        (200, good),
        (200, {**good, "token_type": HOSTILE}),
        (200, {**good, "expires_in": HOSTILE}),
        (200, {**good, "expires_in": 1e13}),
        (200, {HOSTILE: HOSTILE}),
        (400, error),
        (401, {**error, "error_description": f"AADSTS7000215: {HOSTILE}"}),
        (403, HOSTILE),
    ):
        local_azure.faults.clear()
        local_azure.faults.add("entra", match="token", status=status, body=json.dumps(body).encode())
        file = write(tmp_path, issue())
        shown = run("token", "--ca-file", "CA-FILE", "--output", output, file)
        assert shown
        assert_is_safe(shown)


@pytest.mark.parametrize("output", ["text", "json"])
def test_renew_reports_nothing_as_it_is_when_names_and_reasons_are_hostile(capsys, output):
    now = datetime.now(UTC)
    outcomes = tuple(
        Outcome(credential=make_credential(HOSTILE, now), result=result, reason=HOSTILE) for result in Result
    )
    report = RenewalReport(output)
    for outcome in outcomes:
        report.settled("https://vault", outcome)
    report.walk_finished(
        Walk(
            vault_url="https://vault",
            started_at=now,
            finished_at=now,
            problem=HOSTILE,
            outcomes=outcomes,
            credentials={},
        )
    )
    shown = "".join(capsys.readouterr())
    assert shown
    assert_is_safe(shown)


@pytest.mark.parametrize("make", [LinesReporter, TableReporter])
def test_up_reports_nothing_as_it_is_when_texts_are_hostile(capsys, make):
    record = ComponentRecord("ingress", "ingress", "volume", "class", "/mnt/certs/file")
    with make() as reporter:
        reporter.started([record])
        reporter.step(HOSTILE)
        reporter.happened(record, HOSTILE)
        reporter.problem(HOSTILE)
        reporter.finished([record])
    shown = re.sub(r"\x1b\[[\d?;]*[A-Zhlm]|\r", "", "".join(capsys.readouterr()))
    assert shown
    assert "\x1b]0" not in shown
    assert_is_safe(shown.replace("\x07", "") if make is TableReporter else shown)


def test_reports_keep_the_lines_of_a_list_of_problems(capsys):
    text = f"2 problems\n  one\n  {HOSTILE}"
    with LinesReporter() as reporter:
        reporter.problem(text)
    now = datetime.now(UTC)
    outcome = Outcome(credential=make_credential("x", now), result=Result.FAILED, reason=text)
    RenewalReport("text").settled("https://vault", outcome)
    shown = capsys.readouterr().err
    assert shown.count("\n  one\n  x") == 2
    assert_is_safe(shown)


def test_error_keeps_its_lines_and_nothing_else_that_moves_a_cursor():
    error = IssueError(f"first {HOSTILE}\n  second", hint=HOSTILE)
    assert_is_safe(f"{error}\n{error.message}\n{error.hint}")
    assert error.message.count("\n") == 1


def test_log_line_is_one_safe_line_when_a_command_logs_foreign_text(run):
    run("completion", "bash")
    error = ValueError(f"{HOSTILE} secret")
    failed = (ValueError, error, None)
    record = logging.LogRecord("azure", logging.ERROR, "", 1, "%s", (HOSTILE,), failed)
    assert logging.lastResort is not None
    shown = logging.lastResort.format(record)
    assert_is_safe(shown)
    assert "\n" not in shown
    assert "secret" not in shown


def test_every_command_is_in_this_file():
    text = Path(__file__).read_text()
    for command in hcpcreds.list_commands(click.Context(hcpcreds)):
        assert f'"{command}"' in text or command == "completion"
