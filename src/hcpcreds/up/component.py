"""One component of a control plane, reduced to its Azure client: it finds its credential and calls ARM.

Run as `python -m hcpcreds.up.component`. It gets only what its manifest gives it: the files below `--root`
are its container's file system, the environment is its container's, and the options say which of its
configuration objects names its credential file. `--resource-manager` and `--ca-file` replace DNS and the
machine's trust roots, which do not know the local Azure.

It prints events, one a line: `credential` for each new snapshot, `call` for each call.
"""

import argparse
import base64
import itertools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from azure.core import PipelineClient
from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError
from azure.core.pipeline.policies import (
    BearerTokenCredentialPolicy,
    HeadersPolicy,
    RequestIdPolicy,
    RetryPolicy,
    UserAgentPolicy,
)
from azure.core.rest import HttpRequest, HttpResponse
from azure.identity import WorkloadIdentityCredential

from hcpcreds.constants import (
    ARO_HCP_CLIENT_CREDENTIALS_PATH,
    MANAGED_AZURE_CERTIFICATE_PATH,
    MANAGED_AZURE_CREDENTIALS_FILE_PATH,
)
from hcpcreds.credential import Status, UserAssignedIdentityCredential
from hcpcreds.errors import HcpCredsError, InputError
from hcpcreds.hosted_cluster import read_hosted_cluster


def main(argv: Sequence[str] | None = None) -> None:
    """Call ARM until SIGTERM or the end of standard input, then exit with status 0."""
    options = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    threading.Thread(target=_stop_at_end_of_input, daemon=True).start()
    if assertion := os.environ.get("AZURE_FEDERATED_TOKEN_FILE"):  # it comes first in the real ones too
        _run_keyless(Path(assertion), options)
        return
    try:
        path = find_credential_file(options, os.environ)
    except HcpCredsError as error:
        sys.exit(str(error))
    with UserAssignedIdentityCredential(
        options.root + path,
        cloud=options.cloud,
        on_reload=_print_credential,
        connection_verify=options.ca_file,
    ) as credential:
        _print_credential(credential.status())
        _call_until_stopped(credential, options)


def find_credential_file(options: argparse.Namespace, environment: Mapping[str, str]) -> str:
    """Find the credential file as the real component does: by its configuration, else its environment.

    Raises:
        InputError: Neither names a credential file.
    """
    if options.cloud_config is not None:
        path = _read_json(options.root + options.cloud_config).get("aadMSIDataPlaneIdentityPath")
    elif options.azure_cluster_identity is not None:
        identity = _read_json(options.root + options.azure_cluster_identity)
        path = identity["spec"].get("userAssignedIdentityCredentialsPath")
    elif options.hosted_control_plane is not None:
        cluster = read_hosted_cluster(Path(options.root + options.hosted_control_plane))
        operator = cluster.identities.control_plane_operator
        path = MANAGED_AZURE_CERTIFICATE_PATH + operator.credentials_secret_name if operator else None
    else:
        path = environment.get(MANAGED_AZURE_CREDENTIALS_FILE_PATH) or environment.get(
            ARO_HCP_CLIENT_CREDENTIALS_PATH
        )
    if not path:
        raise InputError(
            "component", ["neither its configuration nor its environment names a credential file"]
        )
    return str(path)


def _run_keyless(assertion: Path, options: argparse.Namespace) -> None:
    """Call with credentials of Azure's own SDK, which are told everything by the environment.

    The SDK keeps an assertion for ten minutes. So every other call is made with a credential of its own, as
    by a program that has just started: both have to get through a rotation.
    """
    seen: set[str] = set()
    with _make_keyless_credential(options) as lasting, _open_client(lasting, options) as client:
        for number in _pace(options.interval):
            _print_assertion(assertion, seen)
            if number % 2 == 0:
                _call(client, options)
                continue
            with _make_keyless_credential(options) as new, _open_client(new, options) as other:
                _call(other, options)


def _make_keyless_credential(options: argparse.Namespace) -> WorkloadIdentityCredential:
    return WorkloadIdentityCredential(connection_verify=options.ca_file)


def _print_assertion(assertion: Path, seen: set[str]) -> None:
    """Print which certificate signed the assertion, if it is a new one, and when that was written."""
    header = json.loads(_decode(assertion.read_text(encoding="ascii").partition(".")[0]))
    thumbprint = _decode(header["x5t#S256"]).hex()
    if thumbprint not in seen:
        seen.add(thumbprint)
        written_at = assertion.stat().st_mtime
        _print_event("credential", at=written_at, thumbprint=thumbprint, generation=len(seen))


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _call_until_stopped(credential: TokenCredential, options: argparse.Namespace) -> None:
    with _open_client(credential, options) as client:
        for _ in _pace(options.interval):
            _call(client, options)


def _pace(interval: float) -> Iterator[int]:
    """Count without end, so many seconds from one number to the next."""
    due = time.monotonic()
    for number in itertools.count():
        yield number
        now = time.monotonic()
        due = max(due + interval, now)
        time.sleep(due - now)


def _open_client(
    credential: TokenCredential, options: argparse.Namespace
) -> "PipelineClient[HttpRequest, HttpResponse]":
    policies = [
        RequestIdPolicy(),
        HeadersPolicy(),
        UserAgentPolicy("hcpcreds-up"),
        RetryPolicy(),
        BearerTokenCredentialPolicy(credential, options.scope),
    ]
    return PipelineClient(options.resource_manager, policies=policies, connection_verify=options.ca_file)


def _call(client: "PipelineClient[HttpRequest, HttpResponse]", options: argparse.Namespace) -> None:
    path = f"/subscriptions/{options.subscription}/resourcegroups?api-version=2021-04-01"
    try:
        response = client.send_request(HttpRequest("GET", options.resource_manager + path))
        response.raise_for_status()
    except (AzureError, HcpCredsError) as error:
        _print_event("call", ok=False, error=str(error))
    else:
        # The local ARM says which certificate the token was requested with, so that nobody has to trust this
        # process.
        _print_event("call", ok=True, thumbprint=response.headers["x-ms-hcpcreds-certificate"])


def _print_credential(status: Status) -> None:
    if status.thumbprint is not None:
        _print_event("credential", thumbprint=status.thumbprint, generation=status.generation)


def _print_event(event: str, **values: Any) -> None:
    values.setdefault("at", time.time())
    # One write for a whole line: reloads are printed by another thread.
    sys.stdout.write(json.dumps({"event": event, **values}) + "\n")
    sys.stdout.flush()


def _stop_at_end_of_input() -> None:
    # Unbuffered: a daemon thread would hold the lock of Python's buffer while the interpreter ends.
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _read_json(path: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return content


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hcpcreds.up.component", description=__doc__)
    parser.add_argument("--root", required=True, help="the container's file system")
    parser.add_argument("--resource-manager", required=True, help="ARM's endpoint")
    parser.add_argument("--ca-file", required=True, help="PEM file of the certificate authorities to trust")
    parser.add_argument("--cloud", required=True, help="name of the Azure cloud")
    parser.add_argument("--scope", required=True, help="scope of ARM's tokens")
    parser.add_argument("--subscription", required=True, help="subscription whose resource groups to list")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between two calls")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--cloud-config", help="path of a cloud config")
    source.add_argument("--azure-cluster-identity", help="path of an AzureClusterIdentity")
    source.add_argument("--hosted-control-plane", help="path of a HostedControlPlane")
    return parser


if __name__ == "__main__":
    main()
