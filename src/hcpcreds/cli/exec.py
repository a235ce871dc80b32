"""`hcpcreds exec`: a program with what gives it tokens beside it."""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click
from typing_extensions import override

from hcpcreds.cli.endpoint_options import access_options, build_access
from hcpcreds.cli.logs import start_logging
from hcpcreds.cli.options import Duration, environment_option
from hcpcreds.text import make_safe

if TYPE_CHECKING:
    from hcpcreds.endpoint.service import Access
    from hcpcreds.exec.beside import Provision

    _NumberType = click.ParamType[int]
else:
    _NumberType = click.ParamType  # generic only since click 8.4


class Signal(_NumberType):
    """A signal that a program can get: `HUP`, `SIGUSR1`."""

    name = "signal"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        name = value.upper()
        number = getattr(signal, name if name.startswith("SIG") else f"SIG{name}", None)
        if not isinstance(number, signal.Signals):
            self.fail(f"{make_safe(value)} is not a signal; examples: HUP, USR1.", param, ctx)
        return number


@click.command(
    "exec",
    context_settings={"ignore_unknown_options": True},
    epilog="""\b
    Examples:
      hcpcreds exec --credential /mnt/certs/ingress -- ./operator --leader-elect
      hcpcreds exec --credential /mnt/certs/kms --provide nothing --signal-on-rotation HUP -- kms-plugin
      hcpcreds exec --credential /mnt/certs/cpo --hook http://127.0.0.1:9090/-/reload -- prometheus
    """,
)
@access_options
@environment_option(
    "--provide",
    type=click.Choice(["endpoint", "file", "nothing"]),
    default="endpoint",
    show_default=True,
    help="How the program gets tokens: endpoint sets the variables of a managed identity for an endpoint at "
    "this process; file those of workload identity for an assertion; nothing leaves it to the program, "
    "which reads the mounted file itself.",
)
@environment_option(
    "--restart-on-rotation", is_flag=True, help="Restart the program at each rotation: SIGTERM, then SIGKILL."
)
@environment_option(
    "--signal-on-rotation", type=Signal(), metavar="SIGNAL", help="Send this to the program at each rotation."
)
@environment_option(
    "--grace",
    type=Duration(),
    metavar="DURATION",
    default="10s",
    show_default=True,
    help="How long the program may take to end before it is killed.",
)
@environment_option(
    "--hook",
    metavar="URL|COMMAND",
    help="Tell this of each rotation: a URL by POST, a command by HCPCREDS_ROTATED_... variables.",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
def command(  # noqa: PLR0913 (one parameter for each option)
    *,
    command: tuple[str, ...],
    credentials: tuple[str, ...],
    cloud: str | None,
    authority: str | None,
    ca_file: str | None,
    scope: str | None,
    local: bool,
    provide: str,
    restart_on_rotation: bool,
    signal_on_rotation: int | None,
    grace: timedelta,
    hook: str | None,
) -> None:
    """Run a program that cannot import hcpcreds, with what gives it tokens beside it.

    The program is started when it can get tokens. It gets the signals that this process gets, and its exit
    status is this one's: 128 and the signal's number when a signal has ended it. Its orphans are waited for.

    A rotation is a later credential that has taken the place of another one; a file that was refused is none.
    """
    if restart_on_rotation and signal_on_rotation is not None:
        raise click.UsageError("Give either --restart-on-rotation or --signal-on-rotation.")
    from hcpcreds.exec import signals
    from hcpcreds.exec.beside import Provision

    access = build_access(
        credentials, cloud=cloud, authority=authority, ca_file=ca_file, scope=scope, local=local
    )
    start_logging()
    signals.block()
    work = _run(
        command,
        access,
        Provision(provide),
        restart=restart_on_rotation,
        number=signal_on_rotation,
        grace=grace,
        hook=hook,
    )
    sys.exit(asyncio.run(work))


async def _run(  # noqa: PLR0913 (the options)
    command: tuple[str, ...],
    access: "Access",
    provision: "Provision",
    *,
    restart: bool,
    number: int | None,
    grace: timedelta,
    hook: str | None,
) -> int:
    from hcpcreds.exec import signals
    from hcpcreds.exec.beside import open_beside
    from hcpcreds.exec.child import CannotStartError
    from hcpcreds.exec.hook import Hook
    from hcpcreds.exec.supervisor import OnRotation, Supervisor

    loop = asyncio.get_running_loop()
    on_rotation = OnRotation(
        restart=restart,
        signal=number,
        grace=grace,
        hook=None if hook is None else Hook(hook, os.environ),
    )
    supervisor = Supervisor(command, on_rotation)

    def on_signal(number: int, is_known: bool) -> None:  # noqa: FBT001 (one call)
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(supervisor.handle_signal, number, is_known)

    signals.listen(on_signal)
    async with open_beside(access, provision, on_rotation=supervisor.rotated) as beside:
        ready = asyncio.create_task(beside.wait_until_ready())
        waited: set[asyncio.Future[Any]] = {ready, supervisor.stopped}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if supervisor.stopped.done():
            ready.cancel()
            return supervisor.stopped.result()
        try:
            return await supervisor.run(beside.build_environment(os.environ))
        except CannotStartError as error:
            click.echo(f"hcpcreds exec: {error}", err=True)
            return error.status
