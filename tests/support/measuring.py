"""Where coverage is measured: following a line of Python costs about as much as running it.

Only what tests and fixtures run is followed, not pytest, nor what they import. Property tests, and tests
marked `unmeasured`, run again and again what others run once: they are left out. So are processes that tests
start, unless the test is marked `measured_processes`. With `--cov-context`, which asks what tests run a line,
all is measured.
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest

_PROCESSES = "COVERAGE_PROCESS_CONFIG"
"""By this, coverage.py finds in a new process that it is to be measured, and how."""


class Measuring:
    """What of the tests in this process is measured."""

    def __init__(self) -> None:
        self._here: Any = None
        self._threads: Any = None
        self._processes: str | None = None

    def leave_out(self, config: pytest.Config) -> None:
        """Begin to leave out what is described above; coverage.py must run already."""
        if not config.getoption("cov_context", None):
            self._here, self._threads = sys.gettrace(), threading.gettrace()
            self._processes = os.environ.pop(_PROCESSES, None)
            _follow(None, None)

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure a block, with the threads that it starts."""
        with _following(self._here, self._threads) if self._here is not None else nullcontext():
            yield

    @contextmanager
    def unmeasured(self) -> Iterator[None]:
        """Leave out a block, with the threads that it starts."""
        with _following(None, None) if self._here is not None else nullcontext():
            yield

    @contextmanager
    def of_processes(self, item: pytest.Item) -> Iterator[None]:
        """Measure the processes that a test and its fixtures start, or leave them out."""
        if self._processes is None or not item.get_closest_marker("measured_processes"):
            yield
            return
        os.environ[_PROCESSES] = self._processes
        try:
            yield
        finally:
            del os.environ[_PROCESSES]


@contextmanager
def _following(here: Any, threads: Any) -> Iterator[None]:
    """Set the trace functions of this thread and of new ones for a block."""
    before = sys.gettrace(), threading.gettrace()
    _follow(here, threads)
    try:
        yield
    finally:
        _follow(*before)


def _follow(here: Any, threads: Any) -> None:
    sys.settrace(here)
    threading.settrace(threads)


def is_left_out(item: pytest.Item) -> bool:
    """Whether the coverage of a test is not measured."""
    return bool(item.get_closest_marker("hypothesis") or item.get_closest_marker("unmeasured"))


measuring = Measuring()
