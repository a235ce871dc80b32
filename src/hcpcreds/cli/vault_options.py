"""The options of commands that read Key Vaults."""

import re
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

import click

from hcpcreds.clouds import CLOUDS, DEFAULT_CLOUD, get_cloud
from hcpcreds.errors import InputError

_VAULT_NAME: Final = re.compile(r"[A-Za-z0-9-]{3,24}")

cloud_option = click.option(
    "--cloud", default=DEFAULT_CLOUD, show_default=True, type=click.Choice(list(CLOUDS))
)


def parse_vault(text: str, cloud: str) -> str:
    """Return the URL of a vault, given its name or URL.

    Raises:
        InputError: It is neither.
    """
    if _VAULT_NAME.fullmatch(text):
        return f"https://{text.lower()}.{get_cloud(cloud).key_vault_suffix}"
    with suppress(ValueError):  # brackets without an IPv6 address, an invalid port
        url = urlsplit(text)
        bare = not (url.path.strip("/") or url.query or url.fragment or url.username)
        if url.scheme == "https" and url.hostname and url.port != 0 and bare:
            return f"https://{url.netloc.lower()}"
    raise InputError(
        "--vault", [f"{text}: expected a vault's name (3 to 24 of [A-Za-z0-9-]) or https://HOST"]
    )


def parse_secret_names(names: tuple[str, ...], where: str) -> tuple[str, ...]:
    """Return the names of secrets without repetitions; they are case-insensitive.

    Args:
        names: The names.
        where: The option or argument that they come from.

    Raises:
        InputError: Key Vault does not allow a name.
    """
    from hcpcreds.vault.naming import is_secret_name

    problems = [f"{name}: expected 1 to 127 of [a-zA-Z0-9-]" for name in names if not is_secret_name(name)]
    if problems:
        raise InputError(where, problems)
    return tuple({name.lower(): name for name in names}.values())
