"""The common base of the local services: listening, refusing, faults.

For development and tests only.
"""

import asyncio
import logging
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from ssl import SSLContext
from typing import Any, ClassVar, Final, TypeVar

import msgspec
from aiohttp import web

from hcpcreds.local.azure.faults import Faults, RequestLog, SeenRequest

NOTICE: Final = "for development and tests only"
NOTICE_HEADER: Final = "x-ms-hcpcreds-local"
_ERROR: Final = 400

_Body = TypeVar("_Body", bound=msgspec.Struct)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_LOGGER = logging.getLogger(__name__)


class Refusal(Exception):  # noqa: N818 (a response of the service, not a failure of it)
    """A service refuses a request.

    Args:
        status: HTTP status.
        body: The error as JSON.
        headers: Additional headers, for instance a challenge.
    """

    def __init__(
        self, status: int, body: Mapping[str, Any], *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.body = body
        self.headers = headers or {}


class Service(ABC):
    """One service on its own port.

    Subclasses define the name, the routes and the shape of an error.

    Args:
        faults: Faults of this service.
        requests: Counts its requests.
    """

    name: ClassVar[str]
    """The name of the service in faults and counts."""

    def __init__(self, *, faults: Faults, requests: RequestLog) -> None:
        self._faults = faults
        self._requests = requests
        self._runner: web.AppRunner | None = None
        self.url = ""
        """The URL that it listens at, without a trailing slash; empty before `listen`."""

    @abstractmethod
    def routes(self) -> list[web.RouteDef]:
        """List the routes."""

    def build_error(self, code: str, message: str) -> dict[str, Any]:
        """Build an error in the shape of this service; by default that of Azure's data planes."""
        return {"error": {"code": code, "message": message}}

    async def find_certificate(self, request: web.Request) -> str | None:  # noqa: ARG002 (of subclasses)
        """Find the certificate behind a request, for an observer; None if it is of no interest.

        What the request says is not verified. A request that names no certificate has an empty one.
        """
        return None

    async def listen(self, tls: SSLContext | None) -> None:
        """Serve on a free port of the loopback interface.

        Args:
            tls: None means plain HTTP.
        """
        app = web.Application(middlewares=[self._answer])
        app.add_routes(self.routes())
        # When a client disconnects, its request is cancelled: those that hang on purpose do not pile up.
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=tls, backlog=1024)
        await site.start()
        _, port = self._runner.addresses[0][:2]
        self.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{port}"

    async def close(self) -> None:
        """Stop serving; requests in progress are cut off."""
        if self._runner is None or self._runner.server is None:
            return
        # A graceful close would wait until every client closes, and pooled connections stay open.
        for connection in self._runner.server.connections:
            if connection.transport is not None:
                connection.transport.abort()
        await self._runner.cleanup()
        await asyncio.sleep(0)

    @web.middleware
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._requests.add(self.name, request.method, request.path)
        response: web.StreamResponse | None = None
        certificate = await self.find_certificate(request) if self._requests.observer else None
        try:
            response = await self._faults.apply(
                self.name, request, lambda: self._handle(request, handler), self.build_error
            )
        finally:
            if self._requests.observer and certificate is not None:
                self._requests.observer(_describe(self.name, request, certificate, response))
        response.headers[NOTICE_HEADER] = NOTICE
        return response

    async def _handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refusal as refusal:
            return json_response(refusal.body, status=refusal.status, headers=refusal.headers)
        except web.HTTPException as error:
            code = error.reason.replace(" ", "")
            return json_response(self.build_error(code, error.reason), status=error.status)
        except Exception as error:  # noqa: BLE001 (a bug here must be a 500, and its text may hold a secret)
            where = "".join(traceback.format_tb(error.__traceback__))
            _LOGGER.error("%s: unexpected %s\n%s", self.name, type(error).__name__, where)  # noqa: TRY400 (the text of the error stays out)
            return json_response(self.build_error("InternalServerError", "unexpected"), status=500)


def _describe(
    service: str, request: web.Request, certificate: str, response: web.StreamResponse | None
) -> SeenRequest:
    status = 0 if response is None else response.status
    body = getattr(response, "body", None)
    return SeenRequest(
        service=service,
        at=time.monotonic(),
        agent=request.headers.get("User-Agent", ""),
        certificate=certificate or None,
        status=status,
        error=body.decode(errors="replace") if status >= _ERROR and isinstance(body, bytes) else "",
    )


def json_response(
    body: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Build a JSON response."""
    return web.Response(
        body=msgspec.json.encode(body), status=status, headers=headers, content_type="application/json"
    )


async def read_body(request: web.Request, kind: type[_Body], refuse: Callable[[str], Refusal]) -> _Body:
    """Read the body of a request as JSON of a type.

    Args:
        request: The request.
        kind: The type.
        refuse: Builds the refusal from a reason, which contains nothing of the body.
    """
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except msgspec.MsgspecError as error:
        raise refuse(f"The body is not as expected: {error}.") from None
    except (UnicodeDecodeError, RecursionError):
        raise refuse("The body is not JSON.") from None
