"""What a file of one format or another is read into."""

import hashlib
from datetime import datetime
from typing import NamedTuple, Protocol

from typing_extensions import override

from hcpcreds.credential_file.file import CredentialFile, parse_credential_file, read_credential_file


class Content(NamedTuple):
    """The content of a credential file, with that of the file of its password."""

    file: bytes
    password: bytes | None = None

    @property
    def digest(self) -> bytes:
        """SHA-256; another one if anything has changed."""
        digest = hashlib.sha256(self.file)
        if self.password is not None:
            digest = hashlib.sha256(digest.digest() + self.password)
        return digest.digest()

    @override
    def __repr__(self) -> str:
        return f"Content({len(self.file)} bytes)"


class FileFormat(Protocol):
    """How a credential file is read: its format, and what the file itself does not say."""

    @property
    def other_paths(self) -> tuple[str, ...]:
        """Absolute paths of the files that are read with it."""

    def read(self, path: str) -> Content:
        """Read a file of this format. Blocks on one or two small reads.

        Raises:
            MountAbsentError: A file does not exist.
            MountNotReadyError: A file cannot be read at the moment.
            MountFormatError: It cannot be a credential file.
        """

    def parse(self, content: Content, *, path: str, now: datetime) -> CredentialFile:
        """Parse and validate what was read.

        Args:
            content: What was read.
            path: The path of the file, for messages.
            now: Aware time; of several certificates for the key, the latest that is valid at this time is
                chosen.

        Raises:
            MountFormatError: The content is not a usable credential.
        """


class ManagedIdentity:
    """The JSON of a managed identity, which says everything itself."""

    other_paths = ()

    def read(self, path: str) -> Content:
        """See `FileFormat`."""
        return Content(read_credential_file(path))

    def parse(self, content: Content, *, path: str, now: datetime) -> CredentialFile:
        """See `FileFormat`."""
        return parse_credential_file(content.file, path=path, now=now)


MANAGED_IDENTITY = ManagedIdentity()
