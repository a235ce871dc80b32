"""The page in a browser: for everybody, at every size, updating by itself."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.page.browser import Browser, read_axe, run_browser
from tests.page.overviews import DNS, EVENTS, INGRESS, KMS, NOW, make_overview
from tests.serving.servers import Running, running
from tests.support.waiting import wait_until as wait_for

from hcpcreds.page import Overview, build_page_routes

SUBJECTS = (INGRESS, KMS, DNS)
PICTURES = os.environ.get("HCPCREDS_PICTURES")
LOOKS: dict[str, dict[str, Any]] = {
    "light": {},
    "dark": {"dark": True},
    "phone": {"width": 360},
    "dark-phone": {"width": 360, "dark": True},
}


def wait_until(true: Callable[[], object]) -> None:
    wait_for(true, seconds=30)  # browsers are slow on a busy machine


class Shown:
    """What the server shows; a test may change it."""

    def __init__(self) -> None:
        self.overview: Overview = make_overview(*SUBJECTS, events=EVENTS)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with run_browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def shown() -> Shown:
    return Shown()


@pytest.fixture
def server(shown: Shown) -> Iterator[Running]:
    with running(build_page_routes(lambda: shown.overview, seconds=0.05)) as server:
        yield server


def get_url(server: Running) -> str:
    return f"http://127.0.0.1:{server.port}/"


def get_text(browser: Browser, selector: str) -> str:
    return str(browser.run(f"document.querySelector({selector!r}).innerText"))


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_nothing_and_nothing_is_wider_than_the_screen(browser: Browser, server: Running, look: str):
    browser.open(get_url(server), **LOOKS[look])
    browser.run("document.getElementById('pause').click()")
    browser.run(read_axe())
    found: list[dict[str, Any]] = browser.run("axe.run().then(({violations}) => violations)")
    assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == []
    assert browser.run("document.documentElement.scrollWidth - window.innerWidth") <= 0
    assert browser.list_complaints() == []


def test_page_updates_itself_and_says_when_it_cannot(browser: Browser, server: Running, shown: Shown):
    browser.open(get_url(server))
    assert "1 of 3 credentials is failing" in get_text(browser, "#summary")
    shown.overview = make_overview(INGRESS, KMS, at=NOW + timedelta(seconds=5))
    wait_until(lambda: get_text(browser, "#summary") == "1 of 2 credentials needs attention.")
    assert browser.run("document.querySelectorAll('article').length") == 2
    assert "12:00:05" in get_text(browser, "#updated")
    assert browser.run("document.title") == "! hcpcreds serve"
    assert browser.list_complaints() == []
    server.close()
    wait_until(lambda: "cannot be reached" in get_text(browser, "#connection"))


def test_summary_is_read_aloud_only_when_it_changes(browser: Browser, server: Running, shown: Shown):
    browser.open(get_url(server))
    browser.run(
        """changes = 0; new MutationObserver(() => changes += 1).observe(
        document.getElementById("summary"), {childList: true, characterData: true, subtree: true})"""
    )
    for second in range(1, 4):
        shown.overview = replace(shown.overview, at=NOW + timedelta(seconds=second))
        wait_until(lambda: f"12:00:0{second}" in get_text(browser, "#updated"))  # noqa: B023 (called at once)
    assert browser.run("changes") == 0


def test_keyboard_pauses_and_resumes_the_updates(browser: Browser, server: Running, shown: Shown):
    browser.open(get_url(server))
    browser.press("Tab")
    assert browser.run("document.activeElement.id") == "pause"
    browser.press("Enter")
    assert get_text(browser, "#pause") == "Resume updates"
    shown.overview = replace(shown.overview, at=NOW + timedelta(seconds=7))
    browser.run("new Promise(done => setTimeout(done, 200))")
    assert "12:00:00" in get_text(browser, "#updated")
    browser.press("Enter")
    wait_until(lambda: "12:00:07" in get_text(browser, "#updated"))
    assert browser.run("document.activeElement.id") == "pause"


def test_page_asks_once_at_a_time_when_it_is_paused_and_resumed_quickly(browser: Browser, server: Running):
    browser.open(get_url(server))
    most = browser.run(
        """new Promise(async done => {
            let now = 0, most = 0;
            const ask = fetch;
            for (let each = 0; each < 20; each++) pause.click();
            window.fetch = async (...what) => {
                most = Math.max(most, ++now);
                const answer = await ask(...what);
                await new Promise(later => setTimeout(later, 100));
                now--;
                return answer;
            };
            setTimeout(() => done(most), 1000);
        })"""
    )
    assert most == 1


def test_page_says_everything_without_javascript(browser: Browser, server: Running):
    browser.open(get_url(server), scripts=False)
    tree = browser.call("Accessibility.getFullAXTree")["nodes"]
    names = [
        (node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree if "role" in node
    ]
    headings = [name for role, name in names if role == "heading"]
    assert set(headings) == {"hcpcreds serve", "Credentials", "dns", "kms", "ingress", "Recent events"}
    assert ("image", "Timeline of the certificates; their dates follow.") in names
    assert ("link", "Reload") in names
    assert "Pause updates" not in [name for _, name in names]
    assert any("Act before the last assertion expires." in name for _, name in names)


@pytest.mark.skipif(PICTURES is None, reason="HCPCREDS_PICTURES names a directory for the docs' pictures")
@pytest.mark.parametrize("look", LOOKS)
def test_pictures_for_the_docs(browser: Browser, server: Running, look: str):
    browser.open(get_url(server), **LOOKS[look])
    browser.take_picture(Path(str(PICTURES)) / f"page-{look}.png")
