"""The program that is judged: how it is started, what it is told, and what it has said at its end."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import NoEncryption
from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12Certificate, serialize_java_truststore

from hcpcreds.constants import ARO_HCP_CLIENT_CREDENTIALS_PATH, MANAGED_AZURE_CREDENTIALS_FILE_PATH
from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.text import make_safe
from hcpcreds.up.conform.mounted import Mounted

URL_VARIABLE: Final = "HCPCREDS_CONFORM_URL"
"""Names what the program may call with its tokens: ARM, at the local Azure."""
STOP_SECONDS: Final = 5.0
_LAUNCH: Final = str(Path(__file__).with_name("launch.py"))
_FOREIGN: Final = ("AZURE_", "ARM_", "HCPCREDS_", "IDENTITY_", "IMDS_", "MSI_")
"""How variables begin by which a program would get tokens in another way."""
_TAIL_BYTES: Final = 16_384
_TAIL_LINES: Final = 8
_TAIL_LETTERS: Final = 200
_PEM: Final = re.compile(r"-----BEGIN.*?(?:-----END[^\n]*|\Z)", re.DOTALL)
_BASE64: Final = re.compile(r"^[A-Za-z0-9+/=_-]{40,}\n(?:^[A-Za-z0-9+/=_-]+\n)*", re.MULTILINE)


class Provision(StrEnum):
    """How the program gets its tokens."""

    FILE = "file"
    PEM = "pem"
    KEYLESS = "keyless"
    ENDPOINT = "endpoint"

    @property
    def has_sidecar(self) -> bool:
        """Whether a sidecar reads the mounted credential instead of the program."""
        return self in (Provision.KEYLESS, Provision.ENDPOINT)


def build_environment(
    environment: Mapping[str, str], azure: LocalAzure, mounted: Mounted, provision: Provision, folder: Path
) -> dict[str, str]:
    """Build the variables of the program, or of the sidecar that adds its own.

    Args:
        environment: Those of this process; all that would lead to other tokens is left out.
        azure: Whom the program trusts.
        mounted: Its credential.
        provision: How it gets its tokens.
        folder: Directory for Java's trust store.
    """
    kept = {name: value for name, value in environment.items() if not name.startswith(_FOREIGN)}
    ca_file = str(azure.ca_file)
    trust = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
    local = ",".join(filter(None, [environment.get("NO_PROXY"), "127.0.0.1", "localhost"]))
    group = f"{azure.resource_manager}/subscriptions/local/resourcegroups"
    variables = {
        **kept,
        **dict.fromkeys(trust, ca_file),
        "JAVA_TOOL_OPTIONS": _trust_java(ca_file, folder),
        **dict.fromkeys(("NO_PROXY", "no_proxy"), local),
        URL_VARIABLE: f"{group}?api-version=2021-04-01",
    }
    if provision.has_sidecar:
        return variables
    names = {
        Provision.FILE: (MANAGED_AZURE_CREDENTIALS_FILE_PATH, ARO_HCP_CLIENT_CREDENTIALS_PATH),
        Provision.PEM: ("AZURE_CLIENT_CERTIFICATE_PATH",),
    }[provision]
    return {
        **variables,
        **dict.fromkeys(names, str(mounted.path)),
        "AZURE_CLIENT_ID": mounted.client_id,
        "AZURE_TENANT_ID": azure.tenant_id,
        "AZURE_AUTHORITY_HOST": azure.authority,
    }


def build_command(
    command: Sequence[str], azure: LocalAzure, mounted: Mounted, provision: Provision
) -> list[str]:
    """Build the command line of the program, or of `hcpcreds exec` with the program beside it."""
    if not provision.has_sidecar:
        return list(command)
    what = "file" if provision is Provision.KEYLESS else "endpoint"
    return [
        *(sys.executable, "-m", "hcpcreds", "exec"),
        *("--credential", str(mounted.path)),
        *("--authority", azure.authority),
        *("--ca-file", str(azure.ca_file)),
        *("--provide", what),
        *("--", *command),
    ]


class Program:
    """A program that can be started again and again, and never outlives this process.

    Args:
        command: Its command line.
        environment: Its variables.
        log: File that gets what it prints.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._command = command
        self._environment = environment
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._offset = 0

    def start(self, *, inotify: bool = True) -> None:
        """Start it, after what has been running has been stopped.

        Args:
            inotify: Whether it can watch files.
        """
        self.stop()
        self._log.touch(mode=0o600)  # the program may print anything
        with self._log.open("ab") as log:
            self._offset = log.tell()
            words = [_LAUNCH, str(os.getpid()), "inotify" if inotify else "no-inotify", *self._command]
            self._process = subprocess.Popen(  # noqa: S603 (it is what was asked for)
                [sys.executable, "-I", "-S", *words],
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def describe_end(self) -> str | None:
        """Describe how it has ended; None while it runs."""
        status = None if self._process is None else self._process.poll()
        if status is None:
            return None
        if status < 0:
            return f"the program was ended by {signal.Signals(-status).name}"
        return f"the program ended with exit status {status}"

    def read_last_lines(self) -> list[str]:
        """Read the last lines that it has printed since its start, without secrets and safe to show."""
        with self._log.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            start = log.seek(max(self._offset, end - _TAIL_BYTES))
            text = log.read().decode(errors="replace")
        if start > self._offset:
            text = text.partition("\n")[2]  # the rest of a line may be the rest of a secret
        text = _BASE64.sub("***\n", _PEM.sub("***", f"{text}\n"))
        lines = [make_safe(line, limit=_TAIL_LETTERS) for line in text.splitlines() if line.strip()]
        return lines[-_TAIL_LINES:]

    def stop(self) -> None:
        """End it, and whatever of its processes is left: SIGTERM, and SIGKILL after some seconds."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _trust_java(ca_file: str, folder: Path) -> str:
    """Make a trust store, and return the options with which Java takes it."""
    store = folder / "trust.p12"
    certificates = x509.load_pem_x509_certificates(Path(ca_file).read_bytes())
    trusted = [PKCS12Certificate(each, b"hcpcreds local") for each in certificates]
    store.write_bytes(serialize_java_truststore(trusted, NoEncryption()))
    return f"-Djavax.net.ssl.trustStore={store} -Djavax.net.ssl.trustStoreType=PKCS12"
