# ruff: noqa: S311 (not for secrets)
"""`make soak ARGS="--minutes 30"`: a component under load, with faults everywhere around it.

The exit status is 1 when a call failed that a token in memory or a previous certificate could have served,
when a call never returned, when the newest certificate is not in use in the end, or when the component has
grown. docs/faults.md describes the faults, and has the figures of a run.
"""

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from benchmarks.measure import format_seconds
from benchmarks.soak.component import CALLERS
from benchmarks.soak.faults import AuthorityFaults, ComponentFaults, FileFaults
from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.local.azure.settings import AzureSettings

_GRACE: Final = 1.0
"""Seconds after a fault in which calls may still fail because of it."""
_WARM_UP: Final = 0.2
"""The fraction of a run after which the first measurement is taken."""
_MORE: Final = {"descriptors": 24, "threads": 10, "mib": 48, "used mib": 8, "objects": 50_000}
"""How much the last measurement may exceed the first: connections and workers come and go.

Resident memory grows by a step now and then while no more is in use: the C library keeps what was freed, in up to
eight heaps for each processor.
"""


_LONGEST: Final = 200
_KINDS: Final = {"served": "from memory", "new": "new tokens"}


class Process:
    """The component, in its own process."""

    def __init__(self, log: Path, *arguments: str) -> None:
        self._log = log
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.soak.component", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self.pid = self._process.pid

    def ask(self, *command: object) -> Any:
        """Send a command, and wait for its response."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())
        except (BrokenPipeError, ValueError):
            said = "".join(self._log.read_text(errors="replace").splitlines(keepends=True)[-40:])
            sys.exit(f"{said}FAILED: the component has ended with {self._process.wait()}")

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


def main() -> int:
    """Run, and print the results."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2, help="how long (default: 2)")
    parser.add_argument("--seed", type=int, default=None, help="faults in this order; else in a new one")
    options = parser.parse_args()
    seed = random.randrange(1 << 16) if options.seed is None else options.seed
    random.seed(seed)
    os.environ["NO_PROXY"] = "127.0.0.1"
    print(f"{options.minutes:g} minutes, {CALLERS} threads and {CALLERS} tasks, --seed {seed}")
    # Enough for an hour of rotations; more certificates would start in the future.
    settings = AzureSettings(token_lifetime=60, certificate_backdate=7200, key_pool=4)
    with tempfile.TemporaryDirectory() as folder, LocalAzure(settings) as azure:
        return _soak(azure, Path(folder), options.minutes * 60)


def _soak(azure: LocalAzure, folder: Path, seconds: float) -> int:
    files = FileFaults(azure, folder / "certs")
    process = Process(
        folder / "log", str(files.path), str(azure.ca_file), str(folder / "failures"), str(folder / "stacks")
    )
    try:
        process.ask("wait_until_warm")
        authority, inside = AuthorityFaults(azure), ComponentFaults(process.ask, process.pid)
        first: dict[str, Any] | None = None
        minute = 1
        started = time.monotonic()
        for number in itertools.count():
            past = time.monotonic() - started
            if past >= seconds:
                break
            if first is None and past >= seconds * _WARM_UP:
                authority.end()
                files.rotate()
                first = _measure(process, files)
            (files, files, authority, inside)[number % 4].happen()
            if past >= minute * 60:
                minute += 1
                print(f"  after {past / 60:.0f} minutes: {_render(process.ask('measure'))}", file=sys.stderr)
        authority.end()
        files.rotate()
        last = _measure(process, files)
        report = process.ask("stop")
        lines = (folder / "failures").read_text().splitlines()
        report["failures"] = [json.loads(line) for line in lines]
        report["stacks"] = (folder / "stacks").read_text()
    finally:
        process.close()
    windows = [*authority.windows, *inside.windows]
    return _judge(first or last, last, report, windows, files.count + authority.count + inside.count)


def _measure(process: Process, files: FileFaults) -> dict[str, Any]:
    """Measure as soon as the newest certificate is in use, and hanging calls have ended."""
    deadline = time.monotonic() + 15
    while True:
        measured: dict[str, Any] = process.ask("measure")
        if measured["thumbprint"] == files.thumbprint or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    time.sleep(3)
    return {**process.ask("measure"), "is_newest": measured["thumbprint"] == files.thumbprint}


def _judge(
    first: dict[str, Any],
    last: dict[str, Any],
    report: dict[str, Any],
    windows: list[tuple[str, float, float]],
    counts: Counter[str],
) -> int:
    """Print everything, and return the exit status."""
    wrong = [failure for failure in report["failures"] if not _is_excused(failure, windows)]
    excused = len(report["failures"]) - len(wrong)
    print("\nwhat happened:")
    for what, number in sorted(counts.items()):
        print(f"  {number:6}  {what}")
    print("\ncalls                calls   failed        p50        p99    slowest")
    for kind, seen in sorted(report["kinds"].items()):
        failed = sum(failure["kind"] == kind for failure in wrong)
        times = "".join(f"{format_seconds(seen[f'p{percent}']):>11}" for percent in (50, 99, 100))
        print(f"  {_KINDS[kind]:15} {seen['calls']:9}{failed:9}{times}")
    print(f"  {excused} more had no token in memory while the authority or the descriptors failed")
    print("\n                 beginning        end")
    problems = [f"{_KINDS[failure['kind']]}: {_shorten(failure['why'])}" for failure in wrong]
    for what, more in _MORE.items():
        grown = last[what] > first[what] + more
        print(f"  {what:12} {first[what]:12.0f} {last[what]:10.0f}{'  GROWN' if grown else ''}")
        problems += [f"{what}: grew from {first[what]:.0f} to {last[what]:.0f}"] if grown else []
    problems += [f"a call of {kind} tokens never returned" for kind in last["stuck"]]
    if not last["is_newest"]:
        problems.append(f"the newest certificate is not in use in the end: {last['last_error']}")
    for problem, number in Counter(problems).most_common(20):
        print(f"WRONG ({number} times): {problem}")
    if report["stacks"]:
        print(f"\nchildren that never returned:\n{report['stacks']}")
    print("\n" + ("FAILED" if problems else "passed"))
    return 1 if problems else 0


def _render(measured: dict[str, Any]) -> str:
    return ", ".join(f"{measured[what]:.0f} {what}" for what in (*_MORE, "heap mib"))


def _shorten(why: str) -> str:
    return why if len(why) <= _LONGEST else f"{why[: _LONGEST // 4]} ... {why[-_LONGEST * 3 // 4 :]}"


def _is_excused(failure: dict[str, Any], windows: list[tuple[str, float, float]]) -> bool:
    """Whether a failure to get a new token is excused, by a fault at that time."""
    if failure["kind"] != "new" or not failure["is_ours"] or "never returned" in failure["why"]:
        return False
    return any(
        failure["began"] <= ended + _GRACE and failure["ended"] >= began for _, began, ended in windows
    )


if __name__ == "__main__":
    sys.exit(main())
