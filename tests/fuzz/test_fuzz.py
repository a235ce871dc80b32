"""Every parser that foreign bytes reach, with what was found before, what grows, and a little chance.

`make fuzz ARGS="--seconds 600"` looks for more.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fuzz.judging import FaultError, Target, judge
from tests.fuzz.targets import open_targets
from tests.fuzz.templates import JWT, expand, get_key, mutations

CORPUS = Path(__file__).with_name("corpus")
NAMES = (
    "credential-file",
    "inspection",
    "certificate",
    "cloud-config",
    "token-answer",
    "challenge",
    "identity-url",
    "issued",
    "service-principal",
    "vault-value",
    "vault-answer",
    "vault-list",
    "lease",
    "yaml",
    "objects",
    "hosted-cluster",
    "workload",
    "request",
    "running",
)
GROWING = (
    b" ",
    b"a",
    b"a ",
    b"a,",
    b"[",
    b'{"a":',
    b'"',
    b"\\",
    b"\n",
    b"- a\n",
    b"-----BEGIN CERTIFICATE-----\n",
    b"AADSTS1 ",
    b"a:b\n",
    b"eyJ",
)


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Target]]:
    with open_targets(tmp_path_factory.mktemp("fuzz")) as made:
        yield made


def test_every_target_is_fuzzed_here(targets: dict[str, Target]):
    assert set(targets) == set(NAMES)


@pytest.mark.unmeasured
@pytest.mark.parametrize("name", NAMES)
def test_parser_stands_what_was_found_before(targets: dict[str, Target], name: str):
    for file in sorted((CORPUS / name).glob("*")):
        judge(targets[name], file.read_bytes())
        judge(targets[name], file.read_bytes(), measure_memory=True)


@pytest.mark.unmeasured
@pytest.mark.parametrize("name", NAMES)
def test_parser_takes_time_and_memory_in_proportion_when_inputs_grow(targets: dict[str, Target], name: str):
    for unit in GROWING:
        for beginning in (b"", targets[name].seeds[0][:-1]):
            judge(targets[name], beginning + b"@300000*%b@" % unit)


@pytest.mark.unmeasured
@pytest.mark.parametrize("name", NAMES)
def test_parser_stands_what_is_nearly_right(targets: dict[str, Target], name: str):
    @settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of(mutations(targets[name].seeds), st.binary(max_size=60)))
    def stands(template: bytes) -> None:
        judge(targets[name], template)

    stands()


def spin(_: bytes) -> None:
    until = time.thread_time() + 0.7
    while time.thread_time() < until:
        pass


@pytest.mark.parametrize(
    ("read", "says"),
    [
        (lambda content: 1 / (len(content) - len(content)), "lets ZeroDivisionError out"),
        (lambda _: f"x {JWT[:40]}", "shows"),
        (lambda _: get_key()[400:440], "shows"),
        (spin, "takes"),
    ],
    ids=["a foreign error", "a token", "a key", "too much time"],
)
def test_judge_finds_a_fault_when_there_is(read, says: str):
    target = Target(name="bad", read=read, seeds=(b"",), limit=8000)
    with pytest.raises(FaultError, match=says):
        judge(target, b"@8000*a@")


def test_template_becomes_what_it_says():
    assert expand(b"<@3*ab@>@JWT@", limit=1000) == b"<ababab>" + JWT.encode()
