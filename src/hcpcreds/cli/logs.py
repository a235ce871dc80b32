"""How log records become lines of standard error."""

import logging
import time
from typing import Final

from typing_extensions import override

from hcpcreds.text import make_safe

LONGEST_LINE: Final = 2000
"""Characters of a line of a message: ours are shorter, and foreign text in them is cut already."""


class OneLine(logging.Formatter):
    """A log record as a safe line; of an exception only its type, for a traceback may hold a secret."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        kind = record.exc_info[0] if record.exc_info else None
        return make_safe(record.getMessage() + (f" ({kind.__name__})" if kind else ""), limit=LONGEST_LINE)


class _DatedLine(OneLine):
    @override
    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        return f"{at} {record.levelname.lower():7} {super().format(record)}"


def start_logging() -> None:
    """Print what happens in this process, with its time; for commands that run until they are stopped."""
    handler = logging.StreamHandler()
    handler.setFormatter(_DatedLine())
    logger = logging.getLogger("hcpcreds")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
