# ruff: noqa: T201 (printing is what it does with what it finds)
"""`make mutants ARGS="--room credential --sample 40 --seed 1"`: do the tests notice mistakes?

Changes one small thing in a copy of the package, again and again, and runs the tests that execute that line.
Prints the score of each room and every change that nobody has
noticed. Changes that cannot be noticed are listed in equivalent.json with a reason, and do not count.
"""

import argparse
import itertools
import json
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from coverage import CoverageData
from tests.mutants.mutations import Mutation, find_mutations
from tests.mutants.plugin import ORDER, TIMES
from tests.mutants.rooms import ROOMS, ROOT, Room, describe, read_equivalent

_REACH: Final = 92.0
"""Percent of the mutations that are not equivalent."""
_LONGEST_SECONDS: Final = 900
_FEW: Final = 0.01
"""What part of a room's tests may fail before anything is changed: those that a busy machine disturbs."""
_QUICK: Final = 150
"""So many tests run before all others that can notice: most mutations are noticed by many."""
_PLAIN: Final = (
    "-p",
    "tests.mutants.plugin",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:randomly",
    "--tb=no",
    "--no-header",
)
_Outcome = Literal["killed", "survived", "equivalent"]


@dataclass
class Copy:
    """A copy of the repository in which one file at a time is changed."""

    root: Path

    def run(self, *arguments: str, **environment: str) -> int:
        """Run pytest in it; answers the exit status."""
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            *_PLAIN,
            *arguments,
        ]
        paths = f"{self.root / 'src'}{os.pathsep}{self.root}"
        variables = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", **environment}
        try:
            done = subprocess.run(
                command,
                cwd=self.root,
                env=variables,
                capture_output=True,
                check=False,
                timeout=_LONGEST_SECONDS,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired:
            return 1
        (self.root / "pytest.log").write_bytes(done.stdout + done.stderr)
        return done.returncode


@dataclass
class Knowledge:
    """Which tests execute which line, and how long each takes."""

    times: dict[str, float]
    tests: dict[tuple[str, int], set[str]] = field(default_factory=dict)
    elsewhere: set[tuple[str, int]] = field(default_factory=set)
    """Lines that are executed outside tests too: when a module is imported, or in other processes."""

    def order(self, mutation: Mutation) -> list[str]:
        """The tests that can notice a mutation, the faster before the slower.

        They are those that execute its lines; when others do so too, all other tests come after them.
        """
        lines = [(mutation.file, line) for line in range(mutation.first, mutation.last + 1)]
        found = {test for line in lines for test in self.tests.get(line, ())} & self.times.keys()
        rest = self.times.keys() - found if not found or self.elsewhere.intersection(lines) else ()
        return [*sorted(found, key=self._get_time), *sorted(rest, key=self._get_time)]

    def _get_time(self, test: str) -> float:
        return self.times.get(test, 0.0)


def main() -> int:
    """Run; the exit status is 1 when a room stays below what is to be reached."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--room", action="append", choices=ROOMS, help="only this one; may be repeated")
    parser.add_argument("--sample", type=int, default=40, help="mutations of each room (default: 40)")
    parser.add_argument("--seed", type=int, default=1, help="chooses another sample")
    parser.add_argument("--jobs", type=int, default=1, help="so many at the same time (default: 1)")
    options = parser.parse_args()
    reached = True
    for name in options.room or ROOMS:
        reached &= _run_room(name, sample=options.sample, seed=options.seed, jobs=options.jobs)
    return 0 if reached else 1


def _run_room(name: str, *, sample: int, seed: int, jobs: int) -> bool:
    room = ROOMS[name]
    sources = {file: (ROOT / file).read_bytes() for file in room.list_files()}
    mutations = [each for file, source in sources.items() for each in find_mutations(file, source)]
    random.Random(f"{seed} {name}").shuffle(mutations)  # noqa: S311 (not a secret)
    usable = (each for each in mutations if each.is_one(sources[each.file]))
    chosen = list(itertools.islice(usable, sample))
    with tempfile.TemporaryDirectory(prefix="hcpcreds-mutants-") as folder:
        copies: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        for number in range(jobs):
            copies.put(_make_copy(Path(folder) / str(number)))
        started = time.monotonic()
        copy = copies.get()
        knowledge = _learn(copy, room)
        copies.put(copy)
        print(f"{name}: {len(knowledge.times)} tests pass in {time.monotonic() - started:.0f} s", flush=True)

        def judge(mutation: Mutation) -> _Outcome:
            copy = copies.get()
            try:
                return _judge(copy, room, knowledge, mutation, sources[mutation.file])
            finally:
                copies.put(copy)

        with ThreadPoolExecutor(jobs) as pool:
            outcomes = list(pool.map(judge, chosen))
    killed, equivalent = outcomes.count("killed"), outcomes.count("equivalent")
    score = 100 * killed / max(1, len(chosen) - equivalent)
    print(
        f"{name}: {score:.0f} % ({killed} of {len(chosen) - equivalent} noticed, {equivalent} equivalent, "
        f"of {len(mutations)} in all; {time.monotonic() - started:.0f} s)",
        flush=True,
    )
    return score >= _REACH


def _judge(copy: Copy, room: Room, knowledge: Knowledge, mutation: Mutation, source: bytes) -> _Outcome:
    file, within, line, becomes = describe(mutation, source)
    if (file, within, line, becomes) in read_equivalent():
        return "equivalent"
    (copy.root / file).write_bytes(mutation.apply(source))
    try:
        ordered = knowledge.order(mutation)
        for tests in (ordered[:_QUICK], ordered[_QUICK:]):
            order = copy.root / "order.json"
            order.write_text(json.dumps(tests))
            if tests and copy.run("-x", *room.tests, **{ORDER: str(order)}) != 0:
                print(".", end="", file=sys.stderr, flush=True)
                return "killed"
    finally:
        (copy.root / file).write_bytes(source)
    print(f"  survived: {file}:{mutation.first} {within}\n    - {line}\n    + {becomes}", flush=True)
    return "survived"


def _make_copy(root: Path) -> Copy:
    listed = subprocess.run(
        [shutil.which("git") or "git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, root / name)
            shutil.copymode(ROOT / name, root / name)
    return Copy(root)


def _learn(copy: Copy, room: Room) -> Knowledge:
    """Run the room's tests as they are, and see what each of them executes.

    Raises:
        SystemExit: More than a few do not pass, so nothing could be learned from a failure.
    """
    times = copy.root / "times.json"
    options = ("--cov=hcpcreds", "--cov-context=test", "--cov-report=", "--cov-fail-under=0")
    copy.run(*room.tests, *options, **{TIMES: str(times)})
    seconds: dict[str, float | None] = json.loads(times.read_text()) if times.exists() else {}
    failed = sorted(test for test, taken in seconds.items() if taken is None)
    if failed or not seconds:
        print("\n".join([*failed, "do not pass as they are, and are left out"]), flush=True)
    if not seconds or len(failed) > len(seconds) * _FEW:
        log = (copy.root / "pytest.log").read_text(errors="replace").splitlines()[-15:]
        sys.exit("\n".join(log))
    knowledge = Knowledge({test: taken for test, taken in seconds.items() if taken is not None})
    data = CoverageData(str(copy.root / ".coverage"))
    data.read()
    for path in data.measured_files():
        file = str(Path(path).relative_to(copy.root)) if Path(path).is_relative_to(copy.root) else path
        for line, contexts in data.contexts_by_lineno(path).items():
            knowledge.tests[file, line] = {name.rpartition("|")[0] for name in contexts if name}
            if "" in contexts:
                knowledge.elsewhere.add((file, line))
    return knowledge


if __name__ == "__main__":
    sys.exit(main())
