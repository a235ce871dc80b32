"""What goes wrong on purpose: one place that disturbs every service of the local Azure, and counts requests.

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
    """What one request meets instead of, or on its way to, its answer."""

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
    """How many requests are still to meet it; None is for ever."""
    met: int = 0
    """How many requests have met it."""

    def fits(self, service: str, method: str, path: str) -> bool:
        """Whether it is meant for this request."""
        return (
            self.times != 0
            and self.service == service
            and self.match in path
            and self.path in (None, path)
            and self.method in (None, method)
        )


@dataclass
class Limit:
    """So many requests in any span of so many seconds."""

    requests: int
    seconds: float
    seen: deque[float] = field(default_factory=deque)
    refused: int = 0
    """How many requests it has refused."""

    def wait(self) -> float:
        """Seconds until a request would be let through; 0 lets this one through."""
        now = time.monotonic()
        while self.seen and self.seen[0] <= now - self.seconds:
            self.seen.popleft()
        if len(self.seen) < self.requests:
            self.seen.append(now)
            return 0
        self.refused += 1
        return self.seen[0] + self.seconds - now if self.seen else self.seconds


class Faults:
    """The faults in force, each service's latency and its rate limit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._latency: dict[str, float] = {}
        self._limits: dict[str, Limit] = {}

    def add(  # noqa: PLR0913 (one call says all that is to go wrong, each part by its name)
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
        """Let something go wrong.

        The first fault that fits a request is the one that it meets. Without `status`, `body`, `hang`
        and `drop` a request is only delayed, and then answered.

        Args:
            service: `entra`, `vault`, `data_plane`, `instance_metadata` or `resource_manager`.
            match: Text that the request's path must contain.
            path: The whole path, for instance that of a vault's list, `/secrets`.
            method: Only this HTTP method.
            status: Answer this status, with an error in the service's own shape.
            retry_after: Send this Retry-After, in seconds.
            delay: Seconds before anything else.
            hang: Never answer.
            drop: Cut the connection instead of answering.
            body: Answer these bytes; with status 200 unless one is given.
            headers: More headers of the answer.
            when: `after` does what was asked for first, and then withholds the answer: the request had its
                effect and the caller does not know.
            times: For so many requests; None is until `clear`.

        Returns:
            The fault; its `met` counts the requests that met it.
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
        """Let every request to a service take so much longer."""
        with self._lock:
            self._latency[service] = seconds

    def limit(self, service: str, *, requests: int, seconds: float) -> Limit:
        """Let so many requests through in any span of so many seconds; the rest are answered 429.

        The answer's Retry-After says when there is room again, in whole seconds, at least 1.

        Returns:
            The limit; its `refused` counts the requests that were answered 429.
        """
        limit = Limit(requests, seconds)
        with self._lock:
            self._limits[service] = limit
        return limit

    def clear(self) -> None:
        """End every fault, latency and limit. Requests that hang already go on hanging."""
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
        """Answer a request, or what stands in its way."""
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
    body = build_error(f"Fault{status}", "A fault was asked for.")
    return web.Response(
        status=status, body=msgspec.json.encode(body), headers=headers, content_type="application/json"
    )


class RequestLog:
    """Counts requests by service, method and path; a path's query is not kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str, str]] = Counter()

    def add(self, service: str, method: str, path: str) -> None:
        """Count one."""
        with self._lock:
            self._counts[service, method, path] += 1

    def count(self, service: str, *, match: str = "", method: str | None = None) -> int:
        """Say how many requests a service has had.

        Args:
            service: As in `Faults.add`.
            match: Text that the path must contain.
            method: Only this HTTP method.
        """
        with self._lock:
            return sum(
                number
                for (of_service, of_method, path), number in self._counts.items()
                if of_service == service and match in path and method in (None, of_method)
            )

    def clear(self) -> None:
        """Begin again at nothing."""
        with self._lock:
            self._counts.clear()
