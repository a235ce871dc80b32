"""Overviews that tests show, and what a reader sees of them."""

from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

from typing_extensions import override

from hcpcreds.page import Certificate, Event, Fact, Overview, Problem, Role, State, Subject

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
VOID = {"meta", "link"}


def make_certificate(
    role: Role, letters: str, first: float, last: float, due: float | None = None
) -> Certificate:
    """Make a certificate, whose times are in days from now."""
    return Certificate(
        role=role,
        thumbprint=(letters * 64)[:64],
        not_before=NOW + timedelta(days=first),
        not_after=NOW + timedelta(days=last),
        renew_from=None if due is None else NOW + timedelta(days=due),
    )


INGRESS = Subject(
    name="ingress",
    certificates=(
        make_certificate(Role.PREVIOUS, "3f", -59, 31, -13),
        make_certificate(Role.IN_USE, "a1", -12, 78, 34),
    ),
    facts=(
        Fact("Client ID", "7c4e5b7a-58b0-4a1c-9c52-0b8f2d8f7f10"),
        Fact("Last reload", NOW - timedelta(days=12)),
    ),
)
KMS = Subject(
    name="kms",
    certificates=(
        make_certificate(Role.IN_USE, "77", -50, 40, -4),
        make_certificate(Role.NEXT, "c0", -0.01, 90, 46),
    ),
    problems=(Problem(text="Entra ID refuses it.", detail="AADSTS700027", advice="Wait a few minutes."),),
)
DNS = Subject(
    name="dns",
    problems=(Problem(text="No usable credential is mounted.", advice="Mount one.", state=State.FAILING),),
)
EVENTS = (Event(NOW, "error", "kms: refused"), Event(NOW - timedelta(minutes=1), "info", "ingress: written"))


def make_overview(*subjects: Subject, **changes: Any) -> Overview:
    settings = {"title": "hcpcreds serve", "kind": "credential", "at": NOW, **changes}
    return Overview(subjects=subjects, **settings)


class Page(HTMLParser):
    """A document as a browser has it: its elements, and the text outside of its style and script."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(document)
        self.close()
        assert self._open == [], "an element is not closed"

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def list_tags(self) -> list[str]:
        return [tag for tag, _ in self.elements]

    def list_attributes(self, name: str) -> list[str | None]:
        return [attributes[name] for _, attributes in self.elements if name in attributes]

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    @override
    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    @override
    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self._open):
            self.texts.append(data)
