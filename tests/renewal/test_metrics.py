import socket
import threading
import time
from contextlib import ExitStack, closing, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from hcpcreds.errors import InputError
from hcpcreds.renewal.metrics import RenewalMetrics, serve_metrics
from hcpcreds.renewal.outcomes import Outcome, Result, Walk
from hcpcreds.vault.secret import StoredCredential

VAULT = "https://one.vault.azure.net/"
HOST = "one.vault.azure.net"
START = datetime(2026, 1, 1, tzinfo=UTC)
NOT_AFTER = "hcpcreds_credential_not_after_timestamp_seconds"
RENEWABLE_UNTIL = "hcpcreds_credential_renewable_until_timestamp_seconds"
WALKED = "hcpcreds_last_complete_walk_timestamp_seconds"
DAY = 24 * 60 * 60


class Clock:
    def __init__(self):
        self.time = START

    def __call__(self):
        return self.time

    def pass_by(self, **duration):
        self.time += timedelta(**duration)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def metrics(clock):
    return RenewalMetrics(now=clock)


def make_credential(
    name="uamsi-a", *, enabled=True, days: float | None = 90, renewable_days: float | None = 180
):
    return StoredCredential(
        name=name,
        enabled=enabled,
        not_before=START,
        expires_on=None if days is None else START + timedelta(days=days),
        renew_after=START + timedelta(days=46),
        cannot_renew_after=None if renewable_days is None else START + timedelta(days=renewable_days),
    )


def make_walk(*credentials, problem=None, finished_at=START, vault_url=VAULT):
    return Walk(
        vault_url=vault_url,
        started_at=START,
        finished_at=finished_at,
        credentials={credential.name: credential for credential in credentials},
        problem=problem,
    )


def make_outcome(result, credential):
    return Outcome(credential=credential, result=result)


def read(metrics, name):
    """Return the samples of a metric by the values of their labels, sorted by label."""
    families = text_string_to_metric_families(generate_latest(metrics.registry).decode())
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
        if sample.name == name
    }


def fetch(host, port):
    with closing(HTTPConnection(host, port, timeout=10)) as connection:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read().decode()


def on_day(days):
    """Unix time of a day after the start."""
    return START.timestamp() + days * DAY


def test_times_stay_the_same_unix_seconds_when_the_clock_goes_on(metrics, clock):
    metrics.walk_started(VAULT)
    metrics.walk_finished(make_walk(make_credential()))
    for _ in range(2):
        assert read(metrics, NOT_AFTER) == {("uamsi-a", HOST): on_day(90)}
        assert read(metrics, RENEWABLE_UNTIL) == {("uamsi-a", HOST): on_day(180)}
        assert read(metrics, WALKED) == {(HOST,): on_day(0)}
        clock.pass_by(days=91, hours=12)


def test_credential_is_counted_without_series_when_its_dates_are_unknown_or_it_is_disabled(metrics):
    metrics.walk_started(VAULT)
    metrics.walk_finished(
        make_walk(
            make_credential("uamsi-whole"),
            make_credential("uamsi-no-expiry", days=None),
            make_credential("uamsi-no-end", renewable_days=None),
            make_credential("uamsi-off", enabled=False),
        )
    )
    assert read(metrics, NOT_AFTER).keys() == {("uamsi-whole", HOST), ("uamsi-no-end", HOST)}
    assert read(metrics, RENEWABLE_UNTIL).keys() == {("uamsi-whole", HOST), ("uamsi-no-expiry", HOST)}
    assert read(metrics, "hcpcreds_credentials") == {
        ("dated", HOST): 1,
        ("undated", HOST): 2,
        ("disabled", HOST): 1,
    }


def test_credential_is_shown_when_it_is_listed_and_again_when_it_is_renewed(metrics):
    metrics.walk_started(VAULT)
    metrics.listed(VAULT, make_credential(days=44), due=True)
    assert read(metrics, NOT_AFTER) == {("uamsi-a", HOST): on_day(44)}
    # The case of a name may differ between answers.
    metrics.settled(VAULT, make_outcome(Result.RENEWED, make_credential("UAMSI-A", days=134)))
    assert read(metrics, NOT_AFTER) == {("UAMSI-A", HOST): on_day(134)}


def test_credential_has_no_series_when_its_outcome_is_disabled(metrics):
    metrics.walk_started(VAULT)
    metrics.listed(VAULT, make_credential(), due=True)
    metrics.settled(VAULT, make_outcome(Result.DISABLED, make_credential(enabled=False)))
    assert read(metrics, NOT_AFTER) == {}
    assert read(metrics, "hcpcreds_credentials")["disabled", HOST] == 1


def test_deleted_secret_is_shown_until_a_walk_is_complete(metrics):
    first, second = make_credential("uamsi-a"), make_credential("uamsi-b")
    metrics.walk_started(VAULT)
    metrics.walk_finished(make_walk(first, second))
    metrics.walk_started(VAULT)
    metrics.walk_finished(make_walk(make_credential("uamsi-b", days=91), problem="its list broke off"))
    assert read(metrics, NOT_AFTER) == {("uamsi-a", HOST): on_day(90), ("uamsi-b", HOST): on_day(91)}
    metrics.walk_started(VAULT)
    assert len(read(metrics, NOT_AFTER)) == 2
    metrics.walk_finished(make_walk(second))
    assert read(metrics, NOT_AFTER).keys() == {("uamsi-b", HOST)}


def test_last_complete_walk_is_the_start_of_the_first_when_none_was_complete(metrics, clock):
    assert read(metrics, WALKED) == {}
    metrics.walk_started(VAULT)
    clock.pass_by(hours=1)
    metrics.walk_finished(make_walk(problem="its list broke off", finished_at=clock()))
    metrics.walk_started(VAULT)
    clock.pass_by(hours=1)
    assert read(metrics, WALKED) == {(HOST,): on_day(0)}
    metrics.walk_finished(make_walk(finished_at=clock()))
    assert read(metrics, WALKED) == {(HOST,): on_day(0) + 7200}
    clock.pass_by(seconds=90)
    metrics.walk_started(VAULT)
    assert read(metrics, WALKED) == {(HOST,): on_day(0) + 7200}


RESULTS = ("renewed", "unchanged", "superseded", "disabled", "due", "failed")
"""What alerts and dashboards know them by."""


def test_every_result_is_zero_when_a_walk_begins(metrics):
    metrics.walk_started(VAULT)
    name = "hcpcreds_renewals_total"
    assert read(metrics, name) == {(result, HOST): 0 for result in RESULTS}
    metrics.settled(VAULT, make_outcome(Result.FAILED, make_credential()))
    metrics.settled(VAULT, make_outcome(Result.FAILED, make_credential("uamsi-b")))
    metrics.settled(VAULT, make_outcome(Result.RENEWED, make_credential()))
    counted = read(metrics, name)
    assert (counted["failed", HOST], counted["renewed", HOST], counted["due", HOST]) == (2, 1, 0)


def test_registry_collects_one_metric_when_it_is_asked_for_by_name(metrics):
    metrics.walk_started(VAULT)
    (family,) = metrics.registry.restricted_registry(["hcpcreds_credentials"]).collect()
    assert family.name == "hcpcreds_credentials"


def test_vault_is_not_shown_but_its_counters_stay_when_another_replica_took_it(metrics, clock):
    other = "https://127.0.0.1:8443/"
    for url in (VAULT, other):
        metrics.walk_started(url)
        metrics.listed(url, make_credential(), due=True)
    metrics.settled(VAULT, make_outcome(Result.RENEWED, make_credential()))
    metrics.forget(VAULT)
    # Renewals in progress finish after the Lease was lost.
    metrics.listed(VAULT, make_credential("uamsi-b"), due=True)
    metrics.settled(VAULT, make_outcome(Result.RENEWED, make_credential("uamsi-b")))
    metrics.walk_finished(make_walk(make_credential()))
    metrics.forget(VAULT)
    for name in (NOT_AFTER, RENEWABLE_UNTIL):
        assert read(metrics, name).keys() == {("uamsi-a", "127.0.0.1:8443")}
    assert read(metrics, WALKED).keys() == {("127.0.0.1:8443",)}
    assert read(metrics, "hcpcreds_renewals_total")["renewed", HOST] == 2
    clock.pass_by(hours=5)
    metrics.walk_started(VAULT)
    assert read(metrics, WALKED)[HOST,] == clock().timestamp()
    assert read(metrics, "hcpcreds_renewals_total")["renewed", HOST] == 2


def test_scrape_is_whole_when_a_walk_writes_meanwhile(metrics):
    credentials = [make_credential(f"uamsi-{number}") for number in range(300)]
    metrics.walk_started(VAULT)
    metrics.walk_finished(make_walk(*credentials))
    failures = []

    def scrape():
        try:
            for _ in range(5):
                assert len(read(metrics, NOT_AFTER)) >= 300
        except Exception as error:  # noqa: BLE001 (asserted below, in the main thread)
            failures.append(error)

    thread = threading.Thread(target=scrape)
    thread.start()
    number = 300
    while thread.is_alive():
        metrics.listed(VAULT, make_credential(f"uamsi-{number % 1000}"), due=False)
        number += 1
        if number % 1000 == 0:
            metrics.walk_finished(make_walk(*credentials))
    thread.join()
    assert failures == []


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:0", ":0"])
def test_server_serves_metrics_when_scraped(metrics, address):
    metrics.walk_started(VAULT)
    metrics.walk_finished(make_walk(make_credential()))
    with serve_metrics(address, metrics) as port:
        text = fetch("127.0.0.1", port)
    names = {family.name for family in text_string_to_metric_families(text)}
    assert {NOT_AFTER, "hcpcreds_renewals", "process_start_time_seconds"} <= names
    assert not any(name.startswith("python_") for name in names)
    with pytest.raises(ConnectionRefusedError):
        fetch("127.0.0.1", port)


def test_server_listens_on_ipv6_when_the_address_is_in_brackets(metrics):
    possible = socket.has_dualstack_ipv6()
    refused = pytest.raises(InputError, match="cannot listen on")
    with nullcontext() if possible else refused, serve_metrics("[::1]:0", metrics) as port:
        assert WALKED in fetch("::1", port)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "9090",
        "127.0.0.1",
        "::1:9090",
        "localhost:",
        ":70000",
        ":-1",
        ":٣",
        "localhost:http",
        "[::1]",
        "[::1:9090",
    ],
)
def test_server_raises_when_the_address_is_malformed(metrics, address):
    with pytest.raises(InputError, match="is not HOST:PORT"), serve_metrics(address, metrics):
        pass


def test_server_raises_when_the_port_is_taken(metrics):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        refused = pytest.raises(InputError, match=f"cannot listen on {address}: Address already in use")
        with refused, serve_metrics(address, metrics):
            pass


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "a" * 70 + ".invalid"])
def test_server_raises_when_the_host_is_not_this_machine(metrics, host):
    with pytest.raises(InputError, match="cannot listen on"), serve_metrics(f"{host}:0", metrics):
        pass


def hold(port, number):
    """Open connections that ask for nothing."""
    return [socket.create_connection(("127.0.0.1", port), timeout=0.9) for _ in range(number)]


def wait_for_threads(number):
    while threading.active_count() != number:
        time.sleep(0.01)


def test_idle_connections_are_limited_and_closed_when_they_send_nothing(metrics):
    seconds = [0.0]
    with ExitStack() as stack, serve_metrics("127.0.0.1:0", metrics, monotonic=lambda: seconds[0]) as port:
        before = threading.active_count()
        held = [stack.enter_context(closing(each)) for each in hold(port, 32)]
        wait_for_threads(before + 32)
        more = [stack.enter_context(closing(each)) for each in hold(port, 60)]
        for each in more:
            each.settimeout(10)
            assert each.recv(1) == b""
        assert threading.active_count() == before + 32
        seconds[0] = 9.9
        held[0].sendall(b"GET / HTTP/1.0\r\n")  # a drop does not put off the end
        seconds[0] = 10.1
        for each in held:
            each.settimeout(10)
            with suppress(ConnectionResetError):
                assert each.recv(1) == b""
        wait_for_threads(before)
        assert "hcpcreds" in fetch("127.0.0.1", port)


def test_connections_wait_in_the_queue_when_they_come_in_a_burst(metrics):
    busy = threading.Event()
    with serve_metrics("127.0.0.1:0", metrics, monotonic=lambda: float(busy.wait())) as port:
        # Nobody takes a connection meanwhile. Those beyond the queue would wait a second each.
        for each in hold(port, 100):
            each.close()
        busy.set()
        assert "hcpcreds" in fetch("127.0.0.1", port)
