"""A simple loop around the SDK's clients: the peer of `benchmarks.renewal`."""

import argparse
import asyncio
import ssl
from datetime import UTC, datetime
from typing import Any

import aiohttp
from azure.core.pipeline.transport import AioHttpTransport
from azure.keyvault.secrets.aio import SecretClient

from hcpcreds.aio import UserAssignedIdentityCredential
from hcpcreds.dataplane import UserAssignedIdentityCredentials
from hcpcreds.dataplane.aio import ManagedIdentityDataPlaneClientFactory
from hcpcreds.dataplane.models import parse_model, render_model


def main() -> None:
    """Renew once."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--concurrency", type=int)
    for name in ("vault", "audience", "data-plane-host", "credential-file", "ca-file"):
        parser.add_argument(f"--{name}")
    asyncio.run(_renew(parser.parse_args()))


async def _renew(given: argparse.Namespace) -> None:
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=given.ca_file))
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:

        def options() -> dict[str, Any]:
            return {"transport": AioHttpTransport(session=session, session_owner=False)}

        async with (
            UserAssignedIdentityCredential(given.credential_file, **options()) as credential,
            SecretClient(given.vault, credential, verify_challenge_resource=False, **options()) as vault,
            ManagedIdentityDataPlaneClientFactory(
                credential, given.audience, hosts=[given.data_plane_host], **options()
            ) as data_plane,
        ):
            now = datetime.now(UTC)
            due = [
                listed.name or ""
                async for listed in vault.list_properties_of_secrets()
                if datetime.fromisoformat((listed.tags or {})["renew_after"]) <= now
            ]
            slots = asyncio.Semaphore(given.concurrency)

            async def renew(name: str) -> None:
                async with slots:
                    value = (await vault.get_secret(name)).value or ""
                    stored = parse_model(value.encode(), UserAssignedIdentityCredentials)
                    client = data_plane.create_client(stored.client_secret_url or "")
                    answer = await client.get_system_assigned_identity_credentials()
                    (renewed,) = answer.explicit_identities or ()
                    await vault.set_secret(
                        name,
                        render_model(renewed).decode(),
                        not_before=datetime.fromisoformat(renewed.not_before or ""),
                        expires_on=datetime.fromisoformat(renewed.not_after or ""),
                        tags={
                            "renew_after": renewed.renew_after or "",
                            "cannot_renew_after": renewed.cannot_renew_after or "",
                        },
                    )

            await asyncio.gather(*map(renew, due), return_exceptions=True)


if __name__ == "__main__":
    main()
