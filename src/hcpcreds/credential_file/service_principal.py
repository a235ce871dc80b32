"""The certificate of a service principal in a file of its own, PEM or PKCS#12, as Key Vault mounts it.

Key Vault keeps a certificate with its key in a secret of the same name: PEM, or the base64 text of a PKCS#12
(content type application/x-pem-file or application/x-pkcs12). The Azure provider of the Secrets Store CSI
driver turns the latter into PEM, unless objectFormat is pfx; objectEncoding base64 decodes it. The
certificates may be in any order. Source: Azure/secrets-store-csi-driver-provider-azure v1.8.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from hcpcreds.credential_file.certificate import parse_certificate
from hcpcreds.credential_file.content import Content
from hcpcreds.credential_file.encoding import undo_encoding
from hcpcreds.credential_file.encryption import PasswordError
from hcpcreds.credential_file.file import (
    CredentialFile,
    describe_unreadable,
    read_credential_file,
    read_small_file,
)
from hcpcreds.errors import MountFormatError

MAX_PASSWORD_BYTES: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePrincipal:
    """A service principal, whose file holds its certificate and key, and nothing else."""

    tenant_id: str
    client_id: str
    authority: str
    """`https` URL of the token authority, without a trailing slash."""
    password: bytes | None = field(default=None, repr=False)
    """UTF-8."""
    password_file: str | None = None
    """Absolute path of a file that holds the password; read again with every certificate."""
    sends_chain: bool = False
    """Whether assertions carry the certificates: for applications that trust their subject and issuer."""

    @property
    def other_paths(self) -> tuple[str, ...]:
        """See `FileFormat`."""
        return () if self.password_file is None else (self.password_file,)

    def read(self, path: str) -> Content:
        """See `FileFormat`."""
        content = read_credential_file(path)
        return Content(content, read_password_file(self.password_file) if self.password_file else None)

    def parse(self, content: Content, *, path: str, now: datetime) -> CredentialFile:
        """See `FileFormat`."""
        password = self.password if content.password is None else content.password
        _, bundle = undo_encoding(content.file)
        try:
            certificate = parse_certificate(bundle, password=password, now=now)
        except PasswordError as error:
            raise _build_error(path, str(error), "Check the password, or the password file.") from None
        except ValueError as error:
            is_json = bundle.lstrip().startswith(b"{")
            problem = "the file holds JSON, as for a managed identity; expected PEM or PKCS#12"
            raise _build_error(
                path,
                problem if is_json else str(error),
                "Mount the certificate's Key Vault secret (objectType: secret), which also holds its key.",
            ) from None
        return CredentialFile(
            authority=self.authority,
            client_id=self.client_id,
            tenant_id=self.tenant_id,
            certificate=certificate,
            not_before=certificate.not_before,
            not_after=certificate.not_after,
            sends_chain=self.sends_chain,
            warnings=tuple(certificate.find_unusual()),
        )


def make_unknown(*, password: bytes | None = None, password_file: str | None = None) -> ServicePrincipal:
    """Create a nameless service principal, for inspecting a certificate whose owner is not known."""
    return ServicePrincipal(
        tenant_id="unknown", client_id="unknown", authority="", password=password, password_file=password_file
    )


def read_password_file(path: str) -> bytes:
    """Read a password file, and drop the line breaks at its end.

    Raises:
        MountError: The file cannot be read, or the password is too long.
    """
    try:
        content = read_small_file(path)
    except OSError as error:
        raise describe_unreadable(path, error, name="password file") from None
    except ValueError as error:
        raise MountFormatError(f"the password file {path} {error}") from None
    password = content.rstrip(b"\r\n")
    if len(password) > MAX_PASSWORD_BYTES:
        raise MountFormatError(f"the password file {path} holds more than {MAX_PASSWORD_BYTES} bytes")
    return password


def _build_error(path: str, problem: str, hint: str) -> MountFormatError:
    return MountFormatError(
        f"the certificate file {path} is not usable: {problem}", hint=hint, problems=[problem]
    )
