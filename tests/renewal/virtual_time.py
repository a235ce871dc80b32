"""An event loop whose waits pass immediately, and a network that is down."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

from azure.core.exceptions import ServiceRequestError
from azure.core.pipeline.transport import AsyncHttpTransport
from typing_extensions import override

Answer = TypeVar("Answer")


class _Selector(selectors.DefaultSelector):
    now = 0.0

    @override
    def select(self, timeout: float | None = None) -> Any:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        self.now += timeout
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._waiting = _Selector()
        super().__init__(self._waiting)

    @override
    def time(self) -> float:
        return self._waiting.now


def run(work: Coroutine[Any, Any, Answer]) -> Answer:
    """Run in a loop whose clock starts at 0 and jumps to the end of each wait."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(work)


def now() -> float:
    return asyncio.get_running_loop().time()


class Unreachable(AsyncHttpTransport[Any, Any]):
    """The transport of a client without a network; records when requests were sent."""

    def __init__(self) -> None:
        self.tried: list[float] = []

    @override
    async def send(self, request: Any, **_: Any) -> NoReturn:
        self.tried.append(now())
        raise ServiceRequestError("there is no network")

    @override
    async def open(self) -> None:
        pass

    @override
    async def close(self) -> None:
        pass

    @override
    async def __aexit__(self, *_: object) -> None:
        pass
