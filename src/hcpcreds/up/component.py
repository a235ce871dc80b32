"""One component of a control plane, reduced to its Azure client: it finds its credential and calls ARM.

Run as `python -m hcpcreds.up.component`. It gets only what its manifest gives it: the files below `--root`
are its container's file system, the environment is its container's, and the options say which of its
configuration objects names its credential file. `--resource-manager` and `--ca-file` replace DNS and the
machine's trust roots, which do not know the local Azure.

It prints events, one a line: `credential` for each new snapshot, `call` for each call.
"""

import argparse
import base64
import functools
import itertools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

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

from hcpcreds.constants import (
    ARO_HCP_CLIENT_CREDENTIALS_PATH,
    MANAGED_AZURE_CERTIFICATE_PATH,
    MANAGED_AZURE_CREDENTIALS_FILE_PATH,
)
from hcpcreds.credential import Status, UserAssignedIdentityCredential
from hcpcreds.errors import HcpCredsError, InputError

_PATH_SETTING: Final = "aadMSIDataPlaneIdentityPath"
_DEFAULT_ASSERTION: Final = "/var/run/secrets/azure/tokens/azure-identity-token"
"""Where cluster-api-provider-azure looks when its environment says nothing."""


def main(argv: Sequence[str] | None = None) -> None:
    """Call ARM until SIGTERM or the end of standard input, then exit with status 0."""
    options = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    threading.Thread(target=_stop_at_end_of_input, daemon=True).start()
    try:
        login = find_login(options, os.environ)
    except HcpCredsError as error:
        sys.exit(str(error))
    with ExitStack() as stack:
        calls: list[Callable[[], None]] = []
        if login.key is not None:
            calls.append(_open_with_key(login.key, options, stack))
        if login.assertion is not None:
            calls += _open_with_assertion(login.assertion, options, stack)
        for number in _pace(options.interval):
            calls[number % len(calls)]()


@dataclass(frozen=True)
class Assertion:
    """An assertion file on this machine, and whose it is."""

    file: str
    client_id: str
    tenant_id: str


@dataclass(frozen=True)
class Login:
    """How the component logs in; with both, for different calls."""

    key: str | None = None
    """Path of the credential file in the container."""
    assertion: Assertion | None = None


def find_login(options: argparse.Namespace, environment: Mapping[str, str]) -> Login:
    """Find how the real component would log in: by its configuration and its environment.

    The sources are those of `hcpcreds.components.table`.

    Raises:
        InputError: Neither says so.
    """
    assertion = _find_assertion(environment)
    login = Login()
    if (
        options.hosted_control_plane is not None
    ):  # the credential file for its checks, the SDK for other calls
        from hcpcreds.hosted_cluster import read_hosted_cluster  # noqa: PLC0415 (only one component reads it)

        cluster = read_hosted_cluster(Path(options.root + options.hosted_control_plane))
        operator = cluster.identities.control_plane_operator
        key = MANAGED_AZURE_CERTIFICATE_PATH + operator.credentials_secret_name if operator else None
        login = Login(key, assertion)
    elif options.azure_cluster_identity is not None:
        identity = _read_json(options.root + options.azure_cluster_identity)["spec"]
        if identity["type"] == "WorkloadIdentity":
            file = environment.get("AZURE_FEDERATED_TOKEN_FILE") or options.root + _DEFAULT_ASSERTION
            login = Login(assertion=Assertion(file, identity["clientID"], identity["tenantID"]))
        else:
            login = Login(identity.get("userAssignedIdentityCredentialsPath"))
    elif options.cloud_config is not None:  # the environment comes before the config
        path = _read_json(options.root + options.cloud_config).get(_PATH_SETTING)
        login = Login(assertion=assertion) if assertion else Login(path)
    else:  # the environment comes after the path of a credential file
        path = (
            _read_json(options.root + options.kms_config).get(_PATH_SETTING)
            if options.kms_config is not None
            else environment.get(MANAGED_AZURE_CREDENTIALS_FILE_PATH)
            or environment.get(ARO_HCP_CLIENT_CREDENTIALS_PATH)
        )
        login = Login(path) if path else Login(assertion=assertion)
    if not login.key and login.assertion is None:
        raise InputError(
            "component",
            ["neither its configuration nor its environment names a credential file or an assertion"],
        )
    return login


def _find_assertion(environment: Mapping[str, str]) -> Assertion | None:
    names = ("AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_ID", "AZURE_TENANT_ID")
    values = [environment.get(name, "") for name in names]
    return Assertion(*values) if all(values) else None


def _open_with_key(path: str, options: argparse.Namespace, stack: ExitStack) -> Callable[[], None]:
    credential = stack.enter_context(
        UserAssignedIdentityCredential(
            options.root + path,
            cloud=options.cloud,
            on_reload=_print_credential,
            connection_verify=options.ca_file,
        )
    )
    _print_credential(credential.status())
    client = stack.enter_context(_open_client(credential, options))
    return functools.partial(_call, client, options, login="key")


def _open_with_assertion(
    assertion: Assertion, options: argparse.Namespace, stack: ExitStack
) -> list[Callable[[], None]]:
    """Open credentials of Azure's own SDK.

    The SDK keeps an assertion for ten minutes. So every other call is made with a credential of its own, as
    by a program that has just started: both have to get through a rotation.
    """
    from azure.identity import WorkloadIdentityCredential  # noqa: PLC0415 (a third of the start-up time)

    seen: set[str] = set()

    def make() -> WorkloadIdentityCredential:
        return WorkloadIdentityCredential(
            client_id=assertion.client_id,
            tenant_id=assertion.tenant_id,
            token_file_path=assertion.file,
            connection_verify=options.ca_file,
        )

    lasting = stack.enter_context(_open_client(stack.enter_context(make()), options))

    def call() -> None:
        _print_assertion(Path(assertion.file), seen)
        _call(lasting, options, login="assertion")

    def call_as_a_new_program() -> None:
        _print_assertion(Path(assertion.file), seen)
        with make() as credential, _open_client(credential, options) as client:
            _call(client, options, login="assertion")

    return [call, call_as_a_new_program]


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


def _call(
    client: "PipelineClient[HttpRequest, HttpResponse]", options: argparse.Namespace, *, login: str
) -> None:
    path = f"/subscriptions/{options.subscription}/resourcegroups?api-version=2021-04-01"
    try:
        response = client.send_request(HttpRequest("GET", options.resource_manager + path))
        response.raise_for_status()
    except (AzureError, HcpCredsError) as error:
        _print_event("call", ok=False, error=str(error))
    else:
        # The local ARM says which certificate the token was requested with, so that nobody has to trust this
        # process.
        thumbprint = response.headers["x-ms-hcpcreds-certificate"]
        _print_event("call", ok=True, login=login, thumbprint=thumbprint)


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
    source.add_argument("--kms-config", help="path of the KMS plugin's cloud config")
    source.add_argument("--azure-cluster-identity", help="path of an AzureClusterIdentity")
    source.add_argument("--hosted-control-plane", help="path of a HostedControlPlane")
    return parser


if __name__ == "__main__":
    main()
