"""The programs of the scoreboard, and why those fail that do. Only facts, each from the program's own source."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from benchmarks.conform.toolchains import Language, find_go, find_java, find_javascript, find_python


@dataclass(frozen=True)
class Entry:
    """A program of the scoreboard."""

    name: str
    """Whose credential, in Markdown."""
    provision: str
    find: Callable[[], Language]
    arguments: tuple[str, ...] = ()
    why: str = ""
    """Why it fails what it fails."""
    restarted: bool = False
    """Whether `hcpcreds exec` restarts it at each rotation."""


_PYTHON_ONCE: Final = """It reads the file in its constructor (`azure/identity/_credentials/certificate.py`,
`get_client_credential`) and keeps the key. Its documentation shows a wrapper that a program can swap
([azure-sdk-for-python#24400](https://github.com/Azure/azure-sdk-for-python/pull/24400))."""
_JAVASCRIPT_ONCE: Final = """It reads the file at each call (`clientCertificateCredential.js`, `buildClientCertificate`), hence it
fails while the file is empty or away; but `msalClient.js` keeps the `ConfidentialClientApplication` that it has made with the
first certificate. Its documentation says that rotation is not supported
([azure-sdk-for-js#15031](https://github.com/Azure/azure-sdk-for-js/pull/15031))."""
_GO_ONCE: Final = """It is given a certificate and a key, not a file (`azidentity/client_certificate_credential.go`). Operators
therefore restart their pod when the file changes
([cluster-ingress-operator#1151](https://github.com/openshift/cluster-ingress-operator/pull/1151),
[azurefile-csi-driver#2182](https://github.com/kubernetes-sigs/azurefile-csi-driver/pull/2182))."""
_JAVA_ONCE: Final = """It reads the file at the first call (`implementation/IdentityClientBase.java`, `getCertificateBytes`) and keeps
the application that it has made with it (`IdentitySyncClient.java`, `confidentialClientApplicationAccessor`)."""
_MSI_DATAPLANE: Final = """It watches the path of the file and reloads after *write* events only
(`pkg/dataplane/reloadCredentials.go`, `event.Op.Has(fsnotify.Write)`); the CSI driver swaps a symlink and writes to no file that
was there before. It notices a rotation when its backstop reads the file, every 6 hours by default. Without an inotify instance
`NewUserAssignedIdentityCredential` fails (`failed to create file watcher`)."""

_RESTARTED: Final = """It is restarted at once: it has no token while it starts, which takes about two seconds in
Python, nor while Entra ID does not know the new certificate yet."""

ENTRIES: Final = (
    Entry("`hcpcreds.UserAssignedIdentityCredential`", "file", find_python, ("hcpcreds",)),
    Entry("`hcpcreds.aio.UserAssignedIdentityCredential`", "file", find_python, ("hcpcreds.aio",)),
    Entry("`hcpcreds.CertificateCredential`", "pem", find_python, ("hcpcreds-certificate",)),
    Entry("Python `CertificateCredential`", "pem", find_python, ("certificate",), _PYTHON_ONCE),
    Entry("Python `aio.CertificateCredential`", "pem", find_python, ("certificate.aio",), _PYTHON_ONCE),
    Entry(
        "JavaScript `ClientCertificateCredential`", "pem", find_javascript, ("certificate",), _JAVASCRIPT_ONCE
    ),
    Entry("Go msi-dataplane `UserAssignedIdentityCredential`", "file", find_go, (), _MSI_DATAPLANE),
    Entry("Go `ClientCertificateCredential`", "pem", find_go, (), _GO_ONCE),
    Entry("Java `ClientCertificateCredential`", "pem", find_java, (), _JAVA_ONCE),
    Entry("Python `CertificateCredential`", "pem", find_python, ("certificate",), _RESTARTED, restarted=True),
    Entry(
        "Go msi-dataplane `UserAssignedIdentityCredential`",
        "file",
        find_go,
        (),
        f"{_RESTARTED} It still needs an inotify instance.",
        restarted=True,
    ),
    Entry("Go `ClientCertificateCredential`", "pem", find_go, (), _RESTARTED, restarted=True),
    Entry("Python `WorkloadIdentityCredential`", "keyless", find_python, ("workload",)),
    Entry("JavaScript `WorkloadIdentityCredential`", "keyless", find_javascript, ("workload",)),
    Entry("Go `WorkloadIdentityCredential`", "keyless", find_go),
    Entry("Java `WorkloadIdentityCredential`", "keyless", find_java),
    Entry("Python `ManagedIdentityCredential`", "endpoint", find_python, ("managed",)),
    Entry("JavaScript `ManagedIdentityCredential`", "endpoint", find_javascript, ("managed",)),
    Entry("Go `ManagedIdentityCredential`", "endpoint", find_go),
    Entry("Java `ManagedIdentityCredential`", "endpoint", find_java),
)
