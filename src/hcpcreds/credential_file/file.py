"""Reads and parses the credential file.

The format is `UserAssignedIdentityCredentials` of the managed-identity data plane
(Azure/msi-dataplane, api-version 2024-01-01): one JSON object, keys in snake_case.
"""

import base64
import codecs
import errno
import ipaddress
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from hcpcreds.clouds import is_entra_host
from hcpcreds.credential_file.certificate import Certificate, parse_certificate
from hcpcreds.errors import InputError, MountAbsentError, MountError, MountFormatError, MountNotReadyError
from hcpcreds.text import RESOURCE_ID, UUID

MAX_FILE_BYTES: Final = 1 << 20
"""Real credential files are much smaller."""
_CHUNK_BYTES: Final = 1 << 16  # a buffer of the maximum size would take longer to clear than to fill

_AUTHORITY: Final = re.compile(
    r"(?P<host>[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*|\[[0-9A-Fa-f:.]{2,45}\])"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>(?:/[A-Za-z0-9._~-]+)*)/*"
)
_MAX_HOST: Final = 253
_MAX_PORT: Final = 65535
_TENANT_PATH: Final = re.compile(rf"oauth2|common|organizations|consumers|\.{{1,2}}|{UUID.pattern}")
_BYTE_ORDER_MARKS: Final = {
    codecs.BOM_UTF8: "the file begins with a byte order mark (UTF-8 with BOM); expected UTF-8 without one",
    codecs.BOM_UTF16_LE: "the file is UTF-16; expected UTF-8",
    codecs.BOM_UTF16_BE: "the file is UTF-16; expected UTF-8",
}

_FOREIGN: Final = {
    b"-----BEGIN ": "the file holds PEM, as of a service principal (CertificateCredential)",
    b"\0": "the file contains NUL bytes",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialFile:
    """A parsed credential file."""

    authority: str
    """`https` URL of the token authority, without a trailing slash."""
    client_id: str
    tenant_id: str
    certificate: Certificate = field(repr=False)
    not_before: datetime
    not_after: datetime
    renew_after: datetime | None = None
    """When its renewal is due; None if the file does not say."""
    sends_chain: bool = True
    """Whether the assertions that the certificate signs carry its chain."""
    object_id: str | None = None
    """The identity's id as a principal, lower case; None when the file does not say."""
    resource_id: str | None = None
    """The identity's ARM id, lower case; None when the file does not say."""
    warnings: tuple[str, ...] = ()
    """What is unusual, and how it was resolved."""


def read_credential_file(path: str) -> bytes:
    """Read the content of a credential file.

    Raises:
        MountAbsentError: The file does not exist.
        MountNotReadyError: The file cannot be read at the moment.
        MountFormatError: It cannot be a credential file, or cannot be opened.
    """
    try:
        return read_small_file(path)
    except OSError as error:
        raise describe_unreadable(path, error) from None
    except ValueError as error:
        raise MountFormatError(
            f"{path} {error}", hint="Name the file inside the mount, not its directory."
        ) from None


def read_small_file(path: str) -> bytes:
    """Read a regular file; of one that is too large, only its first `MAX_FILE_BYTES + 1` bytes.

    Raises:
        OSError: The file cannot be opened or read.
        ValueError: It is not a regular file, but a directory, a pipe or a device. The text is a predicate, to
            follow the path.
    """
    if "\0" in path:
        raise ValueError("is not a path: it contains a NUL character")
    # Without O_NONBLOCK, opening a pipe would block the caller until somebody writes to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("is not a regular file")
        content = b""
        while more := os.read(descriptor, min(_CHUNK_BYTES, MAX_FILE_BYTES + 1 - len(content))):
            content += more
        return content
    finally:
        os.close(descriptor)


def parse_credential_file(content: bytes, *, path: str, now: datetime | None = None) -> CredentialFile:
    """Parse and validate a credential file.

    Args:
        content: The content of the file.
        path: The path of the file, for messages.
        now: Aware time; of several certificates for the key, the latest that is valid at this time is chosen.
            Defaults to the current time.

    Raises:
        MountFormatError: The content is not a usable credential. The message lists every problem with its
            key and without its value.
    """
    if len(content) > MAX_FILE_BYTES:
        raise _build_error(path, [f"the file is larger than {MAX_FILE_BYTES} bytes"])
    problems: list[str] = []
    keys = _parse_object(content, problems)
    if problems:
        raise _build_error(path, problems)

    def read(key: str, parse: Callable[[Any], Any], expected: type, *, required: bool = True) -> Any:  # noqa: ANN401 (the parser's)
        raw = keys.get(key, b"null")
        if bytes(raw) == b"null" and (key not in keys or not required):
            if required:
                problems.append(f"{key}: missing")
            return None
        try:
            return parse(msgspec.json.decode(raw, type=expected))
        except (msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
            problems.append(f"{key}: {_describe(error)}")
        except ValueError as error:
            problems.append(f"{key}: {error}")
        return None

    authority = read("authentication_endpoint", parse_authority, str)
    client_id = read("client_id", _parse_uuid, str)
    tenant_id = read("tenant_id", _parse_uuid, str)
    certificate: Certificate | None = read(
        "client_secret", lambda text: parse_certificate(decode_secret(text), now=now), str
    )
    not_before: datetime | None = read("not_before", assume_utc, datetime, required=False)
    not_after: datetime | None = read("not_after", assume_utc, datetime, required=False)
    if problems or certificate is None:
        raise _build_error(path, problems)

    times = {"not_before": not_before, "not_after": not_after}
    not_before = not_before or certificate.not_before
    not_after = not_after or certificate.not_after
    if not_after <= not_before:
        raise _build_error(path, ["not_after: not later than not_before"])
    return CredentialFile(
        authority=authority,
        client_id=client_id,
        tenant_id=tenant_id,
        certificate=certificate,
        not_before=not_before,
        not_after=not_after,
        object_id=_read_id(keys, "object_id", UUID),
        resource_id=_read_id(keys, "resource_id", RESOURCE_ID),
        renew_after=_read_optional_time(keys.get("renew_after")),
        warnings=tuple(_find_unusual(times, certificate)),
    )


def _read_id(keys: dict[str, msgspec.Raw], key: str, pattern: re.Pattern[str]) -> str | None:
    """Read what is good to know, and no reason to refuse a file."""
    try:
        value = msgspec.json.decode(keys.get(key, b"null"), type=str)
    except (msgspec.ValidationError, UnicodeDecodeError, RecursionError):
        return None
    return value.lower() if pattern.fullmatch(value) else None


def _read_optional_time(raw: msgspec.Raw | None) -> datetime | None:
    """Read a time that only people look at: a wrong one must not make the credential unusable."""
    try:
        return None if raw is None else assume_utc(msgspec.json.decode(raw, type=datetime))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _find_unusual(times: dict[str, datetime | None], certificate: Certificate) -> Iterator[str]:
    for key, value in times.items():
        if value is None:
            yield f"{key} is missing; using the certificate's {key}"
    for warning in certificate.find_unusual():
        yield f"client_secret: {warning}"


def decode_secret(text: str) -> bytes:
    """Decode `client_secret`, ignoring line breaks.

    Raises:
        ValueError: The text is not base64.
    """
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        raise ValueError(
            "expected base64 (standard alphabet) of a certificate with its private key"
        ) from None


def parse_authority(text: str) -> str:
    """Validate the URL of a token authority, and remove its trailing slash.

    Raises:
        ValueError: The text is not the `https` URL of a host, with an optional port and a path that does not
            name a tenant. The message does not repeat the text.
    """
    if text[:8].lower() != "https://":
        raise ValueError("expected an https URL, because an assertion must not be sent unencrypted")
    url = _AUTHORITY.fullmatch(text, 8)
    if url is None or len(url["host"]) > _MAX_HOST or not _is_address(url["host"]):
        raise ValueError("expected https://HOST/, without user, query, fragment, blanks or other characters")
    if url["port"] is not None and not 0 < int(url["port"]) <= _MAX_PORT:
        raise ValueError(f"expected a port from 1 to {_MAX_PORT}")
    path = url["path"].split("/")[1:]
    if any(_TENANT_PATH.fullmatch(each) for each in path) or (path and is_entra_host(url["host"])):
        raise ValueError(
            "expected the authority alone, https://HOST/, without the path of a tenant or a token endpoint"
        )
    return f"https://{text[8:].rstrip('/')}"


def _is_address(host: str) -> bool:
    if not host.startswith("["):
        return True
    try:
        ipaddress.IPv6Address(host[1:-1])
    except ValueError:
        return False
    return True


def check_authority(authority: str | None) -> str | None:
    """Validate an authority that a caller passed.

    Raises:
        InputError: The authority is not an `https` URL.
    """
    try:
        return None if authority is None else parse_authority(authority)
    except ValueError as error:
        raise InputError("authority", [str(error)]) from None


def _parse_object(content: bytes, problems: list[str]) -> dict[str, msgspec.Raw]:
    try:
        return msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problems.append(_recognize(content) or f"expected a JSON object: {_describe(error)}")
        return {}


def _recognize(content: bytes) -> str | None:
    """Explain content that is not JSON at all, where the parser would only report an invalid character."""
    if not content.strip():
        return "the file is empty"
    if not content.strip(b"\0"):
        return "the file contains only NUL bytes, as after a crash before it was written"
    for mark, reason in _BYTE_ORDER_MARKS.items():
        if content.startswith(mark):
            return reason
    if content[:2] in (b"{\0", b"\0{"):
        return "the file is UTF-16; expected UTF-8"
    return next(
        (f"expected a JSON object: {reason}" for mark, reason in _FOREIGN.items() if mark in content), None
    )


def _describe(error: Exception) -> str:
    # The text of a UnicodeDecodeError shows a byte of the content, and its `object` is the whole content.
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _parse_uuid(text: str) -> str:
    if not UUID.fullmatch(text):
        raise ValueError("expected a UUID")
    return text.lower()


def assume_utc(time: datetime) -> datetime:
    """Convert a time to UTC; a time without a zone is in UTC already.

    Raises:
        ValueError: The time is outside the calendar in UTC.
    """
    try:
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError:
        raise ValueError("expected a time within the years 1 to 9999 in UTC") from None


def describe_unreadable(path: str, error: OSError, *, name: str = "credential file") -> MountError:
    """Build the error for a file that cannot be read.

    Args:
        path: Its path.
        error: What the system says.
        name: What the file is, for the message.
    """
    reason = os.strerror(error.errno or 0)
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        fault = "is a dangling symlink" if Path(path).is_symlink() else "does not exist"
        return MountAbsentError(
            f"the {name} {path} {fault}",
            hint="It is read as soon as it exists. If it never appears, see the pod's events for the volume.",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG):
        return MountFormatError(
            f"the {name} {path} cannot be opened: {reason}",
            hint="Check the mode and owner of the file, the symlinks in its path, and the container's user.",
        )
    return MountNotReadyError(f"the {name} {path} cannot be read: {reason}")


def _build_error(path: str, problems: list[str]) -> MountFormatError:
    return MountFormatError(
        f"the credential file {path} is not usable: {'; '.join(problems)}",
        hint="Check the value of the Key Vault secret, and the objectEncoding in its SecretProviderClass.",
        problems=problems,
    )
