"""`hcpcreds` itself: finds the command, turns errors into messages and exit statuses."""

import errno
import logging
import sys
from importlib import import_module
from io import TextIOWrapper
from typing import Any, Final, NoReturn

import click
from typing_extensions import override

from hcpcreds._version import __version__
from hcpcreds.cli.logs import LONGEST_LINE, OneLine
from hcpcreds.errors import HcpCredsError, InputError, locate
from hcpcreds.text import make_safe

_COMMANDS: Final = {
    "render": "Print every object that a hosted cluster needs, ready to be applied.",
    "inject": "Add what a component's credential needs to workloads, and change nothing else.",
    "check": "Find in manifests what would not work, with the reason and the fix.",
    "inspect": "Explain a credential file or mount: identity, certificate, validity, what is wrong.",
    "token": "Get a token as a component would, and show its claims.",
    "serve": "Serve programs that cannot import hcpcreds: assertion files and a token endpoint.",
    "exec": "Run a program with what gives it tokens beside it; tell or restart it at each rotation.",
    "explain": "Explain in a cluster why a pod has its credential or not: the broken link, and the fix.",
    "renew": "Renew the credentials in Key Vaults that are due, once or until stopped.",
    "rollout": "Show who still uses which certificate, and when the earlier one may be revoked.",
    "up": "Run the whole chain on this machine: issue, store, mount, use, rotate.",
    "conform": "Find out whether a program, in any language, survives what happens to its credential.",
    "completion": "Print a script with which the shell completes commands, options and files.",
}
"""The module of each command in this package, and its line in `--help`, which needs no import of it."""

_DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Commands(click.Group):
    """Imports the module of a command only when it is called, so that `--help` is fast."""

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
        _prepare_streams()
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort):
            raise
        except click.ClickException as error:
            error.message = _make_lines_safe(error.message)  # type: ignore[misc]
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise  # click ends quietly when nobody reads the output any more
            self._fail(ctx, *_explain(error))

    def _fail(self, ctx: click.Context, problem: str, status: int) -> NoReturn:
        command = " ".join(filter(None, (ctx.info_name, ctx.invoked_subcommand)))
        click.echo(_make_lines_safe(f"{command}: {problem}"), err=True)
        ctx.exit(status)


def _prepare_streams() -> None:
    # If the terminal cannot show a character, it shows a replacement.
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(OneLine())


def _explain(error: Exception) -> tuple[str, int]:
    """Build the message and the exit status for an exception that a command raised."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, HcpCredsError):
        return _describe(error), 2 if isinstance(error, InputError) else 1
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return f"cannot be written: {error.strerror}", 1
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("hcpcreds"):
        return f"this needs {error.name}; install it with: pip install 'hcpcreds[local]'", 1
    # The text of an error of the system is safe; that of any other exception may hold a secret.
    reason = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
    return f"unexpected {locate(error)}{reason}. It is a bug in hcpcreds; please report it.", 1


def _make_lines_safe(text: str) -> str:
    return "\n".join(
        line[: len(line) - len(line.lstrip(" "))] + make_safe(line, limit=LONGEST_LINE)
        for line in text.split("\n")
    )


def _describe(error: HcpCredsError) -> str:
    """Build the message of an error, with the command-line options that resolve it."""
    options = ", ".join(f"--{name.replace('_', '-')}" for name in error.options)
    return f"{error}{chr(10) if error.hint is None else ' '}See {options}." if options else str(error)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
    Begin with `hcpcreds up`, which needs neither Azure nor a cluster.
    A pod gets no token: `hcpcreds explain`, then `inspect` and `token` where its file is.
    """,
)
@click.version_option(__version__, prog_name="hcpcreds")
def hcpcreds() -> None:
    """Azure credentials for the pods of hosted control planes: issue, store, mount, use, rotate."""
