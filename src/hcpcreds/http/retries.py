"""Decides what is retried, and how long a service may make a caller wait."""

import math
import time
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from azure.core.pipeline import PipelineResponse
from azure.core.pipeline.policies import AsyncRetryPolicy, RetryPolicy
from azure.core.rest import AsyncHttpResponse, HttpRequest, HttpResponse
from typing_extensions import override

from hcpcreds.http.failures import LASTING

if TYPE_CHECKING:
    from azure.core.pipeline.policies._retry import RetryPolicyBase
else:
    RetryPolicyBase = object

LONGEST_WAIT: Final = 60.0
"""Seconds to wait at most, whatever a service asks for, before the request is retried or given up."""
_HEADERS: Final = {"retry-after": 1.0, "retry-after-ms": 0.001, "x-ms-retry-after-ms": 0.001}
"""The headers that azure-core reads, in its order, with their unit in seconds."""
_MAX_LENGTH: Final = 64


def read_wait(
    headers: Mapping[str, str], *, longest: float = LONGEST_WAIT, now: float | None = None
) -> float | None:
    """Read how long a response asks the caller to wait.

    Args:
        headers: The headers of the response.
        longest: Maximum number of seconds to return.
        now: Unix time; by default the current time.

    Returns:
        Seconds from 0 to `longest`; None if there is no such header, or it is malformed.
    """
    given = {name.lower(): value for name, value in headers.items() if name.lower() in _HEADERS}
    for name, unit in _HEADERS.items():
        if name in given:
            seconds = _parse_wait(given[name][:_MAX_LENGTH], unit, time.time() if now is None else now)
            return None if math.isnan(seconds) else min(max(seconds, 0.0), longest)
    return None


def _parse_wait(text: str, unit: float, now: float) -> float:
    with suppress(ValueError):
        return float(text) * unit
    with suppress(ValueError, TypeError, OverflowError):
        return parsedate_to_datetime(text).timestamp() - now
    return math.nan


class _Bounded(RetryPolicyBase):
    """azure-core's retries, without endless and hopeless ones."""

    @override
    def get_retry_after(self, response: PipelineResponse[Any, Any]) -> float | None:
        return read_wait(response.http_response.headers)

    @override
    def configure_retries(self, options: dict[str, Any]) -> dict[str, Any]:
        settings = super().configure_retries(options)
        return {**settings, "deadline": time.monotonic() + settings["timeout"]}

    @override
    def is_retry(self, settings: dict[str, Any], response: PipelineResponse[Any, Any]) -> bool:
        # azure-core retries every response with a Retry-After, even a 400. It also waits beyond its own
        # timeout, and then reports only that.
        status = response.http_response.status_code
        may_pass = status >= 500 or status in self._retry_on_status_codes  # noqa: PLR2004 (HTTP's own number)
        wait = self.get_retry_after(response) or 0.0
        in_time = time.monotonic() + wait < settings["deadline"]
        return may_pass and in_time and super().is_retry(settings, response)

    @override
    def increment(
        self, settings: dict[str, Any], response: Any = None, error: Exception | None = None
    ) -> bool:
        return not isinstance(error, LASTING) and super().increment(settings, response, error)


class BoundedRetryPolicy(_Bounded, RetryPolicy[HttpRequest, HttpResponse]):
    """Retries 408, 429, 5xx and broken connections, and waits a minute at most each time."""


class AsyncBoundedRetryPolicy(_Bounded, AsyncRetryPolicy[HttpRequest, AsyncHttpResponse]):
    """As `BoundedRetryPolicy`, in asyncio code."""
