"""`hcpcreds up`: the whole chain on this machine."""

import asyncio
import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hcpcreds.cli.options import Address, Duration, output_option
from hcpcreds.text import make_safe

if TYPE_CHECKING:
    from hcpcreds.serving import ListenAddress

_SHORTEST_ROTATION: Final = timedelta(seconds=2)
"""Components call every second; with shorter rotations, one could miss a certificate."""
_SHORTEST_RENEWAL: Final = timedelta(seconds=5)
"""The renewer walks every second and the node polls every half second before a component can call."""


@click.command("up", epilog="Example: hcpcreds up --rotations 3 --rotate-every 5 hosted-cluster.yaml")
@click.argument("file", required=False, type=click.Path(path_type=Path), metavar="[FILE]")
@click.option(
    "--rotate-every",
    type=Duration(least=_SHORTEST_ROTATION),
    default="10s",
    show_default=True,
    metavar="DURATION",
    help="Renew every certificate this often.",
)
@click.option(
    "--rotations",
    type=click.IntRange(min=1),
    metavar="N",
    help="Stop after N rotations; succeed only if every component used every certificate and no call failed.",
)
@click.option(
    "--renew",
    is_flag=True,
    help="Start a real `hcpcreds renew`, which renews the certificates when they become due.",
)
@click.option(
    "--keyless",
    is_flag=True,
    help="Make each pod as `inject --keyless` does: a sidecar, `hcpcreds serve`, mounts the credential, and"
    " the component gets an assertion file. Says which components need their key all the same. One is a"
    " JavaScript program, if node finds @azure/identity here or by NODE_PATH.",
)
@click.option(
    "--web",
    type=Address(),
    is_flag=False,
    flag_value="127.0.0.1:0",
    metavar="[HOST:PORT]",
    help="Serve a page with the components and their calls. By default, on a free port of 127.0.0.1.",
)
@output_option(
    "text is a live table on a terminal and plain lines elsewhere; json is one document at the end."
)
def command(  # noqa: PLR0913 (click passes each option by its name)
    *,
    file: Path | None,
    rotate_every: timedelta,
    rotations: int | None,
    renew: bool,
    keyless: bool,
    web: "ListenAddress | None",
    output: str,
) -> None:
    """Run the whole chain on this machine: a local Azure, a node, and every component, each a process.

    The certificates for every identity of the HostedCluster or HostedControlPlane in FILE are issued, stored,
    mounted and used, then renewed again and again while the components run. Without FILE, an example that
    ships with hcpcreds is used. Ctrl-C ends the run and removes everything that it made. For development
    only: other users of this machine can get tokens from its services, which only this local Azure accepts.
    """
    if renew and keyless:
        # Such a certificate lives for seconds, and programs keep what it has signed for ten minutes.
        raise click.UsageError("--renew and --keyless exclude each other.")
    if renew and rotate_every < _SHORTEST_RENEWAL:
        raise click.UsageError(
            f"With --renew, --rotate-every must be at least {_SHORTEST_RENEWAL.total_seconds():g}s."
        )
    if web is not None and web.path is not None:
        raise click.UsageError(f"--web expects HOST:PORT, not {make_safe(web.path)}; name FILE before --web.")
    from hcpcreds.cli.up_report import LinesReporter, StepsReporter, TableReporter
    from hcpcreds.up.run import EXAMPLE, Chain
    from hcpcreds.up.settings import RunSettings

    if output == "json":
        reporter = StepsReporter()
    elif sys.stdout.isatty():
        reporter = TableReporter()
    else:
        reporter = LinesReporter()
    settings = RunSettings(
        rotate_every=rotate_every.total_seconds(),
        rotations=rotations,
        renew=renew,
        keyless=keyless,
        web=web,
    )
    chain = Chain(file or EXAMPLE, settings, reporter)
    with reporter:
        problems = asyncio.run(chain.run())
    if output == "json":
        click.echo(json.dumps(chain.as_json(), indent=2))
    sys.exit(1 if problems else 0)
