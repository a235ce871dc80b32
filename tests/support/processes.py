"""How tests run a command beside themselves, and see to it that none outlives its test."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def start(*command: str | Path, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a command for the length of a block, at whose end it is killed, with all that it has started.

    Options are Popen's. Its pipes are text; `env` is added to the tests' own environment.
    """
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    options["env"] = {**os.environ, **options.get("env", {})}
    with subprocess.Popen([str(word) for word in command], text=True, **options) as process:
        try:
            yield process
        finally:
            left = list_descendants(process.pid) if process.poll() is None else []
            process.kill()
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def list_descendants(pid: int) -> list[int]:
    """The children of a process, and theirs: what it has started would outlive it."""
    children = list(list_children(pid))
    return children + [each for child in children for each in list_descendants(child)]


def list_children(parent: int | str = "self") -> dict[int, str]:
    """Children of a process, by default this one: command line by id. Empty if the system does not tell."""
    children: dict[int, str] = {}
    threads = f"/proc/{parent}/task"
    with suppress(OSError):  # there is no such system, or no such process any more
        for thread in os.listdir(threads):  # noqa: PTH208 (pathlib is slow, and every test asks twice)
            with suppress(OSError), open(f"{threads}/{thread}/children", encoding="ascii") as listed:  # noqa: PTH123 (as above)
                for pid in map(int, listed.read().split()):
                    children[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return children


def end_children(pids: set[int]) -> None:
    """Kill children, and wait until they are gone."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def let_children_be_interrupted() -> None:
    """Have signals that whoever started the tests ignores mean in children what they usually do.

    A signal that is ignored (SIGINT in a background job, SIGHUP under nohup) is ignored in every child too.
    One that has a handler is not; and a handler that does nothing leaves the tests themselves as they were.
    """
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def run_python(code: str, *arguments: object) -> str:
    """Run code in a new interpreter; answers what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
