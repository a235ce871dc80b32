"""Runs a module as `python -m` does, until standard input ends.

`python -m hcpcreds.up.tether MODULE ARGUMENTS`: a program that does not notice the end of its
parent process gets a SIGTERM then, and a second one if it takes too long.
"""

import os
import runpy
import signal
import sys
import threading
import time

from hcpcreds.up.processes import STOP_SECONDS


def _watch() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(STOP_SECONDS)


if __name__ == "__main__":
    threading.Thread(target=_watch, name="tether", daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
