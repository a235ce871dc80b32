import asyncio
import gzip
import socket
import threading
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime, timedelta
from email.message import Message
from http.client import HTTPConnection, RemoteDisconnected

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from hcpcreds.renewal.metrics import RenewalMetrics, serve_metrics
from hcpcreds.renewal.outcomes import Outcome, Result, Walk
from hcpcreds.serving import Server, parse_address
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


def fetch(server: Server, *, accept: str = "") -> tuple[int, Message, bytes]:
    with closing(HTTPConnection("127.0.0.1", server.address.port, timeout=10)) as connection:
        connection.request("GET", "/metrics", headers={"Accept-Encoding": accept})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def serving(metrics, use, **options):
    """Serve metrics, and call something with the server meanwhile, in another thread."""

    async def run():
        async with serve_metrics(parse_address("127.0.0.1:0"), metrics, **options) as server:
            await asyncio.to_thread(use, server)

    asyncio.run(run())


def test_server_serves_metrics_when_scraped(metrics):
    metrics.walk_started(VAULT)
    metrics.walk_finished(make_walk(make_credential()))

    def scrape(server):
        status, headers, body = fetch(server)
        assert (status, headers["Content-Type"].partition(";")[0]) == (200, "text/plain")
        names = {family.name for family in text_string_to_metric_families(body.decode())}
        assert {NOT_AFTER, "hcpcreds_renewals", "process_start_time_seconds"} <= names
        assert not any(name.startswith("python_") for name in names)
        _, headers, body = fetch(server, accept="gzip")
        assert headers["Content-Encoding"] == "gzip"
        assert NOT_AFTER in gzip.decompress(body).decode()

    serving(metrics, scrape)


def test_event_loop_goes_on_when_a_large_page_is_rendered(metrics):
    metrics.walk_started(VAULT)
    metrics.walk_finished(make_walk(*(make_credential(f"uamsi-{number}") for number in range(5_000))))

    async def run():
        async with serve_metrics(parse_address("127.0.0.1:0"), metrics) as server:
            scrape = asyncio.create_task(asyncio.to_thread(fetch, server))
            turns = 0
            while not scrape.done():
                await asyncio.sleep(0)
                turns += 1
            assert len((await scrape)[2]) > 500_000
            assert turns > 10

    asyncio.run(run())


def read_to_end(connection):
    with suppress(ConnectionResetError):
        return connection.recv(1)
    return b""


def test_idle_connections_are_limited_and_closed_when_they_send_nothing(metrics):
    seconds = [0.0]

    def hold(server):
        with ExitStack() as stack:

            def connect():
                connection = socket.create_connection(("127.0.0.1", server.address.port), timeout=10)
                return stack.enter_context(closing(connection))

            held = [connect() for _ in range(32)]
            assert [read_to_end(connect()) for _ in range(60)] == [b""] * 60
            seconds[0] = 9.9
            held[0].sendall(b"GET / HTTP/1.0\r\n")  # a drop does not put off the end
            held[1].settimeout(0.5)
            with pytest.raises(TimeoutError):
                held[1].recv(1)
            held[1].settimeout(10)
            seconds[0] = 10.1
            assert held[0].recv(12) == b"HTTP/1.1 408"
            assert [read_to_end(each) for each in held[1:]] == [b""] * 31
            seconds[0] = 13.0
        while fetch_is_refused(server):
            pass

    def fetch_is_refused(server):
        try:
            return NOT_AFTER not in fetch(server)[2].decode()
        except (OSError, RemoteDisconnected):
            return True

    serving(metrics, hold, monotonic=lambda: seconds[0])


def test_connection_is_closed_when_one_scrape_was_served(metrics):
    def scrape(server):
        with socket.create_connection(("127.0.0.1", server.address.port), timeout=10) as connection:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            with connection.makefile("rb") as file:
                assert b"\r\nConnection: close\r\n" in file.read()

    serving(metrics, scrape)


def test_connections_wait_in_the_queue_when_they_come_in_a_burst(metrics):
    async def run():
        async with serve_metrics(parse_address("127.0.0.1:0"), metrics) as server:
            # Nobody takes a connection meanwhile. Those beyond the queue would wait a second each.
            for _ in range(100):
                socket.create_connection(("127.0.0.1", server.address.port), timeout=0.9).close()
            assert (await asyncio.to_thread(fetch, server))[0] == 200

    asyncio.run(run())


def test_every_metric_says_what_it_is(metrics):
    families = list(metrics.registry.collect())
    assert "hcpcreds_credentials" in {family.name for family in families}
    assert all(family.documentation for family in families)
