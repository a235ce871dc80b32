"""`hcpcreds rollout`: what it sees of a cluster and a vault, and what it says when a part is hidden."""

import json
import os
import re
import signal
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.rollout.fleet import NAMESPACE, Container, Fleet, serving_page

ROLES = list(yaml.safe_load_all((Path(__file__).parents[2] / "deploy/rollout/cluster-role.yaml").read_text()))
RULES, METRICS = (role["rules"] for role in ROLES)
NOW = datetime.now(UTC)


@pytest.fixture
def client_id() -> str:
    return str(uuid.uuid4())


def get_row(fleet: Fleet, secret: str) -> dict[str, Any]:
    (row,) = fleet.judge(secret)["rows"]
    return dict(row)


def show(*thumbprints: str) -> bytes:
    """Make a page of metrics of a program that uses these certificates."""
    lines = [
        f'hcpcreds_certificate_info{{credential="c{number}",thumbprint="{thumbprint}"}} 1'
        for number, thumbprint in enumerate(thumbprints)
    ]
    return "\n".join([*lines, ""]).encode()


def test_rollout_needs_only_what_its_cluster_roles_allow(fleet: Fleet, client_id: str):
    first = fleet.store("roles", client_id)
    pod = fleet.add("pod", "roles")
    with serving_page(lambda: show(newest[-1])) as port:
        newest = [first, fleet.store("roles", client_id)]
        pod.write(Container(port=port))
        pod.poll()
        fleet.api.rules = [*RULES, *METRICS]
        assert get_row(fleet, "roles")["state"] == "new"
        fleet.api.rules = RULES
        row = get_row(fleet, "roles")
    assert row["state"] == "unknown"
    assert "It takes the verb get on pods/proxy." in row["reason"]


@pytest.mark.parametrize(
    ("hidden", "reason"),
    [
        ("secretproviderclasspodstatuses", "It takes the verb list on secretproviderclasspodstatuses"),
        ("secretproviderclasses", "It takes the verb list on secretproviderclasses"),
    ],
)
def test_pod_is_unknown_with_the_verb_that_is_missing(fleet: Fleet, client_id: str, hidden: str, reason: str):
    fleet.store("hidden", client_id)
    fleet.add("pod", "hidden")
    fleet.api.rules = [
        {**rule, "resources": [each for each in rule["resources"] if each != hidden]} for rule in RULES
    ]
    row = get_row(fleet, "hidden")
    assert row["state"] == "unknown"
    assert reason in row["reason"]


def test_rollout_exits_with_1_when_pods_may_not_be_listed(fleet: Fleet):
    fleet.api.rules = []
    done = fleet.rollout()
    assert (done.exit_code, done.stdout) == (1, "")
    assert "It takes the verb list on pods." in done.stderr


def test_pod_is_new_when_it_has_started_after_the_rotation(fleet: Fleet, client_id: str):
    fleet.store("started", client_id)
    pod = fleet.add("pod", "started")
    newest = fleet.store("started", client_id)
    assert get_row(fleet, "started")["state"] == "old"
    pod.poll()
    assert get_row(fleet, "started")["state"] == "unknown"
    now = datetime.now(UTC)  # the tests may have run for minutes
    pod.write(Container(started=now + timedelta(minutes=4)))
    assert get_row(fleet, "started")["state"] == "unknown", "the clocks may differ"
    pod.write(Container(started=now + timedelta(minutes=6)))
    row = get_row(fleet, "started")
    assert (row["state"], row["newest"]["thumbprint"], row["mounted"]["thumbprint"]) == (
        "new",
        newest,
        newest,
    )
    pod.write(Container(started=None))
    heading, shown, *_ = fleet.rollout("started").stdout.splitlines()
    assert heading.split() == ["secret", "pod", "vault", "mounted", "in", "use", "state"]
    assert shown.split() == ["started", "hcp/pod", newest[:12], newest[:12], "?", "new"]


def test_pod_is_unknown_when_its_containers_are_not_reported(fleet: Fleet, client_id: str):
    fleet.store("silent", client_id)
    pod = fleet.add("pod", "silent")
    fleet.store("silent", client_id)
    pod.poll()
    pod.write(Container(), containerStatuses=[])
    assert get_row(fleet, "silent")["state"] == "unknown"
    pod.write(Container(), containerStatuses=[{"name": "main", "state": {"running": {"startedAt": "soon"}}}])
    assert get_row(fleet, "silent")["state"] == "unknown"


def test_pod_that_had_the_name_before_says_nothing_of_this_one(fleet: Fleet, client_id: str):
    fleet.store("again", client_id)
    pod = fleet.add("pod", "again")
    status = fleet.api.find_all("secretproviderclasspodstatuses", NAMESPACE)[pod.status_name]
    status["metadata"]["ownerReferences"][0]["uid"] = "the-earlier-pod"
    row = get_row(fleet, "again")
    assert (row["state"], row["mounted"]["version"]) == ("unknown", None)
    pod.write(Container(started=None), phase="Pending")
    assert get_row(fleet, "again")["state"] == "waiting"
    pod.write(Container(started=None), phase="Succeeded")
    assert fleet.judge("again")["not_mounted"] == ["again"]


def test_rollout_is_not_done_when_nothing_was_found(fleet: Fleet, client_id: str):
    fleet.store("nowhere", client_id)
    done = fleet.rollout("nowhere")
    assert done.exit_code == 1
    assert "nowhere: no pod that mounts it was found, which proves nothing" in done.stdout
    assert fleet.rollout().exit_code == 1


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ({"provider": "aws"}, 0),
        ({"keyvaultName": None}, 1),
        ({"class": None}, 1),
    ],
    ids=["another provider", "no vault", "no class"],
)
def test_pod_counts_unless_its_class_shows_that_it_uses_another_vault(
    fleet: Fleet, client_id: str, parameters: dict[str, Any], found: int
):
    fleet.store("class", client_id)
    fleet.add("pod", "class")
    classes = fleet.api.find_all("secretproviderclasses", NAMESPACE)
    match parameters:
        case {"provider": provider}:
            classes["class"]["spec"]["provider"] = provider
        case {"keyvaultName": _}:
            del classes["class"]["spec"]["parameters"]["keyvaultName"]
        case _:
            del classes["class"]
    rows = fleet.judge("class")["rows"]
    assert [row["state"] for row in rows] == ["unknown"] * found
    assert all("is absent, or names no vault" in row["reason"] for row in rows)


def test_no_pod_is_new_when_the_authority_does_not_take_the_newest_certificate(fleet: Fleet, client_id: str):
    fleet.store("refused", client_id)
    newest = fleet.store("refused", client_id)
    fleet.add("pod", "refused")
    application = fleet.azure.directory.find_application(client_id)
    assert application is not None
    certificate = application.certificates.pop(newest)
    row = get_row(fleet, "refused")
    assert (row["state"], row["hint"]) == ("refused", "Do not revoke the earlier one.")
    assert "AADSTS700027" in row["reason"]
    application.certificates[newest] = certificate
    assert get_row(fleet, "refused")["state"] == "new"


def test_no_pod_is_new_while_it_is_not_known_whether_the_authority_takes_its_certificate(
    fleet: Fleet, client_id: str
):
    fleet.store("unproven", client_id)
    pod = fleet.add("pod", "unproven")
    fleet.azure.faults.add("entra", times=1)  # the login to the vault
    fleet.azure.faults.add("entra", status=503, times=1)
    row = get_row(fleet, "unproven")
    assert row["state"] == "unknown"
    assert "whether the authority accepts the newest certificate is not known: no token for" in row["reason"]
    assert get_row(fleet, "unproven")["state"] == "new"

    content = json.loads(pod.path.read_bytes())
    content["authentication_endpoint"] = "https://login.example.test/"
    fleet.azure.vault().put("unproven", json.dumps(content))
    pod.poll()
    report = fleet.judge("unproven")
    (problem,), (row,) = report["problems"], report["rows"]
    assert row["state"] == "unknown"
    assert "neither a host of Entra ID nor the authority" in problem["problem"]
    assert f"unproven: {problem['problem']}" in fleet.rollout("unproven").stdout


def test_no_pod_is_new_when_the_vault_does_not_tell_the_certificate(fleet: Fleet, client_id: str):
    fleet.store("untold", client_id)
    fleet.add("pod", "untold")
    fleet.azure.vault().put("untold", '{"client_secret": "S3cr3t"}')
    row = get_row(fleet, "untold")
    assert (row["state"], row["newest"]["thumbprint"]) == ("unknown", None)
    assert "no pod can use it" in row["reason"]
    assert "S3cr3t" not in str(row)
    fleet.azure.vault().put("untold", "[]")
    assert "its value is not a credential" in get_row(fleet, "untold")["reason"]
    with fleet.open_vault() as client:
        client.update_secret_properties("untold", enabled=False)
    row = get_row(fleet, "untold")
    assert (row["state"], row["newest"]) == ("unknown", None)
    assert "The secret is disabled" in row["reason"]


def test_earlier_versions_are_told_without_those_that_do_not_matter(fleet: Fleet, client_id: str):
    expired = fleet.store(
        "many", client_id, not_before=NOW - timedelta(days=90), not_after=NOW - timedelta(days=1)
    )
    earlier = fleet.store("many", client_id)
    fleet.azure.vault().put("many", "not a credential")
    fleet.store("many", client_id)
    fleet.add("pod", "many")
    report = fleet.judge("MANY")
    assert [each["thumbprint"] for each in report["no_longer_used"]] == [earlier]
    assert expired not in str(report)
    assert "Nothing is known of these earlier versions, which are disabled" in fleet.rollout("many").stdout


def test_versions_that_cannot_be_read_are_not_taken_for_none(fleet: Fleet, client_id: str):
    fleet.store("disabled", client_id)
    with fleet.open_vault() as client:
        version = client.get_secret("disabled").properties.version
        fleet.store("disabled", client_id)
        fleet.add("pod", "disabled")
        client.update_secret_properties("disabled", version, enabled=False)
    done = fleet.rollout("disabled")
    assert done.exit_code == 0
    assert f"certificate another secret has, too: disabled {version}." in done.stdout
    assert "nothing to revoke" not in done.stdout


@pytest.mark.parametrize(
    ("page", "status", "reason"),
    [
        (b"", 200, "show no credential of hcpcreds"),
        (b"<html>", 200, "show no credential of hcpcreds"),
        (b"hcpcreds_<html>", 200, "its metrics are not readable"),
        (b'hcpcreds_certificate_info{credential="a",thumbprint="\x1b[2J"} 1\n', 200, "are not readable"),
        (b'hcpcreds_certificate_info{credential="a"} 1\n', 200, "are not readable"),
        (show("a" * 64, "b" * 64).replace(b"c1", b"c0"), 200, "are not readable"),
        (show("f" * 64), 200, "it shows no certificate of this secret"),
        (b"x" * (4 * 2**20 + 1), 200, "its metrics are larger than"),
        (b"no", 404, "of the pod answered 404"),
    ],
    ids=[
        "empty",
        "page",
        "no metric",
        "hostile",
        "no thumbprint",
        "two certificates",
        "another's",
        "large",
        "absent",
    ],
)
def test_pod_is_unknown_when_its_metrics_do_not_tell(
    fleet: Fleet, client_id: str, page: bytes, status: int, reason: str
):
    fleet.store("told", client_id)
    pod = fleet.add("pod", "told")
    fleet.store("told", client_id)
    pod.poll()
    with serving_page(lambda: page, status=status) as port:
        pod.write(Container(port=port))
        row = get_row(fleet, "told")
    assert row["state"] == "unknown"
    assert reason in row["reason"]
    assert "\x1b" not in row["reason"]


def test_each_container_that_mounts_the_secret_has_to_tell(fleet: Fleet, client_id: str):
    fleet.store("both", client_id)
    pod = fleet.add("pod", "both")
    newest = fleet.store("both", client_id)
    pod.poll()
    with serving_page(lambda: show(newest)) as port:
        pod.write(Container(port=port), Container("second"))
        row = get_row(fleet, "both")
    assert (row["state"], row["in_use"]) == ("unknown", [newest])
    assert "second has run since before" in row["reason"]


def test_rollout_shows_no_secret_and_no_foreign_text_as_it_is(fleet: Fleet, client_id: str):
    fleet.store("safe", client_id)
    pod = fleet.add("pod", "safe")
    fleet.store("safe", client_id)
    pod.poll()
    stored = fleet.api.find_all("pods", NAMESPACE)["pod"]
    stored["spec"]["containers"][0]["name"] = stored["status"]["containerStatuses"][0]["name"] = (
        "\x1b[2J\n::error::"
    )
    stored["metadata"]["ownerReferences"] = [
        {"kind": "StatefulSet", "name": "x\x1b[2J\x9b", "controller": True}
    ]
    done = fleet.rollout("safe")
    assert done.exit_code == 1
    assert {each for each in done.output if not each.isprintable()} == {"\n"}
    assert not re.search(r"eyJ|LS0tLS1|PRIVATE KEY", done.output)


def test_pod_is_unknown_when_others_read_a_copy_of_its_secret(fleet: Fleet, client_id: str):
    fleet.store("copied", client_id)
    fleet.add("pod", "copied")
    spec = fleet.api.find_all("secretproviderclasses", NAMESPACE)["copied"]["spec"]
    spec["secretObjects"] = [{"secretName": "a-copy", "type": "Opaque", "data": []}]
    row = get_row(fleet, "copied")
    assert row["state"] == "unknown"
    assert "copies it to Kubernetes Secrets, and who reads those is not seen: hcp/a-copy" in row["reason"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--timeout", "1m"], "--timeout needs --watch"),
        (["--all-namespaces"], "either --namespace or"),
        (["a_b"], "a_b: expected 1 to 127"),
        (["--vault", "x"], "expected a vault's name"),
        (["--interval", "0s"], "is too short"),
        (["--context", "absent"], "Context 'absent' not found"),
    ],
)
def test_rollout_exits_with_2_when_the_usage_is_wrong(fleet: Fleet, arguments: list[str], said: str):
    done = fleet.rollout(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


def test_rollout_stops_with_1_when_it_gets_a_signal(fleet: Fleet, client_id: str):
    fleet.store("stopped", client_id)
    fleet.add("pod", "stopped")
    fleet.store("stopped", client_id)
    command = [sys.executable, "-m", "hcpcreds", "rollout", *fleet.place, "-n", NAMESPACE, "--watch"]
    with subprocess.Popen(
        [*command, "--output", "json", "stopped"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "KUBECONFIG": str(fleet.api.kubeconfig)},
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["done"] is False
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate()
    assert (process.returncode, error) == (1, "Stopping: the rollout is not done, as far as was seen.\n")
