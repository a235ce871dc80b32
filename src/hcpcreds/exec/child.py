"""A child process, which is signalled and waited for by its pidfd, so that no other process is ever hit."""

import asyncio
import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from hcpcreds.errors import InputError
from hcpcreds.fork_locks import becoming_another_program

SIGNAL_BASE: Final = 128
"""A process that signal n has ended has the exit status 128 + n, as for a shell."""
NOT_EXECUTABLE: Final = 126
NOT_FOUND: Final = 127
_PR_SET_PDEATHSIG: Final = 1
"""Of linux/prctl.h: a signal to this process when the thread that has started it ends."""
_prctl: Final = ctypes.CDLL(None).prctl


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
    """A process that this one has started, and that does not outlive it. Use it on one event loop.

    The kernel kills it when the thread that has made this object ends, however that happens.

    Args:
        command: The program and its arguments; the program is looked for in `PATH`.
        environment: Its variables.

    Raises:
        CannotStartError: The program cannot be started.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        try:
            with becoming_another_program():
                self._process = subprocess.Popen(  # noqa: S603 (the command that the user has given)
                    command,
                    env=environment,
                    close_fds=False,
                    preexec_fn=partial(_prepare, os.getpid()),  # noqa: PLW1509 (see there)
                )
        except OSError as error:
            raise CannotStartError(command[0], error) from None
        self.pid: Final = self._process.pid
        # Nobody else waits for it, so the number cannot be another process's yet.
        try:
            self._descriptor = os.pidfd_open(self.pid)
        except OSError as error:  # no descriptor is left, or the kernel is older than 5.3
            self._process.kill()
            self._process.wait()
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
        self._process.returncode = status  # it must not wait for this number, which another process may get
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


def _prepare(parent: int) -> None:
    """Prepare a child for its program: it does not outlive its parent, and its signals are as they were.

    Code here may need no lock that a thread of the parent may hold: the child has this one only.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended before it was to be noticed
        os._exit(SIGNAL_BASE + signal.SIGKILL)
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


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
