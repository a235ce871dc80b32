"""What `hcpcreds serve` measures, and the alerts and the dashboard that ship for it."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.openmetrics import exposition
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tests.endpoint.endpoints import TOKENS, Identity, RunningEndpoint
from tests.endpoint.test_token_endpoint import APP_SERVICE, ask
from tests.support.waiting import wait_until

from hcpcreds.endpoint.assertion_file import FileSettings
from hcpcreds.endpoint.metrics import build_registry

FOLDER = Path(__file__).parents[2] / "deploy" / "serve"
RULES = yaml.safe_load((FOLDER / "prometheus-rule.yaml").read_text())["spec"]
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
SCRAPED = {"namespace", "pod"}

Start = Callable[..., RunningEndpoint]
Sample = tuple[str, dict[str, str], float]


def read(running: RunningEndpoint) -> list[Sample]:
    """Read every sample, as Prometheus does."""
    page = exposition.generate_latest(build_registry(running.endpoint)).decode()
    families = list(text_string_to_metric_families(page))
    return [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]


def find(samples: list[Sample], name: str, **labels: str) -> float:
    (value,) = [value for each, found, value in samples if each == name and found == labels]
    return value


@pytest.fixture
def samples(identity: Identity, start: Start, tmp_path: Path) -> list[Sample]:
    """Everything that is measured after a program got a token, and another one did not."""
    (tmp_path / "assertions").mkdir()
    settings = FileSettings(directory=tmp_path / "assertions")
    identity.azure.faults.add("entra", status=503, times=2)
    running = start(identity, tokens=TOKENS, files=settings)
    wait_until(lambda: not running.find_unready(), seconds=20)
    assert ask(running).status == ask(running).status == 200
    assert ask(running, APP_SERVICE, headers={}).status == 401
    return read(running)


def test_metrics_show_credential_assertion_and_programs(samples: list[Sample], identity: Identity):
    def get(name: str, **labels: str) -> float:
        return find(samples, name, credential="ingress", **labels)

    assert get("hcpcreds_ready") == 1
    assert get("hcpcreds_certificate_generation") == 1
    assert get("hcpcreds_assertion_writes_total") == 1
    assert get("hcpcreds_assertion_failures_total", reason="unavailable") >= 1
    expiry, written = (get(f"hcpcreds_assertion_{name}_timestamp_seconds") for name in ("expiry", "written"))
    assert expiry - written == pytest.approx(1800, abs=2)
    assert get("hcpcreds_assertion_certificate_timestamp_seconds") == written
    (thumbprint,) = identity.certificates
    assert get("hcpcreds_certificate_info", thumbprint=thumbprint) == 1
    assert get("hcpcreds_assertion_certificate_info", thumbprint=thumbprint) == 1
    assert get("hcpcreds_authority_requests_total", result="granted") >= 1
    assert get("hcpcreds_token_cache_hits_total") >= 1
    requests = "hcpcreds_endpoint_requests_total"
    assert find(samples, requests, protocol="imds", result="cached") >= 1
    assert find(samples, requests, protocol="app-service", result="secret") == 1
    shown = str(samples)
    assert "eyJ" not in shown
    assert identity.client_id not in shown


def test_every_query_uses_names_and_labels_that_exist(samples: list[Sample]):
    labels: dict[str, set[str]] = {}
    for name, found, _ in samples:
        labels.setdefault(name, set()).update(found)
    for query in [*QUERIES, *(rule["expr"] for rule in ALERTS)]:
        asked = re.findall(r"hcpcreds_\w+", query)
        assert asked
        assert set(asked) <= labels.keys(), query
        known = SCRAPED.union(*(labels[name] for name in asked))
        grouped = re.findall(r"by \(([^)]*)\)", query)
        matched = re.findall(r"[{,](\w+)[=!]", query)
        assert {name for each in grouped for name in each.split(", ")} | set(matched) <= known, query


def test_readme_lists_every_metric_and_alert(samples: list[Sample]):
    page = (FOLDER / "README.md").read_text()
    listed = {name for row in re.findall(r"^\| `(hcpcreds_\w+)", page, re.MULTILINE) for name in [row]}
    own = {re.sub("_(bucket|sum|count|created)$", "", name) for name, _, _ in samples if "hcpcreds" in name}
    assert listed == own
    assert re.findall(r"^\| (Hcpcreds\w+)", page, re.MULTILINE) == [rule["alert"] for rule in ALERTS]


def test_dashboard_has_a_legend_and_a_unit_for_every_panel():
    for panel in DASHBOARD["panels"]:
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert all(target["legendFormat"] for target in panel["targets"])
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)


Promtool = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def promtool(tmp_path: Path) -> Promtool:
    path = shutil.which("promtool")
    if path is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(RULES))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [path, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30
        )

    return run


def test_rules_and_the_dashboards_queries_are_promql(promtool: Promtool, tmp_path: Path):
    assert promtool("check", "rules", "rules.yaml").returncode == 0
    recorded = [
        {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, query in enumerate(QUERIES)
    ]
    rules = {"groups": [{"name": "dashboard", "rules": recorded}]}
    (tmp_path / "dashboard.yaml").write_text(yaml.safe_dump(rules))
    done = promtool("check", "rules", "dashboard.yaml")
    assert done.returncode == 0, done.stderr


def read_firing(promtool: Promtool, tmp_path: Path, series: dict[tuple[str, ...], str]) -> set[str]:
    """Return the alerts that fire after two hours: promtool reports those that were not expected."""
    labels = 'namespace="clusters",pod="ingress-0",credential="ingress"'
    case = {
        "interval": "1m",
        "input_series": [
            {"series": f"{name}{{{','.join([labels, *more])}}}", "values": values}
            for (name, *more), values in series.items()
        ],
        "alert_rule_test": [
            {"eval_time": "2h", "alertname": rule["alert"], "exp_alerts": []} for rule in ALERTS
        ],
    }
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [case]}
    (tmp_path / "tests.yaml").write_text(json.dumps(document))
    done = promtool("test", "rules", "tests.yaml")
    found = re.findall(r"alertname: ?(\w+), time", done.stdout + done.stderr)
    assert (done.returncode == 0) == (found == []), done.stdout + done.stderr
    return set(found)


DAY = 86400
NOT_AFTER = "hcpcreds_certificate_not_after_timestamp_seconds"
REQUESTS = "hcpcreds_authority_requests_total"


@pytest.mark.parametrize(
    ("series", "alerts"),
    [
        (
            {
                (NOT_AFTER,): f"{44 * DAY}+0x200",
                ("hcpcreds_ready",): "1x200",
                ("hcpcreds_certificate_refused",): "0x200",
                ("hcpcreds_identity_gone",): "0x200",
                ("hcpcreds_file_faulty",): "0x200",
                ("hcpcreds_assertion_written_timestamp_seconds",): "0+60x200",
                (REQUESTS, 'result="granted"'): "0+1x200",
                (REQUESTS, 'result="unavailable"'): "0+1x200",
            },
            set(),
        ),
        ({(NOT_AFTER,): f"{20 * DAY}+0x200"}, {"HcpcredsMountedCertificateExpiresSoon"}),
        ({(NOT_AFTER,): "60+0x200"}, {"HcpcredsMountedCertificateExpired"}),
        ({("hcpcreds_certificate_refused",): "1x200"}, {"HcpcredsCertificateRefused"}),
        ({("hcpcreds_certificate_refused",): "0x115 1x85"}, set()),
        ({("hcpcreds_identity_gone",): "1x200"}, {"HcpcredsIdentityGone"}),
        ({("hcpcreds_file_faulty",): "1x200"}, {"HcpcredsFileFaulty"}),
        (
            {("hcpcreds_assertion_written_timestamp_seconds",): "0+60x100 6000+0x100"},
            {"HcpcredsAssertionStale"},
        ),
        ({("hcpcreds_ready",): "0x200"}, {"HcpcredsServeNotReady"}),
        ({(REQUESTS, 'result="refused"'): "0+1x200"}, {"HcpcredsNoTokens"}),
    ],
)
def test_alert_fires_when_it_should(
    promtool: Promtool, tmp_path: Path, series: dict[tuple[str, ...], str], alerts: set[str]
):
    assert read_firing(promtool, tmp_path, series) == alerts


def test_every_alert_says_what_is_wrong_and_what_to_do():
    for rule in ALERTS:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        annotations: dict[str, Any] = rule["annotations"]
        assert annotations.keys() == {"summary", "description"}
        assert "$labels.credential" in annotations["summary"]
