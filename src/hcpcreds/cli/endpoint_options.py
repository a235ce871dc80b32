"""Options of the commands that serve other programs: the credentials, and the authority."""

import re
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Final

import click
from typing_extensions import override

from hcpcreds.cli.credential_option import parse_credential
from hcpcreds.cli.options import Address, Duration, environment_option
from hcpcreds.clouds import CLOUDS
from hcpcreds.errors import InputError
from hcpcreds.text import make_safe

if TYPE_CHECKING:
    from hcpcreds.endpoint.service import Access, TokenSettings
    from hcpcreds.serving import ListenAddress

    _NumberType = click.ParamType[int]
else:
    _NumberType = click.ParamType  # generic only since click 8.4

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_READABLE: Final = 0o444


class FileMode(_NumberType):
    """Permissions to read a file, in octal: `0440`."""

    name = "mode"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        mode = int(value, 8) if re.fullmatch("[0-7]{3,4}", value) else 0
        if not mode or mode & ~_READABLE:
            self.fail(
                f"{make_safe(value)} is not a mode for reading only; examples: 0400, 0440, 0444.", param, ctx
            )
        return mode


class Group(_NumberType):
    """A group of this machine, by name or number."""

    name = "group"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if re.fullmatch("[0-9]{1,10}", value):
            return int(value)
        import grp

        try:
            return grp.getgrnam(value).gr_gid
        except (KeyError, ValueError):
            self.fail(f"{make_safe(value)} is not a group of this machine.", param, ctx)


def access_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of `build_access`."""
    for option in (
        click.option("--local", is_flag=True, help="The credentials are those of the running `hcpcreds up`."),
        environment_option(
            "--scope",
            metavar="SCOPE",
            help="Scope of the tokens that prove new certificates.  [default: the cloud's ARM]",
        ),
        environment_option(
            "--ca-file",
            type=click.Path(exists=True, dir_okay=False),
            help="PEM file of the certificate authorities to trust instead of the machine's.",
        ),
        environment_option(
            "--authority",
            metavar="URL",
            help="The token authority, also that of the programs (AZURE_AUTHORITY_HOST).  [default: for "
            "assertions the best known host of the file's cloud; else the file's own]",
        ),
        environment_option(
            "--cloud",
            type=click.Choice(list(CLOUDS)),
            metavar="NAME",
            help="Refuse credentials of any other cloud.",
        ),
        environment_option(
            "--credential",
            "credentials",
            multiple=True,
            metavar="[NAME=]PATH[,...]",
            help="A mounted credential file; the certificate of a service principal with "
            "',tenant_id=ID,client_id=ID' after it, and ',password_file=FILE' if it has a password. "
            "Repeatable; in the variable, separated by blanks.  [default name: the file's]",
        ),
    ):
        command = option(command)
    return command


def build_access(  # noqa: PLR0913 (the options)
    credentials: tuple[str, ...],
    *,
    cloud: str | None,
    authority: str | None,
    ca_file: str | None,
    scope: str | None,
    local: bool,
) -> "Access":
    """Build the access that `access_options` describe.

    Raises:
        click.UsageError: No credential is given.
        InputError: Two credentials have the same name, or one has none.
    """
    from hcpcreds.credential.arguments import build_principal
    from hcpcreds.endpoint.service import Access

    if not credentials:
        raise click.UsageError("Give at least one --credential.")
    given = [parse_credential(each) for each in credentials]
    if local:
        from hcpcreds.up.running import find_running_chain

        chain = find_running_chain()
        given = [each._replace(path=chain.find_file(each.path)) for each in given]
        authority, ca_file = authority or chain.authority, ca_file or chain.ca_file
    paths: dict[str, str] = {}
    formats = {}
    problems = []
    for wanted, path, settings in given:
        name = wanted or PurePath(path).name
        if not _NAME.fullmatch(name):
            problems.append(f"{path}: cannot be named {make_safe(name)!r}; give NAME=PATH")
        elif name in paths:
            problems.append(f"{path}: {paths[name]} is named {name} already; give NAME=PATH")
        paths[name] = path
        if settings:
            formats[name] = build_principal(
                f"--credential {path}", cloud=cloud, authority=authority, sends_chain=True, **settings
            )
    if problems:
        raise InputError("--credential", problems)
    return Access(
        paths=paths, formats=formats, cloud=cloud, authority=authority, ca_file=ca_file, scope=scope
    )


def token_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of `build_token_settings`, and `--drain`."""
    for option in (
        environment_option(
            "--drain",
            type=Duration(),
            metavar="DURATION",
            default="5s",
            show_default=True,
            help="How long programs are still given tokens after SIGTERM; they may end later than this one.",
        ),
        environment_option(
            "--allow-remote", is_flag=True, help="Let the addresses be ones that other machines can reach."
        ),
        environment_option(
            "--allowed-resource",
            "allowed_resources",
            multiple=True,
            metavar="RESOURCE",
            help="Give tokens for this resource only, for instance https://management.azure.com. Repeatable; "
            "in the variable, separated by blanks.",
        ),
        environment_option(
            "--secret-file",
            type=click.Path(dir_okay=False),
            help="File of the secret that programs send to App Service's endpoint; made, with mode 0400, if "
            "there is none.",
        ),
        environment_option(
            "--secret",
            metavar="TEXT",
            help="The secret itself. Give it by the variable: everybody on this machine can see the options "
            "of a process.",
        ),
        environment_option(
            "--imds-address",
            type=Address(),
            metavar="HOST:PORT",
            help="Give tokens as the instance metadata service does, at this address.",
        ),
        environment_option(
            "--app-service-address",
            type=Address(),
            metavar="HOST:PORT",
            help="Give tokens as App Service does, at this address. All SDKs can be told of it.",
        ),
    ):
        command = option(command)
    return command


def build_token_settings(  # noqa: PLR0913 (the options)
    app_service_address: "ListenAddress | None",
    imds_address: "ListenAddress | None",
    *,
    secret: str | None,
    secret_file: str | None,
    allowed_resources: tuple[str, ...],
    allow_remote: bool,
) -> "TokenSettings | None":
    """Build what `token_options` say; None when no tokens are to be served. May make the secret's file.

    Raises:
        click.UsageError: An option lacks another one.
        InputError: The secret is not one.
    """
    if app_service_address is None and (secret is not None or secret_file is not None):
        raise click.UsageError("--secret and --secret-file need --app-service-address.")
    if app_service_address is None and imds_address is None:
        if allowed_resources or allow_remote:
            needed = "--app-service-address or --imds-address"
            raise click.UsageError(f"--allowed-resource and --allow-remote need {needed}.")
        return None
    from hcpcreds.endpoint.guard import check_address, open_secret
    from hcpcreds.endpoint.service import TokenSettings

    for address in (app_service_address, imds_address):
        if address is not None:
            check_address(address, allow_remote=allow_remote)
    if app_service_address is not None:
        if (secret is None) == (secret_file is None):
            raise click.UsageError("--app-service-address needs either --secret or --secret-file.")
        if secret_file is not None:
            secret = open_secret(Path(secret_file))
    return TokenSettings(
        app_service=app_service_address,
        secret=secret or "",
        imds=imds_address,
        resources=frozenset(each.rstrip("/") for each in allowed_resources) or None,
        allow_remote=allow_remote,
    )
