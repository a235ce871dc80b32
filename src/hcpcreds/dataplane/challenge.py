"""A parser of WWW-Authenticate.

Source: RFC 9110, sections 5.6 and 11. A field may hold several challenges, each a scheme with a token or
with parameters. Commas separate both challenges and parameters, and may also occur in quoted values.
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from hcpcreds.errors import InputError

_LONGEST: Final = 8192
"""The longest header that is parsed, in characters."""
_TOKEN: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 (RFC 9110's word for a name)
_TEXT: Final = r"[^\"\\\x00-\x08\x0a-\x1f\x7f]"
_ELEMENT: Final = re.compile(
    rf"""
    (?: (?P<scheme>{_TOKEN}) (?: [ ]++ | (?=[ \t]*(?:,|\Z)) ) )?
    (?:
        (?P<name>{_TOKEN}) [ \t]*+=[ \t]*+ (?: (?P<value>{_TOKEN}) | "(?P<quoted>(?:{_TEXT}|\\.)*+)" )
      | (?P<token>[A-Za-z0-9\-._~+/]+=*)
    )?
    [ \t]*+(?=,|\Z)
    """,
    re.VERBOSE,
)
"""The text between two commas: a scheme, a scheme with its token or first parameter, or a parameter.

Runs of blanks match possessively (++): otherwise each shorter run would be tried again. The end is \\Z: $
also matches before a last newline, where an empty element would be found again and again.
"""
_SEPARATORS: Final = re.compile(r"[ \t,]*")
_TENANT: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")


class Challenge(NamedTuple):
    """One authentication scheme that a server offers."""

    scheme: str
    """Lower-case."""
    token: str | None
    """The token68 that some schemes have in place of parameters."""
    parameters: Mapping[str, str]
    """Unquoted values by their lower-case names."""


def parse_challenges(header: str) -> list[Challenge]:
    """Parse WWW-Authenticate.

    Args:
        header: The value of the field; join several fields with commas.

    Raises:
        InputError: It is malformed, with the position of the first error, or longer than 8 KiB.
    """
    if len(header) > _LONGEST:
        raise InputError("WWW-Authenticate", [f"{len(header)} characters, expected at most {_LONGEST}"])
    challenges: list[Challenge] = []
    parameters: dict[str, str] = {}
    position = _skip_separators(header, 0)
    while position < len(header):
        element = _ELEMENT.match(header, position)
        if element is None:
            raise _build_error(position)
        if element["scheme"]:
            parameters = {}
            challenges.append(Challenge(element["scheme"].lower(), element["token"], parameters))
        elif element["token"] or not challenges or challenges[-1].token:
            raise _build_error(position)
        if element["name"]:
            name = element["name"].lower()
            if name in parameters:
                raise InputError("WWW-Authenticate", [f"{name} appears twice in one challenge"])
            quoted = element["quoted"]
            parameters[name] = element["value"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        position = _skip_separators(header, element.end())
    return challenges


def _skip_separators(header: str, position: int) -> int:
    found = _SEPARATORS.match(header, position)
    return found.end() if found else position


def _build_error(position: int) -> InputError:
    return InputError("WWW-Authenticate", [f"malformed at character {position}"])


def find_tenant(header: str) -> str:
    """Find the tenant that a token must come from.

    Nothing else in a challenge is trusted: the audience is always the caller's own.

    Args:
        header: The value of WWW-Authenticate, such as
            `Bearer authorization="https://login.microsoftonline.com/<tenant>"`.

    Returns:
        The lower-case tenant.

    Raises:
        InputError: It is malformed, or has no Bearer challenge that names an authority with a tenant.
    """
    for challenge in parse_challenges(header):
        authority = challenge.parameters.get("authorization")
        if challenge.scheme == "bearer" and authority is not None:
            try:
                tenant = urlsplit(authority).path.strip("/").lower()
            except ValueError:  # brackets without an IPv6 address
                tenant = ""
            if not _TENANT.fullmatch(tenant):
                raise InputError("WWW-Authenticate", ["authorization: expected https://<authority>/<tenant>"])
            return tenant
    raise InputError("WWW-Authenticate", ["expected a Bearer challenge with authorization=..."])
