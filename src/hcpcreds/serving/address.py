"""Listen addresses: TCP addresses and Unix sockets."""

import contextlib
import errno
import os
import re
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from typing_extensions import override

from hcpcreds.errors import InputError

_HIGHEST_PORT: Final = 65535
_SOCKET_MODE: Final = 0o600
_EXAMPLES: Final = "Examples: :9090, 127.0.0.1:9090, [::1]:9090, /run/hcpcreds.sock."


@dataclass(frozen=True)
class ListenAddress:
    """A listen address, as returned by `parse_address`."""

    host: str = ""
    """A name, or an IPv4 or IPv6 address without brackets; empty for every address of this machine."""
    port: int = 0
    """0 picks a free port."""
    path: str | None = None
    """Path of a Unix socket, instead of a host and a port."""

    @override
    def __str__(self) -> str:
        if self.path is not None:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> ListenAddress:
    """Parse a listen address.

    Args:
        text: `HOST:PORT`, `[IPV6]:PORT`, `:PORT` for every address of this machine, or the path of a
            Unix socket, which contains a slash.

    Raises:
        InputError: The text is none of these.
    """
    if "/" in text and "\0" not in text:
        return ListenAddress(path=text)
    host, colon, port = text.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    is_port = re.fullmatch("[0-9]{1,5}", port) and int(port) <= _HIGHEST_PORT
    if not colon or not is_port or (":" in host and not is_bracketed):
        problem = f"{text} is not HOST:PORT or the path of a Unix socket"
        raise InputError("listen address", [problem], hint=_EXAMPLES)
    return ListenAddress(host[1:-1] if is_bracketed else host, int(port))


def open_listener(address: ListenAddress, *, backlog: int) -> socket.socket:
    """Listen on an address. May block while it looks up a host name.

    Only the user of this process may connect to a Unix socket. An abandoned socket of an earlier process is
    replaced; `close_listener` removes the path.

    Raises:
        InputError: The address is in use, or does not belong to this machine.
    """
    try:
        return _listen_unix(address.path, backlog) if address.path else _listen_tcp(address, backlog)
    except (OSError, UnicodeError) as error:
        # The system says nothing when the path is too long, or a label of the host name.
        unknown = "this is not a host name" if address.path is None else "the path is too long"
        reason = getattr(error, "strerror", None) or unknown
        raise InputError(
            "listen address",
            [f"cannot listen on {address}: {reason}"],
            hint="Choose an address of this machine and a free port."
            if address.path is None
            else "Choose a path in a directory that is writable for this process.",
        ) from None


def close_listener(listener: socket.socket) -> None:
    """Stop listening, and remove the path of a Unix socket."""
    path = listener.getsockname() if listener.family == socket.AF_UNIX else None
    listener.close()
    if path:
        with contextlib.suppress(OSError):
            Path(path).unlink()


def _listen_tcp(address: ListenAddress, backlog: int) -> socket.socket:
    has_both = socket.has_dualstack_ipv6()
    everywhere = "::" if has_both else "0.0.0.0"  # noqa: S104 (the caller asked for it)
    family, _, _, _, place = socket.getaddrinfo(
        address.host or everywhere, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    return socket.create_server(
        place,
        family=family,
        backlog=backlog,
        dualstack_ipv6=has_both and not address.host and family == socket.AF_INET6,
    )


def _listen_unix(path: str, backlog: int) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_abandoned(path)
        listener.bind(path)
        Path(path).chmod(_SOCKET_MODE)  # nobody can connect before listen()
        listener.listen(backlog)
    except BaseException:
        listener.close()
        raise
    return listener


def _remove_abandoned(path: str) -> None:
    """Remove a socket on which no process listens.

    Raises:
        OSError: A process listens there, or the file is not a socket.
    """
    try:
        mode = Path(path).lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # noqa: FBT003 (socket's own)
        answer = probe.connect_ex(path)
    if answer != errno.ECONNREFUSED:
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    Path(path).unlink()
