"""Responses of the authority are foreign text: none stops a credential, is trusted too far, or leaks."""

import functools
import json
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.credential.conftest import SCOPE, Identity, Make
from tests.credential.files import Clock, issue, render_file
from tests.support.heap import find_objects
from tests.support.waiting import wait_until

import hcpcreds
from hcpcreds.credential.authority import Attempt, Failure, Moment, Token, read_answer
from hcpcreds.credential.state import Snapshot
from hcpcreds.credential.token_errors import CERTIFICATE_REFUSED, HINTS, IDENTITY_GONE
from hcpcreds.credential_file.file import parse_credential_file
from hcpcreds.errors import TokenRefusedError, TokenUnavailableError
from hcpcreds.local.azure.azure import LocalAzure

SENTINEL = "SENTINEL-3f9d"
PACKAGE = str(Path(hcpcreds.__file__).parent)
DEEP = "[" * 100_000


def render(**fields: Any) -> bytes:
    answer = {"access_token": SENTINEL, "token_type": "Bearer", "expires_in": 3600, **fields}
    return json.dumps(answer).encode()


def render_raw(name: str, value: str) -> bytes:
    """Render a response with a value that `json.dumps` would not write."""
    return render(**{name: "RAW"}).replace(b'"RAW"', value.encode())


BAD = {
    **{
        f"{name}={value[:12]}": (render_raw(name, value), name)
        for name in ("expires_in", "refresh_in")
        for value in (
            "Infinity",
            "-Infinity",
            "NaN",
            "1e400",
            '"inf"',
            '"nan"',
            '"soon"',
            '""',
            "-1",
            "true",
            "[]",
            "{}",
            "9" * 400,
            f'"{"9" * 400}"',
        )
    },
    **{
        f"expires_in={value}": (render_raw("expires_in", value), "expires_in")
        for value in ("0", "-0.0", "1e300", "604801", "null")
    },
    "access_token=line break": (render(access_token=f"{SENTINEL}\nX: y"), "access_token"),
    "access_token=blank": (render(access_token=f"{SENTINEL} x"), "access_token"),
    "access_token=not ASCII": (render(access_token=f"{SENTINEL}é"), "access_token"),
    "access_token=NUL": (render(access_token=f"{SENTINEL}\0"), "access_token"),
    "access_token=too long": (render(access_token=SENTINEL + "x" * (64 << 10)), "access_token"),
    "access_token=list": (render(access_token=[SENTINEL]), "access_token"),
    "access_token=empty": (render(access_token=""), "access_token"),
    "token_type=object": (render(token_type={"a": "b"}), "token_type"),
    "token_type=two words": (render(token_type="Bearer x"), "token_type"),
    "token_type=line break": (render(token_type="Bearer\n"), "token_type"),
    "token_type=long": (render(token_type="B" * 33), "token_type"),
    "deep": (DEEP.encode(), "not a JSON object"),
    "deep in a field": (render_raw("x", DEEP + "]" * 100_000), "not a JSON object"),
    "long integer": (render_raw("x", "9" * 5_000), "not a JSON object"),
    "not UTF-8": (b"\xff" + render(), "not a JSON object"),
}


@pytest.mark.parametrize("body", BAD, ids=str)
def test_next_call_retries_when_the_response_is_unusable(
    identity: Identity, make: Make, azure: LocalAzure, body: str
):
    content, message = BAD[body]
    identity.rotate()
    credential = make(retry_total=0)
    azure.faults.add("entra", body=content, times=1)
    with pytest.raises(TokenUnavailableError, match=message) as raised:
        credential.get_token(SCOPE)
    assert isinstance(raised.value, ClientAuthenticationError)
    assert len(str(raised.value)) < 600
    assert_hidden(raised.value)
    assert credential.get_token(SCOPE).token != SENTINEL
    credential.close()


REFUSALS = {
    "code of 5,000 digits": {"error": "x", "error_description": f"AADSTS{'9' * 5_000}"},
    "codes of all kinds": {"error": "x", "error_codes": [True, 1.5, None, [], {}, "a", 10**400]},
    "codes that are no list": {"error": "x", "error_codes": {"a": 1}},
    "error that is no text": {"error": {"a": [1]}, "error_description": ["AADSTS700027"]},
    "description with escapes": {
        "error": "x",
        "error_description": f"\x1b]0;x\x07\u202e\r\nBearer {SENTINEL}",
    },
    "description without end": {"error": "x", "error_description": "word " * 100_000},
}


@pytest.mark.parametrize("body", REFUSALS, ids=str)
def test_refusal_is_one_safe_line_when_its_text_is_anything(
    identity: Identity, make: Make, azure: LocalAzure, body: str
):
    identity.rotate()
    credential = make()
    azure.faults.add("entra", status=400, body=json.dumps(REFUSALS[body]).encode(), times=1)
    with pytest.raises(TokenRefusedError) as raised:
        credential.get_token(SCOPE)
    assert raised.value.message.isprintable()
    assert len(str(raised.value)) < 800
    assert SENTINEL not in str(raised.value)
    assert credential.get_token(SCOPE)


def test_refusal_shows_code_and_trace_id_when_the_description_is_long(
    identity: Identity, make: Make, azure: LocalAzure
):
    identity.rotate()
    trace = "255d1aef-8c98-452f-ac51-23d051240864"
    description = f"AADSTS700016: Application not found. {'It is long. ' * 40} Trace ID: {trace}"
    body = {"error": "unauthorized_client", "error_description": description, "trace_id": trace}
    azure.faults.add("entra", status=400, body=json.dumps(body).encode(), times=1)
    with pytest.raises(TokenRefusedError, match=f"unauthorized_client: AADSTS700016.*{trace}"):
        make().get_token(SCOPE)


def assert_hidden(error: BaseException) -> None:
    """Assert that no object kept alive by an exception holds the authority's response."""
    assert error.__cause__ is None
    assert error.__context__ is None
    for frame in walk_frames(error.__traceback__):
        if frame.f_code.co_filename.startswith(PACKAGE):
            assert SENTINEL not in repr(frame.f_locals)
    for traceback in find_objects(types.TracebackType):
        for frame in walk_frames(traceback):
            if frame.f_code.co_filename.startswith(PACKAGE):
                assert SENTINEL not in repr(frame.f_locals), "a traceback that somebody keeps"


def walk_frames(traceback: types.TracebackType | None) -> Iterator[types.FrameType]:
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next


@pytest.mark.parametrize(
    "fields",
    [
        {"refresh_in": None},
        {"error": None},
        {"error": None, "error_description": None, "error_codes": None},
        {"token_type": None},
        {"expires_in": "3600"},
        {"expires_in": 3600.5},
        {"expires_in": 604800},
        {"refresh_in": "1800"},
        {"refresh_in": 1e300},
        {"access_token": "~!" * 10},
        {"unknown": [1]},
    ],
)
def test_token_is_accepted_when_the_response_is_only_unusual(
    identity: Identity, make: Make, azure: LocalAzure, fields: dict[str, Any]
):
    identity.rotate()
    credential = make()
    answer = render(**fields)
    azure.faults.add("entra", body=answer, times=1)
    info = credential.get_token_info(SCOPE)
    assert info.token == json.loads(answer)["access_token"]
    assert info.token_type == "Bearer"
    assert credential.get_token(SCOPE).token == info.token
    assert info.refresh_on is not None
    assert info.refresh_on <= info.expires_on


def test_requests_are_half_a_minute_apart_when_the_authority_wants_a_refresh_at_once(
    identity: Identity, make: Make, azure: LocalAzure, clock: Clock
):
    identity.rotate()
    credential = make(clock=clock)
    azure.faults.add("entra", body=render(refresh_in=0))
    for _ in range(50):
        credential.get_token(SCOPE)
    clock.ahead = 29
    credential.get_token(SCOPE)
    assert identity.count_requests() == 1
    clock.ahead = 31
    credential.get_token(SCOPE)
    wait_until(lambda: identity.count_requests() == 2)


def test_old_token_is_used_and_refreshed_later_when_a_refresh_gets_an_unusable_response(
    identity: Identity, make: Make, azure: LocalAzure, clock: Clock
):
    identity.rotate()
    credential = make(clock=clock)
    first = credential.get_token(SCOPE)
    azure.faults.add("entra", body=render_raw("expires_in", "Infinity"), times=1)
    clock.ahead = 3400
    assert credential.get_token(SCOPE) == first
    wait_until(lambda: identity.count_requests() == 2)
    clock.ahead = 3600
    assert credential.get_token(SCOPE) not in (first, SENTINEL)


EXPECTED = {
    700027: "not registered",
    1000502: "expired or is not valid yet",
    7000214: "revoked",
    7000277: "revoked",
    7000274: "signature",
    7000215: "not the one that is registered",
    7000222: "Renew it",
    700023: "another token endpoint",
    700030: "subject or issuer",
    50012: "chain",
    700016: "does not know the identity",
    700011: "does not know the identity",
    700082: "grant has expired",
    7000112: "disabled",
    7000229: "service principal",
    90002: "does not know the tenant",
    5000224: "tenant is not available",
    5000225: "it was not used",
    700024: "clock of this machine right",
    500011: "does not know the resource",
    70011: "scope is malformed",
}


def test_every_known_code_has_its_own_hint():
    assert set(EXPECTED) == set(HINTS)
    assert set(HINTS) >= CERTIFICATE_REFUSED | IDENTITY_GONE


@pytest.mark.parametrize("code", EXPECTED)
def test_error_has_a_hint_when_the_authority_refuses_with_a_known_code(
    identity: Identity, make: Make, azure: LocalAzure, code: int
):
    identity.rotate()
    azure.faults.add("entra", status=401, body=refuse(code), times=1)
    with pytest.raises(TokenRefusedError, match=f"AADSTS{code}") as raised:
        make().get_token(SCOPE)
    assert EXPECTED[code] in str(raised.value.hint)
    assert raised.value.status_code == 401  # type: ignore[attr-defined] # azure-core's


def refuse(code: int) -> bytes:
    body = {"error": "invalid_client", "error_description": f"AADSTS{code}: No.", "error_codes": [code]}
    return json.dumps(body).encode()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([10**400, -(10**400), "inf", "AADSTS700027", "1e999"]),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=6,
)
FIELDS = [
    "access_token",
    "token_type",
    "expires_in",
    "refresh_in",
    "error",
    "error_description",
    "error_codes",
    "trace_id",
]


class Answered:
    def __init__(self, status_code: int, content: bytes) -> None:
        self.status_code = status_code
        self.content = content


@functools.cache
def make_attempt() -> Attempt:
    snapshot = Snapshot(parse_credential_file(render_file(issue()), path="p"), b"", 1)
    return Attempt(url="https://login.example/t", form={}, snapshot=snapshot, now=lambda: Moment(0, 0))


@settings(max_examples=300)
@given(
    status=st.sampled_from([200, 400, 401, 429, 503]),
    content=st.binary(max_size=50)
    | st.dictionaries(st.sampled_from(FIELDS), JSON).map(lambda fields: json.dumps(fields).encode())
    | st.dictionaries(st.sampled_from(FIELDS[:4]), JSON).map(lambda fields: render(**fields)),
)
def test_response_is_a_token_within_limits_or_a_failure_when_it_is_anything(status: int, content: bytes):
    answer: Any = Answered(status, content)
    result = read_answer(answer, make_attempt())
    if isinstance(result, Token):
        assert result.token.isascii()
        assert result.token.isprintable()
        assert " " not in result.token
        assert 0 < result.expires_in <= 604800
        assert min(30, result.expires_in / 2) <= result.refresh_in <= result.expires_in
    else:
        assert isinstance(result, Failure)
        assert result.message.isprintable()
        assert len(result.message) < 1000
