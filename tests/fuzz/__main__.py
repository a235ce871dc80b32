# ruff: noqa: T201 (printing is what it does with what it finds)
"""`make fuzz ARGS="--seconds 600"`: looks for inputs that a parser does not stand, and keeps those."""

import argparse
import hashlib
import importlib
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any, Final

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.database import DirectoryBasedExampleDatabase
from tests.fuzz.judging import FaultError, Target, judge
from tests.fuzz.targets import open_targets
from tests.fuzz.templates import mutations

CORPUS: Final = Path(__file__).with_name("corpus")
_ROUND: Final = 200
"""Inputs for each target in a round."""


def main() -> int:
    """Run; the exit status is 1 when something was found."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long to look (default: 60)")
    parser.add_argument("--target", action="append", help="only this parser; may be repeated")
    parser.add_argument("--seed", type=int, default=0, help="begins another series of inputs")
    parser.add_argument(
        "--atheris", action="store_true", help="let coverage guide the mutations of one target"
    )
    options = parser.parse_args()
    os.environ["NO_PROXY"] = "127.0.0.1,localhost"
    with tempfile.TemporaryDirectory() as folder, open_targets(Path(folder)) as targets:
        unknown = set(options.target or ()) - set(targets)
        if unknown:
            parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(targets)}")
        chosen = [targets[name] for name in options.target or targets]
        if options.atheris:
            return _run_atheris(chosen, options.seconds)
        return _run(chosen, seconds=options.seconds, first=options.seed)


def _run(targets: list[Target], *, seconds: float, first: int) -> int:
    until = time.monotonic() + seconds
    counts = dict.fromkeys((target.name for target in targets), 0)
    found: set[str] = set()
    number = first
    while time.monotonic() < until:
        for target in targets:
            if target.name in found or time.monotonic() > until:
                continue
            try:
                counts[target.name] += _look(target, number)
            except FaultError as fault:
                found.add(target.name)
                _report(target, fault)
        number += 1
    print(
        "\n".join(
            f"{name:16} {count:8} inputs{'  FAULT' * (name in found)}" for name, count in counts.items()
        )
    )
    return 1 if found else 0


def _look(target: Target, number: int) -> int:
    """Judge a round of inputs; answers how many."""
    count = 0

    @seed(number)
    @settings(
        max_examples=_ROUND,
        deadline=None,
        database=DirectoryBasedExampleDatabase(".hypothesis/fuzz"),
        suppress_health_check=list(HealthCheck),
        phases=(Phase.reuse, Phase.generate, Phase.shrink),
        print_blob=False,
        report_multiple_bugs=False,
    )
    @given(st.one_of(mutations((*target.seeds, *_read_corpus(target))), st.binary(max_size=200)))
    def stands(template: bytes) -> None:
        nonlocal count
        count += 1
        judge(target, template, measure_memory=count % 20 == 0)

    stands()
    return count


def _read_corpus(target: Target) -> list[bytes]:
    return [file.read_bytes() for file in sorted((CORPUS / target.name).glob("*"))]


def _report(target: Target, fault: FaultError) -> None:
    file = CORPUS / target.name / hashlib.sha256(fault.template).hexdigest()[:12]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(fault.template)
    print("".join(traceback.format_exception(fault, chain=True)))
    print(
        f"found: {fault}\n  kept as {file}; give it a name that says what it is, and commit it with the fix\n"
    )


def _run_atheris(targets: list[Target], seconds: float) -> int:
    try:
        atheris: Any = importlib.import_module("atheris")  # it is optional
    except ImportError:
        print(
            "atheris is not installed; `pip install atheris` brings it, and without --atheris none is needed"
        )
        return 2
    if len(targets) != 1:
        print("atheris looks at one target at a time: name it with --target")
        return 2
    [target] = targets
    with tempfile.TemporaryDirectory() as folder:
        for number, template in enumerate([*target.seeds, *_read_corpus(target)]):
            (Path(folder) / str(number)).write_bytes(template)

        def stands(template: bytes) -> None:
            try:
                judge(target, template)
            except FaultError as fault:
                _report(target, fault)
                raise

        atheris.instrument_all()
        atheris.Setup([sys.argv[0], f"-max_total_time={seconds:.0f}", "-max_len=20000", folder], stands)
        atheris.Fuzz()  # ends the process
    return 0


if __name__ == "__main__":
    sys.exit(main())
