"""How a command that runs until it is stopped ends: by signals, in a process of its own."""

import os
import signal
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.processes import list_children, start

CODE = """
    import asyncio, sys
    from hcpcreds.cli.process import run_until_stopped
    async def work(stop):
        print("started", flush=True)
        await stop.wait()
        print("draining", flush=True)
        {drain}
        return {succeeds}
    sys.exit(run_until_stopped(work, on_stopping=lambda: print("stopping", flush=True)))
"""


def write(*, drain: str = "pass", succeeds: bool = True) -> str:
    return textwrap.dedent(CODE).format(drain=drain, succeeds=succeeds)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("succeeds", "status"), [(True, 0), (False, 1)])
def test_process_drains_and_exits_with_its_works_status_when_it_is_stopped(
    number: signal.Signals, status: int, *, succeeds: bool
):
    with start(sys.executable, "-c", write(succeeds=succeeds)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(number)
        out, err = process.communicate()
    assert (process.returncode, out, err) == (status, "stopping\ndraining\n", "")


def test_process_ends_at_once_with_1_when_it_is_stopped_twice():
    with start(sys.executable, "-c", write(drain="await asyncio.Event().wait()")) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.terminate()
        assert [process.stdout.readline() for _ in range(2)] == ["stopping\n", "draining\n"]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert (process.returncode, out, err) == (1, "", "")


def test_process_is_stopped_when_interrupts_were_ignored_at_its_start():
    shell = 'trap "" INT; exec "$@"'
    with start("sh", "-c", shell, "sh", sys.executable, "-c", write()) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 0


def test_first_process_of_a_container_heeds_a_stop_while_it_is_being_loaded(tmp_path: Path):
    apart = ("unshare", "--map-root-user", "--pid", "--fork", "--kill-child")
    with suppress(FileNotFoundError):
        if subprocess.run([*apart, "true"], capture_output=True, check=False).returncode == 0:
            command = (sys.executable, "-m", "hcpcreds", "serve", "--credential", tmp_path / "none")
            options = ("--assertion-directory", tmp_path)
            with start(*apart, *command, *options, env={"PYTHONPROFILEIMPORTTIME": "1"}) as process:
                assert process.stderr is not None
                while "click" not in process.stderr.readline():
                    pass
                (first,) = list_children(process.pid)
                os.kill(first, signal.SIGTERM)
                _, err = process.communicate(timeout=30)
            assert process.returncode == 128 + signal.SIGTERM
            assert "hcpcreds.endpoint.service" not in err, "it came too late to be early"
            return
    pytest.skip("no process of this user can be the first one of its own")
