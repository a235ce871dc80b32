"""Becomes another program, which ends with its parent process, and may be unable to watch files.

Run as `python launch.py PARENT inotify|no-inotify COMMAND...`. A program without inotify finds what it would
find on a node where `fs.inotify.max_user_instances` are used up: EMFILE. A seccomp filter answers so, hence
nobody else on the machine notices. This file imports nothing of hcpcreds: it has to start fast.
"""

import ctypes
import errno
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_SECCOMP_RET_ALLOW = 0x7FFF0000
_SECCOMP_RET_ERRNO = 0x00050000
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
CALLS = {"x86_64": (253, 294), "aarch64": (26,)}
"""Numbers of `inotify_init` and `inotify_init1`, by machine (arch/*/entry/syscalls of Linux)."""


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("jump_if_true", ctypes.c_ubyte),
        ("jump_if_false", ctypes.c_ubyte),
        ("value", ctypes.c_uint),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(_Instruction)))


def main() -> None:
    """Become the program; the exit status is 127 when there is none."""
    parent, inotify, *command = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit(1)  # it has ended before it could take this process along
    if inotify == "no-inotify":
        _forbid(libc, CALLS[os.uname().machine])
    try:
        os.execvp(command[0], command)  # noqa: S606 (it is what was asked for)
    except OSError as error:
        sys.stderr.write(f"cannot be started: {error.strerror}\n")
        sys.exit(127)


def _forbid(libc: ctypes.CDLL, calls: tuple[int, ...]) -> None:
    """Have system calls answer EMFILE, in this process and all that it starts."""
    tests = [_Instruction(_JUMP_IF_EQUAL, len(calls) - index, 0, call) for index, call in enumerate(calls)]
    instructions = [
        _Instruction(_LOAD, 0, 0, 0),  # the number of the call
        *tests,
        _Instruction(_RETURN, 0, 0, _SECCOMP_RET_ALLOW),
        _Instruction(_RETURN, 0, 0, _SECCOMP_RET_ERRNO | errno.EMFILE),
    ]
    array = (_Instruction * len(instructions))(*instructions)
    program = _Program(len(instructions), array)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0
    ):
        sys.exit(f"cannot filter system calls: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    main()
