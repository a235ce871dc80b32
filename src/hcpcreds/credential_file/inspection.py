"""Explains a credential file: everything in it but its secret, and all of its problems."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Literal, TypeVar

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

from hcpcreds.credential_file.certificate import find_certificates, is_pem
from hcpcreds.credential_file.content import Content
from hcpcreds.credential_file.encoding import DER, Encoding, undo_encoding
from hcpcreds.credential_file.file import (
    CredentialFile,
    assume_utc,
    decode_secret,
    parse_authority,
    parse_credential_file,
    read_credential_file,
)
from hcpcreds.credential_file.mount import MOUNTINFO, Mount, Problem, read_mount
from hcpcreds.credential_file.service_principal import make_unknown
from hcpcreds.errors import InputError, MountError, MountFormatError
from hcpcreds.text import RESOURCE_ID, UUID, make_safe

_RENEWAL_GRACE: Final = timedelta(days=1)
"""How long after `renew_after` a renewal is not overdue yet: the vault is walked only from time to time."""
_ROUNDING: Final = timedelta(seconds=1)
"""The times of certificates are whole seconds; the times in the file may have fractions."""
_CERTIFICATE_COUNTS: Final = "The certificate's time counts."
_Value = TypeVar("_Value")

Kind = Literal["managed identity", "certificate"]
"""The JSON of a managed identity, or the certificate of a service principal with its key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateDetails:
    """The public details of a certificate."""

    subject: str
    issuer: str
    serial_number: str
    """Hex."""
    sha256: bytes
    """Thumbprint: the SHA-256 digest of the certificate's DER."""
    sha1: bytes
    """The older thumbprint, as shown in Entra ID's portal."""
    key_type: str
    """`RSA`, or the type and curve."""
    key_bits: int | None
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """An explained credential file. A field that is absent or unreadable is None."""

    path: str
    inspected_at: datetime
    mount: Mount
    is_readable: bool
    kind: Kind | None = None
    """None if it is not a credential file."""
    encoding: Encoding = "utf-8"
    """The encoding in which it was found; a managed identity's JSON must be utf-8."""
    authority: str | None = None
    client_id: str | None = None
    tenant_id: str | None = None
    object_id: str | None = None
    resource_id: str | None = None
    not_before: datetime | None = None
    renew_after: datetime | None = None
    not_after: datetime | None = None
    cannot_renew_after: datetime | None = None
    certificates: tuple[CertificateDetails, ...] = ()
    """The identity's certificate first, then its issuers."""
    problems: tuple[Problem, ...]

    @property
    def status(self) -> Literal["fine", "wrong", "unreadable"]:
        """The result in one word."""
        if not self.is_readable:
            return "unreadable"
        return "wrong" if self.problems else "fine"


def find_credential_files(path: str) -> list[str]:
    """List the credential files at a path: the file itself, or all files of a mounted volume.

    Raises:
        InputError: The path does not exist, or is a directory without files.
    """
    _check_path(path)
    try:
        if not os.path.isdir(path):  # noqa: PTH112 (pathlib hides a missing permission)
            os.lstat(path)
            return [path]
        names = sorted(os.listdir(path))  # noqa: PTH208 (plain names are needed)
    except OSError as error:
        raise InputError(
            path,
            [os.strerror(error.errno or 0)],
            hint="Expected a credential file, or the directory where its volume is mounted.",
        ) from None
    files = [f"{path.rstrip('/')}/{name}" for name in names if not name.startswith(".")]
    files = [file for file in files if not Path(file).is_dir()]
    if not files:
        raise InputError(
            path,
            ["the directory has no files"],
            hint="If it is a mount, see the pod's events for the volume.",
        )
    return files


def inspect_credential_file(
    path: str, *, now: datetime, password: bytes | None = None, mountinfo: Path = MOUNTINFO
) -> Inspection:
    """Explain a credential file, however broken it is.

    Args:
        path: The file.
        now: Aware time to compare the file's times with.
        password: Decrypts the certificate of a service principal; UTF-8.
        mountinfo: The kernel's table of this process's mounts.

    Raises:
        InputError: The path contains a NUL character.

    Blocks on one small read.
    """
    _check_path(path)
    mount = read_mount(path, mountinfo=mountinfo)
    problems = list(mount.problems)
    try:
        content = read_credential_file(path)
    except MountError as error:
        problems.append(Problem(error.message, error.hint))
        return Inspection(
            path=path, inspected_at=now, mount=mount, is_readable=False, problems=tuple(problems)
        )
    encoding, content = undo_encoding(content)
    fields = _Fields(content, problems)
    kind = _tell_kind(content, fields)
    if encoding != "utf-8" and kind != "certificate":
        problems.append(
            Problem(
                f"the file holds a credential encoded in {encoding}, not the credential itself",
                f"Set objectEncoding to {encoding} for this object, so that the provider decodes it.",
            )
        )
    if kind == "certificate":
        file = _parse_bundle(content, path, now, password, problems)
        certificates = _find_certificates(file, lambda: (content, password))
    else:
        file = _parse(content, path, now, fields, problems)
        certificates = _find_certificates(
            file, lambda: (decode_secret(fields.get_text("client_secret")), None)
        )
    inspection = Inspection(
        path=path,
        inspected_at=now,
        mount=mount,
        is_readable=True,
        kind=kind,
        encoding=encoding,
        authority=(file and file.authority) or fields.get_authority(),
        client_id=fields.get_id("client_id"),
        tenant_id=fields.get_id("tenant_id"),
        object_id=fields.get_object_id(),
        resource_id=fields.get_resource_id(),
        not_before=file.not_before if file else fields.get_time("not_before"),
        renew_after=fields.get_renewal_time("renew_after"),
        not_after=file.not_after if file else fields.get_time("not_after"),
        cannot_renew_after=fields.get_renewal_time("cannot_renew_after"),
        certificates=tuple(_describe(each) for each in certificates),
        problems=(),
    )
    return replace(inspection, problems=(*problems, *_check_times(inspection)))


def render_relative(at: datetime, now: datetime) -> str:
    """Render the distance of a time in its largest unit: `in 43 days`, `3 hours ago`."""
    seconds = (at - now).total_seconds()
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        number = int(abs(seconds) // length)
        if number:
            words = f"{number} {unit}{'' if number == 1 else 's'}"
            return f"in {words}" if seconds > 0 else f"{words} ago"
    return "now"


def _check_path(path: str) -> None:
    if "\0" in path:
        raise InputError("path", ["contains a NUL character, which no path can"])


class _Fields:
    """The fields of a file that may be broken: each on its own, and only in forms that no secret has."""

    def __init__(self, content: bytes, problems: list[Problem]) -> None:
        self._problems = problems
        self._raw: dict[str, msgspec.Raw] = {}
        self.is_object = True
        try:
            self._raw = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.is_object = False

    def __contains__(self, name: str) -> bool:
        return bytes(self._raw.get(name, b"null")) != b"null"

    def get_text(self, name: str) -> str:
        return self._get(name, str) or ""

    def get_authority(self) -> str | None:
        try:
            return parse_authority(self.get_text("authentication_endpoint"))
        except ValueError:
            return None

    def get_id(self, name: str) -> str | None:
        text = self.get_text(name)
        return text.lower() if UUID.fullmatch(text) else None

    def get_time(self, name: str) -> datetime | None:
        time = self._get(name, datetime)
        try:
            return None if time is None else assume_utc(time)
        except ValueError:
            return None

    # `parse_credential_file` ignores the fields that the pod does not need. They are checked here.

    def get_object_id(self) -> str | None:
        return self._expect("object_id", self.get_id("object_id"), "a UUID")

    def get_resource_id(self) -> str | None:
        text = self.get_text("resource_id")
        return self._expect(
            "resource_id",
            text if RESOURCE_ID.fullmatch(text) else None,
            "the ARM resource id of a user-assigned identity",
        )

    def get_renewal_time(self, name: str) -> datetime | None:
        return self._expect(name, self.get_time(name), "an RFC 3339 time")

    def _expect(self, name: str, value: _Value | None, expected: str) -> _Value | None:
        if value is None and name in self:
            self._problems.append(Problem(f"{name}: expected {expected}"))
        return value

    def _get(self, name: str, kind: type[_Value]) -> _Value | None:
        try:
            return msgspec.json.decode(self._raw[name], type=kind) if name in self else None
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None


def _parse(
    content: bytes, path: str, now: datetime, fields: _Fields, problems: list[Problem]
) -> CredentialFile | None:
    try:
        file = parse_credential_file(content, path=path, now=now)
    except MountFormatError as error:
        shape = _recognize(content, fields)
        *others, last = error.problems
        problems += [shape] if shape else [*map(Problem, others), Problem(last, error.hint)]
        return None
    problems += [Problem(warning) for warning in file.warnings]
    return file


def _parse_bundle(
    content: bytes, path: str, now: datetime, password: bytes | None, problems: list[Problem]
) -> CredentialFile | None:
    try:
        file = make_unknown(password=password).parse(Content(content), path=path, now=now)
    except MountFormatError as error:
        problems += [Problem(each, error.hint) for each in error.problems]
        return None
    problems += [Problem(warning) for warning in file.warnings]
    return file


def _tell_kind(content: bytes, fields: _Fields) -> Kind | None:
    if fields.is_object:
        return "managed identity"
    has_key = is_pem(content) and b"PRIVATE KEY-----" in content
    return "certificate" if has_key or content.startswith(DER) else None


def _recognize(content: bytes, fields: _Fields) -> Problem | None:
    """Recognize what is often mounted by mistake instead of a credential."""
    if is_pem(content):
        return Problem(
            "the file holds PEM without a private key",
            "Mount the certificate's secret, which holds its key too (objectType: secret, not cert).",
        )
    if "explicit_identities" in fields and "client_secret" not in fields:
        return Problem(
            "the file holds the data plane's complete response, not the credential of one identity",
            "Store each object of explicit_identities in a secret of its own.",
        )
    return None


def _find_certificates(
    file: CredentialFile | None, get_bundle: Callable[[], tuple[bytes, bytes | None]]
) -> Iterable[x509.Certificate]:
    if file is not None:
        return [x509.load_der_x509_certificate(each) for each in file.certificate.chain]
    try:
        bundle, password = get_bundle()
        return find_certificates(bundle, password=password)
    except ValueError:
        return []


def _describe(certificate: x509.Certificate) -> CertificateDetails:
    key_type, key_bits = _describe_public_key(certificate)
    return CertificateDetails(
        subject=_render_name(certificate.subject),
        issuer=_render_name(certificate.issuer),
        serial_number=f"{certificate.serial_number:x}",
        sha256=certificate.fingerprint(SHA256()),
        sha1=certificate.fingerprint(SHA1()),  # noqa: S303 (an identifier, not a proof)
        key_type=key_type,
        key_bits=key_bits,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def _render_name(name: x509.Name) -> str:
    return make_safe(name.rfc4514_string())


def _describe_public_key(certificate: x509.Certificate) -> tuple[str, int | None]:
    try:
        public = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "unknown", None
    if isinstance(public, rsa.RSAPublicKey):
        return "RSA", public.key_size
    if isinstance(public, ec.EllipticCurvePublicKey):
        return f"EC {public.curve.name}", public.key_size
    return type(public).__name__.removesuffix("PublicKey"), None


def _check_times(inspection: Inspection) -> list[Problem]:
    now = inspection.inspected_at
    not_before, not_after = inspection.not_before, inspection.not_after
    problems = []

    def add(text: str, at: datetime, hint: str) -> None:
        problems.append(Problem(f"{text} {at:%Y-%m-%dT%H:%M:%SZ}, {render_relative(at, now)}", hint))

    if not_before and now < not_before:
        add(
            "not valid before",
            not_before,
            "If the clock of this machine is right, it will be used from then on.",
        )
    if not_after and now >= not_after:
        add("expired at", not_after, "Did the renewal write a new version to the vault, and is it mounted?")
    own = inspection.certificates[0] if inspection.certificates else None
    if own and not_after and not_after - own.not_after > _ROUNDING:
        add("not_after: later than the certificate's, which expires at", own.not_after, _CERTIFICATE_COUNTS)
    if own and not_before and own.not_before - not_before > _ROUNDING:
        add("not_before: earlier than the certificate's,", own.not_before, _CERTIFICATE_COUNTS)
    last, due = inspection.cannot_renew_after, inspection.renew_after
    if last and now >= last:
        add("renewal was only possible until", last, "Request a new credential from the data plane.")
    elif due and now - due >= _RENEWAL_GRACE:
        add("its renewal was due at", due, "Is the service that renews the vault's credentials running?")
    return problems
