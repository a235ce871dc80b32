"""What stands beside a program: the credentials' sources, and what gives it tokens."""

import asyncio
import functools
import logging
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Final

from hcpcreds.credential.aio import call_in_thread
from hcpcreds.credential.registry import open_source
from hcpcreds.credential.source import DEFAULT_BACKSTOP, CredentialSource
from hcpcreds.credential.status import Status
from hcpcreds.credential_file.content import MANAGED_IDENTITY
from hcpcreds.endpoint.assertion import find_token_endpoint
from hcpcreds.endpoint.assertion_file import FileSettings
from hcpcreds.endpoint.service import Access, Endpoint, open_endpoint
from hcpcreds.errors import InputError

_LOOK_SECONDS: Final = 0.05
"""How often it is looked whether everything is ready, at the start only."""
_SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 (a directory with a name of its own is made in it)
_OTHER_WAYS: Final = (
    *("AZURE_FEDERATED_TOKEN_FILE", "AZURE_AUTHORITY_HOST", "AZURE_POD_IDENTITY_AUTHORITY_HOST"),
    *("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_CLIENT_CERTIFICATE_PASSWORD"),
    *("AZURE_USERNAME", "AZURE_PASSWORD"),
    *("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "IDENTITY_SERVER_THUMBPRINT", "IMDS_ENDPOINT"),
    *("MSI_ENDPOINT", "MSI_SECRET"),
)
"""Variables by which Azure's libraries would get tokens in another way, some of them first of all."""

_log = logging.getLogger("hcpcreds.exec")


class Provision(StrEnum):
    """How a program gets tokens."""

    FILE = "file"
    """It sends the assertion in a file: `WorkloadIdentityCredential`, `DefaultAzureCredential`."""
    NOTHING = "nothing"
    """It reads the mounted credential itself."""


class Beside:
    """What stands beside a program. `open_beside` opens it.

    Args:
        sources: The credentials, by name.
        endpoint: What gives the program tokens, if anything does.
    """

    def __init__(self, sources: Mapping[str, CredentialSource], endpoint: Endpoint | None) -> None:
        self._sources = sources
        self._endpoint = endpoint

    async def wait_until_ready(self) -> None:
        """Wait until the program can rely on everything."""
        told: list[str] = []
        while reasons := self._find_unready():
            if reasons != told:
                _log.info("waiting: %s", "; ".join(reasons))
            told = reasons
            await asyncio.sleep(_LOOK_SECONDS)

    def build_environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Build the program's variables, when everything is ready.

        Args:
            environment: Those of this process.
        """
        variables = dict(environment)
        if self._endpoint is None:
            return variables
        for name in _OTHER_WAYS:
            variables.pop(name, None)
        (served,) = self._endpoint.served
        snapshot = self._sources[served.name].snapshot
        assert snapshot is not None  # noqa: S101 (it is ready)
        assert served.file is not None  # noqa: S101 (it was asked for)
        authority = find_token_endpoint(snapshot, served.file.assertion).partition(
            f"/{snapshot.file.tenant_id}/"
        )[0]
        return {
            **variables,
            "AZURE_CLIENT_ID": snapshot.file.client_id,
            "AZURE_TENANT_ID": snapshot.file.tenant_id,
            "AZURE_FEDERATED_TOKEN_FILE": str(served.file.path),
            "AZURE_AUTHORITY_HOST": f"{authority}/",
        }

    def _find_unready(self) -> list[str]:
        missing = [
            f"{name}: {source.status().last_error or 'the file has not been read yet'}"
            for name, source in self._sources.items()
            if source.snapshot is None
        ]
        return missing or ([] if self._endpoint is None else self._endpoint.find_unready())


@asynccontextmanager
async def open_beside(
    access: Access, provision: Provision, *, on_rotation: Callable[[str, Status], None]
) -> AsyncIterator[Beside]:
    """Open what stands beside a program, until the context is left.

    Args:
        access: The credentials.
        provision: How the program gets tokens.
        on_rotation: Called on the event loop, once for each later credential that has replaced another one.

    Raises:
        InputError: A setting is wrong.
    """
    if provision is Provision.FILE and len(access.paths) != 1:
        raise InputError("--credential", ["expected only one for a program that sends its assertion"])
    loop = asyncio.get_running_loop()
    sources: dict[str, CredentialSource] = {}

    def tell(name: str, status: Status) -> None:
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(on_rotation, name, status)

    async with AsyncExitStack() as stack:
        for name, path in access.paths.items():
            listener = functools.partial(tell, name)
            source, release = await call_in_thread(
                functools.partial(
                    open_source,
                    path,
                    access.formats.get(name, MANAGED_IDENTITY),
                    backstop=DEFAULT_BACKSTOP,
                    poll=False,
                    read=True,
                    clock=time.time,
                    listener=functools.partial(_return, listener),
                )
            )
            stack.callback(release)
            sources[name] = source
        endpoint = None
        if provision is Provision.FILE:
            directory = stack.enter_context(
                tempfile.TemporaryDirectory(
                    prefix="hcpcreds-", dir=_SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else None
                )
            )
            files = FileSettings(directory=Path(directory), mode=0o400)
            endpoint = await stack.enter_async_context(open_endpoint(access, files=files))
        yield Beside(sources, endpoint)


def _return(listener: Callable[[Status], None]) -> Callable[[Status], None]:
    return listener
