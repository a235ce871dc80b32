"""The credential beside azure-identity (Python) and msi-dataplane (Go), the same questions to all in one run.

Each is a process of its own: `benchmarks.subject`, or the program in `benchmarks/go`.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from tests.support import golang

from benchmarks.beside_table import GO, Line, describe_machine, render
from benchmarks.measure import percentile, print_table
from benchmarks.volumes import FILE_NAME, Writer
from benchmarks.volumes import write as mount
from hcpcreds.local.azure.azure import LocalAzure

ROUNDS: Final = 25
_CALLS: Final = {"ours": 10_000, "azure-identity": 200, "go": 2_000}
"""Calls of a round: some milliseconds of each."""
CALLERS: Final = 64
HUNG: Final = ("https://vault.azure.net/.default", "https://vault.usgovcloudapi.net/.default")
"""Scopes that hang in their turn."""
HANG_SECONDS: Final = 2.0
ROTATIONS: Final = 20
ROTATING: Final = 3
"""Rounds of these."""
TIMER: Final = 0.010
"""Seconds of the Go library's timer, where it is set: it reads the file as often."""
WAIT_SECONDS: Final = 10.0
IDLE_SECONDS: Final = 2.0
FILES: Final = {"ours": 200, "azure-identity": 5, "go": 200}
"""Files that each takes, and:"""
CREDENTIALS: Final = {"ours": 1_000, "azure-identity": 51, "go": 1_000}
"""credentials that each opens; azure-identity's take some 60 ms each, and have nothing that could run out."""
TOKENS: Final = 50
INSTANCES: Final = Path("/proc/sys/fs/inotify/max_user_instances")


class Subject:
    """A process with one credential."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def tell(self, do: str, **order: object) -> None:
        """Give an order, and wait for nothing."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **order}) + "\n")
        self._process.stdin.flush()

    def hear(self) -> Any:
        """Wait for the answer to an order."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} has ended")
        return json.loads(line)

    def ask(self, do: str, **order: object) -> Any:
        """Give an order, and wait for the answer."""
        self.tell(do, **order)
        return self.hear()

    def get_processor_seconds(self) -> float:
        """Read the processor time that it has taken."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Beside:
    """The measurements; each is a line, or more."""

    azure: LocalAzure
    folder: Path
    contents: Sequence[bytes]
    commands: dict[str, list[str]]
    missing: str
    """Why there is no figure of Go's, if so."""
    lines: list[Line] = field(default_factory=list)

    def measure(self) -> None:
        """Fill the lines."""
        with ExitStack() as running:
            writer = running.enter_context(_writing())
            stale = running.enter_context(self._open("go", writer)) if "go" in self.commands else None
            since, seen = time.monotonic(), 0
            if stale is not None:
                contents = self.contents[1 : ROTATIONS + 1]
                seen = sum(
                    delay is not None for delay in self._rotate(stale, writer, "go", contents, limit=0.1)
                )
            subjects = {
                name: running.enter_context(self._open(name, writer, folder=f"{name}-asked"))
                for name in self.commands
            }
            self._measure_cached(subjects)
            self._measure_hung(subjects)
            self._measure_renewed(writer)
            self._measure_taking(subjects)
            self._measure_many()
            if stale is not None:
                seen += stale.ask("renewed", seconds=0.1)["at"] is not None
                text = f"{seen} of {ROTATIONS} in {time.monotonic() - since:.0f} s; its timer: 6 h"
                self._note("swap", text)

    def _note(self, beginning: str, text: str) -> None:
        for number, line in enumerate(self.lines):
            if line.what.startswith(beginning):
                self.lines[number] = replace(line, figures={**line.figures, "go": text})

    @contextmanager
    def _open(
        self, name: str, writer: Writer, *, folder: str | None = None, backstop: float = 0
    ) -> Iterator[Subject]:
        """Start a subject with the credential of a volume, and its first token."""
        path = self.folder / (folder or name)
        writer.write(path, self.contents[0])
        with self._start(name) as subject:
            subject.ask(
                "open", path=str(path / FILE_NAME), **({"backstop": backstop} if name == "go" else {})
            )
            yield subject

    @contextmanager
    def _start(self, name: str) -> Iterator[Subject]:
        environment = os.environ | {"SSL_CERT_FILE": str(self.azure.ca_file)}
        command = self.commands[name]
        with subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                yield Subject(process)
            finally:
                process.kill()

    def _measure_cached(self, subjects: Mapping[str, Subject]) -> None:
        def best(names: Sequence[str], *, callers: int, **order: object) -> dict[str, float | str]:
            """The best of short rounds in turn, since other work on the machine is what makes the others worse."""
            found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
            for _ in range(ROUNDS):
                for name in names:
                    calls = max(_CALLS[name] // callers, 10)
                    found[name].append(subjects[name].ask("cached", callers=callers, calls=calls, **order))
            return {
                name: min(each["seconds"] for each in rounds) - min(each["loop"] for each in rounds)
                for name, rounds in found.items()
            }

        names = list(subjects)
        for what, found in (
            ("a cached token, one caller", best(names, callers=1)),
            (
                "the same with `get_token_info`",
                {**best(["ours", "azure-identity"], callers=1, info=True), "go": "has none"},
            ),
        ):
            ours, peer = float(found["ours"]), float(found["azure-identity"])
            reached = ours <= 0.5e-6 and peer / ours >= 35
            self.lines.append(Line(what, found, reach="0.5 µs, 35x", reached=reached))
        self.lines[-2] = replace(self.lines[-2], quoted=True)
        found = best(names, callers=CALLERS)
        self.lines.append(Line(f"a cached token, {CALLERS} callers at once", found))

        requests = _ask_in_turn(subjects, lambda subject, _: subject.ask("requests", calls=20))
        self.lines.append(Line("a token by a request to the local Azure, p50 of 20", requests))

    def _measure_hung(self, subjects: Mapping[str, Subject]) -> None:
        taken: dict[str, list[list[float]]] = {name: [] for name in subjects}
        for scope in HUNG:
            for name, subject in subjects.items():
                hung = self.azure.faults.add("entra", match="/token", delay=HANG_SECONDS)
                subject.ask("start", scope=scope)
                while not hung.met:
                    time.sleep(0.01)
                asked = subject.ask("meanwhile", callers=CALLERS, seconds=HANG_SECONDS / 2)
                taken[name].append(asked["seconds"])
                self.azure.faults.clear()
                time.sleep(HANG_SECONDS / 2)  # until it has ended
        p99 = {name: min(percentile(each, 99) for each in rounds) for name, rounds in taken.items()}
        slowest = {name: min(max(each) for each in rounds) for name, rounds in taken.items()}
        what = f"a cached token while another scope hangs for {HANG_SECONDS:.0f} s, p99"
        self.lines.append(Line(what, p99, reach="1 ms", reached=p99["ours"] <= 1e-3, quoted=True))
        self.lines.append(Line("the same, the slowest call of all", slowest))

    def _measure_renewed(self, writer: Writer) -> None:
        rotated: dict[str, list[float | str]] = {}
        waiting: dict[str, float | str] = {"azure-identity": "does not wait"}
        with ExitStack() as running:
            subjects = {}
            for name in ("ours", "go"):
                if name in self.commands:
                    opened = self._open(name, writer, folder=f"{name}-rotated", backstop=TIMER)
                    subjects[name] = running.enter_context(opened)
                    waiting[name] = _measure_idle(subjects[name])
            for number in range(ROTATING):
                for name, subject in subjects.items():
                    contents = self.contents[number * ROTATIONS + 1 :][:ROTATIONS]
                    delays = self._rotate(subject, writer, f"{name}-rotated", contents, limit=WAIT_SECONDS)
                    rotated.setdefault(name, []).append(_median(delays))
        best = {name: min(rounds, key=_by_size) for name, rounds in rotated.items()}
        figures = {**best, "azure-identity": "never: reads it once"}
        what = f"swap to token with the new certificate, p50 of {ROTATIONS}"
        self.lines.append(Line(what, {**figures, "go": ""} if "go" in best else figures, quoted=True))
        if "go" in best:
            self.lines.append(Line(f"the same, Go's timer set to {TIMER * 1000:.0f} ms", figures))
            what = "what waiting takes of a core then"
            self.lines.append(Line(what, waiting, show=lambda share: f"{share:.1%}"))

    def _rotate(
        self, subject: Subject, writer: Writer, folder: str, contents: Sequence[bytes], *, limit: float
    ) -> list[float | None]:
        """Rotate a volume, and measure from each swap until a token of the new certificate is there."""
        delays: list[float | None] = []
        for content in contents:
            subject.tell("renewed", seconds=limit)
            time.sleep(0.03)
            swapped_at = writer.write(self.folder / folder, content)
            at = subject.hear()["at"]
            delays.append(None if at is None else at - swapped_at)
        return delays

    def _measure_taking(self, subjects: Mapping[str, Subject]) -> None:
        place = self.folder / "taking"
        place.mkdir()
        paths = [place / str(number) for number in range(len(self.contents))]
        for path, content in zip(paths, self.contents, strict=True):
            path.write_bytes(content)
        found = _ask_in_turn(
            subjects,
            lambda subject, name: subject.ask("take", paths=[str(path) for path in paths[: FILES[name]]]),
        )
        self.lines.append(
            Line("taking a rotated file", found, reach="0.5 ms", reached=float(found["ours"]) <= 0.5e-3)
        )

    def _measure_many(self) -> None:
        paths = []
        for number in range(max(CREDENTIALS.values())):
            volume = self.folder / "many" / str(number)
            volume.parent.mkdir(exist_ok=True)
            mount(volume, self.contents[0])
            paths.append(str(volume / FILE_NAME))
        counts: dict[str, float | str] = {}
        memory: dict[str, float | str] = {}
        for name in self.commands:
            with self._start(name) as subject:
                found = subject.ask("many", paths=paths[: CREDENTIALS[name]], tokens=TOKENS)
            failed = found["opened"] < CREDENTIALS[name]
            counts[name] = f"{found['opened']:,}, {'then it fails' if failed else 'none fails'}"
            if name == "azure-identity":
                counts[name] = "watches no file"
            memory[name] = found["kib_each"] or "failed before"
        self.lines.append(Line("credentials in one process until it fails", counts, quoted=True))
        self.lines.append(
            Line("memory of each, with a token", memory, show=lambda kib: f"{kib:.0f} KiB", quoted=True)
        )


def build_commands(azure: LocalAzure) -> tuple[dict[str, list[str]], str]:
    """Build the commands of the subjects; tells also why one is missing, if so."""
    commands = {
        name: [sys.executable, "-m", "benchmarks.subject", name, str(azure.ca_file)]
        for name in ("ours", "azure-identity")
    }
    program = golang.build(GO)
    if isinstance(program, str):
        return commands, "Go is missing" if shutil.which("go") is None else "its modules cannot be had"
    return commands | {"go": [str(program)]}, ""


def measure_beside(azure: LocalAzure, folder: Path, contents: Sequence[bytes]) -> Beside:
    """Measure all of it, with ever later files of one identity."""
    commands, missing = build_commands(azure)
    beside = Beside(azure, folder, contents, commands, missing)
    beside.measure()
    return beside


def print_beside(beside: Beside) -> None:
    """Print the table."""
    print_table(
        "The credential, beside azure-identity and HyperShift's library for Go",
        f"{describe()}. {describe_machine()}",
        render(beside.lines, beside.missing),
    )


def describe() -> str:
    """Say how it was measured."""
    return (
        "each in a process of its own, with tokens of 1 h from the same local Azure. "
        f"Cached: the best of {ROUNDS} short rounds in turn; of {CALLERS} callers, the time of all by the"
        f" number of calls. Hanging: {CALLERS} callers for {HANG_SECONDS / 2:.0f} s, each pauses 10 ms after a call; the"
        f" better of two. Swap: another process swaps as the CSI driver does, the best of {ROTATING} rounds in turn; until the arrival of a token that, as the"
        " local Azure says, the new certificate has signed for; each asks for one after another, with claims, so that"
        f" none comes from memory. Taking: read, parse and build, the median of {FILES['ours']} ever later files, the best of 5 rounds;"
        " azure-identity cannot, and builds a new credential. Until it fails: the user may have"
        f" {INSTANCES.read_text().strip()} inotify instances with all that runs, and the Go library opens one for each"
        f" credential. Memory: what the resident set grows by for {TOKENS} of them. azure-workload-identity's proxy is not"
        " here: it cannot be pointed at the local Azure (docs/performance.md)"
    )


def _ask_in_turn(
    subjects: Mapping[str, Subject], ask: Callable[[Subject, str], Any]
) -> dict[str, float | str]:
    """Ask all in turn, some rounds; the best median of each."""
    rounds = [
        {name: float(ask(subject, name)["seconds"]) for name, subject in subjects.items()} for _ in range(5)
    ]
    return {name: min(found[name] for found in rounds) for name in subjects}


def _measure_idle(subject: Subject) -> float:
    before = subject.get_processor_seconds()
    time.sleep(IDLE_SECONDS)
    return (subject.get_processor_seconds() - before) / IDLE_SECONDS


def _median(delays: Sequence[float | None]) -> float | str:
    noticed = [delay for delay in delays if delay is not None]
    return percentile(noticed, 50) if len(noticed) == len(delays) else f"{len(noticed)} of {len(delays)}"


def _by_size(delay: float | str) -> float:
    return delay if isinstance(delay, float) else float("inf")


@contextmanager
def _writing() -> Iterator[Writer]:
    writer = Writer()
    yield writer
    writer.close()
