"""All that one process serves: for each credential its assertion file, and the endpoint that gives tokens."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from hcpcreds.credential.aio import call_in_thread
from hcpcreds.credential.status import Status
from hcpcreds.credential_file.content import MANAGED_IDENTITY, FileFormat
from hcpcreds.credential_file.file import check_authority
from hcpcreds.endpoint.assertion import DEFAULT_ASSERTION, AssertionSettings
from hcpcreds.endpoint.assertion_file import AssertionFile, FileSettings
from hcpcreds.endpoint.credential import ServedCredential
from hcpcreds.endpoint.guard import Guard, check_address, check_secret
from hcpcreds.endpoint.kept_token import KeptToken
from hcpcreds.endpoint.protocols import make_app_service, make_instance_metadata
from hcpcreds.endpoint.tokens import TokenEndpoint
from hcpcreds.errors import InputError
from hcpcreds.serving import Limits, ListenAddress, Route, serve

_ANSWER_SECONDS: Final = 10.0
"""How long the authority may be silent. Programs wait behind such a request, and are told to ask again."""
_SLOTS: Final = 8
"""How many credentials ask at a time for a token to keep: a hundred TLS connections at once take 30 MiB."""
_LIMITS: Final = Limits(body_bytes=1024)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSettings:
    """How programs ask for tokens. The two addresses may be the same."""

    app_service: ListenAddress | None = None
    """Where App Service's protocol is served."""
    secret: str = field(default="", repr=False)
    """What programs have to bring there."""
    imds: ListenAddress | None = None
    """Where the instance metadata service's protocol is served."""
    resources: frozenset[str] | None = None
    """What tokens may be asked for, without closing slashes; None for everything."""
    allow_remote: bool = False
    """Whether an address may be one that other machines reach."""


@dataclass(frozen=True, slots=True)
class Served:
    """One credential, and what is made of it."""

    name: str
    credential: ServedCredential
    file: AssertionFile | None
    token: KeptToken | None

    @property
    def kept(self) -> list[AssertionFile | KeptToken]:
        """What is kept for programs."""
        return [each for each in (self.file, self.token) if each is not None]


class Endpoint:
    """What is served. `open_endpoint` opens it.

    Args:
        served: The credentials.
    """

    def __init__(self, served: list[Served]) -> None:
        self.served = served
        self.tokens: TokenEndpoint | None = None
        """Answers programs; None when no tokens are served."""
        self.app_service: ListenAddress | None = None
        """Where App Service's protocol is served, with the port that was picked."""
        self.imds: ListenAddress | None = None
        """The same for the instance metadata service's."""

    def find_unready(self) -> list[str]:
        """List the reasons why programs cannot rely on this process; empty when they can."""
        return [reason for each in self.served for kept in each.kept if (reason := kept.find_unready())]


@asynccontextmanager
async def open_endpoint(
    access: Access,
    *,
    files: FileSettings | None = None,
    assertion: AssertionSettings = DEFAULT_ASSERTION,
    tokens: TokenSettings | None = None,
    is_draining: Callable[[], bool] = lambda: False,
) -> AsyncIterator[Endpoint]:
    """Serve until the context is left.

    Args:
        access: The credentials.
        files: Where assertions are written; None writes none.
        assertion: What assertions are like; their authority is that of the access.
        tokens: Where tokens are served; None serves none.
        is_draining: Whether the process is about to end.

    Raises:
        InputError: A setting is wrong, or nothing can listen at an address.
    """
    loop = asyncio.get_running_loop()
    assertion = replace(assertion, authority=check_authority(access.authority))
    if files is not None and not await call_in_thread(files.directory.is_dir):
        raise InputError(
            str(files.directory), ["expected a directory for the assertions"], options=["assertion_directory"]
        )
    served: list[Served] = []
    slots = asyncio.Semaphore(_SLOTS)

    def notice(name: str, _: Status) -> None:
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(_notice_rotation, served, name)

    async with AsyncExitStack() as stack:
        for name, path in access.paths.items():
            credential = ServedCredential(
                path,
                access.formats.get(name, MANAGED_IDENTITY),
                cloud=access.cloud,
                authority=access.authority,
                on_reload=partial(notice, name),
                connection_verify=access.ca_file or True,
                connection_timeout=_ANSWER_SECONDS,
                read_timeout=_ANSWER_SECONDS,
            )
            await stack.enter_async_context(credential)
            file = token = None
            if files is not None:
                file = AssertionFile(name, credential, scope=access.scope, assertion=assertion, file=files)
            if tokens is not None:
                token = KeptToken(name, credential, scope=access.scope, slots=slots)
            served.append(Served(name, credential, file, token))
        endpoint = Endpoint(served)
        if tokens is not None:
            await _serve_tokens(stack, endpoint, tokens, is_draining=is_draining)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        tasks = [group.create_task(kept.keep()) for each in served for kept in each.kept]
        try:
            yield endpoint
        finally:
            for task in tasks:
                task.cancel()


def _notice_rotation(served: list[Served], name: str) -> None:
    for each in served:
        if each.name == name:
            for kept in each.kept:
                kept.notice_rotation()


async def _serve_tokens(
    stack: AsyncExitStack, endpoint: Endpoint, settings: TokenSettings, *, is_draining: Callable[[], bool]
) -> None:
    """Serve what programs ask, until the stack is left.

    Raises:
        InputError: A setting is wrong, or nothing can listen at an address.
    """
    credentials = {each.name: each.credential for each in endpoint.served}
    kept = {each.name: each.token for each in endpoint.served if each.token is not None}

    def notice_request(name: str, resource: str, scope: str) -> None:
        kept[name].notice_request(resource, scope)

    endpoint.tokens = TokenEndpoint(credentials, resources=settings.resources, on_fetched=notice_request)
    protocols = []
    if settings.app_service is not None:
        secret = check_secret(settings.secret, "secret of the token endpoint")
        protocols.append((settings.app_service, make_app_service(secret)))
    if settings.imds is not None:
        protocols.append((settings.imds, make_instance_metadata()))
    routes: dict[ListenAddress, dict[str, Route]] = {}
    for address, protocol in protocols:
        check_address(address, allow_remote=settings.allow_remote)
        routes.setdefault(address, {}).update(endpoint.tokens.build_routes(protocol, Guard(address.host)))
    for address, each in routes.items():
        serving = serve(
            address, each, limits=_LIMITS, is_draining=is_draining, find_unready=endpoint.find_unready
        )
        server = await stack.enter_async_context(serving)
        if address == settings.app_service:
            endpoint.app_service = server.address
        if address == settings.imds:
            endpoint.imds = server.address
