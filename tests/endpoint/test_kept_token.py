"""Tokens that an endpoint keeps: how many credentials ask for one at a time."""

import asyncio

from tests.endpoint.endpoints import Identity

from hcpcreds.credential_file.content import MANAGED_IDENTITY
from hcpcreds.endpoint.credential import ServedCredential
from hcpcreds.endpoint.kept_token import KeptToken


def test_kept_token_waits_for_its_turn_when_as_many_as_may_ask_at_a_time(identity: Identity):
    requests = identity.azure.requests

    async def run() -> None:
        slots = asyncio.Semaphore(1)
        async with ServedCredential(
            str(identity.path), MANAGED_IDENTITY, connection_verify=str(identity.azure.ca_file)
        ) as credential:
            token = KeptToken("ingress", credential, scope=None, slots=slots)
            async with slots:
                keeping = asyncio.create_task(token.keep())
                await credential.read()
                for _ in range(100):  # whatever it would do now, it has done
                    await asyncio.sleep(0)
                assert requests.count("entra", match="/token") == 0
                assert token.find_unready() is not None
            while token.find_unready() is not None:  # noqa: ASYNC110 (it tells nobody)
                await asyncio.sleep(0.001)
            keeping.cancel()

    asyncio.run(run())
    assert requests.count("entra", match="/token") == 1
