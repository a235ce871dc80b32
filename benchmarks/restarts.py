# ruff: noqa: S311 (no secret is made of this chance)
"""`python -m benchmarks.restarts --restarts 1000`: is a program of `hcpcreds exec` told of every rotation?

Programs are started and ended at random, by themselves or by a signal to them or to `hcpcreds exec`, while their
credential rotates, and bad files come between. Each program says which version it has read. The exit status
is 1 when one goes on with an older version than the one that is mounted, or when it is told of a bad one.
"""

import argparse
import base64
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from benchmarks.measure import percentile
from benchmarks.volumes import FILE_NAME, write

_DEADLINE: Final = 15.0
"""Seconds after which a program that has not read a new version counts as one that was not told."""
_LONGEST: Final = 0.8
"""Seconds that a program runs at most before it is ended."""
_PROGRAM: Final = """
import json, os, signal, sys, time
file, log, seconds = sys.argv[1:]
log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def read(number=0, _=None):
    with open(file) as opened:
        version = json.load(opened)["version"]
    os.write(log, f"{os.getpid()} {version} {number} {time.monotonic()}\\n".encode())
signal.signal(signal.SIGHUP, read)
read()
end = time.monotonic() + float(seconds)
while time.monotonic() < end:
    time.sleep(max(0, end - time.monotonic()))
sys.exit(7)
"""


@dataclass(frozen=True)
class Reading:
    """That a program has read the file."""

    pid: int
    version: int
    is_told: bool
    """Whether a signal has told it to, and not its start."""
    at: float


@dataclass
class Report:
    """What has happened."""

    starts: int = 0
    rotations: int = 0
    bad_files: int = 0
    signals: int = 0
    ends: dict[str, int] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Volume:
    """A mounted credential, in one version after the other."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.file = directory / FILE_NAME
        self.version = 0
        self._begin = datetime.now(UTC) - timedelta(days=1)
        self._secret = _issue(self._begin - timedelta(days=1))
        self.rotate()

    def rotate(self) -> None:
        """Mount the next version."""
        self.version += 1
        write(self._directory, self._render())

    def spoil(self) -> None:
        """Mount a file that is not a credential."""
        write(self._directory, json.dumps({"version": self.version, "client_id": "nobody"}).encode())

    def _render(self) -> bytes:
        begin = self._begin + timedelta(seconds=self.version)
        document = {
            "authentication_endpoint": "https://login.example/",
            "client_id": "11111111-2222-3333-4444-555555555555",
            "tenant_id": "99999999-8888-7777-6666-555555555555",
            "client_secret": self._secret,
            "not_before": begin.isoformat(),
            "not_after": (begin + timedelta(days=30)).isoformat(),
            "version": self.version,
        }
        return json.dumps(document).encode()


class Run:
    """One `hcpcreds exec` with its program."""

    def __init__(self, volume: Volume, log: Path, chance: random.Random) -> None:
        self._log = log
        self._chance = chance
        self.restarts = chance.random() < 0.5
        told = "--restart-on-rotation" if self.restarts else "--signal-on-rotation=HUP"
        seconds = chance.uniform(0, 2 * _LONGEST)
        command = (
            "hcpcreds",
            "exec",
            "--credential",
            str(volume.file),
            "--provide",
            "nothing",
            told,
            "--grace",
            "5s",
        )
        program = (sys.executable, "-S", "-E", "-c", _PROGRAM, str(volume.file), str(log), str(seconds))
        self._process = subprocess.Popen(
            [sys.executable, "-m", *command, "--", *program], stderr=subprocess.PIPE, text=True
        )

    def read(self) -> list[Reading]:
        """Read what its programs have said."""
        try:
            lines = self._log.read_text().splitlines()
        except FileNotFoundError:
            return []
        readings = []
        for line in lines:
            pid, version, number, at = line.split()
            readings.append(Reading(int(pid), int(version), number != "0", float(at)))
        return readings

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def end(self) -> tuple[str, int, str]:
        """End it in one of several ways after a random time; returns the way, the exit status, the log."""
        ways = ["SIGTERM to exec", "SIGTERM to the program", "SIGKILL to the program"]
        way = self._chance.choice(ways if self.restarts else [*ways, "by itself"])
        if way != "by itself":
            time.sleep(self._chance.uniform(0, _LONGEST))
        while self.is_running and way != "by itself":
            if way == "SIGTERM to exec":
                self._process.terminate()
                break
            number = signal.SIGTERM if "SIGTERM" in way else signal.SIGKILL
            for reading in self.read()[-1:]:
                _signal(reading.pid, self._process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.1)
        _, log = self._process.communicate(timeout=60)
        return way, self._process.returncode, log


def _signal(pid: int, parent: int, number: int) -> None:
    """Signal a process only if it still is a child of that parent."""
    with suppress(ProcessLookupError, FileNotFoundError):
        descriptor = os.pidfd_open(pid)
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1] == str(parent):
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


class Runner:
    """Starts and ends programs one after the other, in a thread, until there were enough."""

    def __init__(self, volume: Volume, directory: Path, *, restarts: int, seed: int) -> None:
        self._volume = volume
        self._directory = directory
        self._restarts = restarts
        self._chance = random.Random(seed)
        self.run: Run | None = None
        self.runs: list[tuple[Run, str, int, str]] = []
        self.thread = threading.Thread(target=self._work, daemon=True)

    def _work(self) -> None:
        for number in itertools.count():
            if sum(len({each.pid for each in run.read()}) for run, *_ in self.runs) >= self._restarts:
                return
            self.run = Run(self._volume, self._directory / f"run-{number}", self._chance)
            self.runs.append((self.run, *self.run.end()))


def run(*, restarts: int, rotations: int, seed: int = 1) -> Report:
    """Rotate at random while programs are started and ended.

    Args:
        restarts: How many programs are started at least.
        rotations: How many rotations there are at least.
        seed: Of the chance.
    """
    report, chance = Report(), random.Random(seed + 1)
    with tempfile.TemporaryDirectory() as directory:
        volume = Volume(Path(directory) / "volume")
        runner = Runner(volume, Path(directory), restarts=restarts, seed=seed)
        runner.thread.start()
        while runner.thread.is_alive() or report.rotations < rotations:
            time.sleep(chance.uniform(0, _LONGEST / 2))
            if chance.random() < 0.1:
                volume.spoil()
                report.bad_files += 1
                time.sleep(chance.uniform(0, 0.1))
            running, at = runner.run, time.monotonic()
            volume.rotate()
            report.rotations += 1
            if chance.random() < 0.7:
                _wait(running, volume.version, at, report)
        runner.thread.join()
        _sum_up(runner, report)
    return report


def _wait(running: Run | None, version: int, at: float, report: Report) -> None:
    """Wait until a program has read a version, or has ended."""
    deadline = time.monotonic() + _DEADLINE
    while running is not None and running.is_running:
        read = [each.at for each in running.read() if each.version >= version]
        if read:
            report.latencies.append(max(0.0, read[0] - at))
            return
        if time.monotonic() > deadline:
            report.problems.append(f"a program was not told of version {version}: {running.read()}")
            return
        time.sleep(0.002)


def _sum_up(runner: Runner, report: Report) -> None:
    for each, way, status, log in runner.runs:
        readings = each.read()
        report.starts += len({reading.pid for reading in readings})
        told = [reading for reading in readings if reading.is_told]
        report.signals += len(told) or max(0, len({reading.pid for reading in readings}) - 1)
        report.ends[way] = report.ends.get(way, 0) + 1
        accepted = log.count("accepted certificate")
        if len(told) > accepted:
            report.problems.append(f"{len(told)} signals for {accepted} accepted files")
        is_early = status == -signal.SIGTERM and not log  # before Python had loaded hcpcreds
        if "Traceback" in log or not (is_early or status in {7, 128 + 1, 128 + 9, 128 + 15}):
            report.problems.append(f"exit status {status}: {log[-500:]}")


def _issue(begin: datetime) -> str:
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=90))
        .sign(key, SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return base64.b64encode(pem + certificate.public_bytes(Encoding.PEM)).decode()


def main() -> None:
    """Run, and say what has happened."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.restarts", description=__doc__)
    parser.add_argument("--restarts", type=int, default=1000)
    parser.add_argument("--rotations", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began = time.monotonic()
    report = run(restarts=options.restarts, rotations=options.rotations, seed=options.seed)
    ends = ", ".join(f"{count} {way}" for way, count in sorted(report.ends.items()))
    milliseconds = [1000 * each for each in report.latencies]
    runs = sum(report.ends.values())
    print(f"{report.starts} programs started in {time.monotonic() - began:.0f} s")
    print(f"by {runs} runs of hcpcreds exec, which were ended by: {ends}")
    print(
        f"{report.rotations} rotations, {report.bad_files} bad files; {report.signals} signals and restarts"
    )
    print(
        f"from the swap until the program has read the new file, for {len(milliseconds)} rotations: median "
        f"{percentile(milliseconds, 50):.0f} ms, 99 %: {percentile(milliseconds, 99):.0f} ms, "
        f"longest {max(milliseconds):.0f} ms"
    )
    for problem in report.problems:
        print(f"PROBLEM: {problem}")
    sys.exit(1 if report.problems else 0)


if __name__ == "__main__":
    main()
