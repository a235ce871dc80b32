"""The effects of a credential on its process."""

import asyncio
import gc
import os
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from azure.core.pipeline.transport import RequestsTransport
from tests.credential.conftest import OTHER_SCOPE, SCOPE, Identity, get_signer
from tests.credential.files import issue, later, render_file, wait_for_generation
from tests.support.processes import run_python
from tests.support.volume import Mount
from tests.support.waiting import wait_until

import hcpcreds.aio
from hcpcreds.credential import UserAssignedIdentityCredential
from hcpcreds.local.azure.azure import LocalAzure

FIRST = issue()
_NAMES = {"hcpcreds-watcher", "hcpcreds-refresh", "hcpcreds-token", "hcpcreds-asyncio"}


def count_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def has_thread() -> bool:
    return bool(list_threads())


def list_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name in _NAMES}


class Before:
    """The threads and descriptors before a test: an earlier test may have left a hanging request."""

    def __init__(self) -> None:
        gc.collect()
        self._threads = list_threads()
        self._descriptors = count_descriptors()

    def is_back(self) -> bool:
        """Return whether there are no more now."""
        gc.collect()
        return list_threads() <= self._threads and count_descriptors() <= self._descriptors


@pytest.fixture
def before() -> Before:
    return Before()


def test_nothing_is_left_when_a_credential_is_closed(identity: Identity, azure: LocalAzure, before: Before):
    identity.rotate()
    for _ in range(3):
        with UserAssignedIdentityCredential(
            identity.mount.path, connection_verify=str(azure.ca_file)
        ) as credential:
            credential.get_token(SCOPE)
    # The local Azure runs in this process, too, and closes its ends of the connections later.
    wait_until(before.is_back)


def test_nothing_is_left_when_an_asyncio_credential_is_closed(
    identity: Identity, azure: LocalAzure, before: Before
):
    identity.rotate()

    async def use() -> None:
        async with hcpcreds.aio.UserAssignedIdentityCredential(
            identity.mount.path, connection_verify=str(azure.ca_file)
        ) as credential:
            await credential.get_token(SCOPE)

    asyncio.run(use())
    wait_until(before.is_back)


class Component:
    """Holds the credential that calls it: a reference cycle."""

    def __init__(self, path: Path) -> None:
        self.reports: list[Any] = []
        self.credential = UserAssignedIdentityCredential(path, on_reload=self.on_reload)

    def on_reload(self, status: Any) -> None:
        self.reports.append(status)


def test_nothing_is_left_when_credentials_are_collected(mount: Mount, before: Before):
    mount.swap(render_file(FIRST))
    components = [Component(mount.path)]
    mount.swap(render_file(later(FIRST)))
    wait_until(lambda: components[0].reports)
    components.clear()
    wait_until(before.is_back)


def test_transport_stays_open_when_it_was_given(identity: Identity, azure: LocalAzure):
    identity.rotate()
    with RequestsTransport(connection_verify=str(azure.ca_file)) as transport:
        for scope in (SCOPE, OTHER_SCOPE):
            with UserAssignedIdentityCredential(identity.mount.path, transport=transport) as credential:
                assert credential.get_token(scope)


def in_child(work: Callable[[], object]) -> int:
    """Run a function in a forked child, and return its exit status."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:  # noqa: BLE001 (nothing may leave the child)
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_credential_works_in_both_processes_when_the_process_forks(identity: Identity, azure: LocalAzure):
    first = identity.rotate()
    with UserAssignedIdentityCredential(
        identity.mount.path, connection_verify=str(azure.ca_file)
    ) as credential:
        cached = credential.get_token(SCOPE)
        second = identity.issue()
        third = identity.issue()

        def work() -> None:
            assert credential.get_token(SCOPE) == cached
            identity.mount.swap(second)
            wait_for_generation(credential, 2)
            assert has_thread()
            credential.close()
            wait_until(lambda: not has_thread())

        assert in_child(work) == 0
        wait_for_generation(credential, 2)
        assert credential.status().thumbprint != first
        identity.mount.swap(third)
        wait_for_generation(credential, 3)
        assert get_signer(credential.get_token(OTHER_SCOPE).token) == credential.status().thumbprint


def test_child_sends_its_own_request_when_the_parent_forked_during_one(mount: Mount):
    mount.swap(render_file(FIRST))
    printed = run_python(
        """
        import logging, os, sys, threading
        from hcpcreds.credential import UserAssignedIdentityCredential
        from hcpcreds.errors import TokenUnavailableError
        logging.disable()  # in a child, the buffer of a file may stay locked: a weakness of Python
        credential = UserAssignedIdentityCredential(
            sys.argv[1], authority="https://127.0.0.1:1", retry_total=0)
        def fail():
            try:
                credential.get_token("scope")
            except TokenUnavailableError:
                return 0
            return 1
        stop = threading.Event()
        def ask():
            while not stop.is_set():
                fail()
        for _ in range(4):
            threading.Thread(target=ask, daemon=True).start()
        statuses = []
        for _ in range(20):
            pid = os.fork()
            if pid == 0:
                os._exit(fail())
            statuses.append(os.waitpid(pid, 0)[1])
        stop.set()
        print(set(statuses))
        """,
        mount.path,
    )
    assert printed == "{0}"


def test_source_polls_and_reports_it_when_descriptors_run_out(tmp_path: Path):
    mount = Mount(tmp_path / "certs")
    mount.swap(render_file(FIRST))
    (tmp_path / "next").write_bytes(render_file(later(FIRST)))
    printed = run_python(
        """
        import os, resource, sys, time
        from hcpcreds.credential import UserAssignedIdentityCredential
        path, next = sys.argv[1:]
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        held = []
        try:
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            os.close(held.pop())  # one descriptor is enough to read the file
        credential = UserAssignedIdentityCredential(path)
        while credential.status().watch_mode != "polling":
            time.sleep(0.01)
        print(credential.status().generation, "polling")
        for descriptor in held:
            os.close(descriptor)
        while credential.status().watch_mode != "watching":
            time.sleep(0.01)
        os.rename(next, path)
        while credential.status().generation < 2:
            time.sleep(0.01)
        print(credential.status().last_error, "watching")
        credential.close()
        """,
        mount.path,
        tmp_path / "next",
    )
    assert printed.splitlines() == ["1 polling", "None watching"]


def test_thousands_of_sources_share_one_inotify_and_one_thread_when_each_has_its_path(tmp_path: Path):
    content = tmp_path / "content"
    content.write_bytes(render_file(FIRST))
    printed = run_python(
        """
        import os, pathlib, sys, threading, time
        from hcpcreds.credential import UserAssignedIdentityCredential
        folder, content = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]).read_bytes()
        credentials = []
        for number in range(300):
            (folder / str(number)).mkdir()
            (folder / str(number) / "secret").write_bytes(content)
            credentials.append(UserAssignedIdentityCredential(folder / str(number) / "secret"))
        def count():
            found = 0
            for name in os.listdir("/proc/self/fd"):
                try:
                    found += "inotify" in os.readlink(f"/proc/self/fd/{name}")
                except OSError:
                    pass
            return found
        while not count():
            time.sleep(0.01)
        print(count(), threading.active_count())
        """,
        tmp_path,
        content,
    )
    assert printed == "1 2"


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("hcpcreds", ["azure", "cryptography", "aiohttp", "msgspec", "requests"]),
        ("hcpcreds.credential", ["azure.identity", "aiohttp", "requests", "asyncio"]),
        ("hcpcreds.aio", ["azure.identity", "aiohttp", "requests"]),
    ],
)
def test_import_loads_only_what_is_used(module: str, absent: list[str]):
    printed = run_python(f"import sys, {module}; print(*sys.modules)").split()
    assert not set(printed) & set(absent)


def test_first_token_does_not_import_azure_identity_when_there_is_no_error(
    identity: Identity, azure: LocalAzure
):
    identity.rotate()
    printed = run_python(
        """
        import sys
        from hcpcreds import UserAssignedIdentityCredential
        with UserAssignedIdentityCredential(sys.argv[1], connection_verify=sys.argv[2]) as credential:
            credential.get_token("https://management.azure.com/.default")
        print("azure.identity" in sys.modules)
        """,
        identity.mount.path,
        azure.ca_file,
    )
    assert printed == "False"


def test_asyncio_credential_works_when_another_event_loop_uses_it(identity: Identity, azure: LocalAzure):
    identity.rotate()
    printed = run_python(
        """
        import asyncio, sys
        from hcpcreds.aio import UserAssignedIdentityCredential
        credential = UserAssignedIdentityCredential(sys.argv[1], connection_verify=sys.argv[2])
        first = asyncio.run(credential.get_token("https://management.azure.com/.default"))
        asyncio.run(credential.get_token("https://vault.azure.net/.default"))
        print(first == asyncio.run(credential.get_token("https://management.azure.com/.default")))
        asyncio.run(credential.close())
        """,
        identity.mount.path,
        azure.ca_file,
    )
    assert printed == "True"
