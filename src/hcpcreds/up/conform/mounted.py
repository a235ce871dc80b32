"""A mounted credential, written as the CSI driver does it, and spoilt."""

import base64
import json
import shutil
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.local.azure.entra_directory import build_thumbprint
from hcpcreds.local.node.atomic_writer import PayloadFile, write_payload

_NAME: Final = "credential"


class Mounted:
    """The credential of one identity, on one volume.

    Args:
        azure: Issues the certificates.
        volume: Directory of the volume; made here.
        pem: Mount certificate and key as PEM, as for a service principal, instead of a credential file.

    Attributes:
        client_id: The identity's.
        thumbprint: Of the certificate that was issued last.
    """

    def __init__(self, azure: LocalAzure, volume: Path, *, pem: bool) -> None:
        self.client_id = str(uuid.uuid4())
        self.path = volume / _NAME
        self.thumbprint = ""
        self._azure = azure
        self._volume = volume
        self._pem = pem
        self._old: list[x509.Certificate] = []
        volume.mkdir()
        self.rotate()

    def rotate(self, *, registration_delay: float = 0.0) -> None:
        """Mount the next certificate, which Entra ID knows after so many seconds."""
        self._write(self._issue(registration_delay))

    def tear(self) -> None:
        """Mount the first half of the next certificate's content."""
        content = self._issue(0.0)
        self._write(content[: len(content) // 2])

    def empty(self) -> None:
        """Truncate the file in place."""
        self.path.write_bytes(b"")

    def delete(self) -> None:
        """Remove the file and all that belongs to it."""
        for entry in self._volume.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def unregister_old(self) -> None:
        """Have Entra ID refuse every certificate but the newest."""
        application = self._azure.directory.find_application(self.client_id)
        assert application is not None  # noqa: S101 (a certificate was issued to it)
        self._old = [
            registered.certificate
            for thumbprint, registered in application.certificates.items()
            if thumbprint != self.thumbprint
        ]
        for certificate in self._old:
            self._azure.directory.unregister(build_thumbprint(certificate))

    def register_old(self) -> None:
        """Take `unregister_old` back."""
        for certificate in self._old:
            self._azure.directory.register(self.client_id, certificate)

    def _issue(self, registration_delay: float) -> bytes:
        issued = self._azure.issue(self.client_id, registration_delay=registration_delay)
        bundle = base64.b64decode(issued["client_secret"])
        self.thumbprint = build_thumbprint(x509.load_pem_x509_certificate(bundle))
        return bundle if self._pem else json.dumps(issued).encode()

    def _write(self, content: bytes) -> None:
        write_payload(self._volume, {_NAME: PayloadFile(content)}, now=lambda: datetime.now(UTC))
