"""The page and its JSON document, as routes of a server."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from hcpcreds.page.document import POLICY, render_page
from hcpcreds.page.model import Overview
from hcpcreds.serving import Request, Response, Route
from hcpcreds.workers import Workers

_workers: Final = Workers("hcpcreds-page", threads=1)

_HEADERS: Final = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Content-Security-Policy", POLICY),
)


def build_page_routes(describe: Callable[[], Overview], *, seconds: float = 5.0) -> Mapping[str, Route]:
    """Build the routes `/` and `/status.json`.

    Args:
        describe: Describes what to show; called on the event loop for each request.
        seconds: How often the page's script fetches it again.
    """

    async def answer_page(_: Request) -> Response:
        overview = describe()
        page = await _call(lambda: render_page(overview, seconds=seconds).encode())
        return Response(page, content_type="text/html; charset=utf-8", headers=_HEADERS)

    async def answer_json(_: Request) -> Response:
        overview = describe()
        document = await _call(lambda: msgspec.json.encode(overview.as_json()))
        return Response(document, content_type="application/json", headers=_HEADERS)

    return {"/": Route(answer_page), "/status.json": Route(answer_json)}


async def _call(render: Callable[[], bytes]) -> bytes:
    """Render on a thread: 100 credentials take a while, and the event loop has tokens to give."""
    return await asyncio.wrap_future(_workers.call(render))
