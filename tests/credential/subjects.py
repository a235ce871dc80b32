"""One interface to the sync and the asyncio credential, so that one test suite covers both."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from azure.core.credentials import AccessToken, AccessTokenInfo, TokenRequestOptions

import hcpcreds.aio
import hcpcreds.credential
from hcpcreds.credential import Status

T = TypeVar("T")


class Subject(Protocol):
    """The interface of both credentials."""

    def get_token(self, *scopes: str, **options: Any) -> AccessToken: ...
    def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo: ...
    def status(self) -> Status: ...
    def close(self) -> None: ...


class Loop:
    """An event loop in its own thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(15)

    def close(self) -> None:
        self.run(self.loop.shutdown_default_executor())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class AioSubject:
    """The asyncio credential, called from ordinary code."""

    def __init__(self, loop: Loop, make: Callable[[], hcpcreds.aio.UserAssignedIdentityCredential]) -> None:
        self._loop = loop

        async def on_loop() -> hcpcreds.aio.UserAssignedIdentityCredential:
            return make()

        self.credential = loop.run(on_loop())

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        return self._loop.run(self.credential.get_token(*scopes, **options))

    def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        return self._loop.run(self.credential.get_token_info(*scopes, options=options))

    def status(self) -> Status:
        return self.credential.status()

    def close(self) -> None:
        self._loop.run(self.credential.close())
