"""The formats of credential files, and the content that is read from them."""

import hashlib
from datetime import datetime
from typing import NamedTuple, Protocol

from typing_extensions import override

from hcpcreds.credential_file.file import CredentialFile, parse_credential_file, read_credential_file


class Content(NamedTuple):
    """The content of a credential file, and of its password file if it has one."""

    file: bytes
    password: bytes | None = None

    @property
    def digest(self) -> bytes:
        """SHA-256 of both; it changes if either file does."""
        digest = hashlib.sha256(self.file)
        if self.password is not None:
            digest = hashlib.sha256(digest.digest() + self.password)
        return digest.digest()

    @override
    def __repr__(self) -> str:
        return f"Content({len(self.file)} bytes)"


class FileFormat(Protocol):
    """The format of a credential file, with everything that the file itself does not contain."""

    @property
    def other_paths(self) -> tuple[str, ...]:
        """Absolute paths of the other files that are read with it."""

    def read(self, path: str) -> Content:
        """Read a file of this format. Blocks on one or two small reads.

        Raises:
            MountAbsentError: A file does not exist.
            MountNotReadyError: A file cannot be read at the moment.
            MountFormatError: It cannot be a credential file.
        """

    def parse(self, content: Content, *, path: str, now: datetime) -> CredentialFile:
        """Parse and validate a content.

        Args:
            content: The result of `read`.
            path: The path of the file, for messages.
            now: Aware time; of several certificates for the key, the latest that is valid at this time is
                chosen.

        Raises:
            MountFormatError: The content is not a usable credential.
        """


class ManagedIdentity:
    """The JSON file of a managed identity, which contains everything."""

    other_paths = ()

    def read(self, path: str) -> Content:
        """See `FileFormat`."""
        return Content(read_credential_file(path))

    def parse(self, content: Content, *, path: str, now: datetime) -> CredentialFile:
        """See `FileFormat`."""
        return parse_credential_file(content.file, path=path, now=now)


MANAGED_IDENTITY = ManagedIdentity()
