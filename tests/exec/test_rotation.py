"""What `hcpcreds exec` does at a rotation: once for each, and never for a file that was refused."""

import json
import queue
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from benchmarks.restarts import run as run_at_random
from tests.endpoint.endpoints import Identity
from tests.exec.conftest import PYTHON, read_line, running, wait_for_log
from tests.support.waiting import wait_until
from typing_extensions import override

from hcpcreds.errors import InputError
from hcpcreds.exec.hook import Hook

NOTHING = ("--provide", "nothing")
READER = """
import json, signal, sys
def read(number=0, _=None):
    with open(sys.argv[1]) as file:
        print(number, json.load(file)["not_before"])
signal.signal(signal.SIGHUP, read)
read()
while True:
    signal.pause()
"""
STUBBORN = """
import os, signal
signal.signal(signal.SIGTERM, lambda *_: print("no"))
print(os.getpid())
while True:
    signal.pause()
"""


def read_version(identity: Identity) -> str:
    return str(json.loads(identity.path.read_bytes())["not_before"])


def test_program_gets_the_signal_once_for_each_rotation(identity: Identity):
    program = (*PYTHON, READER, identity.path)
    with running(identity, *NOTHING, "--signal-on-rotation", "HUP", "--", *program) as process:
        assert read_line(process) == f"0 {read_version(identity)}"
        for _ in range(3):
            identity.mount.swap(b"{}")  # refused, and no rotation
            wait_for_log(process, "not usable")
            identity.rotate()
            assert read_line(process) == f"1 {read_version(identity)}"
        process.terminate()
        out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (143, "")


def test_program_is_not_told_when_a_file_is_refused(identity: Identity):
    old = identity.path.read_bytes()
    identity.rotate()
    program = (*PYTHON, READER, identity.path)
    with running(identity, *NOTHING, "--signal-on-rotation", "HUP", "--", *program) as process:
        assert read_line(process) == f"0 {read_version(identity)}"
        for content, reason in ((old, "not later"), (b"{}", "missing"), (b"", "empty")):
            identity.mount.swap(content)
            wait_for_log(process, reason)
        process.terminate()
        out, err = process.communicate(timeout=30)
    assert out == ""
    assert "sent SIGHUP" not in err


@pytest.mark.measured_processes
def test_program_is_restarted_once_for_each_rotation(identity: Identity):
    program = (*PYTHON, READER, identity.path)
    with running(identity, *NOTHING, "--restart-on-rotation", "--", *program) as process:
        assert read_line(process) == f"0 {read_version(identity)}"
        for _ in range(3):
            identity.rotate()
            assert read_line(process) == f"0 {read_version(identity)}"
        process.terminate()
        out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (143, "")


def test_program_is_killed_when_it_does_not_end_for_a_restart(identity: Identity):
    options = ("--restart-on-rotation", "--grace", "0.2s")
    with running(identity, *NOTHING, *options, "--", *PYTHON, STUBBORN) as process:
        first = read_line(process)
        identity.rotate()
        assert read_line(process) == "no"
        assert wait_for_log(process, "has ended with exit status 137 and is started again")
        assert read_line(process) not in {first, "no"}
        process.terminate()
        assert read_line(process) == "no"
        process.kill()


def test_program_is_not_started_again_when_it_is_being_stopped(identity: Identity):
    options = ("--restart-on-rotation", "--grace", "30s")
    with running(identity, *NOTHING, *options, "--", *PYTHON, STUBBORN) as process:
        pid = int(read_line(process))
        process.terminate()
        assert read_line(process) == "no"
        identity.rotate()
        wait_for_log(process, "accepted certificate")
        Path(f"/proc/{pid}/comm").read_text()  # it still runs
        process.send_signal(signal.SIGUSR1)
        process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGUSR1


def test_program_is_restarted_when_any_of_its_credentials_rotates(identity: Identity, tmp_path: Path):
    other = Identity(identity.azure, tmp_path / "other", "other")
    other.rotate()
    options = ("--restart-on-rotation", "--credential", other.path)
    with running(identity, *NOTHING, *options, "--", *PYTHON, READER, other.path) as process:
        assert read_line(process) == f"0 {read_version(other)}"
        identity.rotate()
        assert read_line(process) == f"0 {read_version(other)}"
        other.rotate()
        assert read_line(process) == f"0 {read_version(other)}"


@pytest.mark.measured_processes
def test_command_is_called_once_for_each_rotation_until_it_succeeds(identity: Identity, tmp_path: Path):
    script = tmp_path / "hook"
    calls = tmp_path / "calls"
    script.write_text(
        f'#!/bin/sh\necho "$HCPCREDS_ROTATED_CREDENTIAL $HCPCREDS_ROTATED_THUMBPRINT" >> {calls}\n'
        f"test $(wc -l < {calls}) -ne 2\n"
    )
    script.chmod(0o755)
    with running(identity, *NOTHING, "--hook", f"{script} 'a b'", "--", "sleep", "60") as process:
        wait_for_log(process, "accepted certificate")
        first = identity.rotate()
        wait_for_log(process, "the hook was told")
        second = identity.rotate()
        assert "has failed with exit status 1; it is called again in 1 s" in wait_for_log(
            process, "app: the hook has"
        )
        wait_for_log(process, "the hook was told")
        identity.mount.swap(b"{}")
        wait_for_log(process, "not usable")
        process.terminate()
        process.communicate(timeout=30)
    assert calls.read_text().split("\n") == [f"app {first}", f"app {second}", f"app {second}", ""]


@pytest.mark.parametrize("url", ["http://[::1/", "https://user:sentinel@host:99999/", "HTTP:///path"])
def test_hook_is_refused_when_its_url_is_not_one(url: str):
    with pytest.raises(InputError, match="hook: expected http://HOST/ or a command") as caught:
        Hook(url, {})
    assert "sentinel" not in str(caught.value)


@pytest.fixture
def server() -> Iterator[tuple[str, "queue.SimpleQueue[Any]", list[int]]]:
    """A server that answers with the statuses of a list, and 204 after them."""
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    statuses: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            told.put({**document, "at": time.monotonic()})
            self.send_response(statuses.pop(0) if statuses else 204)
            self.end_headers()

        @override
        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/-/reload", told, statuses
        server.shutdown()
        thread.join()


def test_url_is_called_once_for_each_rotation_until_it_succeeds(
    identity: Identity, server: tuple[str, "queue.SimpleQueue[Any]", list[int]]
):
    url, told, statuses = server
    with running(identity, *NOTHING, "--hook", url, "--", "sleep", "60") as process:
        wait_for_log(process, "accepted certificate")
        thumbprint = identity.rotate()
        call = told.get(timeout=15)
        assert (call["credential"], call["thumbprint"], call["path"]) == (
            "app",
            thumbprint,
            str(identity.path),
        )
        wait_for_log(process, "the hook was told")
        statuses.append(503)
        second = identity.rotate()
        assert "has answered HTTP 503; it is called again in 1 s" in wait_for_log(
            process, "app: the hook has"
        )
        calls = [told.get(timeout=15) for _ in range(2)]
        assert [each["thumbprint"] for each in calls] == [second] * 2
        assert calls[1]["at"] - calls[0]["at"] > 0.9
        wait_for_log(process, "the hook was told")
        process.terminate()
        process.communicate(timeout=30)
    assert told.empty()


def test_rotations_are_told_in_order_when_the_hook_is_slow(identity: Identity, tmp_path: Path):
    calls = tmp_path / "calls"
    hook = f"sh -c 'sleep 0.2; echo $HCPCREDS_ROTATED_THUMBPRINT >> {calls}'"
    with running(identity, *NOTHING, "--hook", hook, "--", "sleep", "60") as process:
        wait_for_log(process, "accepted certificate")
        thumbprints = []
        for _ in range(4):
            thumbprints.append(identity.rotate())
            wait_for_log(process, f"accepted certificate {thumbprints[-1]}")
        wait_until(lambda: calls.exists() and calls.read_text().split() == thumbprints)
        process.terminate()
        process.communicate(timeout=30)


def test_hook_is_ended_when_the_program_has_ended(identity: Identity, tmp_path: Path):
    pid = tmp_path / "pid"
    with running(
        identity, *NOTHING, "--hook", f"sh -c 'echo $$ > {pid}; exec sleep 60'", "--", "sleep", "60"
    ) as process:
        wait_for_log(process, "accepted certificate")
        identity.rotate()
        wait_until(lambda: pid.exists() and pid.read_text().strip())
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 143
    assert not Path(f"/proc/{pid.read_text().strip()}").exists()


def test_no_program_goes_on_untold_when_programs_and_rotations_come_at_random():
    report = run_at_random(restarts=6, rotations=6)
    assert report.problems == []
    assert report.starts >= 6
    assert report.rotations >= 6
