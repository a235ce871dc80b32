"""All that one process serves: for each credential its assertion file, and the endpoint that gives tokens."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial

from hcpcreds.credential.status import Status
from hcpcreds.credential_file.content import MANAGED_IDENTITY, FileFormat
from hcpcreds.credential_file.file import check_authority
from hcpcreds.endpoint.assertion import DEFAULT_ASSERTION, AssertionSettings
from hcpcreds.endpoint.assertion_file import AssertionFile, FileSettings
from hcpcreds.endpoint.credential import ServedCredential


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The credentials, and how the authority is reached with them."""

    paths: Mapping[str, str]
    """Credential files by the name that each has in messages, metrics and assertion files."""
    formats: Mapping[str, FileFormat] = field(default_factory=dict)
    """How those are read, by the same name, that are not a managed identity's."""
    cloud: str | None = None
    """The cloud that the files have to be of; None for any."""
    authority: str | None = None
    """`https` URL of the authority to ask, and that programs ask; None for the files' own."""
    ca_file: str | None = None
    scope: str | None = None
    """What tokens are asked for to prove a certificate; None means ARM."""


@dataclass(frozen=True, slots=True)
class Served:
    """One credential, and what is made of it."""

    name: str
    credential: ServedCredential
    file: AssertionFile | None

    def find_unready(self) -> str | None:
        """Find why programs cannot rely on it; None when they can."""
        return None if self.file is None else self.file.find_unready()


class Endpoint:
    """What is served. `open_endpoint` opens it.

    Args:
        served: The credentials.
    """

    def __init__(self, served: list[Served]) -> None:
        self.served = served

    def find_unready(self) -> list[str]:
        """List the reasons why programs cannot rely on this process; empty when they can."""
        return [reason for each in self.served if (reason := each.find_unready())]


@asynccontextmanager
async def open_endpoint(
    access: Access, *, files: FileSettings | None = None, assertion: AssertionSettings = DEFAULT_ASSERTION
) -> AsyncIterator[Endpoint]:
    """Serve until the context is left.

    Args:
        access: The credentials.
        files: Where assertions are written; None writes none.
        assertion: What assertions are like; their authority is that of the access.

    Raises:
        InputError: A setting is wrong.
    """
    loop = asyncio.get_running_loop()
    assertion = replace(assertion, authority=check_authority(access.authority))
    served: list[Served] = []

    def notice(name: str, _: Status) -> None:
        def tell() -> None:
            for each in served:
                if each.name == name and each.file is not None:
                    each.file.notice_rotation()

        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell)

    async with AsyncExitStack() as stack:
        for name, path in access.paths.items():
            credential = ServedCredential(
                path,
                access.formats.get(name, MANAGED_IDENTITY),
                cloud=access.cloud,
                authority=access.authority,
                on_reload=partial(notice, name),
                connection_verify=access.ca_file or True,
            )
            await stack.enter_async_context(credential)
            file = None
            if files is not None:
                file = AssertionFile(
                    name,
                    credential,
                    scope=access.scope,
                    assertion=assertion,
                    file=files,
                )
            served.append(Served(name, credential, file))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        tasks = [group.create_task(each.file.keep()) for each in served if each.file is not None]
        try:
            yield Endpoint(served)
        finally:
            for task in tasks:
                task.cancel()
