"""Which hosts the caller's token may be sent to.

An identity URL comes from ARM or out of a vault, and could name any host.
"""

import re
from collections.abc import Collection
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from hcpcreds.clouds import LOOPBACK, SHARED_DOMAINS
from hcpcreds.errors import InputError
from hcpcreds.text import make_safe

_AUTHORITY: Final = re.compile(r"([a-zA-Z0-9.-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?")
"""Host and port, without a user: the part that all URL parsers read alike."""
_PRINTABLE: Final = re.compile(r"[!-\[\]-~]+")
"""ASCII without blanks, control characters and backslashes."""
_HOST: Final = re.compile(
    r"(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
)
"""A lower-case host name of at least two labels."""


def choose_hosts(audience: str, hosts: Collection[str] | None) -> tuple[str, ...]:
    """Choose the hosts that a token for the data plane may be sent to.

    Args:
        audience: The audience of the data plane.
        hosts: Host names, each including its subdomains; by default the host of the audience.

    Raises:
        InputError: There is no host, a host is not a host name, or other customers can have hosts below it.
    """
    if hosts is None:
        host = find_host(audience)
        hosts = [host] if host else []
    if not hosts:
        raise InputError(
            "hosts", [f"no host given, and the audience {make_safe(audience)} is not an https URL"]
        )
    chosen = tuple(host.lower().removesuffix(".").strip("[]") for host in hosts)
    problems = [
        f"{make_safe(host)}: expected a host name such as identity.azure.net, without scheme, port or *"
        for host in chosen
        if host not in LOOPBACK and not _HOST.fullmatch(host)
    ]
    problems += [f"{host}: anybody can have a host below it" for host in chosen if host in SHARED_DOMAINS]
    if problems:
        raise InputError("hosts", problems, hint="The caller's token could be sent to every host below it.")
    return chosen


def check_identity_url(identity_url: str, hosts: Collection[str]) -> str:
    """Return an `x-ms-identity-url` or `client_secret_url` if the caller's token may be sent to it.

    Args:
        identity_url: The URL.
        hosts: The result of `choose_hosts`.

    Raises:
        InputError: It is not an https URL, or its host is not allowed.
    """
    host = find_host(identity_url)
    if not host:
        raise InputError("identity URL", ["expected https://<host>/<path>?<query>, as ARM returned it"])
    if not is_host_among(host, hosts):
        raise InputError(
            "identity URL",
            [f"its host {make_safe(host)} is not among the allowed hosts: {', '.join(hosts)}"],
            hint="If it belongs to the data plane, add it to the allowed data-plane hosts.",
        )
    return identity_url


def find_host(url: str) -> str | None:
    """Return the lower-case host of an https URL, or None when URL parsers could disagree about it."""
    # Given https://a\@b/, requests connects to a and others connect to b.
    with suppress(ValueError):  # brackets without an IPv6 address
        parts = urlsplit(url)
        if parts.scheme == "https" and _AUTHORITY.fullmatch(parts.netloc) and _PRINTABLE.fullmatch(url):
            return parts.hostname
    return None


def is_host_among(host: str, hosts: Collection[str]) -> bool:
    """Tell whether a host is one of those given, or a subdomain of one."""
    return any(host == allowed or host.endswith(f".{allowed}") for allowed in hosts)
