"""A child process, which is signalled and waited for by its pidfd, so that no other process is ever hit."""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from hcpcreds.errors import InputError

SIGNAL_BASE: Final = 128
"""A process that signal n has ended has the exit status 128 + n, as for a shell."""
NOT_EXECUTABLE: Final = 126
NOT_FOUND: Final = 127
_IGNORED: Final = (signal.SIGPIPE, signal.SIGXFSZ)
"""What Python ignores, and its children would too."""


class CannotStartError(InputError):
    """A program cannot be started.

    Args:
        program: Its name.
        error: What the system says.
    """

    def __init__(self, program: str, error: OSError) -> None:
        super().__init__(program, [os.strerror(error.errno or 0)])
        self.status = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
        """The exit status that a shell would end with."""


class Child:
    """A process that this one has started. Use it on one event loop.

    Args:
        command: The program and its arguments; the program is looked for in `PATH`.
        environment: Its variables.

    Raises:
        CannotStartError: The program cannot be started.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        try:
            self.pid: Final = os.posix_spawnp(
                command[0],
                list(command),
                dict(environment),
                setsigmask=(),
                setsigdef=_IGNORED,
            )
        except OSError as error:
            raise CannotStartError(command[0], error) from None
        # Nobody else waits for it, so the number cannot be another process's yet.
        try:
            self._descriptor = os.pidfd_open(self.pid)
        except OSError as error:  # no descriptor is left, or the kernel is older than 5.3
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            raise CannotStartError(command[0], error) from None
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = self._loop.create_future()
        self._loop.add_reader(self._descriptor, self.poll)

    def poll(self) -> int | None:
        """Return the exit status; None while the process runs."""
        if self._ended.done():
            return self._ended.result()
        found = os.waitid(os.P_PIDFD, self._descriptor, os.WEXITED | os.WNOHANG)
        if found is None:
            return None
        status = found.si_status + (0 if found.si_code == os.CLD_EXITED else SIGNAL_BASE)
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._ended.set_result(status)
        return status

    def send(self, number: int) -> bool:
        """Send a signal; returns whether the process was still running."""
        if self.poll() is not None:
            return False
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, number)
        return True

    async def wait(self) -> int:
        """Wait until the process has ended, and return its exit status."""
        return await asyncio.shield(self._ended)

    async def end(self, *, grace: float) -> int:
        """End the process: SIGTERM, and SIGKILL after so many seconds. Returns its exit status."""
        if self.send(signal.SIGTERM):
            try:
                return await asyncio.wait_for(self.wait(), grace)
            except TimeoutError:
                self.send(signal.SIGKILL)
        return await self.wait()


def reap_orphans(own: Mapping[int, Child]) -> None:
    """Wait for the children that others have left to this process, which is their container's first.

    Args:
        own: The children that this process has started, by process id.
    """
    with suppress(ChildProcessError):  # there are no children
        while found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            child = own.get(found.si_pid)
            if child is not None:
                child.poll()
            else:
                os.waitid(os.P_PID, found.si_pid, os.WEXITED | os.WNOHANG)
