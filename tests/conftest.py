"""What tests of every room share: a local Azure, and an environment that is the same wherever they run."""

import gc
import os
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest
from azure.keyvault.secrets._shared import http_challenge_cache
from hypothesis import settings
from tests.support.logs import restored_logging
from tests.support.measuring import is_left_out, measuring
from tests.support.processes import end_children, let_children_be_interrupted, list_children

from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.local.azure.settings import AzureSettings

KEYS = 5
"""How many keys certificates have in turn; a new one for each would take a tenth of the tests' time."""
# Everything is on this machine: the proxy that a company's machine names must not be asked for it.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
# A terminal has its own size; some shells, and pytest-xdist, tell everybody theirs.
for variable in ("COLUMNS", "LINES"):
    os.environ.pop(variable, None)
let_children_be_interrupted()
# A busy machine is no finding. What has to be quick is asserted in processor time.
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")


def pytest_xdist_auto_num_workers() -> int:
    """Two workers a core: half of the time a test waits for a process, a file or an answer."""
    return 2 * (os.cpu_count() or 1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """Do not measure what starts the workers, nor how they start."""
    measuring.leave_out(config)


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Measure only what tests and fixtures run: see `tests.support.measuring`."""
    measuring.leave_out(session.config)


def pytest_collection_finish() -> None:
    """Leave the half a million objects that all tests share out of each look through the heap."""
    gc.collect()
    gc.freeze()


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name binary and long values by what they are: what is made at import differs in each worker."""
    is_made = isinstance(val, bytes) and not val.isascii()
    return argname if is_made or (isinstance(val, str | bytes) and len(val) > 80) else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Measure the processes of a test, or not."""
    with measuring.of_processes(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup() -> Generator[None, object, object]:
    """Measure what a fixture runs."""
    with measuring.measured():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Measure what a test runs, or not."""
    if is_left_out(pyfuncitem):
        return (yield)
    with measuring.measured():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    """Measure what fixtures run at their ends."""
    with measuring.measured():
        return (yield)


@pytest.fixture(autouse=True)
def _no_process_outlives_its_test() -> Iterator[None]:
    before = list_children().keys()
    yield
    left = {pid: command for pid, command in list_children().items() if pid not in before}
    end_children(set(left))
    assert not left, "processes that this test started and did not end"


@pytest.fixture(autouse=True)
def _no_logging_outlives_its_test() -> Iterator[None]:
    with restored_logging():  # a command that runs in this process logs to standard error, at its own level
        yield


@pytest.fixture(autouse=True)
def _no_challenge_outlives_its_vault() -> None:
    # The SDK remembers for the process which tenant a vault asks for, by its port, and ports come again.
    http_challenge_cache.clear()


@pytest.fixture(scope="session")
def _session_azure() -> Iterator[LocalAzure]:
    # MSAL keeps one assertion for nine minutes; tests of the replay check make an Azure of their own.
    with measuring.unmeasured():
        azure = LocalAzure(AzureSettings(refuse_replayed_assertions=False, key_pool=KEYS)).start()
    yield azure
    azure.close()


@pytest.fixture
def local_azure(_session_azure: LocalAzure) -> Iterator[LocalAzure]:
    """One Azure for the session: use client ids and secret names of your own; faults end with the test."""
    _session_azure.faults.clear()
    _session_azure.requests.clear()
    yield _session_azure
    _session_azure.faults.clear()


@pytest.fixture
def make_azure() -> Iterator[Callable[..., LocalAzure]]:
    """Start an Azure with settings of the test's own; 50 ms each. `now=` gives it another clock."""
    started: list[LocalAzure] = []

    def make(*, now: Any = None, **settings: Any) -> LocalAzure:
        of_tests = AzureSettings(**{"key_pool": KEYS, **settings})
        azure = LocalAzure(of_tests, **({} if now is None else {"now": now}))
        started.append(azure.start())
        return azure

    yield make
    for azure in started:
        azure.close()
