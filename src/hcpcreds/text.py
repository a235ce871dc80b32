"""Makes foreign text safe to show: in errors, log lines and metrics, and on terminals.

Foreign text is anything that somebody else wrote: a response of Entra ID, Key Vault or an API server, a value
or a name in a mounted file, a manifest or a Lease. It may contain a token that was echoed back, an escape
sequence that rewrites the terminal, a line break that forges a log line, or 200 MB of anything.
"""

import re
from typing import Final

_MAX_FOREIGN_TEXT: Final = 300
"""Characters of a foreign text that are shown by default."""

UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# The limits of the names are ARM's. Nothing that could be a pasted secret matches.
RESOURCE_ID: Final = re.compile(
    r"/subscriptions/[\w-]{1,64}/resourcegroups/[\w.()-]{1,90}/providers/"
    r"microsoft\.managedidentity/userassignedidentities/[\w-]{1,128}",
    re.IGNORECASE | re.ASCII,
)

_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
_SECRETS: Final = re.compile(
    r"eyJ[\w-]{10,}(?:\.[\w-]*)*"  # a JWT, complete or cut off
    r"|(?i:(?P<scheme>bearer|\bbasic)\s+(?:[^\s\"',;]*bearer\s+)*)[^\s\"',;]+"
    r"|-----BEGIN .*?(?:-----END [^-]*-----|$)"  # PEM, complete or cut off
    r"|[A-Za-z0-9+/]{60,}(?: [A-Za-z0-9+/]{60,})+(?: [A-Za-z0-9+/]+={0,2})?"  # lines of PEM without labels
    r"|[A-Za-z0-9+/]{100,}={0,2}"  # base64 of a key, a certificate, a PKCS#12
    r"|[\w-]{100,}",  # an opaque token
    re.ASCII,
)


def make_printable(text: object) -> str:
    """Make a text printable and change nothing else: for paths and names, which the reader has to find again.

    Each unprintable character (line breaks, C0 and C1 controls, bidirectional controls, lone surrogates)
    becomes U+FFFD. Secrets are not masked and nothing is cut off.
    """
    return "".join(each if each.isprintable() else _REPLACEMENT for each in str(text))


def make_lines_printable(text: str) -> str:
    """Make each line of our own text printable: a list of problems, say, which may contain foreign text."""
    return "\n".join(map(make_printable, text.split("\n")))


def make_safe(text: object, *, limit: int = _MAX_FOREIGN_TEXT) -> str:
    """Make a foreign text safe to show: one printable line of limited length, without secrets.

    Line breaks and runs of blanks become one blank. Unprintable characters (C0 and C1 controls, bidirectional
    controls, lone surrogates) become U+FFFD. JWTs, `Bearer …`, and runs of 100 or more characters that may be
    keys or opaque tokens become `***`. The rest is cut to the limit.

    Args:
        text: Anything; a value of another type is converted with `str`.
        limit: Maximum number of characters.
    """
    # Cut first, to bound the cost: a secret that is cut in the middle still looks like one.
    line = make_printable(" ".join(str(text)[: 4 * limit + 1000].split()))
    line = _SECRETS.sub(_mask, line)
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def show_id(value: object) -> str:
    """Show a foreign identifier only if it is a UUID or the resource id of a managed identity.

    Anything else may be a secret that was pasted into the wrong field: only its type or length is shown.
    """
    if not isinstance(value, str):
        return "nothing" if value is None else f"a {type(value).__name__}"
    if UUID.fullmatch(value) or RESOURCE_ID.fullmatch(value):
        return value
    return f"({len(value)} characters)"


def _mask(found: re.Match[str]) -> str:
    scheme = found["scheme"]
    return f"{scheme} ***" if scheme else "***"
