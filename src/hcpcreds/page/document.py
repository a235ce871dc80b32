"""The page as an HTML document."""

import base64
import hashlib
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Final

from hcpcreds.page.markup import Markup, join, tag
from hcpcreds.page.model import Certificate, Event, Fact, Overview, Problem, State, Subject
from hcpcreds.page.timeline import THUMBPRINT_LETTERS, draw_timeline

_STYLE: Final = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
_SCRIPT: Final = Path(__file__).with_name("page.js").read_text(encoding="utf-8")
_WORDS: Final = {State.OK: "in order", State.WARNING: "needs attention", State.FAILING: "failing"}
_SYMBOLS: Final = {State.OK: "✓", State.WARNING: "!", State.FAILING: "✕"}
_EVENTS_SHOWN: Final = 30


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        f"style-src {_hash(_STYLE)}",
        f"script-src {_hash(_SCRIPT)}",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""The Content-Security-Policy: nothing but the document's own style and script, and its own address."""


def render_page(overview: Overview, *, seconds: float) -> str:
    """Render the page.

    Args:
        overview: What to show.
        seconds: How often the script fetches the page again.
    """
    order = sorted(enumerate(overview.subjects), key=lambda each: -list(State).index(each[1].state))
    subjects = [_render_subject(number, subject, overview.at) for number, subject in order]
    header = tag(
        "header",
        tag("h1", overview.title),
        tag(
            "p",
            _badge(overview.state),
            tag("span", overview.summary, id="summary", role="status"),
            class_="summary",
        ),
        tag(
            "p",
            tag("span", "Updated ", _render_time(overview.at, overview.at, relative=False), id="updated"),
            tag("button", "Pause updates", id="pause", type="button", hidden="hidden"),
            tag("a", "Reload", id="reload", href="?"),
            tag("a", "JSON", href="status.json"),
            class_="tools",
        ),
        tag("p", id="connection", role="status"),
    )
    main = tag(
        "main",
        tag("h2", f"{overview.kind.capitalize()}s"),
        tag("div", *subjects, id="subjects"),
        tag("h2", "Recent events"),
        _render_events(overview.events),
        id="main",
    )
    head = tag(
        "head",
        Markup('<meta charset="utf-8">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup('<meta name="color-scheme" content="light dark">'),
        Markup('<link rel="icon" href="data:,">'),
        tag("title", f"{_SYMBOLS[overview.state]} {overview.title}"),
        tag("style", Markup(_STYLE)),
    )
    body = tag("body", header, main, tag("script", Markup(_SCRIPT)), data_seconds=f"{seconds:g}")
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _badge(state: State) -> Markup:
    symbol = tag("span", _SYMBOLS[state], aria_hidden="true")
    return tag("span", symbol, " ", _WORDS[state], class_=f"badge {state}")


def _render_subject(number: int, subject: Subject, now: datetime) -> Markup:
    heading = f"subject-{number}-name"
    parts = [tag("div", tag("h3", subject.name, id=heading), _badge(subject.state), class_="title")]
    if subject.problems:
        parts.append(tag("ul", *map(_render_problem, subject.problems), class_="problems"))
    if subject.certificates:
        parts.append(draw_timeline(subject.certificates, now=now))
        rows = [_render_certificate(each, now) for each in subject.certificates]
        parts.append(tag("ul", *rows, class_="certificates"))
    facts = list(_render_facts(subject.facts, now))
    if facts:
        parts.append(tag("dl", *facts, class_="facts"))
    return tag(
        "article", *parts, id=f"subject-{number}", class_=f"card {subject.state}", aria_labelledby=heading
    )


def _render_problem(problem: Problem) -> Markup:
    parts = [tag("strong", problem.text)]
    if problem.detail:
        parts.append(tag("p", problem.detail, class_="detail"))
    parts.append(tag("p", tag("b", "What to do: "), problem.advice))
    return tag("li", *parts, class_=problem.state)


def _render_certificate(certificate: Certificate, now: datetime) -> Markup:
    times = {
        "Valid from": certificate.not_before,
        "Renew from": certificate.renew_from,
        "Expires": certificate.not_after,
    }
    facts = [Fact(label, at) for label, at in times.items()]
    return tag(
        "li",
        tag(
            "p",
            tag("span", certificate.role, class_=f"role {certificate.role.replace(' ', '-')}"),
            " ",
            tag("code", certificate.thumbprint[:THUMBPRINT_LETTERS]),
        ),
        tag("dl", *_render_facts(facts, now)),
    )


def _render_facts(facts: Iterable[Fact], now: datetime) -> Iterable[Markup]:
    for fact in facts:
        if fact.value is None:
            continue
        value = _render_time(fact.value, now) if isinstance(fact.value, datetime) else join(str(fact.value))
        yield tag("div", tag("dt", fact.label), tag("dd", value))


def _render_events(events: tuple[Event, ...]) -> Markup:
    if not events:
        return tag("p", "Nothing has happened yet.", id="events")
    items = [
        tag(
            "li",
            tag("time", f"{event.at:%d %b %H:%M:%S}", datetime=event.at.isoformat()),
            " ",
            tag("span", event.level, class_=f"level {event.level}"),
            " ",
            tag("span", event.text, class_="text"),
        )
        for event in events[:_EVENTS_SHOWN]
    ]
    return tag("ol", *items, id="events")


def _render_time(at: datetime, now: datetime, *, relative: bool = True) -> Markup:
    near = abs((at - now).total_seconds()) < 86400  # noqa: PLR2004 (a day)
    text = f"{at:%Y-%m-%d %H:%M:%S} UTC" if near else f"{at:%Y-%m-%d %H:%M} UTC"
    time = tag("time", text, datetime=at.isoformat())
    if not relative:
        return time
    return join(time, " ", tag("span", _render_distance((at - now).total_seconds()), class_="distance"))


def _render_distance(seconds: float) -> str:
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        number = int(abs(seconds) // length)
        if number:
            words = f"{number} {unit}{'' if number == 1 else 's'}"
            return f"in {words}" if seconds > 0 else f"{words} ago"
    return "now"
