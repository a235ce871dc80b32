"""A page of Prometheus metrics."""

import asyncio
import gzip
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from hcpcreds.serving.messages import Request, Response
from hcpcreds.serving.server import Handler
from hcpcreds.workers import Workers

_workers: Final = Workers("hcpcreds-metrics", threads=1)


def build_metrics_page(registry: CollectorRegistry) -> Handler:
    """Build the handler of `/metrics`. A thread renders the page, because 10,000 credentials take a while."""

    async def answer(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        accepts_gzip = "gzip" in request.headers.get("accept-encoding", "")

        def render() -> bytes:
            page = encode(registry)
            return gzip.compress(page, compresslevel=1) if accepts_gzip else page

        body = await asyncio.wrap_future(_workers.call(render))
        headers = [("Content-Encoding", "gzip")] if accepts_gzip else []
        return Response(body, content_type=content_type, headers=headers)

    return answer
