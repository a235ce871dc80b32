"""`hcpcreds conform`: programs that survive, and programs that do not."""

import json
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from benchmarks.conform.entries import ENTRIES
from tests.support.commands import run
from tests.support.processes import start
from tests.support.waiting import wait_until
from tests.up import conform_programs

from hcpcreds.up.conform.faults import FAULTS

EXE = (sys.executable, "-c")


@pytest.fixture(autouse=True)
def _signals_mean_what_they_did() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def conform(*arguments: str) -> tuple[int, dict[str, Any]]:
    done = run("conform", "--output", "json", *arguments)
    document = json.loads(done.stdout)
    return done.returncode, {row["fault"]: row for row in document["rows"]} | {"all": document}


@pytest.mark.timeout(120)
def test_our_credential_survives_everything():
    status, rows = conform("--hold", "1.5s", "--", *EXE, conform_programs.OURS)
    document = rows.pop("all")
    assert [name for name, row in rows.items() if row["result"] != "passed"] == [], document
    assert list(rows) == ["start", *(fault.name for fault in FAULTS)]
    assert status == 0
    assert document["passed"]
    assert rows["rotation"]["seconds"] < 10
    assert rows["failing"]["refused"] > 0, "the fault was really there"


def test_program_that_reads_its_file_once_fails_when_the_certificate_is_rotated():
    status, rows = conform(
        *("--with", "pem", "--fault", "unregistered"),  # which needs a rotation before
        *("--hold", "1s", "--deadline", "2s", "--", *EXE, conform_programs.READS_ONCE),
    )
    assert status == 1
    assert rows["start"]["result"] == "passed"
    assert rows["rotation"]["result"] == "failed"
    assert rows["rotation"]["seen"] == "the new certificate is not in use after 2 s"
    assert rows["unregistered"]["result"] == "failed"
    assert "AADSTS700027" in rows["unregistered"]["seen"]


@pytest.mark.parametrize(
    ("provision", "program"),
    [("keyless", conform_programs.ASSERTION), ("endpoint", conform_programs.ENDPOINT)],
    ids=["keyless", "endpoint"],
)
def test_program_beside_our_sidecar_survives_a_rotation(provision: str, program: str):
    status, rows = conform("--with", provision, "--fault", "rotation", "--", *EXE, program)
    assert rows["rotation"]["result"] == "passed", rows
    assert status == 0


def test_program_that_ends_is_reported_without_its_secrets():
    done = run("conform", "--with", "pem", "--", *EXE, conform_programs.DIES)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0] == "start         FAILED   the program ended with exit status 1"
    assert lines[1:3] == ["", "the program ended with exit status 1; its last lines:"]
    assert lines[-1] == "    \ufffd[31mno credential"
    assert not re.search("[A-Za-z0-9+/]{30}", done.stdout)


def test_program_that_ends_without_a_word_is_reported():
    done = run("conform", "--", "false")
    assert done.stdout.endswith("\n\nthe program ended with exit status 1; it has printed nothing\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fault", "torm", "--", "true"], "torm: no such fault; expected one of rotation, "),
        (["--", "/missing/program"], "/missing/program: not found, or not executable"),
        (
            ["--log", "/missing/log", "--", "true"],
            "/missing/log: cannot be written: No such file or directory",
        ),
        (["--with", "paper", "--", "true"], "'paper' is not one of 'file', 'pem', 'keyless', 'endpoint'"),
        ([], "Missing argument"),
    ],
    ids=["fault", "program", "log", "provision", "nothing"],
)
def test_conform_starts_nothing_when_it_is_used_wrongly(arguments: list[str], message: str):
    done = run("conform", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_scoreboard_has_a_row_for_each_program_and_says_why_it_fails():
    page = (Path(__file__).parents[2] / "docs/conform.md").read_text()
    rows = [line for line in page.partition("## Scoreboard")[2].splitlines() if line.startswith("| ")][2:]
    assert len(rows) == len(ENTRIES)
    for row, entry in zip(rows, ENTRIES, strict=True):
        assert row.startswith(f"| {entry.name} |")
        assert "**" not in row or " ".join(entry.why.split()) in " ".join(page.split())


def test_program_does_not_outlive_conform_and_leaves_nothing_when_that_is_stopped(tmp_path: Path):
    pid, place = tmp_path / "pid", tmp_path / "temporary"
    place.mkdir()
    code = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    command = (sys.executable, "-m", "hcpcreds", "conform", "--", *EXE, code, str(pid))
    for number in (signal.SIGTERM, signal.SIGKILL):
        pid.unlink(missing_ok=True)
        with start(*command, env={"TMPDIR": str(place)}) as process:
            wait_until(lambda: pid.exists() and pid.read_text(), seconds=30)
            process.send_signal(number)
            process.communicate()
            wait_until(lambda: not is_running(int(pid.read_text())), seconds=10)
        if number == signal.SIGTERM:
            assert list(place.iterdir()) == []


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
