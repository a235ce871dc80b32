"""The token endpoint: answers from memory, and asks the authority when there is nothing in it."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final, NamedTuple

from hcpcreds.credential.base import CachedToken
from hcpcreds.credential.counts import TokenCounts
from hcpcreds.credential.token_errors import CERTIFICATE_REFUSED
from hcpcreds.endpoint.credential import ServedCredential
from hcpcreds.endpoint.guard import Guard
from hcpcreds.endpoint.protocols import Protocol, give_token
from hcpcreds.endpoint.question import Question, find_identity, read_question
from hcpcreds.endpoint.refusals import Refusal, build_delay
from hcpcreds.errors import CredentialExpiredError, HcpCredsError, MountError, TokenRefusedError
from hcpcreds.serving import Handler, Request, Response, Route
from hcpcreds.text import make_safe

_RENDER_SECONDS: Final = 1.0
"""How long a rendered answer is given: it says how many seconds its token has left."""
_MOST_ANSWERS: Final = 1000
_RETRY_SECONDS: Final = 2
"""What programs are told to wait while there is no token. Well below the ten seconds that they may stand."""
_FAILURE_SECONDS: Final = 1.0
"""How long a failure is answered to whoever asks the same, before the authority is asked again."""
_REFUSED_SECONDS: Final = 10.0
"""The same when the authority has said no."""
_RATE: Final = 10.0
"""Requests to the authority per second for each credential, and ten times as many at once."""


class _Answer(NamedTuple):
    response: Response
    until: float
    """Monotonic seconds."""
    counts: TokenCounts


class _Failure(NamedTuple):
    refusal: Refusal
    until: float


class TokenEndpoint:
    """Answers the requests of programs. Use it on one event loop.

    Args:
        credentials: The credentials by name.
        resources: What tokens may be asked for, without closing slashes; None for everything.
        on_fetched: Called with the name of a credential, the resource and the scope, when the authority has
            given a token that a program was waiting for.
        clock: Unix time.
        monotonic: Seconds.
    """

    def __init__(
        self,
        credentials: Mapping[str, ServedCredential],
        *,
        resources: frozenset[str] | None = None,
        on_fetched: Callable[[str, str, str], None] = lambda *_: None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.results: Counter[tuple[str, str]] = Counter()
        """Requests by protocol and result: `cached`, `fetched`, or why there was no token."""
        self._credentials = credentials
        self._resources = resources
        self._on_fetched = on_fetched
        self._clock = clock
        self._monotonic = monotonic
        self._answers: dict[tuple[str, str], _Answer] = {}
        self._failures: dict[tuple[str, str], _Failure] = {}
        self._allowance = _Allowance(_RATE * len(credentials), monotonic)

    def build_routes(self, protocol: Protocol, guard: Guard) -> dict[str, Route]:
        """Build what a server serves.

        Args:
            protocol: How programs ask.
            guard: Who may ask.
        """
        route = Route(self._build_handler(protocol, guard), ("GET",))
        return dict.fromkeys(protocol.paths, route)

    def _build_handler(self, protocol: Protocol, guard: Guard) -> Handler:
        results, answers, name = self.results, self._answers, protocol.name
        check, admit, monotonic = guard.check, protocol.admit, self._monotonic

        def answer(request: Request) -> Response | Awaitable[Response]:
            try:
                check(request)
                admit(request)
                found = answers.get((name, request.query))
                if found is not None and monotonic() < found.until:
                    results[name, "cached"] += 1
                    found.counts.hits += 1
                    return found.response
                return self._answer(protocol, request.query)
            except Refusal as refusal:
                return self._refuse(protocol, refusal)
            except HcpCredsError as error:  # this process is about to end
                return self._refuse(protocol, _read_error(error))

        return answer

    def _answer(self, protocol: Protocol, query: str) -> Response | Awaitable[Response]:
        """Answer what was not asked within this second.

        Raises:
            Refusal: There is no token.
        """
        question = read_question(query, oldest_version=protocol.oldest_version)
        if self._resources is not None and question.resource.rstrip("/") not in self._resources:
            raise Refusal(
                HTTPStatus.FORBIDDEN,
                "invalid_resource",
                f"This endpoint gives no tokens for {make_safe(question.resource)}",
                reason="resource",
            )
        name = find_identity(question, {name: each.file for name, each in self._credentials.items()})
        credential = self._credentials[name]
        cached = credential.find_fresh_token(question.scope)
        if cached is not None:
            self.results[protocol.name, "cached"] += 1
            credential.counts.hits += 1
            return self._give(protocol, query, question, credential, cached)
        failure = self._failures.get((name, question.scope))
        if failure is not None and self._monotonic() < failure.until:
            return self._refuse(protocol, failure.refusal)
        if not self._allowance.take():
            raise Refusal(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too_many_requests",
                "Too many different tokens are asked for",
                retry_after=1,
            )
        return self._fetch(protocol, query, question, name)

    async def _fetch(self, protocol: Protocol, query: str, question: Question, name: str) -> Response:
        credential = self._credentials[name]
        try:
            # The request of another program may have brought one before this task had its turn.
            cached = credential.find_fresh_token(question.scope)
            cached = cached or await credential.fetch_token(question.scope)
        except HcpCredsError as error:
            refusal = _read_error(error)
            self._note_failure((name, question.scope), refusal)
            return self._refuse(protocol, refusal)
        self.results[protocol.name, "fetched"] += 1
        self._on_fetched(name, question.resource, question.scope)
        return self._give(protocol, query, question, credential, cached)

    def _give(
        self,
        protocol: Protocol,
        query: str,
        question: Question,
        credential: ServedCredential,
        cached: CachedToken,
    ) -> Response:
        file = credential.file
        response = give_token(
            cached.info,
            client_id=file.client_id if file else "",
            resource=question.resource,
            now=self._clock(),
        )
        if len(self._answers) >= _MOST_ANSWERS:
            self._answers.clear()
        self._answers[protocol.name, query] = _Answer(
            response, self._monotonic() + _RENDER_SECONDS, credential.counts
        )
        return response

    def _refuse(self, protocol: Protocol, refusal: Refusal) -> Response:
        self.results[protocol.name, refusal.reason] += 1
        return protocol.refuse(refusal)

    def _note_failure(self, key: tuple[str, str], refusal: Refusal) -> None:
        if len(self._failures) >= _MOST_ANSWERS:
            self._failures.clear()
        seconds = _FAILURE_SECONDS if refusal.retry_after else _REFUSED_SECONDS
        self._failures[key] = _Failure(refusal, self._monotonic() + seconds)


def _read_error(error: HcpCredsError) -> Refusal:
    """Make a refusal of what a credential raised."""
    if isinstance(error, TokenRefusedError) and error.codes.isdisjoint(CERTIFICATE_REFUSED):
        return Refusal(HTTPStatus.BAD_REQUEST, "invalid_request", str(error), reason="refused")
    reason = "unavailable"
    if isinstance(error, TokenRefusedError):
        reason = "certificate_refused"  # one that is new may be taken soon
    elif isinstance(error, MountError | CredentialExpiredError):
        reason = "not_mounted"
    return build_delay(str(error), seconds=_RETRY_SECONDS, reason=reason)


class _Allowance:
    """How many requests to the authority may be caused now, whoever asks for what."""

    def __init__(self, rate: float, monotonic: Callable[[], float]) -> None:
        self._rate = rate
        self._most = self._left = 10 * rate
        self._monotonic = monotonic
        self._at = monotonic()

    def take(self) -> bool:
        """Whether one more may be."""
        now = self._monotonic()
        self._left, self._at = min(self._most, self._left + (now - self._at) * self._rate), now
        if self._left < 1:
            return False
        self._left -= 1
        return True
