"""The page that shows the components of a running chain."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from typing_extensions import override

from hcpcreds.page import (
    Certificate,
    Event,
    EventLog,
    Fact,
    Overview,
    Problem,
    Role,
    State,
    Subject,
    build_page_routes,
)
from hcpcreds.serving import ListenAddress, serve
from hcpcreds.text import make_printable, make_safe
from hcpcreds.up.record import CertificateUse, ComponentRecord
from hcpcreds.up.settings import Reporter

_REFRESH_SECONDS: Final = 1.0
_CERTIFICATES_SHOWN: Final = 2


@dataclass
class EventReporter(Reporter):
    """Keeps what happens for the page, and passes it on.

    Args:
        events: Gets what happens.
        to: Shows it elsewhere.
    """

    events: EventLog
    to: Reporter

    @override
    def step(self, text: str) -> None:
        self.events.add(text, at=time.time())
        self.to.step(text)

    @override
    def started(self, records: Sequence[ComponentRecord]) -> None:
        self.to.started(records)

    @override
    def happened(self, record: ComponentRecord, text: str) -> None:
        self.events.add(f"{record.component}: {text}", at=time.time())
        self.to.happened(record, text)

    @override
    def problem(self, text: str) -> None:
        self.events.add(text, at=time.time(), level="error")
        self.to.problem(text)

    @override
    def finished(self, records: Sequence[ComponentRecord]) -> None:
        self.to.finished(records)


@asynccontextmanager
async def serve_page(
    address: ListenAddress, records: Sequence[ComponentRecord], events: EventLog
) -> AsyncIterator[str]:
    """Serve the page until the context exits.

    Args:
        address: Where to listen.
        records: The components; may change meanwhile, on this event loop.
        events: What happens.

    Yields:
        The page's URL.

    Raises:
        InputError: Nothing can listen at the address.
    """
    routes = build_page_routes(
        lambda: describe_chain(records, now=time.time(), events=events.list_newest()),
        seconds=_REFRESH_SECONDS,
    )
    async with serve(address, routes) as server:
        host = server.address.host or "127.0.0.1"
        yield f"http://{ListenAddress(host, server.address.port)}/"


def describe_chain(records: Sequence[ComponentRecord], *, now: float, events: Sequence[Event]) -> Overview:
    """Describe the components of a running chain.

    Args:
        records: The components.
        now: Unix time.
        events: What happened, the newest first.
    """
    at = datetime.fromtimestamp(now, UTC)
    return Overview(
        title="hcpcreds up",
        kind="component",
        at=at,
        subjects=tuple(_describe(record) for record in records),
        events=tuple(events),
    )


def _describe(record: ComponentRecord) -> Subject:
    current = record.current
    reload = call = None
    if current is not None:
        reload, call = record.reload_milliseconds(current), record.first_call_milliseconds(current)
    last_call = record.last_call_at
    return Subject(
        name=make_safe(record.component),
        certificates=tuple(_list_certificates(record)),
        problems=tuple(_find_problems(record)),
        facts=(
            Fact("Calls", record.calls),
            Fact("Failed calls", record.failed_calls),
            Fact("Last call", None if last_call is None else datetime.fromtimestamp(last_call, UTC)),
            Fact("Rotations", record.rotations),
            Fact("Swap to reload", None if reload is None else f"{reload:.1f} ms"),
            Fact("Swap to first call", None if call is None else f"{call:.0f} ms"),
            Fact("Program", make_safe(record.language)),
            Fact("Volume", make_safe(record.volume)),
            Fact("Secret provider class", make_safe(record.secret_provider_class)),
            Fact("Credential file", make_printable(record.file)),
        ),
    )


def _list_certificates(record: ComponentRecord) -> list[Certificate]:
    known = record.certificates[-_CERTIFICATES_SHOWN:]
    current = record.current
    in_use = known.index(current) if current in known else -1
    return [_describe_use(use, number - in_use) for number, use in enumerate(known) if use.valid_from]


def _describe_use(use: CertificateUse, place: int) -> Certificate:
    """Describe a certificate by its place: 0 is in use, those before have lower numbers."""
    role = Role.IN_USE if place == 0 else Role.PREVIOUS if place < 0 else Role.NEXT
    return Certificate(
        role=role,
        thumbprint=use.thumbprint,
        not_before=use.valid_from or use.expires,
        not_after=use.expires,
        renew_from=use.renew_from,
    )


def _find_problems(record: ComponentRecord) -> list[Problem]:
    problems = []
    if record.ended is not None:
        problems.append(
            Problem(
                text="Its process has ended.",
                detail=make_safe(record.ended),
                advice="Start the chain again; what the process printed last stands in the reason above.",
                state=State.FAILING,
            )
        )
    if record.failed_calls:
        problems.append(
            Problem(
                text=f"{record.failed_calls} of {record.calls} calls failed.",
                detail=make_safe(record.last_error),
                advice="Compare the time of the last failure, among the events, with those of the rotations.",
            )
        )
    return problems
