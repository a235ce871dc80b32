"""Asking the authority for a token, less the sending.

Sends nothing itself: a generator that yields what to send and is sent what came back, so that the sync and
the asyncio credential share every decision. Source: learn.microsoft.com, "OAuth 2.0 client credentials flow".
"""

import json
import re
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from azure.core.exceptions import AzureError
from azure.core.rest import AsyncHttpResponse, HttpRequest, HttpResponse

from hcpcreds.credential.source import CredentialSource, Snapshot

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_NOT_REGISTERED: Final = 700027
"""AADSTS700027: the certificate is not registered for this application (yet), or is past its time."""
_CODE = re.compile(r"AADSTS(\d+)")
_JWT = re.compile(r"eyJ[\w-]{10,}(\.[\w-]*)*")
_MAX_TEXT: Final = 600


Answer = HttpResponse | AsyncHttpResponse | AzureError
"""What came back: a response whose body is read, or why there is none."""


class TokenKey(NamedTuple):
    """What one cached token is for."""

    scopes: tuple[str, ...]
    tenant_id: str | None
    enable_cae: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token that the authority gave. Times are Unix seconds by the clock here."""

    token: str = field(repr=False)
    token_type: str
    expires_on: float
    refresh_on: float
    """From when on a new one is asked for, while this one still serves."""
    serve_until: float
    """Until when it is given out: a moment before it expires, for it has to travel still."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why there is no token."""

    message: str
    hint: str | None
    refused: bool
    """The authority said no; else it could not be asked, or gave no answer that is one."""
    status_code: int | None = None
    """HTTP status of the answer, if there was one."""


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One question to the authority, which may be sent more than once."""

    url: str
    form: dict[str, str]
    snapshot: Snapshot
    clock: Callable[[], float]
    sent_at: float = 0.0
    """Unix time of the last sending; the life of the token counts from there."""

    def sign(self) -> HttpRequest:
        """Build the request, signed; a new one for each sending, for an assertion is good for one."""
        self.sent_at = self.clock()
        assertion = self.snapshot.certificate.sign_assertion(
            client_id=self.snapshot.file.client_id, audience=self.url, now=self.sent_at
        )
        form = {**self.form, "client_assertion": assertion}
        return HttpRequest("POST", self.url, data=form, headers={"Accept": "application/json"})


def build_request(attempt: Attempt) -> tuple[HttpRequest, dict[str, Any]]:
    """Build what to run through a pipeline that signs, and with which options."""
    return HttpRequest("POST", attempt.url), {"attempt": attempt, "retry_on_methods": ["POST"]}


def ask_for_token(
    source: CredentialSource,
    key: TokenKey,
    *,
    claims: str | None,
    authority: str | None,
    clock: Callable[[], float],
) -> Generator[Attempt, Answer, Token | Failure]:
    """Ask for a token, with the previous certificate if the authority does not know the current one yet.

    Raises:
        HcpCredsError: The source has nothing to ask with.
    """
    failure: Failure | None = None
    for snapshot in source.get_usable():
        form = build_form(snapshot, key, claims=claims)
        tenant = key.tenant_id or snapshot.file.tenant_id
        url = f"{authority or snapshot.file.authority}/{tenant}/oauth2/v2.0/token"
        attempt = Attempt(url=url, form=form, snapshot=snapshot, clock=clock)
        answer = yield attempt
        result, codes = read_answer(answer, attempt)
        if isinstance(result, Token):
            source.set_refused(snapshot, refused=False)
            return result
        failure = failure or result
        if _NOT_REGISTERED not in codes:
            return result
        source.set_refused(snapshot, refused=True)
    assert failure is not None  # noqa: S101 (get_usable never answers an empty list)
    return failure


def build_form(snapshot: Snapshot, key: TokenKey, *, claims: str | None) -> dict[str, str]:
    """Build the form that asks for a token, less the assertion."""
    form = {
        "client_id": snapshot.file.client_id,
        "scope": " ".join(key.scopes),
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
    }
    if key.enable_cae:
        asked = json.loads(claims) if claims else {}
        asked.setdefault("access_token", {})["xms_cc"] = {"values": ["CP1"]}
        claims = json.dumps(asked)
    if claims:
        form["claims"] = claims
    return form


def read_answer(answer: Answer, attempt: Attempt) -> tuple[Token | Failure, set[int]]:
    """Read what the authority answered.

    Args:
        answer: The response, or why there is none.
        attempt: The question.

    Returns:
        The token, or why there is none and the AADSTS codes that say so.
    """
    who = f"no token for identity {attempt.snapshot.file.client_id} from {attempt.url}"
    if isinstance(answer, AzureError):
        return _build_unavailable(f"{who}: {type(answer).__name__}: {_cap(answer.message)}"), set()
    try:
        body = json.loads(answer.content)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return _build_unavailable(
            f"{who}: HTTP {answer.status_code} with a body that is no JSON object", answer
        ), set()
    if "error" in body:
        return _read_error(body, who=who, answer=answer)
    try:
        return _read_token(body, asked=attempt.sent_at), set()
    except (KeyError, TypeError, ValueError):
        return _build_unavailable(
            f"{who}: HTTP {answer.status_code} without a usable access_token and expires_in", answer
        ), set()


def _read_token(body: dict[str, Any], *, asked: float) -> Token:
    token = body["access_token"]
    life = float(body["expires_in"])
    if not isinstance(token, str) or not token or not life > 0:
        raise ValueError
    if "refresh_in" in body:
        refresh_in = min(float(body["refresh_in"]), life)
    else:
        refresh_in = life / 2 if life >= 7200 else life - min(300.0, life / 2)  # noqa: PLR2004 (two hours)
    return Token(
        token=token,
        token_type=str(body.get("token_type", "Bearer")),
        expires_on=asked + life,
        refresh_on=asked + refresh_in,
        serve_until=asked + life - min(5.0, life / 10),
    )


def _read_error(
    body: dict[str, Any], *, who: str, answer: HttpResponse | AsyncHttpResponse
) -> tuple[Failure, set[int]]:
    description = str(body.get("error_description", ""))
    codes = {int(code) for code in _CODE.findall(description)}
    listed = body.get("error_codes", [])
    if isinstance(listed, list):
        codes |= {code for code in listed if isinstance(code, int)}
    message = f"{who}: {_cap(str(body['error']))}: {_cap(description)}"
    if answer.status_code >= 500 or answer.status_code in (408, 429):  # noqa: PLR2004 (server errors)
        return _build_unavailable(f"{message} (HTTP {answer.status_code})", answer), codes
    hint = next((hint for code, hint in _HINTS.items() if code in codes), None)
    return Failure(message=message, hint=hint, refused=True, status_code=answer.status_code), codes


def _build_unavailable(message: str, answer: HttpResponse | AsyncHttpResponse | None = None) -> Failure:
    return Failure(
        message=message,
        hint="Is the authority reachable from here, and is its address right? The next call asks again.",
        refused=False,
        status_code=answer.status_code if answer else None,
    )


def _cap(text: str) -> str:
    # Nobody should echo an assertion or a token; should one be, it goes no further.
    line = _JWT.sub("***", " ".join(text.split()))
    return line if len(line) <= _MAX_TEXT else f"{line[:_MAX_TEXT]}…"


_HINTS: Final = {
    700027: "This certificate is not registered for the identity (yet), or is past its time.",
    700016: "The identity is unknown in this tenant: was it deleted, or is tenant_id another one's?",
    700024: "The assertion's times are off: is the clock here right?",
    90002: "The tenant is unknown to this authority: is it another cloud's?",
    500011: "The scope's resource is unknown in this tenant: is the scope another cloud's?",
    70011: "The scope is malformed; expected for instance https://management.azure.com/.default.",
    7000222: "The identity's credential is past its time in Entra ID: renew it.",
}
