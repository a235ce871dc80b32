"""The credential file: bytes → value.

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
from hcpcreds.text import UUID

MAX_FILE_BYTES: Final = 1 << 20
"""No real credential file comes near; anything larger is something else."""
_CHUNK_BYTES: Final = 1 << 16  # clearing room for the most there may be takes longer than all else of it

_AUTHORITY: Final = re.compile(
    r"(?P<host>[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*|\[[0-9A-Fa-f:.]{2,45}\])"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>(?:/[A-Za-z0-9._~-]+)*)/*"
)
_MAX_HOST: Final = 253
_MAX_PORT: Final = 65535
_TENANT_PATH: Final = re.compile(rf"oauth2|common|organizations|consumers|\.{{1,2}}|{UUID.pattern}")
_BYTE_ORDER_MARKS: Final = {
    codecs.BOM_UTF8: "the file begins with a byte order mark (UTF-8 with BOM), which JSON must not",
    codecs.BOM_UTF16_LE: "the file is UTF-16; expected UTF-8",
    codecs.BOM_UTF16_BE: "the file is UTF-16; expected UTF-8",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialFile:
    """What a credential file says, with its certificate opened."""

    authority: str
    """Token authority, `https`, without a closing slash."""
    client_id: str
    tenant_id: str
    certificate: Certificate = field(repr=False)
    not_before: datetime
    not_after: datetime
    warnings: tuple[str, ...] = ()
    """What is unusual, and was mended."""


def read_credential_file(path: str) -> bytes:
    """Read a credential file whole.

    Raises:
        MountAbsentError: There is no file.
        MountNotReadyError: It cannot be read for the moment.
        MountFormatError: What is there cannot be a credential file.
    """
    try:
        return read_small_file(path)
    except OSError as error:
        raise _describe_unreadable(path, error) from None
    except ValueError as error:
        raise MountFormatError(
            f"{path} {error}", hint="Name the file inside the mount, not its directory."
        ) from None


def read_small_file(path: str) -> bytes:
    """Read a regular file, or the beginning of one that is too large: at most a byte more than it may have.

    Raises:
        OSError: It cannot be opened or read.
        ValueError: It is something else: a directory, a pipe, a device. The text follows its name.
    """
    if "\0" in path:
        raise ValueError("is not a path: it holds a NUL character")
    # Without O_NONBLOCK, a pipe at this place would hold the caller until somebody writes.
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
    """Parse and check a credential file.

    Args:
        content: The whole file.
        path: Where it came from, for the error.
        now: Which of several certificates for one key is used: the latest that is valid then; the current
            time if not given.

    Raises:
        MountFormatError: The content is no usable credential. The message lists every problem, each with
            its key, none with a value.
    """
    if len(content) > MAX_FILE_BYTES:
        raise _build_error(path, [f"the file is larger than {MAX_FILE_BYTES} bytes"])
    problems: list[str] = []
    keys = _parse_object(content, problems)
    if problems:
        raise _build_error(path, problems)

    def read(key: str, parse: Callable[[Any], Any], expected: type, *, required: bool = True) -> Any:  # noqa: ANN401 (the parser says)
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
        warnings=tuple(_find_unusual(times, certificate)),
    )


def _find_unusual(times: dict[str, datetime | None], certificate: Certificate) -> Iterator[str]:
    for key, value in times.items():
        if value is None:
            yield f"{key} is missing; the certificate's own is used"
    if certificate.passed_over:
        yield (
            f"client_secret: holds {certificate.passed_over + 1} certificates for its key; the one until "
            f"{certificate.not_after:%Y-%m-%dT%H:%M:%SZ} is used"
        )


def decode_secret(text: str) -> bytes:
    """Decode `client_secret`, in which line breaks do not count.

    Raises:
        ValueError: It is not base64.
    """
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        raise ValueError(
            "expected base64 (standard alphabet) of a certificate with its private key"
        ) from None


def parse_authority(text: str) -> str:
    """Check a token authority's URL, and take its closing slash off.

    Raises:
        ValueError: Not the `https` URL of a host, with at most a port and a path that is not yet a tenant's.
            Repeats nothing of the text.
    """
    if text[:8].lower() != "https://":
        raise ValueError("expected an https URL, for a certificate's assertion must not travel in the open")
    url = _AUTHORITY.fullmatch(text, 8)
    if url is None or len(url["host"]) > _MAX_HOST or not _is_address(url["host"]):
        raise ValueError("expected https://HOST/, without user, query, fragment, blank or other character")
    if url["port"] is not None and not 0 < int(url["port"]) <= _MAX_PORT:
        raise ValueError(f"expected a port from 1 to {_MAX_PORT}")
    path = url["path"].split("/")[1:]
    if any(_TENANT_PATH.fullmatch(each) for each in path) or (path and is_entra_host(url["host"])):
        raise ValueError(
            "expected the authority alone, https://HOST/, without the path of a tenant or a token"
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
    """Check an authority that a caller gave.

    Raises:
        InputError: Not an `https` URL.
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
    """Recognize what is no JSON at all, so that nobody has to guess at an invalid character."""
    if not content.strip():
        return "the file is empty"
    if not content.strip(b"\0"):
        return "the file holds nothing but NUL bytes, as after a crash before it was written"
    for mark, reason in _BYTE_ORDER_MARKS.items():
        if content.startswith(mark):
            return reason
    if content[:2] in (b"{\0", b"\0{"):
        return "the file is UTF-16; expected UTF-8"
    if b"\0" in content:
        return "expected a JSON object: the file holds NUL bytes"
    return None


def _describe(error: Exception) -> str:
    # A UnicodeDecodeError's text shows a byte of the content, and its `object` all of it.
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _parse_uuid(text: str) -> str:
    if not UUID.fullmatch(text):
        raise ValueError("expected a UUID")
    return text.lower()


def assume_utc(time: datetime) -> datetime:
    """Take a time in UTC; one without a zone is.

    Raises:
        ValueError: In UTC the calendar has no such time.
    """
    try:
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError:
        raise ValueError("in UTC it lies outside the years 1 to 9999") from None


def _describe_unreadable(path: str, error: OSError) -> MountError:
    reason = os.strerror(error.errno or 0)
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        what = "is a symlink to nothing" if Path(path).is_symlink() else "does not exist"
        return MountAbsentError(
            f"the credential file {path} {what}",
            hint="It is read as soon as it is there. If it never is, see the pod's events for the volume.",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG):
        return MountFormatError(
            f"the credential file {path} cannot be opened: {reason}",
            hint="See the file's mode and owner, the symlinks on its way, and the container's user.",
        )
    return MountNotReadyError(f"the credential file {path} cannot be read: {reason}")


def _build_error(path: str, problems: list[str]) -> MountFormatError:
    return MountFormatError(
        f"the credential file {path} is not usable: {'; '.join(problems)}",
        hint="See what the Key Vault secret holds, and the objectEncoding in its SecretProviderClass.",
        problems=problems,
    )
