"""Holds back all requests of a client while its service throttles."""

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
"""A Retry-After of zero must not become a busy loop."""
_SPREAD: Final = 0.1
"""The fraction of a wait by which requests are spread, so that they do not return all at once."""


class ThrottleGate(AsyncHTTPPolicy[HttpRequest, AsyncHttpResponse]):
    """A policy for `per_retry_policies` of an Azure client: one 429 makes every request wait.

    With the SDK's own policy each request has to be throttled by itself, and fails after three times; with
    many concurrent requests some fail needlessly. Here a throttled request is sent again after its
    Retry-After, or after a minute, for up to five minutes, without using up the SDK's retries. A 503 with a
    Retry-After is treated alike.

    A request with the option `hcpcreds_send_only_if`, a function, fails once that returns False.
    """

    def __init__(self) -> None:
        super().__init__()
        self._opens_at = 0.0

    @override
    async def send(
        self, request: PipelineRequest[HttpRequest]
    ) -> PipelineResponse[HttpRequest, AsyncHttpResponse]:
        may_send = request.context.options.pop("hcpcreds_send_only_if", lambda: True)
        monotonic = asyncio.get_running_loop().time
        patient_until = monotonic() + _PATIENCE_SECONDS
        while True:
            while (wait := self._opens_at - monotonic()) > 0:  # noqa: ASYNC110 (it moves meanwhile)
                await asyncio.sleep(wait * random.uniform(1, 1 + _SPREAD))  # noqa: S311 (not a secret)
            if not may_send():
                raise ServiceRequestError("not sent: the secret was read too long ago")
            response = await self.next.send(request)
            asked_seconds = self._read_wait(response)
            if asked_seconds is None or monotonic() + asked_seconds > patient_until:
                return response
            self._opens_at = max(self._opens_at, monotonic() + min(asked_seconds, LONGEST_WAIT))

    def _read_wait(self, response: PipelineResponse[HttpRequest, AsyncHttpResponse]) -> float | None:
        """Return the seconds that the service asks to wait, or None when it does not."""
        status = response.http_response.status_code
        if status not in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
            return None
        asked = read_wait(response.http_response.headers, longest=math.inf)
        if asked is None:
            return _DEFAULT_WAIT_SECONDS if status == HTTPStatus.TOO_MANY_REQUESTS else None
        return max(asked, _SHORTEST_WAIT_SECONDS)
