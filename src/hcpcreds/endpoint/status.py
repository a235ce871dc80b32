"""Where each served credential is in its life, in words that whoever is on call can act on."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from hcpcreds.credential.state import Snapshot
from hcpcreds.credential.status import Status
from hcpcreds.endpoint.assertion_file import AssertionFile, Written
from hcpcreds.endpoint.service import Endpoint, Served
from hcpcreds.page import Certificate, Event, Fact, Overview, Problem, Role, State, Subject
from hcpcreds.text import make_printable, make_safe

_OVERDUE: Final = timedelta(days=1)
"""How long after `renew_after` a renewal is not overdue yet: the vault is walked only from time to time."""
_LAST_SHARE: Final = 0.1
"""Share of a certificate's life at whose beginning its end is near."""
_LONGEST: Final = 600
"""Characters of a reason that are shown."""


def describe_endpoint(endpoint: Endpoint, *, now: float, events: Sequence[Event]) -> Overview:
    """Describe an endpoint for the page.

    Args:
        endpoint: The endpoint.
        now: Unix time.
        events: What happened, the newest first.
    """
    at = datetime.fromtimestamp(now, UTC)
    return Overview(
        title="hcpcreds serve",
        kind="credential",
        at=at,
        subjects=tuple(_describe(each, at) for each in endpoint.served),
        events=tuple(events),
    )


def _describe(served: Served, now: datetime) -> Subject:
    status, file = served.credential.status(), served.file
    written = None if file is None else file.written
    return Subject(
        name=make_safe(served.name),
        certificates=tuple(_list_certificates(status, written, now)),
        problems=tuple(_find_problems(served, status, now)),
        facts=(
            Fact("Client ID", status.client_id),
            Fact("Tenant ID", status.tenant_id),
            Fact("Credential file", make_printable(status.path)),
            Fact("Last reload", status.last_reload),
            Fact("Certificates so far", status.generation),
            Fact("Refused contents", status.rejected),
            Fact("Changes noticed by", status.watch_mode),
            Fact("Assertion file", None if file is None else make_printable(file.path)),
            Fact("Assertion written", None if written is None else datetime.fromtimestamp(written.at, UTC)),
            Fact(
                "Assertion expires",
                None if written is None else datetime.fromtimestamp(written.expires_at, UTC),
            ),
        ),
    )


def _list_certificates(status: Status, written: Written | None, now: datetime) -> Iterator[Certificate]:
    """List the certificates that are known, the oldest first, with what each is at the moment."""
    if status.thumbprint is None or status.not_before is None or status.not_after is None:
        return
    previous = status.previous
    known = [] if written is None else [_read_snapshot(written.snapshot)]
    if previous is not None:
        known.append((previous.thumbprint, previous.not_before, previous.not_after, None))
    known.append((status.thumbprint, status.not_before, status.not_after, status.renew_after))
    # The last entry of a thumbprint counts: the order is that in which they were mounted.
    lives = {life[0]: life for life in reversed(known)}
    order = list(reversed(lives))
    in_use = status.thumbprint
    if written is not None:
        in_use = written.snapshot.certificate.thumbprint
    elif status.refused and previous is not None and _has_valid_previous(status, now):
        in_use = previous.thumbprint
    for number, thumbprint in enumerate(order):
        role = Role.PREVIOUS if number < order.index(in_use) else Role.NEXT
        _, not_before, not_after, renew_from = lives[thumbprint]
        yield Certificate(
            role=Role.IN_USE if thumbprint == in_use else role,
            thumbprint=thumbprint,
            not_before=not_before,
            not_after=not_after,
            renew_from=renew_from,
        )


def _read_snapshot(snapshot: Snapshot) -> tuple[str, datetime, datetime, datetime | None]:
    file = snapshot.file
    return file.certificate.thumbprint, file.not_before, file.not_after, file.renew_after


def _find_problems(served: Served, status: Status, now: datetime) -> Iterator[Problem]:
    reason = make_safe(status.last_error or "", limit=_LONGEST)
    if status.thumbprint is None:
        yield Problem(
            text="No usable credential is mounted.",
            detail=reason or "the file has not been read yet",
            advice="See the pod's events for the volume, and whether the vault's secret holds a credential. "
            "The file is read as soon as it changes.",
            state=State.FAILING,
        )
        return
    if status.gone is not None:
        yield Problem(
            text="Entra ID does not know this identity or its tenant.",
            detail=make_safe(status.gone, limit=_LONGEST),
            advice="See whether the identity was deleted or made again: then its credential has to be "
            "requested anew.",
            state=State.FAILING,
        )
    if status.refused:
        has_previous = _has_valid_previous(status, now)
        yield Problem(
            text="Entra ID refuses the certificate that is mounted now.",
            detail="the previous certificate is used while it is valid" if has_previous else "",
            advice="A new certificate is taken within minutes of its issue. If it is not, compare the "
            "thumbprint with the identity's in Azure, and issue a new credential.",
            state=State.WARNING if has_previous else State.FAILING,
        )
    if reason:
        yield Problem(
            text="What is mounted now is not used; the last valid certificate is.",
            detail=reason,
            advice="Correct the vault's secret before the certificate in use expires.",
        )
    yield from _find_late(status, now)
    yield from _find_missing(served)


def _has_valid_previous(status: Status, now: datetime) -> bool:
    return status.previous is not None and now < status.previous.not_after


def _find_late(status: Status, now: datetime) -> Iterator[Problem]:
    """Find that a certificate has lived for too long."""
    not_before, not_after, due = status.not_before, status.not_after, status.renew_after
    if not_before is None or not_after is None:
        return
    if now >= not_after:
        yield Problem(
            text="The certificate has expired, and no newer one is mounted.",
            advice="See whether the vault holds a newer version (`hcpcreds renew` writes it), and whether "
            "the driver's rotation mounts it.",
            state=State.FAILING,
        )
    elif due is not None and now - due >= _OVERDUE:
        yield Problem(
            text="The renewal of the certificate is overdue.",
            advice="See whether `hcpcreds renew`, or what else renews the vault's credentials, runs; and "
            "whether the driver mounts the newest version.",
        )
    elif due is None and not_after - now < _LAST_SHARE * (not_after - not_before):
        yield Problem(
            text="The certificate expires soon, and no newer one is mounted.",
            advice="Renew it in the vault, and see whether the driver's rotation mounts it.",
        )


def _find_missing(served: Served) -> Iterator[Problem]:
    """Find that programs do not get what is kept for them, or get what is old."""
    for kept in served.kept:
        unready = kept.find_unready()
        if unready is not None:
            yield Problem(
                text="Programs cannot get tokens with this credential.",
                detail=make_safe(unready.removeprefix(f"{served.name}: "), limit=_LONGEST),
                advice="See the reason above. Attempts go on, the next one within 30 seconds.",
                state=State.FAILING,
            )
        elif kept.problem is not None:
            is_file = isinstance(kept, AssertionFile)
            yield Problem(
                text="The newest assertion is not written; programs use the last one."
                if is_file
                else "The authority gives no new token; programs get the one in memory.",
                detail=make_safe(kept.problem, limit=_LONGEST),
                advice=f"Act before the last {'assertion' if is_file else 'token'} expires.",
            )
