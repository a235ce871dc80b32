"""deploy/renew: valid objects, options that the command accepts, and alerts that fire when they should."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from hcpcreds.cli.renew import command
from hcpcreds.renewal.metrics import RenewalMetrics

FOLDER = Path(__file__).parent.parent / "deploy" / "renew"
MONITORING = "monitoring.coreos.com/v1"
NOT_AFTER = "hcpcreds_credential_not_after_timestamp_seconds"
RENEWABLE_UNTIL = "hcpcreds_credential_renewable_until_timestamp_seconds"
WALKED = "hcpcreds_last_complete_walk_timestamp_seconds"
DAY = 24 * 60 * 60
CREDENTIALS = (
    "HcpcredsCredentialExpiresSoon",
    "HcpcredsCredentialExpired",
    "HcpcredsCredentialNotRenewable",
)
RENEWER = (
    "HcpcredsRenewerAbsent",
    "HcpcredsVaultUnwatched",
    "HcpcredsVaultNotWalked",
    "HcpcredsCredentialsWithoutDates",
)


def read_objects():
    resources = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    objects = [yaml.safe_load((FOLDER / name).read_text()) for name in resources]
    return {item["kind"]: item for item in objects}


OBJECTS = read_objects()
RULES = [rule for group in OBJECTS["PrometheusRule"]["spec"]["groups"] for rule in group["rules"]]
POD = OBJECTS["Deployment"]["spec"]["template"]
CONTAINER = POD["spec"]["containers"][0]


def test_kustomization_lists_every_file():
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    assert {*listed, "kustomization.yaml"} == {path.name for path in FOLDER.glob("*.yaml")}
    assert len(OBJECTS) == len(listed)


@pytest.mark.parametrize("kind", [kind for kind, item in OBJECTS.items() if item["apiVersion"] != MONITORING])
def test_object_is_valid_when_checked_against_kubernetes_schemas(kind):
    kubernetes_validate.validate(OBJECTS[kind], "1.31", strict=True)


def test_selectors_and_ports_match_the_pods():
    labels = POD["metadata"]["labels"].items()
    for kind in ("Deployment", "PodDisruptionBudget", "PodMonitor"):
        assert OBJECTS[kind]["spec"]["selector"]["matchLabels"].items() <= labels
    (port,) = CONTAINER["ports"]
    assert f"--metrics-address=:{port['containerPort']}" in CONTAINER["args"]
    (endpoint,) = OBJECTS["PodMonitor"]["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] == port["name"]
    assert CONTAINER["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": port["name"]}
    assert CONTAINER["livenessProbe"]["tcpSocket"] == {"port": port["name"]}


def test_network_policy_allows_only_the_monitoring_namespace():
    policy = OBJECTS["NetworkPolicy"]["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= POD["metadata"]["labels"].items()
    assert policy["policyTypes"] == ["Ingress"]
    (rule,) = policy["ingress"]
    (source,) = rule["from"]
    assert source["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}
    assert [port["port"] for port in rule["ports"]] == [port["name"] for port in CONTAINER["ports"]]


def test_role_allows_only_leases():
    account = OBJECTS["ServiceAccount"]["metadata"]["name"]
    binding = OBJECTS["RoleBinding"]
    assert POD["spec"]["serviceAccountName"] == account
    assert [subject["name"] for subject in binding["subjects"]] == [account]
    assert binding["roleRef"]["name"] == OBJECTS["Role"]["metadata"]["name"]
    (rule,) = OBJECTS["Role"]["rules"]
    assert (rule["apiGroups"], rule["resources"]) == (["coordination.k8s.io"], ["leases"])


def test_pod_meets_the_restricted_standard():
    # https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
    context = CONTAINER["securityContext"]
    assert POD["spec"]["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert context["capabilities"] == {"drop": ["ALL"]}


def test_every_alert_has_a_severity_and_a_description():
    assert tuple(rule["alert"] for rule in RULES) == CREDENTIALS + RENEWER
    for rule in RULES:
        assert rule.keys() == {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"].keys() == {"summary", "description"}
        for label in re.findall(r"by \((.*?)\)", rule["expr"].partition("\n")[0]):
            for name in label.split(", "):
                assert f"$labels.{name} " in rule["annotations"]["summary"]


def test_rules_use_only_metrics_that_exist():
    exposed = {
        family.name
        for family in text_string_to_metric_families(generate_latest(RenewalMetrics().registry).decode())
    }
    for rule in RULES:
        asked = set(re.findall(r"hcpcreds_\w+", rule["expr"]))
        assert asked
        assert asked <= exposed


@pytest.fixture
def promtool(tmp_path):
    path = shutil.which("promtool")
    if path is None:
        pytest.skip("promtool is not installed")
    rules = OBJECTS["PrometheusRule"]["spec"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))

    def run(*arguments):
        return subprocess.run(
            [path, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=15
        )

    return run


def make_series(metric, values, *, pod="a", **labels):
    texts = {"vault": "one.vault.azure.net", "pod": pod, **labels}
    shown = ",".join(f'{name}="{value}"' for name, value in texts.items())
    return {"series": f"{metric}{{{shown}}}", "values": values}


def make_credential(expires_in, renewable_for=200.0, *, pod="a"):
    """Make the series of a credential over four days; days count from Unix time 0, when a test begins."""
    return [
        make_series(metric, f"{days * DAY}+0x5760", secret="uamsi-a", pod=pod)
        for metric, days in ((NOT_AFTER, expires_in), (RENEWABLE_UNTIL, renewable_for))
    ]


def make_walks(values="0+60x300", **labels):
    """Make the series of a vault; by default it is walked over every minute."""
    return make_series(WALKED, values, **labels)


def read_firing(promtool, tmp_path, series, *, at="2h"):
    """Return the alerts that fire at a time: promtool reports those that were not expected."""
    case = {
        "interval": "1m",
        "input_series": series,
        "alert_rule_test": [
            {"eval_time": at, "alertname": name, "exp_alerts": []} for name in CREDENTIALS + RENEWER
        ],
    }
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [case]}
    (tmp_path / "tests.yaml").write_text(json.dumps(document))
    done = promtool("test", "rules", "tests.yaml")
    found = re.findall(r"alertname: ?(\w+), time", done.stdout + done.stderr)
    assert (done.returncode == 0) == (found == []), done.stdout + done.stderr
    return set(found)


def test_rules_are_valid_when_promtool_checks_them(promtool):
    done = promtool("check", "rules", "rules.yaml")
    assert done.returncode == 0, done.stderr
    assert f"{len(RULES)} rules found" in done.stdout


@pytest.mark.parametrize(
    ("expires_in", "renewable_for", "alerts"),
    [
        (89.9, 180, set()),
        (44, 134, set()),  # when a certificate of 90 days is renewed
        (31, 121, set()),
        (29, 119, {"HcpcredsCredentialExpiresSoon"}),
        (1, 91, {"HcpcredsCredentialExpiresSoon"}),
        (0, 90, {"HcpcredsCredentialExpired"}),
        (-5, 85, {"HcpcredsCredentialExpired"}),
        (-90, 0, {"HcpcredsCredentialExpired", "HcpcredsCredentialNotRenewable"}),
        (29, -1, {"HcpcredsCredentialNotRenewable"}),
        (40, -1, {"HcpcredsCredentialNotRenewable"}),
    ],
)
def test_alert_of_a_credential_fires_when_its_dates_call_for_it(
    promtool, tmp_path, expires_in, renewable_for, alerts
):
    series = [*make_credential(expires_in, renewable_for), make_walks()]
    assert read_firing(promtool, tmp_path, series) == alerts


def test_alert_names_the_secret_and_the_time_when_it_fires(promtool, tmp_path):
    (rule,) = (rule for rule in RULES if rule["alert"] == "HcpcredsCredentialExpired")
    (tmp_path / "tests.yaml").write_text(
        json.dumps(
            {
                "rule_files": ["rules.yaml"],
                "evaluation_interval": "1m",
                "tests": [
                    {
                        "interval": "1m",
                        "input_series": [make_series(NOT_AFTER, f"{7200 - 2.5 * DAY}x120", secret="uamsi-a")],
                        "alert_rule_test": [
                            {
                                "eval_time": "2h",
                                "alertname": rule["alert"],
                                "exp_alerts": [
                                    {
                                        "exp_labels": {
                                            "vault": "one.vault.azure.net",
                                            "secret": "uamsi-a",
                                            "severity": "critical",
                                        },
                                        "exp_annotations": {
                                            name: text.replace("{{ $labels.secret }}", "uamsi-a")
                                            .replace("{{ $labels.vault }}", "one.vault.azure.net")
                                            .replace("{{ $value | humanizeDuration }}", "2d 12h 0m 0s")
                                            for name, text in rule["annotations"].items()
                                        },
                                    }
                                ],
                            }
                        ],
                    }
                ],
            }
        )
    )
    done = promtool("test", "rules", "tests.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_alert_continues_when_another_replica_takes_over(promtool, tmp_path):
    # Replica a stops after an hour; b shows the vault from five minutes after, or five minutes before.
    for start in (65, 55):
        pods = (("a", "{}x59 stale"), ("b", f"_x{start - 1} {{}}x120"))
        series = [
            make_series(metric, values.format(value), pod=pod, **labels)
            for pod, values in pods
            for metric, value, labels in (
                (NOT_AFTER, f"{29 * DAY}+0", {"secret": "uamsi-a"}),
                (NOT_AFTER, f"{60 * DAY}+0", {"secret": "uamsi-b"}),
                (WALKED, "0+60", {}),
            )
        ]
        for at in ("50m", "59m", "61m", "64m", "70m", "100m"):
            assert read_firing(promtool, tmp_path, series, at=at) == {"HcpcredsCredentialExpiresSoon"}


def test_no_alert_fires_when_a_replica_still_shows_the_old_credential(promtool, tmp_path):
    series = [*make_credential(-1, pod="a"), *make_credential(89, pod="b"), make_walks()]
    assert read_firing(promtool, tmp_path, series) == set()


def test_alert_fires_when_no_replica_is_scraped(promtool, tmp_path):
    assert read_firing(promtool, tmp_path, [], at="29m") == set()
    assert read_firing(promtool, tmp_path, [], at="31m") == {"HcpcredsRenewerAbsent"}
    gone = [make_walks("0+60x60 stale")]
    assert read_firing(promtool, tmp_path, gone, at="85m") == set()
    assert read_firing(promtool, tmp_path, gone, at="100m") == {"HcpcredsRenewerAbsent"}


def test_alert_fires_for_a_day_when_no_replica_shows_a_vault_any_more(promtool, tmp_path):
    series = [
        make_walks("0+60x2880"),
        make_walks("0+60x60 stale", vault="two.vault.azure.net", pod="b"),
    ]
    assert read_firing(promtool, tmp_path, series, at="85m") == set()
    assert read_firing(promtool, tmp_path, series, at="100m") == {"HcpcredsVaultUnwatched"}
    assert read_firing(promtool, tmp_path, series, at="26h") == set()


def test_alert_fires_when_no_replica_completes_a_walk(promtool, tmp_path):
    slow = make_walks("0+0x300")
    assert read_firing(promtool, tmp_path, [slow], at="3h10m") == set()
    assert read_firing(promtool, tmp_path, [slow], at="3h20m") == {"HcpcredsVaultNotWalked"}
    assert read_firing(promtool, tmp_path, [slow, make_walks(pod="b")], at="4h") == set()


def test_alert_fires_when_credentials_have_no_dates(promtool, tmp_path):
    series = [
        make_walks(),
        make_series("hcpcreds_credentials", "2+0x300", state="undated"),
        make_series("hcpcreds_credentials", "7+0x300", state="disabled"),
    ]
    assert read_firing(promtool, tmp_path, series, at="4h") == {"HcpcredsCredentialsWithoutDates"}


def test_command_takes_the_arguments_of_the_deployment():
    program, name = CONTAINER["command"]
    assert (program, name) == ("hcpcreds", command.name)
    values = command.make_context(name, list(CONTAINER["args"])).params
    assert values["vaults"] == ("example-vault",)
    assert values["interval"].total_seconds() == 3600
    assert str(values["metrics_address"]) == ":9090"
