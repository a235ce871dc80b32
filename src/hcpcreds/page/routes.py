"""The page and its JSON document, as routes of a server."""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from hcpcreds.page.document import POLICY, render_page
from hcpcreds.page.model import Overview
from hcpcreds.serving import Request, Response, Route

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

    def answer_page(_: Request) -> Response:
        page = render_page(describe(), seconds=seconds)
        return Response(page.encode(), content_type="text/html; charset=utf-8", headers=_HEADERS)

    def answer_json(_: Request) -> Response:
        document = msgspec.json.encode(describe().as_json())
        return Response(document, content_type="application/json", headers=_HEADERS)

    return {"/": Route(answer_page), "/status.json": Route(answer_json)}
