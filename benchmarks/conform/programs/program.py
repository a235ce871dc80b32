"""A program in Python that is judged: `python program.py CREDENTIAL`, see `CREDENTIALS`."""

import asyncio
import inspect
import os
import sys
import time
import urllib.request
from collections.abc import Callable
from typing import Any, Final

import azure.identity
import azure.identity.aio

import hcpcreds
import hcpcreds.aio

SCOPE: Final = "https://management.azure.com/.default"
PAUSE_SECONDS: Final = 0.2


def make_certificate_credential(sdk: Any) -> Any:
    """Azure's own credential for a certificate in a file."""
    return sdk.CertificateCredential(
        os.environ["AZURE_TENANT_ID"],
        os.environ["AZURE_CLIENT_ID"],
        os.environ["AZURE_CLIENT_CERTIFICATE_PATH"],
        disable_instance_discovery=True,
    )


def make_managed_identity_credential(sdk: Any) -> Any:
    """Azure's own credential for a token endpoint."""
    return sdk.ManagedIdentityCredential(client_id=os.environ["AZURE_CLIENT_ID"])


CREDENTIALS: Final[dict[str, Callable[[], Any]]] = {
    "hcpcreds": hcpcreds.UserAssignedIdentityCredential.from_environment,
    "hcpcreds.aio": hcpcreds.aio.UserAssignedIdentityCredential.from_environment,
    "hcpcreds-certificate": hcpcreds.CertificateCredential.from_environment,
    "certificate": lambda: make_certificate_credential(azure.identity),
    "certificate.aio": lambda: make_certificate_credential(azure.identity.aio),
    "workload": azure.identity.WorkloadIdentityCredential,
    "managed": lambda: make_managed_identity_credential(azure.identity),
}


async def main() -> None:
    """Ask for tokens, and use them, until SIGTERM."""
    credential = CREDENTIALS[sys.argv[1]]()
    while True:
        try:
            token = credential.get_token(SCOPE)
            call((await token if inspect.isawaitable(token) else token).token)
        except Exception as error:  # noqa: BLE001 (it goes on)
            print(f"{type(error).__name__}: {error}", flush=True)
        if inspect.iscoroutinefunction(credential.get_token):
            await asyncio.sleep(PAUSE_SECONDS)
        else:
            time.sleep(PAUSE_SECONDS)  # noqa: ASYNC251 (nothing else runs)


def call(token: str) -> None:
    """Use a token."""
    request = urllib.request.Request(os.environ["HCPCREDS_CONFORM_URL"])  # noqa: S310 (the local Azure)
    request.add_header("Authorization", f"Bearer {token}")
    urllib.request.urlopen(request).close()  # noqa: S310 (the same)


asyncio.run(main())
