"""Token requests to the authority, without the I/O.

The generator `ask_for_token` yields the requests to send and receives the responses, so that the sync and the
asyncio credential share every decision. Source: learn.microsoft.com, "OAuth 2.0 client credentials flow".
"""

import json
import math
import re
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from azure.core.exceptions import AzureError, ClientAuthenticationError, ServiceRequestError
from azure.core.rest import AsyncHttpResponse, HttpRequest, HttpResponse

from hcpcreds.clouds import Cloud
from hcpcreds.credential.source import CredentialSource
from hcpcreds.credential.state import Snapshot
from hcpcreds.credential.token_errors import CERTIFICATE_REFUSED, HINTS, IDENTITY_GONE
from hcpcreds.errors import HcpCredsError, MountFormatError
from hcpcreds.text import UUID, make_safe

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_LONGEST_LIFE: Final = 7 * 24 * 3600.0
"""Seconds. Tokens of Entra ID live for about a day; a response with a longer life is unusable."""
_SHORTEST_REFRESH: Final = 30.0
"""Seconds before a token is refreshed at the earliest, unless it lives for less than twice as long."""
_LONGEST_TOKEN: Final = 64 << 10
"""Characters; several times the longest header that any server accepts."""

_CODE: Final = re.compile(r"AADSTS([0-9]{4,9})(?![0-9])")
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
_TOKEN_TYPE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")

Answer = HttpResponse | AsyncHttpResponse | AzureError
"""A response whose body has been read, or the reason why there is none."""


class TokenRequest(NamedTuple):
    """The parameters of a token. At most one request is in progress for each value."""

    scopes: tuple[str, ...]
    tenant_id: str | None = None
    """Another tenant than the identity's own."""
    enable_cae: bool = False
    claims: str | None = None
    """A claims challenge, with which a resource refused the cached token."""

    @property
    def cache_key(self) -> tuple[tuple[str, ...], str | None, bool]:
        """The key of the cached token that satisfies the request, if it has no claims."""
        return self.scopes, self.tenant_id, self.enable_cae


class Moment(NamedTuple):
    """A point in time on two clocks: one may be set, and the other stops while the machine sleeps."""

    wall: float
    """Unix time."""
    monotonic: float
    """Seconds."""

    def after(self, seconds: float) -> "Moment":
        """Return the moment so many seconds later."""
        return Moment(self.wall + seconds, self.monotonic + seconds)

    def is_reached(self, now: "Moment") -> bool:
        """Return whether either clock has reached this moment."""
        return now.wall >= self.wall or now.monotonic >= self.monotonic


_NEVER: Final = Moment(0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token from the authority. Durations are seconds since the request was sent."""

    token: str = field(repr=False)
    token_type: str
    requested: Moment
    expires_in: float
    refresh_in: float
    """When to request a new token, while this one is still valid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why there is no token."""

    message: str
    hint: str | None
    refused: bool
    """Whether the authority refused; otherwise it was unreachable, or its response was unusable."""
    status_code: int | None = None
    """HTTP status of the response, if there was one."""
    codes: frozenset[int] = frozenset()
    """The numbers after AADSTS in the response."""

    @property
    def is_certificate(self) -> bool:
        """Whether the authority refused this certificate, so that another one may be accepted."""
        return self.refused and not self.codes.isdisjoint(CERTIFICATE_REFUSED)

    @property
    def is_gone(self) -> bool:
        """Whether the authority does not, or no longer, know the identity or its tenant."""
        return self.refused and not self.codes.isdisjoint(IDENTITY_GONE)


class SigningError(ClientAuthenticationError):
    """The private key cannot sign. An Azure error, so that the pipeline neither sends nor retries."""


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One request to the authority, which may be sent more than once."""

    url: str
    form: dict[str, str]
    snapshot: Snapshot
    now: Callable[[], Moment]
    sent: Moment = _NEVER
    """When it was last sent; the token's life starts then."""

    def sign(self) -> HttpRequest:
        """Build and sign the HTTP request. Call it before each sending: an assertion is valid for one use.

        Raises:
            SigningError: The private key cannot sign. Names only the type of the cause.
        """
        self.sent = self.now()
        try:
            assertion = self.sign_assertion()
        except Exception as error:  # noqa: BLE001 (OpenSSL may raise anything about a key)
            raise SigningError(type(error).__name__) from None
        form = {**self.form, "client_assertion": assertion}
        return HttpRequest("POST", self.url, data=form, headers={"Accept": "application/json"})

    def sign_assertion(self) -> str:
        """Sign the assertion."""
        file = self.snapshot.file
        return file.certificate.sign_assertion(
            client_id=file.client_id,
            audience=self.url,
            now=self.sent.wall,
            certificates=None if file.sends_chain else 0,
        )


def build_request(attempt: Attempt, *, seconds: float, patient: bool) -> tuple[HttpRequest, dict[str, Any]]:
    """Build the unsigned request and the options to run it with in a pipeline that signs.

    Args:
        attempt: The request.
        seconds: How long it may take in total, including retries.
        patient: Whether to retry failures.
    """
    options = {"attempt": attempt, "retry_on_methods": ["POST"], "timeout": max(seconds, 0.001)}
    return HttpRequest("POST", attempt.url), options if patient else {**options, "retry_total": 0}


def read_failure(error: Exception) -> AzureError:
    """Read why a request got no response.

    Args:
        error: Raised by the pipeline; an OSError or ValueError comes from the HTTP library.

    Raises:
        HcpCredsError: The request could not be sent because a setting is wrong.
    """
    if isinstance(error, AzureError):
        return error
    if isinstance(error, HcpCredsError):
        raise error
    return ServiceRequestError(str(error))


def ask_for_token(
    source: CredentialSource,
    request: TokenRequest,
    *,
    authority: str | None,
    cloud: Cloud | None,
    now: Callable[[], Moment],
) -> Generator[Attempt, Answer, Token | Failure]:
    """Request a token, with an earlier certificate if the authority refuses the current one.

    Args:
        source: The certificates to try.
        request: The parameters of the token.
        authority: URL of the authority to use instead of the one in the file.
        cloud: The cloud that the authority in the file must belong to; None for any.
        now: Both clocks.

    Raises:
        HcpCredsError: The source has no usable certificate, or its private key cannot sign.
    """
    failure: Failure | HcpCredsError | None = None
    for snapshot in source.get_usable(cloud if authority is None else None):
        tenant = request.tenant_id or snapshot.file.tenant_id
        url = f"{authority or snapshot.file.authority}/{tenant}/oauth2/v2.0/token"
        form = build_form(snapshot, request)
        attempt = Attempt(url=url, form=form, snapshot=snapshot, now=now)
        answer = yield attempt
        result = _read_signing_error(answer, source, snapshot) or read_answer(answer, attempt)
        if isinstance(result, Token):
            source.set_refused(snapshot, refused=False)
            return result
        if isinstance(result, Failure) and not result.is_certificate:
            return result
        failure = failure or result
        source.set_refused(snapshot, refused=True)
    assert failure is not None  # noqa: S101 (get_usable never returns an empty list)
    if isinstance(failure, HcpCredsError):
        raise failure
    return failure


def build_form(snapshot: Snapshot, request: TokenRequest) -> dict[str, str]:
    """Build the form of a token request, without the assertion."""
    form = {
        "client_id": snapshot.file.client_id,
        "scope": " ".join(request.scopes),
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
    }
    claims = merge_claims(request.claims, enable_cae=request.enable_cae)
    if claims:
        form["claims"] = claims
    return form


def merge_claims(claims: str | None, *, enable_cae: bool) -> str | None:
    """Add the claim that enables continuous access evaluation to the caller's claims, if there are any.

    Raises:
        ValueError, RecursionError: The claims, or their `access_token`, are not a JSON object.
    """
    if not claims and not enable_cae:
        return None
    asked = json.loads(claims, parse_constant=_refuse_constant) if claims else {}
    if not isinstance(asked, dict) or not isinstance(asked.get("access_token", {}), dict):
        raise ValueError  # noqa: TRY004 (one type for every fault of a text)
    if enable_cae:
        asked.setdefault("access_token", {})["xms_cc"] = {"values": ["CP1"]}
        claims = json.dumps(asked)
    return claims


def _refuse_constant(_: str) -> None:
    raise ValueError  # NaN and Infinity are not JSON


def _read_signing_error(
    answer: Answer, source: CredentialSource, snapshot: Snapshot
) -> MountFormatError | None:
    if not isinstance(answer, SigningError):
        return None
    return MountFormatError(
        f"the private key of identity {snapshot.file.client_id} from {source.path} cannot sign "
        f"({answer.message})",
        hint="The key in the credential file is damaged or too short. Have a new credential issued.",
    )


def read_answer(answer: Answer, attempt: Attempt) -> Token | Failure:
    """Read the authority's response.

    Args:
        answer: The response, or the reason why there is none.
        attempt: The request.
    """
    who = f"no token for identity {attempt.snapshot.file.client_id} from {make_safe(attempt.url)}"
    if isinstance(answer, AzureError):
        return _build_unavailable(f"{who}: {type(answer).__name__}: {make_safe(answer.message)}")
    try:
        body = json.loads(answer.content)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        return _build_unavailable(
            f"{who}: HTTP {answer.status_code} with a body that is not a JSON object", answer
        )
    if body.get("error") is not None:
        return _read_error(body, who=who, answer=answer)
    try:
        return _read_token(body, requested=attempt.sent)
    except _UnusableError as error:
        return _build_unavailable(f"{who}: HTTP {answer.status_code} without a usable {error}", answer)


class _UnusableError(Exception):
    """A field of a response is missing or unusable. Names only the field."""


def _read_token(body: dict[str, Any], *, requested: Moment) -> Token:
    token = body.get("access_token")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token) or len(token) > _LONGEST_TOKEN:
        raise _UnusableError("access_token")
    token_type = body.get("token_type")
    if token_type is not None and not (isinstance(token_type, str) and _TOKEN_TYPE.fullmatch(token_type)):
        raise _UnusableError("token_type")
    life = _read_seconds(body, "expires_in")
    if life is None or not 0 < life <= _LONGEST_LIFE:
        raise _UnusableError("expires_in")
    refresh_in = _read_seconds(body, "refresh_in")
    if refresh_in is None:
        refresh_in = life / 2 if life >= 7200 else life - min(300.0, life / 2)  # noqa: PLR2004 (two hours)
    elif refresh_in < 0:
        raise _UnusableError("refresh_in")
    return Token(
        token=token,
        token_type=token_type or "Bearer",
        requested=requested,
        expires_in=life,
        refresh_in=min(max(refresh_in, min(_SHORTEST_REFRESH, life / 2)), life),
    )


def _read_seconds(body: dict[str, Any], name: str) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _UnusableError(name)
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        raise _UnusableError(name) from None
    if not math.isfinite(seconds):
        raise _UnusableError(name)
    return seconds


def _read_error(body: dict[str, Any], *, who: str, answer: HttpResponse | AsyncHttpResponse) -> Failure:
    error, description, listed = (body.get(name) for name in ("error", "error_description", "error_codes"))
    description = description if isinstance(description, str) else ""
    codes = {int(code) for code in _CODE.findall(description)}
    if isinstance(listed, list):
        codes |= {code for code in listed if isinstance(code, int)}
    shown = f"{make_safe(error) if isinstance(error, str) else 'error'}: {make_safe(description)}"
    trace = body.get("trace_id")
    if isinstance(trace, str) and UUID.fullmatch(trace) and trace not in shown:
        shown = f"{shown} (trace ID {trace})"
    message = f"{who}: {shown}"
    if answer.status_code >= 500 or answer.status_code in (408, 429):  # noqa: PLR2004 (server errors)
        return _build_unavailable(f"{message} (HTTP {answer.status_code})", answer)
    return Failure(
        message=message,
        hint=next((hint for code, hint in HINTS.items() if code in codes), None),
        refused=True,
        status_code=answer.status_code,
        codes=frozenset(codes),
    )


def _build_unavailable(message: str, answer: HttpResponse | AsyncHttpResponse | None = None) -> Failure:
    return Failure(
        message=message,
        hint="Is the authority reachable from this machine, and is its URL right? The next call retries.",
        refused=False,
        status_code=answer.status_code if answer else None,
    )
