"""Foreign text made safe to show: in an error, a log line, a metric, on a terminal.

Foreign is whatever somebody else wrote: an answer of Entra ID, Key Vault or an API server, a value or a name
in a mounted file, a manifest, a Lease. It may hold a token that was echoed back, an escape sequence that
rewrites a terminal, a line break that forges a log line, or 200 MB of anything.
"""

import re
from typing import Final

MAX_FOREIGN_TEXT: Final = 300
"""Characters of a foreign text that are shown."""

UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# The names' limits are ARM's; nothing that could be a pasted secret passes.
RESOURCE_ID: Final = re.compile(
    r"/subscriptions/[\w-]{1,64}/resourcegroups/[\w.()-]{1,90}/providers/"
    r"microsoft\.managedidentity/userassignedidentities/[\w-]{1,128}",
    re.IGNORECASE | re.ASCII,
)

_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
_SECRETS: Final = re.compile(
    r"eyJ[\w-]{10,}(?:\.[\w-]*)*"  # a JWT, whole or cut off
    r"|(?i:(?P<scheme>bearer|\bbasic)\s+(?:[^\s\"',;]*bearer\s+)*)[^\s\"',;]+"
    r"|-----BEGIN .*?(?:-----END [^-]*-----|$)"  # PEM, whole or cut off
    r"|[A-Za-z0-9+/]{60,}(?: [A-Za-z0-9+/]{60,})+(?: [A-Za-z0-9+/]+={0,2})?"  # its lines alone
    r"|[A-Za-z0-9+/]{100,}={0,2}"  # base64 of a key, a certificate, a PKCS#12
    r"|[\w-]{100,}",  # an opaque token
    re.ASCII,
)


def make_printable(text: object) -> str:
    """Make a text printable and nothing else, for what has to be found again as it is: a path, a name.

    Each character that cannot be printed (line breaks, C0 and C1 controls, bidirectional controls, lone
    surrogates) becomes U+FFFD. No secret is masked and nothing is cut.
    """
    return "".join(each if each.isprintable() else _REPLACEMENT for each in str(text))


def make_lines_printable(text: str) -> str:
    """Make each line of a text of our own printable: of a list of problems, which may hold foreign text."""
    return "\n".join(map(make_printable, text.split("\n")))


def make_safe(text: object, *, limit: int = MAX_FOREIGN_TEXT) -> str:
    """Make a foreign text safe to show: one line, printable, without secrets, and not too long.

    Line breaks and runs of blanks become one blank; characters that cannot be printed (C0 and C1 controls,
    bidirectional controls, lone surrogates) become U+FFFD; JWTs, `Bearer …` and runs of 100 or more
    characters as keys and opaque tokens have become `***`; what is left is cut to the limit.

    Args:
        text: Anything; what is not a text is shown as its `str`.
        limit: Characters to keep at most.
    """
    # Cut first, so that the cost has a bound: what is cut off within a secret still looks like one.
    line = make_printable(" ".join(str(text)[: 4 * limit + 1000].split()))
    line = _SECRETS.sub(_mask, line)
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def show_id(value: object) -> str:
    """Show a foreign identifier only when it looks like one: a UUID, or the resource id of an identity.

    Anything else may be a secret pasted into the wrong field, so only its kind and length are told.
    """
    if not isinstance(value, str):
        return "nothing" if value is None else f"a {type(value).__name__}"
    if UUID.fullmatch(value) or RESOURCE_ID.fullmatch(value):
        return value
    return f"({len(value)} characters)"


def _mask(found: re.Match[str]) -> str:
    scheme = found["scheme"]
    return f"{scheme} ***" if scheme else "***"
