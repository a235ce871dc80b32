"""Pictures of the terminal: `python -m tests.docs.terminal docs/images/NAME.svg -- hcpcreds check ...`.

Runs a command in a terminal of its own, and draws what it has printed.
"""

import fcntl
import os
import pty
import re
import shlex
import shutil
import struct
import sys
import termios
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 118


def main() -> None:
    """Draw what the command prints."""
    picture, separator, *command = sys.argv[1:]
    if separator != "--" or not command:
        sys.exit(__doc__)
    if shutil.which(command[0]) is None:
        sys.exit(f"{command[0]} is not on the PATH")
    console = Console(record=True, width=WIDTH, file=StringIO(), force_terminal=True)
    console.print(Text(f"$ {shlex.join(command)}", style="bold"))
    console.print(Text.from_ansi(_run(command)))
    drawn = console.export_svg(title=command[0], unique_id="terminal")
    # Without the fonts of another host; the reader's own monospaced one is as good.
    Path(picture).write_text(re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL))


def _run(command: list[str]) -> str:
    process, terminal = pty.fork()
    if process == 0:
        os.environ.update(COLUMNS=str(WIDTH), TERM="xterm-256color")
        os.execvp(command[0], command)  # noqa: S606 (the command that the reader sees)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, WIDTH, 0, 0))
    written = b""
    while True:
        try:
            read = os.read(terminal, 65536)
        except OSError:  # the program has ended
            break
        if not read:
            break
        written += read
    os.waitpid(process, 0)
    return written.decode(errors="replace").replace("\r\n", "\n")


if __name__ == "__main__":
    main()
