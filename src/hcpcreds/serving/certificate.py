"""The certificate and key of a TLS server, which follow their files.

If the pair does not match (because the files are written one after the other), or is cut off, encrypted or
missing, the last valid pair stays in use. So a new pair is loaded into a new context: after a context has
failed to load a pair, it cannot serve with its previous one either.
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
    """The pair cannot be used; the text says why, and contains nothing from the files."""


class ServingCertificate:
    """A pair of PEM files, watched until `close`. A new connection uses the current `context`.

    Args:
        certificate: The certificate, followed by the intermediate ones.
        key: Its unencrypted private key.
        now: Clock giving an aware UTC time.

    Raises:
        InputError: The files are not a usable pair.
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
            """The TLS context with the current pair; replaced as a whole."""
        except _UnusableError as error:
            problem = str(error)
        else:
            problem = ""
        if problem:  # raised here, so that its traceback does not refer to frames with the key
            hint = (
                "Expected a PEM certificate and its unencrypted key, such as tls.crt and tls.key of a Secret."
            )
            raise InputError("serving certificate", [problem], hint=hint)
        self._watches: list[Watch] = [watch(path, self._reload) for path in dict.fromkeys(self._paths)]

    def close(self) -> None:
        """Stop watching the files."""
        for each in self._watches:
            each.close()

    def _reload(self) -> float:
        """Load the pair if it is new and usable. Runs on the watcher's thread."""
        try:
            self.context = self._load()
        except _UnusableError as error:
            if str(error) != self._problem:
                self._problem = str(error)
                _log.warning("%s; the last valid pair stays in use", error)
            return _RETRY_SECONDS
        self._problem = ""
        return _BACKSTOP_SECONDS

    def _load(self) -> ssl.SSLContext:
        """Load the pair, unless it is the current one.

        Raises:
            _UnusableError: It cannot be used.
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
            "serving with the certificate in %s, valid until %s",
            self._paths[0],
            end,
        )
        return context

    def _read(self) -> tuple[bytes, bytes]:
        """Read both files in the state of one moment.

        The files of a mounted Secret change together, when a symlink in both paths is replaced. So the
        symlinks are resolved first, and the files are read again if the paths resolve differently afterwards.

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
    # OpenSSL reads only files. This one has the content that was read above, whatever has changed since.
    with os.fdopen(os.memfd_create("hcpcreds-serving"), "wb") as file:
        file.write(key + b"\n" + certificate)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}", password=_refuse_password)


def _refuse_password() -> str:
    # Without this, OpenSSL would ask for the password on the terminal.
    raise _UnusableError("expected a key that is not encrypted")
