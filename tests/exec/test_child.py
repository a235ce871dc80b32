"""A child process: signalled and waited for by its pidfd."""

import asyncio
import os
import resource
import signal
import sys
from pathlib import Path

import pytest
from tests.support.processes import run_python

from hcpcreds.exec.child import CannotStartError, Child


def test_signal_is_not_sent_when_the_process_has_ended():
    async def run() -> tuple[int, bool]:
        child = Child(["true"], os.environ)
        status = await child.wait()
        return status, child.send(signal.SIGKILL)

    assert asyncio.run(run()) == (0, False)


def test_process_that_ends_is_waited_for_when_it_ignores_sigterm():
    async def run() -> int:
        script = (
            "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
        )
        ours, theirs = os.pipe()
        os.set_inheritable(theirs, True)  # noqa: FBT003 (its only argument)
        child = Child(
            [sys.executable, "-S", "-E", "-c", f"import os; os.dup2({theirs}, 1); {script}"], os.environ
        )
        await asyncio.to_thread(os.read, ours, 1)
        os.close(ours)
        os.close(theirs)
        return await child.end(grace=0.05)

    assert asyncio.run(run()) == 128 + signal.SIGKILL


def test_no_process_is_left_when_there_is_no_descriptor_to_watch_it():
    async def run() -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest = os.dup(0)
        os.close(lowest)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
            with pytest.raises(CannotStartError, match="sleep: Too many open files"):
                Child(["sleep", "60"], os.environ)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    asyncio.run(run())


def test_nothing_is_watched_in_the_child_before_it_is_the_program(tmp_path: Path):
    # Whatever is registered last is called last.
    threads = run_python(
        """
        import asyncio, os, sys, threading
        from hcpcreds.exec.child import Child
        from hcpcreds.watch.shared import shared_watcher

        watch = shared_watcher.watch(sys.argv[1], lambda: 60.0)
        os.register_at_fork(after_in_child=lambda: print(threading.active_count(), flush=True))

        async def run():
            await Child(["true"], os.environ).wait()

        asyncio.run(run())
        if os.fork() == 0:
            os._exit(0)
        os.wait()
        """,
        tmp_path / "file",
    )
    assert threads.split() == ["1", "2"], "of the program, and of an ordinary child"
