"""`hcpcreds` itself: finds the command, turns errors into messages and exit statuses."""

import errno
from importlib import import_module
from typing import Any, Final, NoReturn

import click
from typing_extensions import override

from hcpcreds import __version__
from hcpcreds.errors import HcpCredsError, InputError

_COMMANDS: Final = {
    "render": "Print every object that a hosted cluster needs, ready to be applied.",
    "inject": "Add what a component's credential needs to workloads, and change nothing else.",
    "check": "Find in manifests what would not work, with the reason and the mend.",
    "inspect": "Explain a credential file or mount: identity, certificate, validity, what is wrong.",
    "token": "Get a token as a component would, and show its claims.",
    "renew": "Renew the credentials in Key Vaults that are due, once or for ever.",
    "up": "Run the whole chain on this machine: issue, store, mount, use, rotate.",
    "completion": "Print the script that makes a shell complete commands, options and files.",
}
"""Each command's module in this package, and what `--help` says of it without importing it."""

_DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Commands(click.Group):
    """Imports a command's module only when it is called, so that `--help` is quick."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"hcpcreds.cli.{cmd_name}").command
        return command

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    @override
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except HcpCredsError as error:
            self._fail(ctx, str(error), status=2 if isinstance(error, InputError) else 1)
        except OSError as error:
            if error.errno not in _DISK_FULL:
                raise
            self._fail(ctx, f"cannot be written: {error.strerror}", status=1)

    def _fail(self, ctx: click.Context, problem: str, *, status: int) -> NoReturn:
        command = " ".join(filter(None, (ctx.info_name, ctx.invoked_subcommand)))
        click.echo(f"{command}: {problem}", err=True)
        ctx.exit(status)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hcpcreds")
def hcpcreds() -> None:
    """Azure credentials for the pods of hosted control planes: issue, store, mount, use, rotate."""
