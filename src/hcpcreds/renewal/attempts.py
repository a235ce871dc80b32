"""Repeats a step that fails for a passing reason."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from hcpcreds.errors import HcpCredsError

T = TypeVar("T")


async def attempt(
    step: Callable[[], Awaitable[T]], *, attempts: int, backoff_seconds: float, stop: asyncio.Event | None
) -> T:
    """Attempt a step until it succeeds, fails for good, or has failed too often.

    Args:
        step: The step; may be repeated after it raised a retryable error.
        attempts: How often to attempt it.
        backoff_seconds: The longest pause before the second attempt; it doubles with each further one.
        stop: Ends the pause and the attempts once it is set.

    Raises:
        HcpCredsError: The error of the last attempt.
    """
    longest = backoff_seconds
    while True:
        attempts -= 1
        try:
            return await step()
        except HcpCredsError as error:
            if not error.retryable or attempts == 0:
                raise
            await pause(random.uniform(0, longest), stop)  # noqa: S311 (not a secret)
            if stop is not None and stop.is_set():
                raise
        longest *= 2


async def pause(seconds: float, stop: asyncio.Event | None) -> None:
    """Wait for so long, or until an event is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await (stop or asyncio.Event()).wait()
