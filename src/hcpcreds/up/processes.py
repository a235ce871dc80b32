"""Child processes that print JSON lines and never outlive their parent."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

Event = dict[str, Any]
"""One line of a child's standard output: an object with the key `event`."""

STOP_SECONDS: Final = 5.0
"""Seconds that a child has to end before it is killed."""
_STDERR_LINES: Final = 20


class ChildProcess:
    """One of the chain's processes.

    Its standard input is a pipe that nobody writes to: whenever and however the parent dies, the child reads
    end-of-file and ends too. It has its own session, so that Ctrl-C in the terminal reaches only the parent.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._stderr: deque[str] = deque(maxlen=_STDERR_LINES)
        self._stopping = False
        self._watch: asyncio.Task[None] | None = None

    @classmethod
    async def start(  # noqa: PLR0913 (each by its name)
        cls,
        name: str,
        arguments: Sequence[str],
        *,
        interpreter: Sequence[str] = (sys.executable, "-m"),
        environment: Mapping[str, str],
        on_event: Callable[[Event], None],
        on_end: Callable[[str], None],
    ) -> "ChildProcess":
        """Start `python -m ARGUMENTS` and read its output.

        Args:
            name: Its name in reports.
            arguments: The module, then its arguments.
            interpreter: What is started instead of `python -m`.
            environment: Its whole environment; it inherits nothing.
            on_event: Called for each event.
            on_end: Called with the reason when the process ends without `stop`.
        """
        process = await asyncio.create_subprocess_exec(
            *interpreter,
            *arguments,
            env=dict(environment),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        child = cls(name, process)
        child._watch = asyncio.create_task(child._read(on_event, on_end), name=f"read {name}")
        return child

    async def stop(self) -> None:
        """Ask the process to end, then make sure that it has."""
        self._stopping = True
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        if self._watch is not None:
            await self._watch

    async def _read(self, on_event: Callable[[Event], None], on_end: Callable[[str], None]) -> None:
        await asyncio.gather(self._read_events(on_event), self._read_stderr())
        status = await self._process.wait()
        if not self._stopping:
            on_end(self._reason(status))

    async def _read_events(self, on_event: Callable[[Event], None]) -> None:
        assert self._process.stdout is not None  # noqa: S101 (it was started with a pipe)
        async for line in self._process.stdout:
            try:
                event = json.loads(line)
            except ValueError:
                event = None
            if isinstance(event, dict) and "event" in event:
                on_event(event)
            else:
                self._stderr.append(f"printed a line that is not an event: {line[:200]!r}")

    async def _read_stderr(self) -> None:
        assert self._process.stderr is not None  # noqa: S101 (the same)
        async for line in self._process.stderr:
            self._stderr.append(line.decode(errors="replace").rstrip())

    def _reason(self, status: int) -> str:
        how = (
            f"was killed by {signal.Signals(-status).name}"
            if status < 0
            else f"ended with exit status {status}"
        )
        said = "\n".join(f"    {line}" for line in self._stderr)
        return f"{how}\n{said}" if said else how


def base_environment() -> dict[str, str]:
    """Build the environment that every program needs here; the rest comes from its manifest."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "SYSTEMROOT")
    return {name: value for name, value in os.environ.items() if name in kept or name.startswith("COVERAGE_")}
