"""What happened lately: a bounded list of events."""

import logging
from collections import deque
from datetime import UTC, datetime
from typing import Final

from typing_extensions import override

from hcpcreds.page.model import Event
from hcpcreds.text import make_safe

MOST_EVENTS: Final = 100
_LONGEST: Final = 600
"""Characters of an event that are kept."""


class EventLog:
    """Keeps the latest events. Any thread may add one."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=MOST_EVENTS)

    def add(self, text: str, *, at: float, level: str = "info") -> None:
        """Add an event.

        Args:
            text: What happened; foreign text in it is made safe.
            at: Unix time.
            level: `info`, `warning` or `error`.
        """
        self._events.append(Event(datetime.fromtimestamp(at, UTC), level, make_safe(text, limit=_LONGEST)))

    def list_newest(self) -> tuple[Event, ...]:
        """List the events, the newest first."""
        return tuple(reversed(self._events.copy()))


class LogEvents(logging.Handler):
    """Adds what is logged to an event log.

    Args:
        events: The event log.
    """

    def __init__(self, events: EventLog) -> None:
        super().__init__(logging.INFO)
        self._events = events

    @override
    def emit(self, record: logging.LogRecord) -> None:
        # Of an exception only its type: a traceback may hold a secret.
        kind = record.exc_info[0] if record.exc_info else None
        try:
            text = record.getMessage() + (f" ({kind.__name__})" if kind else "")
        except Exception:  # noqa: BLE001 (a log call with the wrong arguments must not end its caller)
            return
        level = "error" if record.levelno >= logging.ERROR else record.levelname.lower()
        self._events.add(text, at=record.created, level=level)
