"""Waiting for other threads, and doing without them."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def wait_until(true: Callable[[], object], *, seconds: float = 8, every: float = 0.002) -> None:
    """Wait for something that another thread does.

    Args:
        true: Whether it has happened.
        seconds: How long it may take.
        every: Seconds between two looks; more where a look costs much.
    """
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(every)


@contextmanager
def no_new_threads() -> Iterator[None]:
    """The fault of a pod at its limit of processes: "can't start new thread", as the kernel has it."""
    before = threading.stack_size(1 << 46)
    try:
        yield
    finally:
        threading.stack_size(before)
