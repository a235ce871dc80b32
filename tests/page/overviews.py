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


def make_facts(
    name: str, client_id: str = "7c4e5b7a-58b0-4a1c-9c52-0b8f2d8f7f10", **more: str | datetime
) -> tuple[Fact, ...]:
    facts = {
        "Client ID": client_id,
        "Credential file": f"/mnt/certs/{name}",
        "Assertion file": f"/run/hcpcreds/{name}",
        **more,
    }
    return tuple(Fact(label.replace("_", " "), value) for label, value in facts.items())


INGRESS = Subject(
    name="ingress",
    certificates=(
        make_certificate(Role.PREVIOUS, "3f9c0e", -59, 31, -13),
        make_certificate(Role.IN_USE, "a17be2", -12, 78, 34),
    ),
    facts=make_facts(
        "ingress",
        Last_reload=NOW - timedelta(days=12),
        Assertion_written=NOW - timedelta(seconds=21),
        Assertion_expires=NOW + timedelta(minutes=29, seconds=39),
        Changes_noticed_by="inotify",
    ),
)
KMS = Subject(
    name="kms",
    certificates=(
        make_certificate(Role.IN_USE, "77d014", -50, 40, -4),
        make_certificate(Role.NEXT, "c05e9a", -0.01, 90, 46),
    ),
    problems=(
        Problem(
            text="The newest assertion is not written; programs use the last one.",
            detail="no token for identity 0d6e2c9f-0d43-4c1e-8b59-6f1f5a3f8f6b: AADSTS700027: the "
            "certificate is not registered on the application",
            advice="Act before the last assertion expires.",
        ),
    ),
    facts=make_facts("kms", client_id="0d6e2c9f-0d43-4c1e-8b59-6f1f5a3f8f6b"),
)
DNS = Subject(
    name="dns",
    problems=(
        Problem(
            text="No usable credential is mounted.",
            detail="the credential file /mnt/certs/dns does not exist",
            advice="See the pod's events for the volume, and whether the vault's secret holds a credential. "
            "The file is read as soon as it changes.",
            state=State.FAILING,
        ),
    ),
    facts=(Fact("Credential file", "/mnt/certs/dns"),),
)
EVENTS = (
    Event(
        NOW - timedelta(seconds=2),
        "warning",
        "kms: no token for identity 0d6e2c9f-0d43-4c1e-8b59-6f1f5a3f8f6b: AADSTS700027: the certificate "
        "is not registered on the application; the last assertion stays in use",
    ),
    Event(NOW - timedelta(minutes=14), "info", "accepted certificate c05e9ac05e9a from /mnt/certs/kms"),
    Event(NOW - timedelta(minutes=41), "warning", "the credential file /mnt/certs/dns does not exist"),
    Event(NOW - timedelta(minutes=41), "info", "ingress: wrote an assertion to /run/hcpcreds/ingress"),
)


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
