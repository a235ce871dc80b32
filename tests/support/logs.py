"""What a command in this process leaves of its logging, and how it is taken back."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def restored_logging() -> Iterator[None]:
    """Restore the level and handlers of `hcpcreds`, and the format of records that nobody handles."""
    logger, last_resort = logging.getLogger("hcpcreds"), logging.lastResort
    level, handlers = logger.level, logger.handlers.copy()
    formatter = last_resort.formatter if last_resort else None
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.handlers[:] = handlers
        if last_resort is not None:
            last_resort.setFormatter(formatter)
        logging.lastResort = last_resort
