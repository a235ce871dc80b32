"""The certificate and key of a TLS server, current while their files change.

A pair that does not match (two files that are written one after the other), or that is cut off, encrypted or
gone, changes nothing: the last good pair goes on serving. So a new pair is loaded into a new context, because
a context that was given a bad pair cannot serve any more, not even with what it had before.
"""

import hashlib
import logging
import os
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from hcpcreds.errors import InputError
from hcpcreds.watch import Watch, make_absolute, watch

_MAX_BYTES: Final = 1 << 20
_MAX_READS: Final = 5
_BACKSTOP_SECONDS: Final = 3600.0
_RETRY_SECONDS: Final = 10.0

_log = logging.getLogger("hcpcreds.serving")


class _UnusableError(Exception):
    """The pair cannot serve; the text says why, and holds nothing of the files."""


class ServingCertificate:
    """A pair of PEM files, watched until `close`. Connections take `context` as they begin.

    Args:
        certificate: The certificate, with the intermediate ones after it.
        key: Its private key, not encrypted.
        now: Clock giving an aware UTC time.

    Raises:
        InputError: The files are not a usable pair now.
    """

    def __init__(
        self,
        certificate: str | os.PathLike[str],
        key: str | os.PathLike[str],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._paths = (make_absolute(certificate), make_absolute(key))
        self._now = now
        self._digest = b""
        self._problem = ""
        try:
            self.context = self._load()
            """Serves the current pair; replaced whole."""
        except _UnusableError as error:
            problem = str(error)
        else:
            problem = ""
        if problem:  # raised here, so that the error does not lead to frames that hold the key
            hint = "Expected a PEM certificate and its unencrypted key: tls.crt and tls.key of a Secret, say."
            raise InputError("serving certificate", [problem], hint=hint)
        self._watches: list[Watch] = [watch(path, self._reload) for path in dict.fromkeys(self._paths)]

    def close(self) -> None:
        """Stop watching the files."""
        for each in self._watches:
            each.close()

    def _reload(self) -> float:
        """Take the pair if it is a new one that can serve; on the watcher's thread."""
        try:
            self.context = self._load()
        except _UnusableError as error:
            if str(error) != self._problem:
                self._problem = str(error)
                _log.warning("%s; the last good pair still serves", error)
            return _RETRY_SECONDS
        self._problem = ""
        return _BACKSTOP_SECONDS

    def _load(self) -> ssl.SSLContext:
        """Load the pair, unless it is the one that serves already.

        Raises:
            _UnusableError: It cannot serve.
        """
        certificate, key = self._read()
        digest = hashlib.sha256(certificate).digest() + hashlib.sha256(key).digest()
        if digest == self._digest:
            return self.context
        context = _make_context()
        try:
            _load_pair(context, certificate, key)
            leaf = x509.load_pem_x509_certificates(certificate)[0]
        except _UnusableError as error:
            raise _UnusableError(f"{self._describe()} cannot be used: {error}") from None
        except (ssl.SSLError, ValueError) as error:
            is_mismatch = getattr(error, "reason", None) == "KEY_VALUES_MISMATCH"
            reason = "they do not match" if is_mismatch else "expected PEM"
            raise _UnusableError(f"{self._describe()} cannot be used: {reason}") from None
        except OSError as error:
            raise _UnusableError(f"{self._describe()} cannot be loaded: {error.strerror}") from None
        self._digest = digest
        end = leaf.not_valid_after_utc
        _log.log(
            logging.INFO if end > self._now() else logging.WARNING,
            "serves the certificate in %s, valid until %s",
            self._paths[0],
            end,
        )
        return context

    def _read(self) -> tuple[bytes, bytes]:
        """Read both files as they are at one moment.

        The files of a mounted Secret change together, by one symlink on the way to both. So both are read by
        the paths that they have without symlinks, again if these have changed meanwhile.

        Raises:
            _UnusableError: They cannot be read.
        """
        reason = "they keep changing"
        for _ in range(_MAX_READS):
            places = [os.path.realpath(path) for path in self._paths]
            try:
                certificate, key = map(_read_file, places)
            except OSError as error:
                reason = error.strerror or "unknown error"
                if places == [os.path.realpath(path) for path in self._paths]:
                    break
                continue
            if places == [os.path.realpath(path) for path in self._paths]:
                return certificate, key
        raise _UnusableError(f"{self._describe()} cannot be read: {reason}")

    def _describe(self) -> str:
        return f"the certificate {self._paths[0]} with the key {self._paths[1]}"


def _make_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # TLS 1.2 and later
    context.set_alpn_protocols(["http/1.1"])
    return context


def _read_file(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(_MAX_BYTES)


def _load_pair(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    # OpenSSL takes files only. What it reads is what was read here, so no change of the files fits between.
    with os.fdopen(os.memfd_create("hcpcreds-serving"), "wb") as file:
        file.write(key + b"\n" + certificate)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}", password=_refuse_password)


def _refuse_password() -> str:
    # OpenSSL would ask for it at the terminal.
    raise _UnusableError("expected a key that is not encrypted")
