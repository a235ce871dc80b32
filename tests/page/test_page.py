"""The page and its JSON document, over HTTP: what a reader and a script get."""

import base64
import hashlib
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.page.overviews import DNS, EVENTS, INGRESS, KMS, NOW, Page, make_certificate, make_overview
from tests.serving.servers import Running, running

from hcpcreds.page import (
    Event,
    EventLog,
    Fact,
    LogEvents,
    Overview,
    Problem,
    Role,
    State,
    Subject,
    build_page_routes,
)
from hcpcreds.page.document import render_page

HOSTILE = "<script>alert(1)</script>\"'&<!--\x1b]0;owned\x07\u202e</style>"


@contextmanager
def served(overview: Overview) -> Iterator[Running]:
    with running(build_page_routes(lambda: overview)) as server:
        yield server


def read_page(overview: Overview) -> Page:
    with served(overview) as server:
        status, body = server.ask("/")
    assert status == 200
    return Page(body.decode())


def test_page_shows_each_certificate_with_its_times_and_the_worst_credential_first():
    page = read_page(make_overview(INGRESS, KMS, DNS, events=EVENTS))
    names = [page.text.index(name) for name in ("dns", "kms", "ingress")]
    assert names == sorted(names)
    assert "1 of 3 credentials is failing; 1 of 3 credentials needs attention." in page.text
    for shown in ("2026-11-13 12:00 UTC 12 days ago", "2026-12-29 12:00 UTC in 34 days", "in 78 days"):
        assert shown in page.text
    for shown in ("in use · a17be2a17be2", "previous · 3f9c0e3f9c0e", "next · c05e9ac05e9a"):
        assert shown in page.text
    assert "AADSTS700027" in page.text
    assert "What to do: Act before the last assertion expires." in page.text
    assert page.text.index("kms: no token") < page.text.index("ingress: wrote")


@pytest.mark.parametrize(
    ("subjects", "summary"),
    [
        ([INGRESS], "The credential is in order."),
        ([INGRESS, INGRESS], "All 2 credentials are in order."),
        ([DNS, DNS], "2 of 2 credentials are failing."),
        ([KMS, KMS, INGRESS], "2 of 3 credentials need attention."),
    ],
)
def test_page_says_first_how_all_is(subjects: list[Subject], summary: str):
    assert summary in read_page(make_overview(*subjects)).text


def test_page_loads_nothing_and_allows_its_own_style_and_script_alone():
    with served(make_overview(INGRESS, KMS)) as server, server.open() as connection:
        connection.request("GET", "/")
        response = connection.getresponse()
        document = response.read().decode()
    assert response.headers["Cache-Control"] == "no-store"
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for name in ("style", "script"):
        (content,) = re.findall(rf"<{name}>(.*?)</{name}>", document, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
    page = Page(document)
    assert page.list_attributes("src") == page.list_attributes("style") == []
    assert not [name for _, each in page.elements for name in each if name.startswith("on")]
    # Relative: the page may be behind a proxy, kubectl's for one.
    assert set(page.list_attributes("href")) == {"data:,", "?", "status.json"}


def test_json_document_tells_scripts_the_same():
    with served(make_overview(INGRESS, DNS, events=EVENTS)) as server, server.open() as connection:
        connection.request("GET", "/status.json")
        response = connection.getresponse()
        document = json.load(response)
    assert (response.headers["Content-Type"], response.headers["Cache-Control"]) == (
        "application/json",
        "no-store",
    )
    assert (document["state"], document["at"]) == ("failing", "2026-11-25T12:00:00Z")
    ingress, dns = document["credentials"]
    assert (ingress["name"], ingress["state"], dns["state"]) == ("ingress", "ok", "failing")
    assert [each["role"] for each in ingress["certificates"]] == ["previous", "in use"]
    assert ingress["certificates"][1]["renew_from"] == "2026-12-29T12:00:00Z"
    assert ingress["facts"]["last_reload"] == "2026-11-13T12:00:00Z"
    assert dns["problems"][0]["detail"] == "the credential file /mnt/certs/dns does not exist"
    assert [each["level"] for each in document["events"]] == ["warning", "info", "warning", "info"]


def make_hostile(text: str) -> Overview:
    """Make an overview with a text in every place where a stranger's can be."""
    subject = Subject(
        name=text,
        certificates=(replace(make_certificate(Role.IN_USE, "a1", -1, 1), thumbprint=text),),
        problems=(Problem(text=text, detail=text, advice=text),),
        facts=(Fact("Credential file", text),),
    )
    return make_overview(subject, title=text, events=(Event(NOW, "info", text),))


@given(st.text(min_size=1) | st.just(HOSTILE))
def test_no_text_of_a_stranger_becomes_markup(text: str):
    plain, hostile = (
        Page(render_page(make_hostile("x"), seconds=5)),
        Page(render_page(make_hostile(text), seconds=5)),
    )
    assert hostile.list_tags() == plain.list_tags()
    assert [sorted(each) for _, each in hostile.elements] == [sorted(each) for _, each in plain.elements]
    assert all(each.isprintable() for each in hostile.text.replace("\n", ""))


def test_hostile_text_is_shown_as_text_through_http():
    page = read_page(make_hostile(HOSTILE))
    assert page.list_tags().count("script") == 1
    assert page.text.count("<script>alert(1)</script>") >= 6


@given(
    st.lists(st.tuples(*[st.datetimes(timezones=st.just(UTC))] * 3), min_size=1, max_size=4),
    st.datetimes(timezones=st.just(UTC)),
)
def test_timeline_stays_within_its_picture_when_times_are_strange(
    lives: list[tuple[datetime, datetime, datetime]], now: datetime
):
    certificates = tuple(
        replace(make_certificate(Role.IN_USE, "a1", 0, 1), not_before=first, not_after=last, renew_from=due)
        for first, last, due in lives
    )
    page = Page(render_page(make_overview(Subject(name="x", certificates=certificates), at=now), seconds=5))
    for name in ("x", "x1", "x2", "width"):
        places = [float(each[:-1]) for each in page.list_attributes(name) if each and each.endswith("%")]
        assert all(0 <= place <= 100 for place in places)


def test_events_are_bounded_and_the_newest_comes_first():
    events = EventLog()
    for number in range(1000):
        events.add(f"event {number}", at=number)
    newest = events.list_newest()
    assert len(newest) == 100
    assert (newest[0].text, newest[-1].text) == ("event 999", "event 900")


def test_events_of_the_log_show_no_secret_and_no_traceback():
    events, token = EventLog(), "eyJhbGciOiJQUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"
    logger = logging.getLogger("hcpcreds.test-page")
    logger.propagate = False
    logger.addHandler(LogEvents(events))
    logger.setLevel(logging.DEBUG)
    try:
        raise ValueError(token)  # noqa: TRY301 (it stands for a library's)
    except ValueError:
        logger.exception("answered %s\nforged", f"Bearer {token}")
    logger.debug("not for readers")
    (event,) = events.list_newest()
    assert (event.level, event.text) == ("error", "answered Bearer *** forged (ValueError)")


def test_state_is_that_of_the_worst_problem():
    assert Subject(name="x", problems=DNS.problems + KMS.problems).state is State.FAILING
    assert make_overview().state is State.OK
