"""`hcpcreds conform`: does a program survive rotation?"""

import json
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hcpcreds.cli.options import Duration, output_option

if TYPE_CHECKING:
    from hcpcreds.up.conform.judge import Row
    from hcpcreds.up.conform.run import Report

_SHORTEST_HOLD: Final = timedelta(seconds=1)
_RESULTS: Final = {True: "passed", False: "FAILED", None: "skipped"}


@click.command(
    "conform",
    context_settings={"ignore_unknown_options": True},
    epilog="""\b
    Examples:
      hcpcreds conform -- python controller.py
      hcpcreds conform --with pem --deadline 90s -- ./controller --once=false
      hcpcreds conform --with keyless --fault rotation --fault failing -- node server.cjs
    """,
)
@click.option(
    "--with",
    "provision",
    type=click.Choice(["file", "pem", "keyless", "endpoint"]),
    default="file",
    show_default=True,
    help="How the program gets tokens: file and pem mount the credential of a managed identity or the "
    "certificate of a service principal; keyless and endpoint run `hcpcreds exec` beside the program, which "
    "gives it an assertion file or a token endpoint.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="NAME",
    help="Cause this fault only; may be repeated. By default all: rotation, unregistered, unknown, torn, "
    "empty, deleted, failing, throttling, cut, inotify. unregistered comes with rotation.",
)
@click.option(
    "--hold",
    type=Duration(least=_SHORTEST_HOLD),
    default="3s",
    show_default=True,
    metavar="DURATION",
    help="How long a fault lasts.",
)
@click.option(
    "--deadline",
    type=Duration(allow_zero=False),
    default="10s",
    show_default=True,
    metavar="DURATION",
    help="How long the program may take to use a new certificate, or to have tokens again after a fault.",
)
@click.option(
    "--log",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    metavar="FILE",
    help="Append to this file what the program prints.",
)
@output_option("text is a line for each fault as it happens; json is one document at the end.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
def command(  # noqa: PLR0913 (one parameter for each option)
    *,
    command: tuple[str, ...],
    provision: str,
    faults: tuple[str, ...],
    hold: timedelta,
    deadline: timedelta,
    log: Path | None,
    output: str,
) -> None:
    """Run a program against a local Azure, rotate and spoil its credential, and judge it from the outside.

    COMMAND asks for a token every second or faster, for instance for the scope
    `https://management.azure.com/.default`, and goes on when it gets none. If it calls the URL in
    HCPCREDS_CONFORM_URL (GET, with the token), it is judged by these calls; beside an endpoint it has to. The
    variables of its platform and of Azure's SDKs tell it where everything is. What it prints does not matter.
    It ends at SIGTERM.

    The exit status is 0 when it has passed everything, 1 when it has failed, 2 when nothing could be started.
    A run takes one to two minutes. For development only.
    """
    from hcpcreds.up.conform.program import Provision
    from hcpcreds.up.conform.run import Conform, ConformSettings

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    settings = ConformSettings(
        provision=Provision(provision),
        hold=hold.total_seconds(),
        deadline=deadline.total_seconds(),
        faults=faults,
        log=log,
    )
    with Conform(command, settings) as conform:
        for row in conform.run():
            if output == "text":
                click.echo(_render(row))
    if output == "json":
        click.echo(json.dumps(conform.report.as_json(), indent=2))
    else:
        _echo_endings(conform.report)
    sys.exit(0 if conform.report.passed else 1)


def _render(row: "Row") -> str:
    return f"{row.fault:12}  {_RESULTS[row.passed]:7}  {row.seen}"


def _echo_endings(report: "Report") -> None:
    for why, lines in report.endings:
        click.echo(f"\n{why}; {'its last lines:' if lines else 'it has printed nothing'}")
        for line in lines:
            click.echo(f"    {line}")
