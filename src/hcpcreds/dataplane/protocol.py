"""Every decision of the data-plane clients, without I/O: the sync client and its aio twin only send.

Source: Azure/msi-dataplane, pkg/dataplane (August 2026).
"""

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from azure.core.exceptions import AzureError
from azure.core.rest import HttpRequest

from hcpcreds.clouds import LOOPBACK, SHARED_DOMAINS
from hcpcreds.dataplane.challenge import find_tenant
from hcpcreds.dataplane.models import ErrorResponse, Model, ModelType, parse_model, render_model
from hcpcreds.dataplane.refusals import INTERCEPTED, is_intercepted, is_refusal, is_refusal_status
from hcpcreds.errors import InputError, IssueError, IssueRefusedError, IssueUnavailableError
from hcpcreds.text import make_safe

API_VERSION: Final = "2024-01-01"
_CHALLENGE_HEADER: Final = "WWW-Authenticate"
_AUTHORITY: Final = re.compile(r"([a-zA-Z0-9.-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?")
"""Host and port, and no user: what every parser of URLs reads alike."""
_PRINTABLE: Final = re.compile(r"[!-\[\]-~]+")
"""ASCII without blanks, control characters and backslashes."""
_HOST: Final = re.compile(
    r"(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
)
"""A host name of at least two labels, lower-case."""
_HINTS: Final = {
    401: "The credential must be of an application that may call the data plane, and the audience its own.",
    403: "The application may not get this resource's credentials.",
    404: "There is no such identity; take the x-ms-identity-url from ARM again.",
    429: "Throttled; try again later.",
    503: "Try again later.",
}


def choose_hosts(audience: str, hosts: Collection[str] | None) -> tuple[str, ...]:
    """Choose which hosts a token for the data plane may be sent to.

    Args:
        audience: The data plane's.
        hosts: Host names, each meant with its subdomains; None means the audience's own.

    Raises:
        InputError: None is named, and the audience is no https URL that names one; or one is no host name, or
            a domain below which others than the data plane have their hosts.
    """
    if hosts is None:
        host = find_host(audience)
        hosts = [host] if host else []
    if not hosts:
        raise InputError(
            "hosts", [f"none is named, and the audience {make_safe(audience)} is no https URL of one"]
        )
    chosen = tuple(host.lower().removesuffix(".").strip("[]") for host in hosts)
    problems = [
        f"{make_safe(host)}: expected a host's name such as identity.azure.net, without scheme, port or *"
        for host in chosen
        if host not in LOOPBACK and not _HOST.fullmatch(host)
    ]
    problems += [f"{host}: anybody can have a host below it" for host in chosen if host in SHARED_DOMAINS]
    if problems:
        raise InputError("hosts", problems, hint="A token of the renewer's could go to every host below it.")
    return chosen


def check_identity_url(identity_url: str, hosts: Collection[str]) -> str:
    """Return an ``x-ms-identity-url`` or ``client_secret_url`` that can be called.

    Such a URL comes from ARM or out of a vault; the caller's token must not go wherever it says.

    Args:
        identity_url: The URL.
        hosts: As `choose_hosts` has chosen.

    Raises:
        InputError: Not an https URL, so that the token would go out in the clear; or of another host.
    """
    host = find_host(identity_url)
    if not host:
        raise InputError("identity URL", ["expected https://<host>/<path>?<query>, as ARM gave it"])
    if not is_host_among(host, hosts):
        raise InputError(
            "identity URL",
            [f"its host {make_safe(host)} is not one that a token may go to: {', '.join(hosts)}"],
            hint="If it is the data plane's, allow it by name (hosts, or --data-plane-host).",
        )
    return identity_url


def find_host(url: str) -> str | None:
    """Find the host of an https URL, lower-case; None when it is none, or none that everybody reads alike."""
    # Other parsers take other ends for that of the host: of https://a\@b/, requests calls a, and not b.
    with suppress(ValueError):  # brackets that hold no IPv6 address
        parts = urlsplit(url)
        if parts.scheme == "https" and _AUTHORITY.fullmatch(parts.netloc) and _PRINTABLE.fullmatch(url):
            return parts.hostname
    return None


def is_host_among(host: str, hosts: Collection[str]) -> bool:
    """Tell whether a host is one of those, or below one of them."""
    return any(host == allowed or host.endswith(f".{allowed}") for allowed in hosts)


def build_request(
    method: str, identity_url: str, *, path: str = "", body: Model | None = None
) -> HttpRequest:
    """Build a call: the URL's own query is kept to the byte, and the api-version added to it."""
    parts = urlsplit(identity_url)
    query = "&".join(part for part in (parts.query, f"api-version={API_VERSION}") if part)
    headers = {"Accept": "application/json"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    return HttpRequest(
        method,
        urlunsplit(
            (parts.scheme, parts.netloc, parts.path.rstrip("/") + path if path else parts.path, query, "")
        ),
        headers=headers,
        content=None if body is None else render_model(body),
    )


class Tenants:
    """Which tenant each host wants its tokens from, as its challenges said.

    azure-core's own bearer policy keeps one token for everything, which two tenants' callers would swap.
    """

    def __init__(self) -> None:
        self._by_host: dict[str, str] = {}

    def get(self, request: HttpRequest) -> str | None:
        """Return the tenant for a request; None before the first challenge: then it goes without a token."""
        return self._by_host.get(urlsplit(request.url).netloc)

    def learn(self, request: HttpRequest, *, status: int, headers: Mapping[str, str]) -> str | None:
        """Return the tenant that an answer asks for; None when it is no challenge.

        Raises:
            IssueError: A challenge that cannot be read, or that names no tenant.
        """
        # aiohttp's multi-dictionary keeps each of several fields apart.
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
            raise IssueUnavailableError(f"{describe(request)}: its challenge is of no use: {error}") from None
        self._by_host[urlsplit(request.url).netloc] = tenant
        return tenant


@contextmanager
def raising_issue_errors(request: HttpRequest) -> Iterator[None]:
    """Turn what azure-core raises into an IssueError that names the call.

    Raises:
        IssueError: No token, no connection, no answer.
    """
    try:
        yield
    except AzureError as error:
        kind = IssueRefusedError if is_refusal(error) else IssueUnavailableError
        raise kind(f"{describe(request)}: {make_safe(error.message)}") from None


def describe(request: HttpRequest) -> str:
    """Name a call in an error; the query stays out of it."""
    parts = urlsplit(request.url)
    return make_safe(f"{request.method} {parts.netloc}{parts.path}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. In place of the SDK's response, which keeps its connection open while it is held."""

    status: int
    content: bytes = field(repr=False)


def read_answer(request: HttpRequest, answer: Answer, model: type[ModelType]) -> ModelType:
    """Read what a call answered.

    Raises:
        IssueError: The service said no, or what came is no such answer. Never holds the answer's content.
    """
    if answer.status != HTTPStatus.OK:
        raise _refusal(request, answer)
    try:
        return parse_model(answer.content, model)
    except InputError as error:
        raise IssueUnavailableError(f"{describe(request)}: the answer is unreadable: {error}") from None


def check_deleted(request: HttpRequest, answer: Answer) -> None:
    """Read what a deletion answered.

    Raises:
        IssueError: The service said no.
    """
    if answer.status not in {HTTPStatus.OK, HTTPStatus.NO_CONTENT}:
        raise _refusal(request, answer)


def _refusal(request: HttpRequest, answer: Answer) -> IssueError:
    try:
        detail = parse_model(answer.content, ErrorResponse).error
    except InputError:
        detail = None
    if detail is None and is_intercepted(answer.status):
        return IssueUnavailableError(
            f"{describe(request)}: HTTP {answer.status} with what is not an answer of the data plane",
            hint=INTERCEPTED,
        )
    said = make_safe(f"{detail.code}: {detail.message}") if detail else "no readable error"
    kind = IssueRefusedError if is_refusal_status(answer.status) else IssueUnavailableError
    return kind(
        f"{describe(request)}: answered {answer.status}, {said}",
        hint=_HINTS.get(answer.status),
    )
