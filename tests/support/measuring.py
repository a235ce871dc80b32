"""Where coverage is measured: following a line of Python costs about as much as running it.

Property tests, and tests marked `unmeasured`, run again and again what others run once: they are left out. So
are processes that tests start, unless the test is marked `measured_processes`. With `--cov-context`, which
asks what tests run a line, everything is measured.
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_PROCESSES = "COVERAGE_PROCESS_CONFIG"
"""By this, coverage.py finds in a new process that it is to be measured, and how."""


class Measuring:
    """What of the tests in this process is measured."""

    def __init__(self) -> None:
        self._leaves_out = False
        self._processes: str | None = None

    def leave_out(self, config: pytest.Config) -> None:
        """Begin to leave out what is described above; coverage.py must run already."""
        self._leaves_out = not config.getoption("cov_context", None)
        if self._leaves_out:
            self._processes = os.environ.pop(_PROCESSES, None)

    @contextmanager
    def of_call(self, item: pytest.Item) -> Iterator[None]:
        """Measure the call of a test, or leave it out."""
        if item.get_closest_marker("hypothesis") or item.get_closest_marker("unmeasured"):
            with self.unmeasured():
                yield
        else:
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
    def unmeasured(self) -> Iterator[None]:
        """Leave out a block, with the threads that it starts."""
        if not self._leaves_out:
            yield
            return
        here, threads = sys.gettrace(), threading.gettrace()
        sys.settrace(None)
        threading.settrace(None)
        try:
            yield
        finally:
            sys.settrace(here)
            threading.settrace(threads)


measuring = Measuring()
