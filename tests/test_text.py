"""Foreign text is made safe to show."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcpcreds.text import make_printable, make_safe, show_id

UUID = "5f1c2a8e-3b7d-4e60-9c21-8d4f7a6b0e13"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\r\nlines\u2028and\u2029more\x85", "two lines and more"),
        ("a\x1b]0;title\x07b\x1b[2J", "a\ufffd]0;title\ufffdb\ufffd[2J"),
        ("abc\u202edef\u2066", "abc\ufffddef\ufffd"),
        ("\ud800", "\ufffd"),
        ("token eyJhbGciOiJQUzI1NiJ9.eyJhdWQiOiIxIn0.c2ln!", "token ***!"),
        ("cut off eyJhbGciOiJQUzI1NiJ9.eyJhd", "cut off ***"),
        ("Authorization: Bearer abc.def/ghi==, next", "Authorization: Bearer ***, next"),
        ("BEARER   abc", "BEARER ***"),
        ("Basic dXNlcjpwYXNz", "Basic ***"),
        ("key " + "MIIEvQ+/" * 20 + "==", "key ***"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\nhere", "*** here"),
        ("at -----BEGIN PRIVATE KEY-----\n" + f"{'MIIEvQ+/' * 8}\n" * 20, "at ***"),
        (f"{'MIIEvQ+/' * 8}\n" * 20 + "MIIE==", "***"),
        ("opaque " + "a-_9" * 30, "opaque ***"),
        (None, "None"),
        (f"/subscriptions/{UUID}/resourceGroups/harbour", f"/subscriptions/{UUID}/resourceGroups/harbour"),
    ],
)
def test_make_safe_returns_one_printable_line_without_secrets(text, shown):
    assert make_safe(text) == shown


def test_make_printable_keeps_every_printable_character():
    path = f"/mnt/{'certs' * 60}/é ✓"
    assert make_printable(path) == path
    assert make_printable("/mnt/a\n\x1b[2J\x9b\u202e\udc80b") == "/mnt/a\ufffd\ufffd[2J\ufffd\ufffd\ufffdb"


def test_make_safe_cuts_the_text_when_it_exceeds_the_limit():
    assert make_safe("word " * 100, limit=20) == "word word word word…"
    assert len(make_safe("x y " * 1000)) == 300


def test_make_safe_is_fast_when_the_text_is_huge():
    began = time.process_time()
    make_safe("a" * 10_000_000)
    make_safe("eyJ" * 3_000_000)
    make_safe("bearer " * 1_000_000)
    make_safe("-----BEGIN " * 1_000_000)
    make_safe(f"{'a' * 60} " * 1_000_000)
    assert time.process_time() - began < 1


@given(st.text(max_size=2000), st.integers(2, 400))
def test_make_safe_returns_one_printable_line_within_the_limit_when_given_anything(text, limit):
    shown = make_safe(text, limit=limit)
    assert shown.isprintable()
    assert len(shown) <= limit


@given(st.text(max_size=400))
def test_make_safe_changes_nothing_when_applied_again(text):
    shown = make_safe(text, limit=1000)
    assert make_safe(shown, limit=1000) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (UUID, UUID),
        ("LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0t", "(36 characters)"),
        (f"{UUID}\n", "(37 characters)"),
        (None, "nothing"),
        ({"a": 1}, "a dict"),
    ],
)
def test_show_id_hides_the_value_when_it_does_not_look_like_an_identifier(value, shown):
    assert show_id(value) == shown
