"""Chooses the proxy of a request: the caller's, or else the environment's.

Sources: curl(1) and golang.org/x/net/http/httpproxy for the meaning of the variables; requests' documentation
for the keys of `proxies`.
"""

import base64
import ipaddress
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from typing_extensions import override

from hcpcreds.errors import InputError

_PLACE: Final = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?")
"""Host and port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A proxy with its login."""

    url: str
    """Scheme, host and port, without user and password: the HTTP libraries show this in errors."""
    authorization: str | None = field(default=None, repr=False)
    """Value of the Proxy-Authorization header."""
    source: str
    """The environment variable or the key of `proxies` that names it."""

    @override
    def __str__(self) -> str:
        return f"{self.url} ({self.source})"


class Proxies:
    """Chooses the proxy of each request.

    Args:
        given: azure-core's `proxies`: maps `https://host`, `https`, `all://host` or `all` to the URL of a
            proxy, or to None or an empty text for none. Takes precedence over the environment.
        environment: The environment variables; None to ignore them.

    Raises:
        InputError: A given proxy is unusable.
    """

    def __init__(
        self,
        given: Mapping[str, str | None] | None = None,
        environment: Mapping[str, str] | None = os.environ,
    ) -> None:
        try:
            self._given = {
                key: _parse(f"proxies[{key!r}]", url) if url else None for key, url in (given or {}).items()
            }
        except (AttributeError, TypeError):
            raise InputError(
                "proxies", ["expected a mapping, for instance {'https': 'http://proxy:3128'}"]
            ) from None
        self._environment = {} if environment is None else {**environment}

    def find(self, url: str) -> Proxy | None:
        """Return the proxy for a request's URL; None for a direct connection.

        The proxies of the environment do not apply to loopback and link-local addresses: no proxy reaches
        those of this machine, and every machine has its own instance metadata (169.254.169.254).

        Raises:
            InputError: The environment names an unusable proxy. It is not bypassed, because a service behind
                a proxy is often unreachable, or must not be contacted, without it.
        """
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
        for key in (f"{parts.scheme}://{host}", parts.scheme, f"all://{host}", "all"):
            if key in self._given:
                return self._given[key]
        if _is_near(host) or self._is_exempt(parts, host):
            return None
        for name in (f"{parts.scheme}_proxy", "all_proxy"):
            variable, value = self._read(name)
            if value:
                return _parse(variable, value)
        return None

    def _read(self, name: str) -> tuple[str, str]:
        """Read a variable; the lower-case name takes precedence even if empty, to switch a proxy off."""
        variable = name if name in self._environment else name.upper()
        return variable, self._environment.get(variable, "").strip()

    def _is_exempt(self, parts: SplitResult, host: str) -> bool:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        _, exempt = self._read("no_proxy")
        return any(_covers(entry.lower(), host, port) for entry in re.split(r"[\s,]+", exempt) if entry)


def _covers(entry: str, host: str, port: int) -> bool:
    """Return whether an entry of NO_PROXY (`*`, address, network, name with subdomains) covers a host."""
    if entry == "*":
        return True
    address = _parse_address(host)
    if address is not None:
        with suppress(ValueError):
            return address in ipaddress.ip_network(entry, strict=False)
    name, colon, wanted = entry.rpartition(":")
    if colon and wanted.isdigit():
        if int(wanted) != port:
            return False
        entry = name
    entry = entry.strip("[]").removeprefix("*").strip(".")
    return bool(entry) and (host == entry or (address is None and host.endswith(f".{entry}")))


def _is_near(host: str) -> bool:
    address = _parse_address(host)
    return host == "localhost" if address is None else address.is_loopback or address.is_link_local


def _parse_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    with suppress(ValueError):
        return ipaddress.ip_address(host)
    return None


def _parse(source: str, url: str) -> Proxy:
    """Parse the URL of a proxy; the default scheme is http, as in curl.

    Raises:
        InputError: The URL is unusable. The message does not repeat it: any part may belong to a password.
    """
    problem = None
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        login, _, place = parts.netloc.rpartition("@")
        port = parts.port
    except ValueError:  # its text would repeat the URL
        parts, login, place, port = SplitResult("", "", "", "", ""), "", "", None
        problem = "its host or port is invalid"
    if problem is None and parts.scheme not in {"http", "https"}:
        problem = "only proxies with http or https are supported"
    elif problem is None and (parts.path not in {"", "/"} or parts.query or parts.fragment):
        problem = "the port is followed by something else"
    elif problem is None and (port == 0 or not _PLACE.fullmatch(place)):
        problem = "its host or port is invalid"
    if problem is not None:
        raise InputError(
            source,
            [f"unusable proxy URL: {problem}; expected http://[user:password@]host:port, or https://..."],
            hint="In a user or password, write / as %2F, ? as %3F, # as %23, @ as %40, : as %3A.",
        )
    host = place if port is None else place.rpartition(":")[0]
    port = port or (443 if parts.scheme == "https" else 80)
    authorization = None
    if login:
        user, _, password = login.partition(":")
        plain = f"{unquote(user)}:{unquote(password)}".encode()
        authorization = f"Basic {base64.b64encode(plain).decode()}"
    return Proxy(
        url=f"{parts.scheme}://{host.rstrip(':')}:{port}", authorization=authorization, source=source
    )
