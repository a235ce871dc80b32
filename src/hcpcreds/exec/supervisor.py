"""Runs a program from its start to its end, and tells it of each rotation or restarts it."""

import asyncio
import logging
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from hcpcreds.credential.status import Status
from hcpcreds.exec.child import SIGNAL_BASE, Child, reap_orphans
from hcpcreds.exec.hook import Hook

_STOPPING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
"""After one of these, sent to this process, the program is not started again."""

_log = logging.getLogger("hcpcreds.exec")


@dataclass(frozen=True, slots=True, kw_only=True)
class OnRotation:
    """What is done once for each later credential that has replaced another one."""

    restart: bool = False
    signal: int | None = None
    """Sent to the program."""
    grace: timedelta = timedelta(seconds=10)
    """How long the program may take to end before it is killed."""
    hook: Hook | None = None


class Supervisor:
    """Runs one program. Call its methods on one event loop.

    A rotation that is noticed before the program is started needs no signal, since the program reads the new
    file. After that it gets one, whatever it is doing: starting and noticing are never half done on the loop.

    Args:
        command: The program and its arguments.
        on_rotation: What is done for each rotation.
    """

    def __init__(self, command: Sequence[str], on_rotation: OnRotation) -> None:
        self._command = command
        self._on_rotation = on_rotation
        self.stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """The exit status, if a signal has ended this process before the program was started."""
        self._program: Child | None = None
        self._is_stopping = False
        self._ending: asyncio.Task[int] | None = None
        """Ends the program for a restart."""

    async def run(self, environment: Mapping[str, str]) -> int:
        """Run the program, again after each restart, and return its exit status.

        Args:
            environment: The program's variables.

        Raises:
            CannotStartError: It cannot be started.
        """
        hooks = None
        if self._on_rotation.hook is not None:
            hooks = asyncio.create_task(self._on_rotation.hook.run())
        try:
            while True:
                self._ending = None
                self._program = Child(self._command, environment)
                status = await self._program.wait()
                if not self._is_restarting():
                    return status
                _log.info("the program has ended with exit status %s and is started again", status)
        finally:
            if hooks is not None:
                hooks.cancel()
            if self._program is not None:
                await self._program.end(grace=self._on_rotation.grace.total_seconds())

    def _is_restarting(self) -> bool:
        return self._ending is not None and not self._is_stopping

    def rotated(self, name: str, status: Status) -> None:
        """Do what is to be done for a rotation."""
        wanted, program = self._on_rotation, self._program
        if wanted.hook is not None:
            wanted.hook.add(name, status)
        if program is None or program.poll() is not None:
            return
        if wanted.signal is not None:
            program.send(wanted.signal)
            _log.info("%s: sent %s to the program", name, signal.Signals(wanted.signal).name)
        if wanted.restart and self._ending is None and not self._is_stopping:
            _log.info("%s: restarting the program", name)
            self._ending = asyncio.create_task(program.end(grace=wanted.grace.total_seconds()))

    def handle_signal(self, number: int, is_known: bool) -> None:  # noqa: FBT001 (one call, by a thread)
        """Pass a signal on to the program.

        Args:
            number: The signal.
            is_known: Whether the program has got it too, from the terminal.
        """
        program = self._program
        if number == signal.SIGCHLD:
            hook = self._on_rotation.hook
            children = (program, hook.child if hook else None)
            reap_orphans({each.pid: each for each in children if each is not None})
            return
        if program is None:
            if number in (*_STOPPING, signal.SIGHUP) and not self.stopped.done():
                self.stopped.set_result(SIGNAL_BASE + number)
        elif not is_known:
            self._is_stopping |= number in _STOPPING
            program.send(number)
