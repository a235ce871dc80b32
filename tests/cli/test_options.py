"""Options that commands share: durations and addresses are written alike in every command."""

import subprocess
import sys
from datetime import timedelta
from importlib import import_module

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcpcreds.serving import ListenAddress

DURATIONS = [("renew", "before"), ("renew", "interval"), ("token", "timeout"), ("up", "rotate_every")]
SAID = r"is not a duration; examples: 30s, 15m, 1\.5h, 10d"


def parse(command: str, *arguments: str) -> dict[str, object]:
    """Parse a command line, and run nothing."""
    words = [*arguments, "FILE"] if command in ("token", "up") else list(arguments)
    made: click.Command = import_module(f"hcpcreds.cli.{command}").command
    return made.make_context(command, words).params


@pytest.mark.parametrize(("command", "option"), DURATIONS)
@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("15m", 900),
        ("1.5h", 5400),
        ("10d", 864_000),
        ("366d", 31_622_400),
        ("31622400s", 31_622_400),
        ("3", 3),
        ("3.5", 3.5),
        ("1e2", 100),
    ],
)
def test_duration_means_the_same_in_every_command(command: str, option: str, text: str, seconds: float):
    values = parse(command, f"--{option.replace('_', '-')}", text)
    assert values[option] == timedelta(seconds=seconds)


@pytest.mark.parametrize(("command", "option"), DURATIONS)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "10w",
        "10M",
        "10 s",
        "-1s",
        "-1",
        "1e3s",
        "1,5h",
        "367d",
        "999999999d",
        "nan",
        "inf",
        "1e99",
        "٣s",
        "٣",
    ],
)
def test_duration_is_refused_with_its_option_and_examples_when_it_is_none(
    command: str, option: str, text: str
):
    name = f"--{option.replace('_', '-')}"
    with pytest.raises(click.BadParameter, match=SAID) as caught:
        parse(command, f"{name}={text}")
    assert f"Invalid value for '{name}'" in caught.value.format_message()


def test_duration_is_shown_safely_when_it_is_refused():
    with pytest.raises(click.BadParameter) as caught:
        parse("renew", "--before", "1\x1b[2Jh\u0085")
    assert caught.value.format_message().isprintable()


@given(st.text(max_size=12) | st.from_regex(r"[0-9.]{1,12}[smhd]?", fullmatch=True))
def test_duration_is_read_or_refused_whatever_it_holds(text: str):
    try:
        duration = parse("renew", f"--before={text}")["before"]
    except click.BadParameter:
        return
    assert isinstance(duration, timedelta)
    assert timedelta(0) <= duration <= timedelta(days=366)


@pytest.mark.parametrize(("command", "option"), [("renew", "interval"), ("token", "timeout")])
@pytest.mark.parametrize("text", ["0", "0s", "0.0d"])
def test_duration_is_refused_when_nothing_can_be_done_in_none(command: str, option: str, text: str):
    with pytest.raises(click.BadParameter, match="must be greater than zero"):
        parse(command, f"--{option}", text)


def test_duration_is_refused_when_it_is_too_short_for_the_command():
    with pytest.raises(click.BadParameter, match=r"1\.9s is too short; expected at least 2s"):
        parse("up", "--rotate-every", "1.9s")


def test_address_is_a_host_and_a_port_or_a_path():
    assert parse("renew", "--metrics-address", "[::1]:9090")["metrics_address"] == ListenAddress("::1", 9090)
    assert parse("renew", "--metrics-address", "/run/m.sock")["metrics_address"] == ListenAddress(
        path="/run/m.sock"
    )
    with pytest.raises(click.BadParameter, match=r"localhost is not HOST:PORT .*Examples: :9090"):
        parse("renew", "--metrics-address", "localhost")


@pytest.mark.parametrize("command", ["renew", "token", "up"])
def test_command_starts_when_clicks_types_take_no_parameters(command: str):
    # Before 8.4, ParamType[...] is a TypeError.
    code = f"import click; click.ParamType.__class_getitem__ = None; import hcpcreds.cli.{command}"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
