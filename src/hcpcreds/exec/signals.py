"""The signals that this process gets, in the order in which it gets them, and who has sent them."""

import signal
import threading
from collections.abc import Callable
from typing import Final

_SENT_BY_KERNEL: Final = 0x80
"""`SI_KERNEL` in siginfo_t: by the terminal, which sends a signal to the whole foreground group."""
_NOT_PASSED_ON: Final = frozenset(
    {
        # Faults of this process itself.
        *(signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGSYS),
        *(signal.SIGTRAP, signal.SIGPIPE, signal.SIGXCPU, signal.SIGXFSZ),
        # Job control: a shell stops this process as well as its children.
        *(signal.SIGCONT, signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU),
        signal.SIGKILL,
    }
)
CAUGHT: Final = signal.valid_signals() - _NOT_PASSED_ON
"""Those that are passed on, and SIGCHLD."""


def block() -> None:
    """Keep the signals for `listen`. Call it before the process starts threads, which inherit this."""
    signal.pthread_sigmask(signal.SIG_BLOCK, CAUGHT)


def listen(on_signal: Callable[[int, bool], None]) -> None:
    """Call a function for each signal from now on, in a thread of its own.

    Args:
        on_signal: Is given the signal's number, and whether the program has got it too, from the terminal.
    """

    def run() -> None:
        while True:
            found = signal.sigwaitinfo(CAUGHT)
            on_signal(found.si_signo, found.si_code == _SENT_BY_KERNEL)

    threading.Thread(target=run, name="hcpcreds-signals", daemon=True).start()
