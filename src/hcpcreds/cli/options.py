"""Options and their types that several commands share."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import click
from typing_extensions import override

from hcpcreds.errors import InputError
from hcpcreds.text import make_safe

if TYPE_CHECKING:
    from hcpcreds.serving import ListenAddress, ServingCertificate

    _DurationType = click.ParamType[timedelta]
    _AddressType = click.ParamType[ListenAddress]
else:
    _DurationType = _AddressType = click.ParamType  # generic only since click 8.4

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST: Final = timedelta(days=366)


class Duration(_DurationType):
    """A duration: `30s`, `15m`, `1.5h`, `10d`; a number without a unit is seconds.

    Args:
        least: The shortest duration that is accepted.
        allow_zero: Whether zero is accepted.
    """

    name = "duration"

    def __init__(self, *, least: timedelta = timedelta(0), allow_zero: bool = True) -> None:
        self._least = least
        self._allow_zero = allow_zero

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        duration = _parse_duration(value)
        if duration is None:
            expected = "examples: 30s, 15m, 1.5h, 10d (at most 366d)"
            self.fail(f"{make_safe(value)} is not a duration; {expected}.", param, ctx)
        if duration < self._least:
            self.fail(
                f"{value} is too short; expected at least {self._least.total_seconds():g}s.", param, ctx
            )
        if not duration and not self._allow_zero:
            self.fail("must be greater than zero.", param, ctx)
        return duration


class Address(_AddressType):
    """Where to listen: `:9090`, `127.0.0.1:9090`, `[::1]:9090`, or the path of a Unix socket."""

    name = "address"

    @override
    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> "ListenAddress":
        from hcpcreds.serving import ListenAddress, parse_address

        if isinstance(value, ListenAddress):
            return value
        try:
            return parse_address(value)
        except InputError as error:
            self.fail(f"{'; '.join(error.problems)}. {error.hint}", param, ctx)


def _parse_duration(text: str) -> timedelta | None:
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhd])", text)
    number, unit = match.groups() if match else (text if text.isascii() else "", "s")
    try:
        duration = timedelta(**{_UNITS[unit]: float(number)})
    except (ValueError, OverflowError):  # not a number, or too large for a timedelta
        return None
    return duration if timedelta(0) <= duration <= _LONGEST else None


ca_file_option = click.option(
    "--ca-file",
    type=click.Path(exists=True, dir_okay=False),
    help="PEM file of the certificate authorities to trust instead of the machine's.",
)


def environment_option(name: str, *names: str, **settings: Any) -> Callable[[Any], Any]:
    """Make an option that an environment variable can give too; its help names the variable.

    Args:
        name: `--some-thing`; the variable is `HCPCREDS_SOME_THING`.
        *names: Further names.
        **settings: Arguments of `click.option`.
    """
    variable = f"HCPCREDS_{name.strip('-').upper().replace('-', '_')}"
    return click.option(name, *names, envvar=variable, show_envvar=True, **settings)


def tls_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--tls-certificate` and `--tls-key` of the server that a command runs; see `open_certificate`."""
    file = click.Path(dir_okay=False)
    for name, what in (
        ("--tls-key", "unencrypted key of the certificate"),
        ("--tls-certificate", "certificate, with its chain"),
    ):
        help_text = f"Serve HTTPS: PEM file of the {what}. May be replaced at any time."
        command = environment_option(name, type=file, metavar="FILE", help=help_text)(command)
    return command


def open_certificate(certificate: str | None, key: str | None) -> "ServingCertificate | None":
    """Open the pair that `tls_options` name, or return None when they are not given. The caller closes it.

    Raises:
        click.UsageError: Only one of the two is given.
        InputError: The files are not a usable pair.
    """
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise click.UsageError("--tls-certificate and --tls-key must be given together.")
    from hcpcreds.serving import ServingCertificate

    return ServingCertificate(certificate, key)


def output_option(help_text: str | None = None) -> Callable[[Any], Any]:
    """Make `--output text|json`, with the help text of the command."""
    return click.option(
        "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help=help_text
    )
