"""Faults of the local services, injected on purpose, and counts of their requests.

Everything here may be called from any thread while the services run.
"""

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from aiohttp import web

BuildError = Callable[[str, str], dict[str, Any]]


@dataclass(kw_only=True)
class Fault:
    """A fault of a service: a delay, a failure, or a response in place of its own."""

    service: str
    match: str
    path: str | None
    method: str | None
    status: int | None
    retry_after: float | None
    delay: float
    hang: bool
    drop: bool
    body: bytes | None
    headers: Mapping[str, str]
    when: Literal["before", "after"]
    times: int | None
    """Number of requests that it is still in force for; None means until cleared."""
    met: int = 0
    """Number of requests that it has affected."""

    def fits(self, service: str, method: str, path: str) -> bool:
        """Whether it applies to a request."""
        return (
            self.times != 0
            and self.service == service
            and self.match in path
            and self.path in (None, path)
            and self.method in (None, method)
        )


@dataclass
class Limit:
    """A rate limit: a number of requests in any span of so many seconds."""

    requests: int
    seconds: float
    seen: deque[float] = field(default_factory=deque)
    refused: int = 0
    """Number of requests that it has refused."""

    def wait(self) -> float:
        """Admit a request and return 0, or return the seconds until one would be admitted."""
        now = time.monotonic()
        while self.seen and self.seen[0] <= now - self.seconds:
            self.seen.popleft()
        if len(self.seen) < self.requests:
            self.seen.append(now)
            return 0
        self.refused += 1
        return self.seen[0] + self.seconds - now if self.seen else self.seconds


class Faults:
    """The faults in force, and the latency and the rate limit of each service."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._latency: dict[str, float] = {}
        self._limits: dict[str, Limit] = {}

    def add(  # noqa: PLR0913 (the parts of a fault, each by its name)
        self,
        service: str,
        *,
        match: str = "",
        path: str | None = None,
        method: str | None = None,
        status: int | None = None,
        retry_after: float | None = None,
        delay: float = 0.0,
        hang: bool = False,
        drop: bool = False,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        when: Literal["before", "after"] = "before",
        times: int | None = None,
    ) -> Fault:
        """Add a fault.

        The first fault that matches a request applies. Without `status`, `body`, `hang` and `drop`, the
        request is only delayed, and then answered.

        Args:
            service: `entra`, `vault`, `data_plane`, `instance_metadata` or `resource_manager`.
            match: Only requests whose path contains this text.
            path: Only requests for this path, for instance `/secrets`, the list of a vault.
            method: Only requests with this HTTP method.
            status: Answer with this status, with an error in the service's own shape.
            retry_after: Send this Retry-After, in seconds.
            delay: Seconds to wait before anything else.
            hang: Never answer.
            drop: Cut the connection instead of answering.
            body: Answer with these bytes, and with status 200 unless one is given.
            headers: Additional headers of the response.
            when: `after` handles the request first and then withholds the response: the request had its
                effect, but the caller does not know.
            times: Number of requests; None means until `clear`.

        Returns:
            The fault; its `met` counts the requests that it has affected.
        """
        fault = Fault(
            service=service,
            match=match,
            path=path,
            method=method,
            status=status,
            retry_after=retry_after,
            delay=delay,
            hang=hang,
            drop=drop,
            body=body,
            headers=headers or {},
            when=when,
            times=times,
        )
        with self._lock:
            self._faults.append(fault)
        return fault

    def latency(self, service: str, seconds: float) -> None:
        """Delay every request to a service by so many seconds."""
        with self._lock:
            self._latency[service] = seconds

    def limit(self, service: str, *, requests: int, seconds: float) -> Limit:
        """Limit the requests in any span of so many seconds; those above the limit are answered with 429.

        The Retry-After of the response is the time until a request would be admitted, in whole seconds.

        Returns:
            The limit; its `refused` counts the requests that were answered with 429.
        """
        limit = Limit(requests, seconds)
        with self._lock:
            self._limits[service] = limit
        return limit

    def clear(self) -> None:
        """End every fault, latency and limit. Requests that already hang keep hanging."""
        with self._lock:
            self._faults.clear()
            self._latency.clear()
            self._limits.clear()

    async def apply(
        self,
        service: str,
        request: web.Request,
        answer: Callable[[], Awaitable[web.StreamResponse]],
        build_error: BuildError,
    ) -> web.StreamResponse:
        """Answer a request as the faults in force have it, else as the service does."""
        with self._lock:
            latency = self._latency.get(service, 0.0)
            limit = self._limits.get(service)
            wait = limit.wait() if limit else 0.0
            fault = None if wait else self._take(service, request)
        if latency:
            await asyncio.sleep(latency)
        if wait:
            return _throttled(wait, build_error)
        if fault is None:
            return await answer()
        withheld = await answer() if fault.when == "after" else None
        if fault.delay:
            await asyncio.sleep(fault.delay)
        if fault.hang:
            await asyncio.Event().wait()
        if fault.drop:
            if request.transport is not None:
                request.transport.abort()
            raise asyncio.CancelledError
        if fault.status is None and fault.body is None:
            return withheld or await answer()
        return _faulty(fault, build_error)

    def _take(self, service: str, request: web.Request) -> Fault | None:
        for fault in self._faults:
            if fault.fits(service, request.method, request.path):
                fault.met += 1
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None


def _throttled(wait: float, build_error: BuildError) -> web.Response:
    seconds = max(1, -int(-wait // 1))
    return web.Response(
        status=429,
        body=msgspec.json.encode(build_error("TooManyRequests", "The rate limit was reached.")),
        headers={"Retry-After": str(seconds)},
        content_type="application/json",
    )


def _faulty(fault: Fault, build_error: BuildError) -> web.Response:
    status = fault.status or 200
    headers = dict(fault.headers)
    if fault.retry_after is not None:
        headers["Retry-After"] = f"{fault.retry_after:g}"
    if fault.body is not None:
        return web.Response(status=status, body=fault.body, headers=headers)
    body = build_error(f"Fault{status}", "This fault was injected.")
    return web.Response(
        status=status, body=msgspec.json.encode(body), headers=headers, content_type="application/json"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class SeenRequest:
    """A request as an observer sees it, once it has been answered."""

    service: str
    at: float
    """When it was answered, by the monotonic clock."""
    agent: str
    """Its User-Agent."""
    certificate: str | None
    """Thumbprint of the certificate that it was signed with, or that its token was requested with, as it says
    itself."""
    status: int
    """Of the response; 0 if there was none."""
    error: str = ""
    """The body of a response that is an error."""


class RequestLog:
    """Counts requests by service, method and path; queries of paths are not counted.

    Attributes:
        observer: Called with each request to Entra ID and ARM once it is answered, on the services' thread.
    """

    def __init__(self) -> None:
        self.observer: Callable[[SeenRequest], None] | None = None
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str, str]] = Counter()

    def add(self, service: str, method: str, path: str) -> None:
        """Count one."""
        with self._lock:
            self._counts[service, method, path] += 1

    def count(self, service: str, *, match: str = "", method: str | None = None) -> int:
        """Count the requests to a service.

        Args:
            service: As in `Faults.add`.
            match: Only requests whose path contains this text.
            method: Only requests with this HTTP method.
        """
        with self._lock:
            return sum(
                number
                for (of_service, of_method, path), number in self._counts.items()
                if of_service == service and match in path and method in (None, of_method)
            )

    def clear(self) -> None:
        """Reset every count to zero."""
        with self._lock:
            self._counts.clear()
