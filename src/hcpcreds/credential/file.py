"""The credential file: bytes → value.

The format is `UserAssignedIdentityCredentials` of the managed-identity data plane
(Azure/msi-dataplane, api-version 2024-01-01): one JSON object, keys in snake_case.
"""

import base64
import binascii
import errno
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from hcpcreds.credential.certificate import Certificate, parse_certificate
from hcpcreds.errors import InputError, MountError, MountFormatError, MountNotReadyError

MAX_FILE_BYTES: Final = 1 << 20
"""No real credential file comes near; anything larger is something else."""

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


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
        MountNotReadyError: There is no file, or it cannot be read for the moment.
        MountFormatError: What is there cannot be a credential file.
    """
    try:
        # Without O_NONBLOCK, a pipe at this place would hold the caller for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _describe_unreadable(path, error) from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise MountFormatError(
                f"{path} is not a regular file", hint="Name the file inside the mount, not its directory."
            )
        content = os.read(descriptor, MAX_FILE_BYTES + 1)
        while more := len(content) <= MAX_FILE_BYTES and os.read(descriptor, MAX_FILE_BYTES + 1):
            content += more
    except OSError as error:
        raise _describe_unreadable(path, error) from None
    finally:
        os.close(descriptor)
    return content


def parse_credential_file(content: bytes, *, path: str) -> CredentialFile:
    """Parse and check a credential file.

    Args:
        content: The whole file.
        path: Where it came from, for the error.

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
    certificate: Certificate | None = read("client_secret", _parse_secret, str)
    not_before: datetime | None = read("not_before", _assume_utc, datetime, required=False)
    not_after: datetime | None = read("not_after", _assume_utc, datetime, required=False)
    if problems or certificate is None:
        raise _build_error(path, problems)

    warnings = [
        f"{key} is missing; the certificate's own is used"
        for key, value in (("not_before", not_before), ("not_after", not_after))
        if value is None
    ]
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
        warnings=tuple(warnings),
    )


def parse_authority(text: str) -> str:
    """Check a token authority's URL, and take its closing slash off.

    Raises:
        ValueError: Not an `https` URL of a host, with at most a path.
    """
    url = urlsplit(text.strip())
    if url.scheme != "https":
        raise ValueError("expected an https URL, for a certificate's assertion must not travel in the open")
    if not url.hostname or url.username is not None or url.query or url.fragment:
        raise ValueError("expected https://HOST/, without user, query or fragment")
    return url.geturl().rstrip("/")


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
        problems.append(
            "the file is empty" if not content.strip() else f"expected a JSON object: {_describe(error)}"
        )
        return {}


def _describe(error: Exception) -> str:
    # A UnicodeDecodeError's text shows a byte of the content, and its `object` all of it.
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _parse_uuid(text: str) -> str:
    if not _UUID.fullmatch(text):
        raise ValueError("expected a UUID")
    return text.lower()


def _parse_secret(text: str) -> Certificate:
    try:
        secret = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(
            "expected base64 (standard alphabet) of a certificate with its private key"
        ) from None
    return parse_certificate(secret)


def _assume_utc(time: datetime) -> datetime:
    try:
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError:
        raise ValueError("in UTC it lies outside the years 1 to 9999") from None


def _describe_unreadable(path: str, error: OSError) -> MountError:
    reason = os.strerror(error.errno or 0)
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        what = "is a symlink to nothing" if Path(path).is_symlink() else "does not exist"
        return MountNotReadyError(
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
