"""Chooses the trusted CA certificates: the caller's, or else the environment's."""

import logging
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from typing_extensions import override

from hcpcreds.errors import InputError
from hcpcreds.fork_locks import first_use
from hcpcreds.http.tls import let_fork

_BUNDLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables with a file, or a directory as created by `openssl rehash`, to use instead of the machine's."""

_log = logging.getLogger("hcpcreds.http")


@dataclass(frozen=True, slots=True)
class _Location:
    """The location of certificates: a file, a directory, or both."""

    source: str
    file: str | None = None
    directory: str | None = None

    @override
    def __str__(self) -> str:
        return f"{' and '.join(filter(None, (self.file, self.directory)))} ({self.source})"


class Trust:
    """The TLS context of connections, which is created again when one of its files has changed.

    The files are read when the context is first requested.

    Args:
        verify: azure-core's `connection_verify`: a file or directory of CA certificates; True for those of
            the environment; False to verify nothing.
        certificate: azure-core's `connection_cert`: the file of a client certificate, or a tuple of its file
            and the file of its key.
        environment: The environment variables; None to ignore them.
    """

    def __init__(
        self,
        *,
        verify: Any = True,  # noqa: ANN401 (whatever the caller gave)
        certificate: Any = None,  # noqa: ANN401 (whatever the caller gave)
        environment: Mapping[str, str] | None = os.environ,
    ) -> None:
        self.verifies = verify is not False
        self._location = _find_location(verify, environment or {})
        self._certificate = (
            (certificate,) if isinstance(certificate, str | os.PathLike) else certificate or ()
        )
        self._context: ssl.SSLContext | None = None
        self._signature: object = None

    @override
    def __str__(self) -> str:
        return f"those of {self._location}"

    def get_context(self) -> ssl.SSLContext:
        """Return the context for the current files, or the previous one if a changed file is unusable.

        Raises:
            InputError: A file is missing or unusable; the message names the file and its source.
        """
        # A bundle in a mounted volume is replaced while the process runs. And a forked child may inherit the
        # context in the middle of another thread's handshake.
        paths = (self._location.file, self._location.directory, *self._certificate)
        signature = [os.getpid(), *map(_sign, paths)]
        if self._context is None or signature != self._signature:
            try:
                with first_use:
                    self._context = self._build()
            except InputError as error:
                if self._context is None:
                    raise
                _log.warning("%s; the previous CA certificates stay in use", error)
            self._signature = signature
        return self._context

    def _build(self) -> ssl.SSLContext:
        at = self._location
        if at.directory is not None and not any(map(os.path.isdir, at.directory.split(os.pathsep))):
            raise InputError(at.source, [f"{at.directory}: no such directory"])
        try:
            context = ssl.create_default_context(cafile=at.file, capath=at.directory)
        except ssl.SSLError:
            raise InputError(at.source, [f"{at.file}: expected CA certificates in PEM"]) from None
        except (OSError, ValueError) as error:
            raise InputError(at.source, [f"{at.file}: {getattr(error, 'strerror', 'not a path')}"]) from None
        if self._certificate:
            try:
                context.load_cert_chain(*self._certificate)
            except (OSError, TypeError, ValueError) as error:
                raise InputError("connection_cert", [f"unusable: {type(error).__name__}"]) from None
        if not self.verifies:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["http/1.1"])
        let_fork(context)
        return context


def _find_location(verify: Any, environment: Mapping[str, str]) -> _Location:  # noqa: ANN401 (whatever the caller gave)
    if isinstance(verify, str | os.PathLike) and str(verify):
        return _locate(os.fspath(verify), "connection_verify")
    for name in _BUNDLES:
        if environment.get(name):
            return _locate(environment[name], name)
    # OpenSSL's own two variables: each replaces one of its default locations.
    machine = ssl.get_default_verify_paths()
    named = [
        name for name in (machine.openssl_cafile_env, machine.openssl_capath_env) if environment.get(name)
    ]
    file = environment.get(machine.openssl_cafile_env) or _keep(machine.openssl_cafile)
    directory = environment.get(machine.openssl_capath_env) or _keep(machine.openssl_capath)
    if not file and not directory:  # an image without CA certificates
        import certifi  # noqa: PLC0415 (a dependency of requests, and seldom needed)

        return _Location("certifi", file=certifi.where())
    return _Location(", ".join(named) or "the machine's", file=file, directory=directory)


def _locate(path: str, source: str) -> _Location:
    return _Location(source, directory=path) if Path(path).is_dir() else _Location(source, file=path)


def _keep(path: str) -> str | None:
    """Return a location of the machine if it is not empty."""
    try:
        return path if Path(path).is_file() or any(Path(path).iterdir()) else None
    except OSError:
        return None


def _sign(path: str | None) -> object:
    """Return a value that changes with the content of a file, without reading it."""
    if path is None:
        return None
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
