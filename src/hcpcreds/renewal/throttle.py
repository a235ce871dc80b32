"""Keeps all requests of a client back while its service asks to be left alone."""

import asyncio
import math
import random
from http import HTTPStatus
from typing import Final

from azure.core.exceptions import ServiceRequestError
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import AsyncHTTPPolicy
from azure.core.rest import AsyncHttpResponse, HttpRequest
from typing_extensions import override

from hcpcreds.http.retries import LONGEST_WAIT, read_wait

_PATIENCE_SECONDS: Final = 300.0
_DEFAULT_WAIT_SECONDS: Final = 2.0
_SHORTEST_WAIT_SECONDS: Final = 0.1
"""A Retry-After of nothing must not become a loop without a pause."""
_SPREAD: Final = 0.1
"""Part of a wait by which the waiting are spread, so that they do not come back as one."""


class ThrottleGate(AsyncHTTPPolicy[HttpRequest, AsyncHttpResponse]):
    """A policy for ``per_retry_policies`` of an Azure client: one 429 makes every request wait.

    The SDK's own policy lets each request find out by itself, and gives up after three times: with many at
    once some fail for nothing. Here a throttled request is sent again when its Retry-After is over, or after
    a minute, for up to five minutes, and uses up none of the SDK's retries. A 503 that names a Retry-After is
    treated alike.
    """

    def __init__(self) -> None:
        super().__init__()
        self._opens_at = 0.0

    @override
    async def send(
        self, request: PipelineRequest[HttpRequest]
    ) -> PipelineResponse[HttpRequest, AsyncHttpResponse]:
        may_send = request.context.options.pop("hcpcreds_send_only_if", lambda: True)
        clock = asyncio.get_running_loop().time
        patient_until = clock() + _PATIENCE_SECONDS
        while True:
            while (wait := self._opens_at - clock()) > 0:  # noqa: ASYNC110 - it moves meanwhile
                await asyncio.sleep(wait * random.uniform(1, 1 + _SPREAD))  # noqa: S311 - no secret
            if not may_send():
                raise ServiceRequestError("not sent: it comes too late after the look that it relies on")
            response = await self.next.send(request)
            asked = self._read_wait(response)
            if asked is None or clock() + asked > patient_until:
                return response
            self._opens_at = max(self._opens_at, clock() + min(asked, LONGEST_WAIT))

    def _read_wait(self, response: PipelineResponse[HttpRequest, AsyncHttpResponse]) -> float | None:
        """Seconds for which the service asks to be left alone; None when it does not."""
        status = response.http_response.status_code
        if status not in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
            return None
        said = read_wait(response.http_response.headers, longest=math.inf)
        if said is None:
            return _DEFAULT_WAIT_SECONDS if status == HTTPStatus.TOO_MANY_REQUESTS else None
        return max(said, _SHORTEST_WAIT_SECONDS)
