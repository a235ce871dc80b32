"""Who may ask the token endpoint, and where it listens."""

import ipaddress
import logging
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from hcpcreds.clouds import LOOPBACK
from hcpcreds.endpoint.files import create_file
from hcpcreds.endpoint.refusals import build_refusal
from hcpcreds.errors import InputError
from hcpcreds.serving import ListenAddress, Request

LINK_LOCAL: Final = "169.254.169.254"
"""Where programs expect the instance metadata service that cannot be told otherwise."""
_FORWARDED: Final = ("x-forwarded-for", "forwarded")
_LONGEST_SECRET: Final = 1024
_MOST_HOSTS: Final = 100

_log = logging.getLogger("hcpcreds.endpoint")


class Guard:
    """Refuses requests that do not come from a program on this machine.

    A browser that was led here by a web page names another host, or is asked about the headers first
    (CORS), which the server does not answer; a proxy says for whom it asks.

    Args:
        host: The name that the server listens at.
    """

    def __init__(self, host: str) -> None:
        self._names = {host.lower(), *LOOPBACK}
        self._known: set[str] = set()
        """Values of Host that were found good; few, for there are ports."""

    def check(self, request: Request) -> None:
        """Check where a request comes from and whom it is for.

        Raises:
            Refusal: From somewhere else, or for somebody else.
        """
        headers = request.headers
        if any(name in headers for name in _FORWARDED):
            raise build_refusal(
                "bad_request", "Requests that were forwarded are not answered", reason="forwarded"
            )
        host = headers.get("host", "")
        if host in self._known:
            return
        if not self._is_own(host):
            raise build_refusal("bad_request", "The Host header names another host", reason="host")
        if len(self._known) < _MOST_HOSTS:
            self._known.add(host)

    def _is_own(self, host: str) -> bool:
        # Any address will do: a name is what a web page can have changed to lead here.
        name, colon, port = host.rpartition(":")
        if not colon or not port.isascii() or not port.isdigit():
            name = host
        name = name.removeprefix("[").removesuffix("]").lower()
        return name in self._names or _is_address(name)


def check_address(address: ListenAddress, *, allow_remote: bool) -> None:
    """Check that only programs on this machine can reach the token endpoint.

    Args:
        address: Where it is to listen.
        allow_remote: Whether others may.

    Raises:
        InputError: Others could.
    """
    host = address.host
    is_local = address.path is not None or host.lower() in (*LOOPBACK, LINK_LOCAL)
    if not (is_local or allow_remote or (_is_address(host) and ipaddress.ip_address(host).is_loopback)):
        raise InputError(
            "token endpoint",
            [f"at {address}, whoever reaches this machine could get tokens"],
            hint="Listen on 127.0.0.1, or say that this is intended.",
            options=["allow_remote"],
        )


def make_secret() -> str:
    """Make a secret that nobody can guess."""
    return secrets.token_urlsafe(32)


def open_secret(file: Path) -> str:
    """Read the secret in a file, or make one with mode 0400 when there is no file.

    Raises:
        InputError: It cannot be read or made, others can change it, or what is there is not a secret.
    """
    where = str(file)
    try:
        found = _read(file)
        if found is None:
            with suppress(FileExistsError):  # of another process that was faster
                create_file(file, make_secret().encode(), mode=0o400)
            found = _read(file)
    except OSError as error:
        raise InputError(where, [f"cannot be read or made: {error.strerror}"]) from None
    content, mode = found or (b"", 0)
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise InputError(
            where, [f"others may change it (mode {mode:04o})"], hint="Give it mode 0400 or 0440."
        )
    if mode & stat.S_IROTH:
        _log.warning("%s holds a secret, and everybody may read it (mode %04o)", file, mode)
    return check_secret(content.decode("latin-1").rstrip("\r\n"), where)


def check_secret(secret: str, where: str) -> str:
    """Check that a secret can be sent in a header.

    Args:
        secret: The secret.
        where: Where it comes from, for the error.

    Raises:
        InputError: It cannot. Repeats nothing of it.
    """
    is_text = secret.isascii() and secret.isprintable() and secret == secret.strip()
    if not secret or not is_text or len(secret) > _LONGEST_SECRET:
        raise InputError(
            where, [f"expected a secret of 1 to {_LONGEST_SECRET} printable ASCII characters in one line"]
        )
    return secret


def _read(file: Path) -> tuple[bytes, int] | None:
    """Read a small file and its mode; None when there is none."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        return os.read(descriptor, _LONGEST_SECRET + 3), stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
