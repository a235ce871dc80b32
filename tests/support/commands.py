"""One way to run `hcpcreds` to its end: in this process, where a start costs nothing.

What only a process of its own has (signals, terminals, closed streams) starts in `tests.support.processes`.
"""

from collections.abc import Mapping
from contextlib import chdir
from io import BufferedReader, BytesIO
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from click.testing import CliRunner

from hcpcreds.cli import COMPLETE_VARIABLE
from hcpcreds.cli.root import hcpcreds


def run(
    *arguments: object,
    stdin: str | bytes = "",
    cwd: Path | None = None,
    environment: Mapping[str, str | None] | None = None,
    text: bool = True,
) -> CompletedProcess[Any]:
    """Run a command line as `main` does; answers what a process would have left.

    Args:
        arguments: What follows `hcpcreds`.
        stdin: What stands in its standard input.
        cwd: Where it runs.
        environment: What the tests' own environment has besides; None for what it must not have.
        text: Whether its output is text; otherwise it is bytes, as they were written.
    """
    content = stdin.encode() if isinstance(stdin, str) else stdin
    with chdir(cwd or Path()):
        done = CliRunner(env=environment).invoke(
            hcpcreds,
            [str(argument) for argument in arguments],
            input=BufferedReader(BytesIO(content)),
            prog_name="hcpcreds",
            complete_var=COMPLETE_VARIABLE,
            catch_exceptions=False,
        )
    written = (done.stdout_bytes, done.stderr_bytes)
    out, err = (each.decode() for each in written) if text else written
    return CompletedProcess(["hcpcreds", *map(str, arguments)], done.exit_code, out, err)
