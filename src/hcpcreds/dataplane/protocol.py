"""The calls of the managed-identity data plane as values, without I/O: the clients only send them.

Source: Azure/msi-dataplane, pkg/dataplane (August 2026).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Final, Generic, TypeVar
from urllib.parse import urlsplit, urlunsplit

from azure.core.exceptions import AzureError
from azure.core.rest import HttpRequest

from hcpcreds.dataplane.challenge import find_tenant
from hcpcreds.dataplane.models import (
    ErrorResponse,
    ManagedIdentityCredentials,
    Model,
    ModelType,
    MoveIdentityRequest,
    MoveIdentityResponse,
    UserAssignedIdentitiesRequest,
    parse_model,
    render_model,
)
from hcpcreds.dataplane.refusals import INTERCEPTED, is_intercepted, is_refusal, is_refusal_status
from hcpcreds.errors import InputError, IssueError, IssueRefusedError, IssueUnavailableError
from hcpcreds.text import make_safe

API_VERSION: Final = "2024-01-01"
_CHALLENGE_HEADER: Final = "WWW-Authenticate"
_HINTS: Final = {
    401: "Use a credential of an application that may call the data plane, and the data plane's audience.",
    403: "The application may not get the credentials of this resource.",
    404: "The identity does not exist; get the x-ms-identity-url from ARM again.",
    429: "Throttled; try again later.",
    503: "Try again later.",
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and body of a response. The SDK's own response would keep its connection open."""

    status: int
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One call: what to send, and how to read the answer."""

    request: HttpRequest
    read: Callable[[Answer], T]
    """Raises IssueError when the service refused, or when the answer cannot be used."""


def get_credentials(identity_url: str) -> Call[ManagedIdentityCredentials]:
    """Build the call that gets, or renews, the credential behind an identity URL."""
    return _build_call(build_request("GET", identity_url), ManagedIdentityCredentials)


def issue_credentials(
    identity_url: str, request: UserAssignedIdentitiesRequest
) -> Call[ManagedIdentityCredentials]:
    """Build the call that issues credentials for user-assigned identities."""
    return _build_call(build_request("POST", identity_url, body=request), ManagedIdentityCredentials)


def move_identity(identity_url: str, request: MoveIdentityRequest) -> Call[MoveIdentityResponse]:
    """Build the call that moves a proxy resource."""
    return _build_call(
        build_request("POST", identity_url, path="/proxy/move", body=request), MoveIdentityResponse
    )


def delete_identity(identity_url: str) -> Call[None]:
    """Build the call that deletes a system-assigned identity."""
    request = build_request("DELETE", identity_url)
    return Call(request, partial(_check_deleted, request))


def build_request(
    method: str, identity_url: str, *, path: str = "", body: Model | None = None
) -> HttpRequest:
    """Build a request; the query of the URL is kept byte for byte, and the api-version is appended."""
    parts = urlsplit(identity_url)
    query = "&".join(part for part in (parts.query, f"api-version={API_VERSION}") if part)
    headers = {"Accept": "application/json"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    place = parts.path.rstrip("/") + path if path else parts.path
    return HttpRequest(
        method,
        urlunsplit((parts.scheme, parts.netloc, place, query, "")),
        headers=headers,
        content=None if body is None else render_model(body),
    )


def _build_call(request: HttpRequest, model: type[ModelType]) -> Call[ModelType]:
    return Call(request, partial(read_answer, request, model=model))


class Tenants:
    """The tenant that each host wants its tokens from, learned from the host's challenges.

    azure-core's bearer policy caches a single token, so callers for two tenants would get each other's.
    """

    def __init__(self) -> None:
        self._by_host: dict[str, str] = {}

    def get(self, request: HttpRequest) -> str | None:
        """Return the tenant for a request, or None before the host's first challenge: then send no token."""
        return self._by_host.get(urlsplit(request.url).netloc)

    def learn(self, request: HttpRequest, *, status: int, headers: Mapping[str, str]) -> str | None:
        """Return the tenant that a response asks for, or None when the response is not a challenge.

        Raises:
            IssueError: The challenge cannot be parsed, or names no tenant.
        """
        # aiohttp's multi-dictionary keeps repeated header fields apart.
        header = (
            ", ".join(headers.getall(_CHALLENGE_HEADER, []))
            if hasattr(headers, "getall")
            else headers.get(_CHALLENGE_HEADER, "")
        )
        if status != HTTPStatus.UNAUTHORIZED or not header:
            return None
        try:
            tenant = find_tenant(header)
        except InputError as error:
            raise IssueUnavailableError(f"{describe(request)}: unusable challenge: {error}") from None
        self._by_host[urlsplit(request.url).netloc] = tenant
        return tenant


@contextmanager
def raising_issue_errors(request: HttpRequest) -> Iterator[None]:
    """Turn azure-core's exceptions into an IssueError that names the call.

    Raises:
        IssueError: There is no token, no connection or no answer.
    """
    try:
        yield
    except AzureError as error:
        kind = IssueRefusedError if is_refusal(error) else IssueUnavailableError
        raise kind(f"{describe(request)}: {make_safe(error.message)}") from None


def describe(request: HttpRequest) -> str:
    """Name a call in a message, without its query."""
    parts = urlsplit(request.url)
    return make_safe(f"{request.method} {parts.netloc}{parts.path}")


def read_answer(request: HttpRequest, answer: Answer, model: type[ModelType]) -> ModelType:
    """Read the answer to a call.

    Raises:
        IssueError: The service refused, or the answer cannot be used. Never holds the answer's content.
    """
    if answer.status != HTTPStatus.OK:
        raise _build_refusal(request, answer)
    try:
        return parse_model(answer.content, model)
    except InputError as error:
        raise IssueUnavailableError(f"{describe(request)}: unreadable answer: {error}") from None


def _check_deleted(request: HttpRequest, answer: Answer) -> None:
    if answer.status not in {HTTPStatus.OK, HTTPStatus.NO_CONTENT}:
        raise _build_refusal(request, answer)


def _build_refusal(request: HttpRequest, answer: Answer) -> IssueError:
    try:
        detail = parse_model(answer.content, ErrorResponse).error
    except InputError:
        detail = None
    if detail is None and is_intercepted(answer.status):
        return IssueUnavailableError(
            f"{describe(request)}: HTTP {answer.status}, but not from the data plane", hint=INTERCEPTED
        )
    said = make_safe(f"{detail.code}: {detail.message}") if detail else "no readable error"
    kind = IssueRefusedError if is_refusal_status(answer.status) else IssueUnavailableError
    return kind(f"{describe(request)}: HTTP {answer.status}, {said}", hint=_HINTS.get(answer.status))
