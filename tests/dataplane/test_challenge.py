"""The parser of WWW-Authenticate."""

import string
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcpcreds.dataplane.challenge import Challenge, find_tenant, parse_challenges
from hcpcreds.errors import InputError

TOKENS = st.text(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~", min_size=1, max_size=12)
# The characters of a quoted string in HTTP: tab, blank, visible ASCII, and the upper half of Latin-1.
TEXTS = st.text([chr(code) for code in (9, *range(0x20, 0x7F), *range(0x80, 0x100))], max_size=30)
TOKEN68S = st.from_regex(r"\A[A-Za-z0-9\-._~+/]{1,12}={0,2}\Z")
BLANKS = st.sampled_from(["", " ", "\t", "  "])
PARAMETERS = st.dictionaries(TOKENS.map(str.lower), TEXTS, max_size=4)
CHALLENGES = st.builds(
    lambda scheme, token, parameters: Challenge(scheme, token, {} if token else parameters),
    TOKENS.map(str.lower),
    st.none() | TOKEN68S,
    PARAMETERS,
)


def draw_parameter(data: st.DataObject, name: str, value: str) -> str:
    equals = data.draw(BLANKS) + "=" + data.draw(BLANKS)
    shown = data.draw(st.sampled_from([name, name.upper()]))
    if value and set(value) <= set(string.ascii_letters + string.digits) and data.draw(st.booleans()):
        return shown + equals + value
    quoted = "".join("\\" + char if char in '"\\' or data.draw(st.booleans()) else char for char in value)
    return f'{shown}{equals}"{quoted}"'


def draw_header(data: st.DataObject, challenges: list[Challenge]) -> str:
    elements: list[str] = []
    for scheme, token, parameters in challenges:
        written = [draw_parameter(data, *parameter) for parameter in parameters.items()]
        first = token or (written.pop(0) if written else "")
        elements += [f"{scheme} {first}" if first else scheme, *written]
    separators = st.sampled_from([",", ", ", " , ", ",,", " ,\t,"])
    return "".join(element + data.draw(separators) for element in elements)


@given(data=st.data(), challenges=st.lists(CHALLENGES, max_size=4))
def test_parse_challenges_returns_the_same_challenges_when_they_were_rendered(
    data: st.DataObject, challenges: list[Challenge]
):
    assert parse_challenges(draw_header(data, challenges)) == challenges


@given(header=st.text([chr(code) for code in range(0x100)], max_size=60))
def test_parse_challenges_returns_or_raises_input_error_when_given_any_text(header: str):
    try:
        challenges = parse_challenges(header)
    except InputError:
        return
    assert all(challenge.scheme for challenge in challenges)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", []),
        ("Basic", [Challenge("basic", None, {})]),
        (
            'Basic realm="Dev", charset="UTF-8"',
            [Challenge("basic", None, {"realm": "Dev", "charset": "UTF-8"})],
        ),
        (
            'Digest qop="auth, auth-int", algorithm=SHA-256, nonce="7/+w=="',
            [Challenge("digest", None, {"qop": "auth, auth-int", "algorithm": "SHA-256", "nonce": "7/+w=="})],
        ),
        (
            r'Basic realm="simple", Newauth realm="apps", type=1, title="Login to \"apps\""',
            [
                Challenge("basic", None, {"realm": "simple"}),
                Challenge("newauth", None, {"realm": "apps", "type": "1", "title": 'Login to "apps"'}),
            ],
        ),
        (
            "Negotiate YII+/==, Bearer a=b",
            [Challenge("negotiate", "YII+/==", {}), Challenge("bearer", None, {"a": "b"})],
        ),
    ],
)
def test_parse_challenges_returns_each_challenge_when_servers_send_them(
    header: str, expected: list[Challenge]
):
    assert parse_challenges(header) == expected


@pytest.mark.parametrize(
    "header",
    [
        "\\b",
        "=",
        "a=b",
        'Basic "x"',
        'Basic realm="open',
        "Basic a=1, A=2",
        "Basic one two",
        "Basic abc=, x=1",
        'Bearer x="a\x00b"',
        "Bearer a=b c",
        "Bearer\n",  # where $ matches before the end
        "Bearer \n",
        "Bearer a=b\n",
        "Bearer a=b,\n",
    ],
)
def test_parse_challenges_raises_when_the_header_is_malformed(header: str):
    with pytest.raises(InputError, match="WWW-Authenticate"):
        parse_challenges(header)


@pytest.mark.parametrize("end", ["", "=", ",", '"', "é", "=,", " a", "a=b c"])
@pytest.mark.parametrize(
    "unit", [" ", "\t", "a", "a ", "a=", 'a="', "\\", ",", " ,", "=", "a b,", '"a', "a  =  "]
)
def test_parse_challenges_takes_linear_time_when_the_header_is_hostile(unit: str, end: str):
    began = time.process_time()
    for begin in ("a", "a ", 'a b="', "a b="):
        with suppress(InputError):
            parse_challenges((begin + unit * 8192)[: 8192 - len(end)] + end)
    assert time.process_time() - began < 0.3


def test_parse_challenges_raises_when_the_header_is_longer_than_8_kib():
    header = 'Bearer authorization="https://login/tenant"'
    assert find_tenant(header.ljust(8192)) == "tenant"
    with pytest.raises(InputError, match="8193 characters, expected at most 8192"):
        find_tenant(header.ljust(8193))


@pytest.mark.parametrize(
    "header",
    [
        'Bearer authorization="https://login.microsoftonline.com/72F988BF-86F1-41AF-91AB-2D7CD011DB47"',
        'bearer resource="https://evil", AUTHORIZATION="https://login/72F988BF-86F1-41AF-91AB-2D7CD011DB47/"',
        'Basic realm="a, b", Bearer authorization="https://l/72f988bf-86f1-41af-91ab-2d7cd011db47", D x=y',
        'Bearer realm="", Bearer authorization="https://l/72f988bf-86f1-41af-91ab-2d7cd011db47"',
    ],
)
def test_find_tenant_uses_the_bearer_challenge_when_there_are_others(header: str):
    assert find_tenant(header) == "72f988bf-86f1-41af-91ab-2d7cd011db47"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        "Bearer",
        'Basic authorization="https://login/tenant"',
        'Bearer authorization="https://login"',
        'Bearer authorization="https://login/a/b"',
        'Bearer authorization="https://login/.."',
        'Bearer authorization="https://[login/tenant"',
    ],
)
def test_find_tenant_raises_when_no_tenant_is_named(header: str):
    with pytest.raises(InputError):
        find_tenant(header)
