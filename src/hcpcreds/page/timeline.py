"""The lives of certificates as a picture, on one axis of time.

Everything is placed by attributes in percent: the page's policy allows no inline styles.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from hcpcreds.page.markup import Markup, tag
from hcpcreds.page.model import Certificate

_TOP: Final = 18
_ROW: Final = 34
_MARGIN: Final = 0.03
"""Share of the axis that is left empty on both sides."""
_EDGE: Final = 8.0
"""Percent from an edge within which a label is aligned to it."""
_LABEL: Final = 45.0
"""Percent that the label of a certificate may take on a phone."""
THUMBPRINT_LETTERS: Final = 12


def draw_timeline(certificates: Sequence[Certificate], *, now: datetime) -> Markup:
    """Draw one bar for each certificate, from valid to expired, and a line through all of them for now."""
    axis = _Axis(now, certificates)
    bottom = _TOP + _ROW * len(certificates)
    x = axis.place(now)
    rows = [(_TOP + _ROW * number, each) for number, each in enumerate(certificates)]
    parts = [part for top, each in rows for part in _draw_life(each, axis, top)]
    parts.append(tag("line", x1=_show(x), x2=_show(x), y1=_TOP - 3, y2=bottom + 2, class_="now"))
    parts += [_draw_label(each, axis, top) for top, each in rows]  # over the line
    parts.append(tag("text", "now", x=_show(x), y=12, class_="now", text_anchor=_align(x)))
    return tag(
        "svg",
        *parts,
        class_="timeline",
        width="100%",
        height=bottom + 4,
        role="img",
        aria_label="Timeline of the certificates; their dates follow.",
    )


def _draw_life(certificate: Certificate, axis: "_Axis", top: int) -> Iterable[Markup]:
    start, end = axis.place(certificate.not_before), axis.place(certificate.not_after)
    role = certificate.role.replace(" ", "-")
    y, height = top + 17, 11
    yield tag(
        "rect",
        x=_show(start),
        y=y,
        width=_show(max(end - start, 0)),
        height=height,
        rx=3,
        class_=f"life {role}",
    )
    if certificate.renew_from is not None:
        due = min(max(axis.place(certificate.renew_from), start), end)
        yield tag("rect", x=_show(due), y=y, width=_show(end - due), height=height, rx=3, class_="renewal")
        yield tag("line", x1=_show(due), x2=_show(due), y1=y - 3, y2=y + height + 3, class_="due")


def _draw_label(certificate: Certificate, axis: "_Axis", top: int) -> Markup:
    start, end = axis.place(certificate.not_before), axis.place(certificate.not_after)
    has_room = start < 100 - _LABEL
    label = f"{certificate.role} · {certificate.thumbprint[:THUMBPRINT_LETTERS]}"
    return tag(
        "text",
        label,
        x=_show(start if has_room else end),
        y=top + 12,
        text_anchor="start" if has_room else "end",
    )


class _Axis:
    def __init__(self, now: datetime, certificates: Sequence[Certificate]) -> None:
        times = [now, *(at for each in certificates for at in (each.not_before, each.not_after))]
        self._start = min(times).timestamp()
        self._length = (max(times).timestamp() - self._start) or 1.0

    def place(self, at: datetime) -> float:
        """Place a time on the axis, in percent."""
        share = (at.timestamp() - self._start) / self._length
        return 100 * (_MARGIN + share * (1 - 2 * _MARGIN))


def _show(percent: float) -> str:
    return f"{percent:.2f}%"


def _align(x: float) -> str:
    if x < _EDGE:
        return "start"
    return "end" if x > 100 - _EDGE else "middle"
