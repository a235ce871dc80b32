"""Runs a program through the faults."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

from hcpcreds.errors import InputError
from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.local.azure.faults import SeenRequest
from hcpcreds.local.azure.settings import AzureSettings
from hcpcreds.up.conform.faults import FAULTS, TOKEN_SECONDS, Fault, World
from hcpcreds.up.conform.judge import LONGEST_PAUSE, History, Incident, Row, find_pause, judge
from hcpcreds.up.conform.mounted import Mounted
from hcpcreds.up.conform.program import Program, Provision, build_command, build_environment

START_SECONDS: Final = 60.0
"""How long the program may take from its start to its first token."""
_FIRST_TOKENS: Final = 3
_PAUSES: Final = 3
"""A fault lasts at least this many times as long as the program pauses, so that its end is not missed."""
_POLL_SECONDS: Final = 0.02


@dataclass(frozen=True, kw_only=True)
class ConformSettings:
    """How a program is judged. Durations are in seconds."""

    provision: Provision = Provision.FILE
    hold: float = 3.0
    """How long a fault lasts."""
    deadline: float = 10.0
    """How long the program may take to use a new certificate, or to have a token again."""
    faults: tuple[str, ...] = ()
    """Names of the faults; none means all. `unregistered` brings `rotation` along."""
    log: Path | None = None
    """File for what the program prints."""


@dataclass(frozen=True)
class Report:
    """The result of a run."""

    provision: Provision
    rows: list[Row]
    endings: list[tuple[str, list[str]]] = field(default_factory=list)
    """Each end of the program that nobody asked for, with its last lines."""

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return all(row.passed is not False for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        """Build the document of `--output json`."""
        return {
            "with": self.provision.value,
            "passed": self.passed,
            "rows": [row.as_json() for row in self.rows],
            "endings": [{"why": why, "last_lines": lines} for why, lines in self.endings],
        }


class Conform:
    """A program, its credential and its local Azure. A context manager.

    Args:
        command: The program and its arguments.
        settings: How it is judged.
    """

    def __init__(self, command: Sequence[str], settings: ConformSettings) -> None:
        self._command = command
        self._settings = settings
        self._requests: list[SeenRequest] = []
        self._stack = ExitStack()
        self._world: World
        self._program: Program
        self._is_well = False
        """Whether the program is known to have tokens."""
        self.report = Report(settings.provision, [])

    def __enter__(self) -> Self:
        """Start the local Azure, and mount the credential.

        Raises:
            InputError: There is no such fault or program; nothing was started.
        """
        settings = self._settings
        if unknown := set(settings.faults) - {fault.name for fault in FAULTS}:
            known = ", ".join(fault.name for fault in FAULTS)
            problems = [f"{name}: no such fault; expected one of {known}" for name in sorted(unknown)]
            raise InputError("faults", problems, options=["fault"])
        if shutil.which(self._command[0]) is None:
            raise InputError(self._command[0], ["not found, or not executable"])
        if settings.log is not None:
            try:
                settings.log.touch(mode=0o600)
            except OSError as error:
                raise InputError(str(settings.log), [f"cannot be written: {error.strerror}"]) from None
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="hcpcreds-conform-")))
        # SDKs send an assertion again and again, and generating keys would take time of the program.
        azure_settings = AzureSettings(
            token_lifetime=TOKEN_SECONDS, refuse_replayed_assertions=False, key_pool=2
        )
        azure = self._stack.enter_context(LocalAzure(azure_settings))
        azure.requests.observer = self._requests.append
        mounted = Mounted(azure, folder / "mount", pem=settings.provision is Provision.PEM)
        self._world = World(azure=azure, mounted=mounted, provision=settings.provision, hold=settings.hold)
        environment = build_environment(os.environ, azure, mounted, settings.provision, folder)
        command = build_command(self._command, azure, mounted, settings.provision)
        self._program = Program(command, environment, settings.log or folder / "log")
        self._stack.callback(self._program.stop)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self) -> Iterator[Row]:
        """Cause each fault, and judge the program; `report` is complete at the end."""
        for row in self._judge_all():
            self.report.rows.append(row)
            yield row

    def _judge_all(self) -> Iterator[Row]:
        first = self._start()
        yield first
        if not first.passed:
            return
        chosen = set(self._settings.faults)
        if "unregistered" in chosen:
            chosen.add("rotation")  # without one, there is no earlier certificate to refuse
        for fault in FAULTS:
            if chosen and fault.name not in chosen:
                continue
            obstacle = fault.find_obstacle(self._settings.provision)
            yield Row.skip(fault.name, obstacle) if obstacle else self._judge(fault)

    def _judge(self, fault: Fault) -> Row:
        if fault.without_inotify or not self._recover():
            started = self._start(inotify=not fault.without_inotify)
            if not started.passed:
                return Row(fault=fault.name, passed=False, seen=f"when it was started: {started.seen}")
        began = time.monotonic()
        fault.begin(self._world)
        if fault.lasts:
            self._wait(lambda: False, self._world.longer if fault.steady else self._world.hold)
        ended = time.monotonic()
        fault.end(self._world)
        wanted = self._world.mounted.thumbprint if fault.renews else None
        if fault.renews or fault.recovers:
            self._wait(lambda: self._history().find_use(wanted, ended) is not None, self._settings.deadline)
        incident = Incident(
            fault=fault.name,
            began=began,
            ended=ended,
            over=time.monotonic(),
            steady=fault.steady,
            wanted=wanted,
            recovers=fault.recovers,
            death=self._note_death(),
        )
        fault.clean_up(self._world)
        row = judge(incident, self._history(), shortest=self._world.hold, deadline=self._settings.deadline)
        self._is_well = bool(row.passed)
        return row

    def _start(self, *, inotify: bool = True) -> Row:
        """Start the program, and see that it has token after token."""
        began = time.monotonic()
        self._program.start(inotify=inotify)

        def list_times() -> list[float]:
            return [each.at for each in self._history().list_successes() if each.at >= began]

        self._wait(list_times, START_SECONDS)
        self._wait(lambda: len(list_times()) >= _FIRST_TOKENS, _FIRST_TOKENS * LONGEST_PAUSE)
        times, death = list_times(), self._note_death()
        incident = Incident(
            fault="start", began=began, ended=began, over=time.monotonic(), recovers=True, death=death
        )
        row = judge(incident, self._history(), shortest=self._world.hold, deadline=START_SECONDS)
        if death or not times:
            return row
        pause = find_pause(times)
        if pause is None:
            reason = (
                f"more than {LONGEST_PAUSE:.0f} s from one {self._history().success} to the next: too few to "
                "judge it by. Ask more often, and call HCPCREDS_CONFORM_URL with each token"
            )
            return Row(fault="start", passed=False, seen=reason, requests=row.requests, refused=row.refused)
        self._world = replace(self._world, hold=max(self._settings.hold, _PAUSES * pause))
        return row

    def _recover(self) -> bool:
        """Give the program time to have a token, if the last fault was not good for it."""
        now = time.monotonic()
        if not self._is_well:
            self._wait(lambda: self._history().find_use(None, now) is not None, self._settings.deadline)
            self._is_well = self._history().find_use(None, now) is not None
        return self._is_well and self._program.describe_end() is None

    def _wait(self, condition: Callable[[], object], seconds: float) -> None:
        """Wait for a condition, the end of the program, or so many seconds."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not condition() and self._program.describe_end() is None:
            time.sleep(_POLL_SECONDS)

    def _history(self) -> History:
        provision = self._settings.provision
        return History(
            list(self._requests),
            has_sidecar=provision.has_sidecar,
            must_call=provision is Provision.ENDPOINT,
        )

    def _note_death(self) -> str | None:
        death = self._program.describe_end()
        if death is not None:
            self.report.endings.append((death, self._program.read_last_lines()))
        return death
