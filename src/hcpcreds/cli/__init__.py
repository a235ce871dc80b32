"""The `hcpcreds` command: one module for each command, which parses options, calls the library, and prints.

Exit status: 0 done; 1 found problems or failed on the way; 2 wrong usage or unusable input, and then nothing
was started or written. Results go to standard output, everything else to standard error.
"""

import os
import signal
import sys

COMPLETE_VARIABLE = "_HCPCREDS_COMPLETE"
"""Environment variable with which a shell requests completions."""

_FIRST = 1
"""Process of a container, which the kernel does not end by a signal without a handler. Without ours, a
SIGTERM at the start would be lost, and the pod would wait for SIGKILL."""


def main() -> None:
    """Run the command line; the entry point of `hcpcreds`, and of kubectl's plugin `kubectl-hcpcreds`."""
    if sys.argv[1:2] == ["exec"]:
        from hcpcreds.exec import signals

        signals.block()  # what comes while everything else is imported counts too
    elif os.getpid() == _FIRST:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        from hcpcreds.cli.root import hcpcreds
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("hcpcreds"):
            raise
        sys.exit(
            f"hcpcreds: the command line needs {error.name}; install it with: pip install 'hcpcreds[cli]'"
        )
    name = "kubectl hcpcreds" if sys.argv[0].endswith("kubectl-hcpcreds") else "hcpcreds"
    hcpcreds(prog_name=name, complete_var=COMPLETE_VARIABLE)
