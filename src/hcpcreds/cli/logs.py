"""Log records as lines on standard error."""

import logging
import time
from typing import Final

from typing_extensions import override

from hcpcreds.text import make_safe

LONGEST_LINE: Final = 2000
"""Longest line of a message, in characters: ours are shorter, and foreign text in them is already cut."""


class OneLine(logging.Formatter):
    """Formats a record as a safe line, with only the type of an exception: a traceback may hold a secret."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        kind = record.exc_info[0] if record.exc_info else None
        return make_safe(record.getMessage() + (f" ({kind.__name__})" if kind else ""), limit=LONGEST_LINE)


class _DatedLine(OneLine):
    @override
    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        return f"{at} {record.levelname.lower():7} {super().format(record)}"


def start_logging(*others: logging.Handler) -> None:
    """Log to standard error, with the time, and to others; for commands that run until stopped."""
    handler = logging.StreamHandler()
    handler.setFormatter(_DatedLine())
    logger = logging.getLogger("hcpcreds")
    for each in (handler, *others):
        logger.addHandler(each)
    logger.setLevel(logging.INFO)
