"""The value of `--credential`: a file, its name, and the service principal whose certificate it is."""

import re
from typing import Final, NamedTuple

from hcpcreds.errors import InputError
from hcpcreds.text import make_safe

_NAMED: Final = re.compile(r"([^/=]+)=(.+)", re.DOTALL)
_SETTING: Final = re.compile(r"(.+),([a-z_]+)=([^,=]*)", re.DOTALL)
_SETTINGS: Final = ("tenant_id", "client_id", "password_file")


class GivenCredential(NamedTuple):
    """A credential on the command line."""

    name: str | None
    path: str
    settings: dict[str, str]
    """What is said of a service principal; empty for a managed identity, whose file says it."""


def parse_credential(text: str) -> GivenCredential:
    """Parse `[NAME=]PATH[,tenant_id=ID,client_id=ID[,password_file=FILE]]`.

    Raises:
        InputError: There is a setting of another name, or one twice, or one of the two ids alone.
    """
    settings: dict[str, str] = {}
    path = text
    problems = []
    while found := _SETTING.fullmatch(path):
        path, name, value = found.groups()
        if name not in _SETTINGS:
            problems.append(f"{make_safe(name)}: unknown; expected {', '.join(_SETTINGS)}")
        elif name in settings:
            problems.append(f"{name}: given twice")
        settings[name] = value
    if settings:
        problems += [f"{name}: missing" for name in _SETTINGS[:2] if name not in settings and not problems]
    if problems:
        raise InputError(f"--credential {make_safe(path)}", problems)
    named = _NAMED.fullmatch(path)
    return GivenCredential(named[1], named[2], settings) if named else GivenCredential(None, path, settings)
