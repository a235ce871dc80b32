"""A program with Azure's own SDK, as `javascript/client.cjs` is: `python client.py sync|aio`."""

import asyncio
import inspect
import json
import os
import sys
from typing import Any

import azure.identity
import azure.identity.aio

SDK: Any = azure.identity.aio if sys.argv[1] == "aio" else azure.identity


def make_credential() -> Any:
    if os.environ.get("AZURE_FEDERATED_TOKEN_FILE"):
        return SDK.WorkloadIdentityCredential()
    if certificate := os.environ.get("AZURE_CLIENT_CERTIFICATE_PATH"):
        tenant, client = (os.environ[name] for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID"))
        return SDK.CertificateCredential(tenant, client, certificate, disable_instance_discovery=True)
    return SDK.ManagedIdentityCredential(client_id=os.environ.get("AZURE_CLIENT_ID"))


async def main() -> None:
    credential = make_credential()
    for line in sys.stdin:
        scope, *is_new = reversed(line.split())
        if is_new:
            await finish(credential.close())
            credential = make_credential()
        try:
            answer = {"token": (await finish(credential.get_token(scope))).token}
        except Exception as error:  # noqa: BLE001 (the test shows it)
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()
    await finish(credential.close())


async def finish(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


asyncio.run(main())
