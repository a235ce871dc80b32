"""A plugin of pytest: which tests run and in which order, and how long each takes."""

import json
import os
from pathlib import Path
from typing import Final

import pytest

ORDER: Final = "HCPCREDS_MUTANTS_ORDER"
"""A file with a list of node ids: only they run, in this order."""
TIMES: Final = "HCPCREDS_MUTANTS_TIMES"
"""A file that gets the seconds of each that passes, and None for one that does not."""

_failed: set[str] = set()
_times: dict[str, float] = {}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave what is named, in its order."""
    if ORDER not in os.environ:
        return
    order = {name: place for place, name in enumerate(json.loads(Path(os.environ[ORDER]).read_text()))}
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in order])
    items[:] = sorted((item for item in items if item.nodeid in order), key=lambda item: order[item.nodeid])


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add a phase of a test."""
    _times[report.nodeid] = _times.get(report.nodeid, 0.0) + report.duration
    if report.failed:
        _failed.add(report.nodeid)


def pytest_sessionfinish() -> None:
    """Write the times."""
    if TIMES in os.environ:
        times = {test: None if test in _failed else seconds for test, seconds in _times.items()}
        Path(os.environ[TIMES]).write_text(json.dumps(times))
