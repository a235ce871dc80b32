"""What stands beside a program: the credentials' sources, and what gives it tokens."""

import asyncio
import functools
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from enum import StrEnum
from typing import Final

from hcpcreds.credential.aio import call_in_thread
from hcpcreds.credential.registry import open_source
from hcpcreds.credential.source import DEFAULT_BACKSTOP, CredentialSource
from hcpcreds.credential.status import Status
from hcpcreds.credential_file.content import MANAGED_IDENTITY
from hcpcreds.credential_file.file import CredentialFile
from hcpcreds.endpoint.assertion import find_token_endpoint
from hcpcreds.endpoint.assertion_file import FileSettings
from hcpcreds.endpoint.guard import make_secret
from hcpcreds.endpoint.protocols import APP_SERVICE_PATH
from hcpcreds.endpoint.service import Access, Endpoint, Served, TokenSettings, open_endpoint
from hcpcreds.errors import InputError
from hcpcreds.exec.directory import open_directory
from hcpcreds.serving import ListenAddress

_LOOK_SECONDS: Final = 0.05
"""How often it is looked whether everything is ready, at the start only."""
_OTHER_WAYS: Final = (
    *("AZURE_FEDERATED_TOKEN_FILE", "AZURE_AUTHORITY_HOST", "AZURE_POD_IDENTITY_AUTHORITY_HOST"),
    *("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_CLIENT_CERTIFICATE_PASSWORD"),
    *("AZURE_USERNAME", "AZURE_PASSWORD"),
    *("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "IDENTITY_SERVER_THUMBPRINT", "IMDS_ENDPOINT"),
    *("MSI_ENDPOINT", "MSI_SECRET"),
)
"""Variables by which Azure's libraries would get tokens in another way, some of them first of all."""
_PROXIES: Final = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
"""Variables by which Python and JavaScript would ask a proxy for the endpoint on this machine."""

_log = logging.getLogger("hcpcreds.exec")


class Provision(StrEnum):
    """How a program gets tokens."""

    ENDPOINT = "endpoint"
    """It asks an endpoint, as in App Service: `ManagedIdentityCredential`, `DefaultAzureCredential`."""
    FILE = "file"
    """It sends the assertion in a file: `WorkloadIdentityCredential`, `DefaultAzureCredential`."""
    NOTHING = "nothing"
    """It reads the mounted credential itself."""


class Beside:
    """What stands beside a program. `open_beside` opens it.

    Args:
        sources: The credentials, by name.
        endpoint: What gives the program tokens, if anything does.
        secret: What the program has to send to the token endpoint.
    """

    def __init__(
        self, sources: Mapping[str, CredentialSource], endpoint: Endpoint | None, secret: str
    ) -> None:
        self._sources = sources
        self._endpoint = endpoint
        self._secret = secret

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
        if self._endpoint.app_service is None:
            return variables | self._describe_assertion(self._endpoint.served[0])
        address = self._endpoint.app_service
        variables["IDENTITY_ENDPOINT"] = f"http://{address}{APP_SERVICE_PATH}"
        variables["IDENTITY_HEADER"] = self._secret
        if len(self._sources) == 1:
            (source,) = self._sources.values()
            variables["AZURE_CLIENT_ID"] = _get_file(source).client_id
        if any(variables.get(name) for name in _PROXIES):
            for name in ("NO_PROXY", "no_proxy"):
                variables[name] = ",".join(filter(None, [variables.get(name), "127.0.0.1", "localhost"]))
        return variables

    def _describe_assertion(self, served: Served) -> dict[str, str]:
        source = self._sources[served.name]
        assert served.file is not None  # noqa: S101 (it was asked for)
        assert source.snapshot is not None  # noqa: S101 (it is ready)
        file = _get_file(source)
        endpoint = find_token_endpoint(source.snapshot, served.file.assertion)
        return {
            "AZURE_CLIENT_ID": file.client_id,
            "AZURE_TENANT_ID": file.tenant_id,
            "AZURE_FEDERATED_TOKEN_FILE": str(served.file.path),
            "AZURE_AUTHORITY_HOST": f"{endpoint.partition(f'/{file.tenant_id}/')[0]}/",
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
        raise InputError(
            "credentials",
            ["expected only one for a program that sends its assertion"],
            options=["credential"],
        )
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
        endpoint, secret, files, tokens = None, make_secret(), None, None
        if provision is Provision.FILE:
            directory = stack.enter_context(open_directory())
            files = FileSettings(directory=directory, mode=0o400)
        if provision is Provision.ENDPOINT:
            tokens = TokenSettings(app_service=ListenAddress("127.0.0.1", 0), secret=secret)
        if provision is not Provision.NOTHING:
            endpoint = await stack.enter_async_context(open_endpoint(access, files=files, tokens=tokens))
        yield Beside(sources, endpoint, secret)


def _get_file(source: CredentialSource) -> CredentialFile:
    assert source.snapshot is not None  # noqa: S101 (it is ready)
    return source.snapshot.file


def _return(listener: Callable[[Status], None]) -> Callable[[Status], None]:
    return listener
