"""Pages of metrics: read directly in a cluster, and of a program that uses the library or serves others."""

import asyncio
import gzip
import threading
from datetime import UTC, datetime, timedelta

import pytest
from tests.local.node_cluster import build_pod
from tests.rollout.fleet import NAMESPACE, Fleet, serving_page

from hcpcreds.cluster.rollout.facts import Assertions
from hcpcreds.cluster.rollout.pages import Page, Target, open_pages, read_seen

OLD, NEW = "1" * 64, "2" * 64
PAGE = f"""
# HELP hcpcreds_certificate_info The current certificate.
# TYPE hcpcreds_certificate_info gauge
hcpcreds_certificate_info{{credential="ingress",thumbprint="{NEW}"}} 1.0
hcpcreds_certificate_info{{credential="kms",thumbprint="{OLD}"}} 1.0
hcpcreds_certificate_refused{{credential="ingress"}} 0.0
hcpcreds_certificate_refused{{credential="kms"}} 1.0
hcpcreds_assertion_writes_total{{credential="ingress"}} 3.0
hcpcreds_assertion_certificate_info{{credential="ingress",thumbprint="{OLD}"}} 1.0
hcpcreds_assertion_certificate_timestamp_seconds{{credential="ingress"}} 1.7e+09
another_metric{{credential="other"}} 1.0
"""


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch):
    """Read a page as a pod does."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "192.0.2.1")

    async def ask(target: Target, **options: float) -> Page:
        async with open_pages(None, **options) as read_page:
            return await read_page(target)

    def run(port: int, ip: str = "127.0.0.1", *, namespace="a", pod="b", **options: float) -> Page:
        return asyncio.run(ask(Target(namespace, pod, ip, port), **options))

    return run


def test_page_is_read_directly_in_a_cluster(read):
    with serving_page(PAGE.encode, ahead=lambda: timedelta(hours=1)) as port:
        page = read(port)
    assert (page.text, page.problem) == (PAGE, "")
    assert timedelta(minutes=59) < page.at - datetime.now(UTC) < timedelta(minutes=61), "the program's clock"


def test_page_has_a_problem_when_the_pod_does_not_answer_with_one(read):
    with serving_page(lambda: b"", status=302) as port:
        assert read(port).problem == f"port {port} of the pod answered 302"
    assert read(port).problem.startswith(f"port {port} of the pod cannot be read: Client")
    assert read(port, "::1").problem.startswith(f"port {port} of the pod cannot be read: Client")
    with serving_page(lambda: b"x" * 5_000_000) as port:
        assert "larger than" in read(port).problem


def test_page_is_not_decompressed(read, fleet: Fleet, monkeypatch: pytest.MonkeyPatch):
    small = gzip.compress(b"x" * 5_000_000)
    with serving_page(lambda: small, encoding="gzip") as port:
        fleet.api.put(build_pod("packed", "any") | {"status": {"podIP": "127.0.0.1"}})
        monkeypatch.setenv("KUBECONFIG", str(fleet.api.kubeconfig))
        page = read(port, namespace=NAMESPACE, pod="packed")
        assert (len(page.text) < 10_000, page.problem) == (True, "")
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "192.0.2.1")
        page = read(port)
        assert (len(page.text) < 10_000, page.problem) == (True, "")


def test_page_has_a_problem_when_the_pod_takes_too_long(read):
    ended = threading.Event()

    def wait() -> bytes:
        ended.wait(30)
        return b""

    with serving_page(wait) as port:
        assert read(port, seconds=0.05).problem == f"port {port} of the pod did not answer within 0.05 s"
        ended.set()


def test_page_tells_of_each_credential():
    at = datetime(2026, 11, 25, tzinfo=UTC)
    (ingress, kms), problem = read_seen(Page(text=PAGE, at=at))
    assert problem == ""
    assert (ingress.thumbprint, ingress.is_refused, ingress.keeps_assertions) == (NEW, False, True)
    assert ingress.assertions == Assertions(thumbprint=OLD, since=datetime.fromtimestamp(1_700_000_000, UTC))
    assert (kms.thumbprint, kms.is_refused, kms.keeps_assertions, kms.assertions) == (
        "1" * 64,
        True,
        False,
        None,
    )
    assert ingress.at == kms.at == at


def test_page_that_would_take_long_to_parse_is_not_read():
    labels = ",".join(f'label{number}="x"' for number in range(100))
    long = f'hcpcreds_certificate_info{{credential="a",thumbprint="{NEW}",{labels}}} 1'
    assert read_seen(Page(text=f"{PAGE}{long}\n")).problem == "its metrics are not readable: ValueError"
    seen, _ = read_seen(Page(text=f"{PAGE}{long.replace('hcpcreds', 'other')}\n"))
    assert len(seen) == 2, "the metrics of others do not matter"
