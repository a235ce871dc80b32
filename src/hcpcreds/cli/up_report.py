"""The reports of `hcpcreds up`: a live table, plain lines, or steps beside a JSON document."""

import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from typing_extensions import override

from hcpcreds.text import make_lines_printable
from hcpcreds.up.record import ComponentRecord
from hcpcreds.up.settings import Reporter

_PLAIN_WIDTH: Final = 280
"""Wide enough for every column of a table that goes to a pipe or a file."""
_THUMBPRINT_LETTERS: Final = 12


class StepsReporter(Reporter):
    """Prints steps and problems on standard error only: the command prints one document at the end."""

    def __init__(self) -> None:
        self._log = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    @override
    def step(self, text: str) -> None:
        self._log.print(make_lines_printable(text))

    @override
    def problem(self, text: str) -> None:
        self._log.print(f"problem: {make_lines_printable(text)}")


class LinesReporter(StepsReporter):
    """For a pipe or a file: prints a line for each event, and the table at the end."""

    @override
    def happened(self, record: ComponentRecord, text: str) -> None:
        try:
            line = make_lines_printable(f"{datetime.now(UTC):%H:%M:%S} {record.component}: {text}")
            print(line, flush=True)  # noqa: T201 (its failure ends the run)
        except BrokenPipeError:
            # Flushing the rest of the buffer would fail again when the interpreter ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise

    @override
    def finished(self, records: Sequence[ComponentRecord]) -> None:
        Console(width=_PLAIN_WIDTH, highlight=False, markup=False).print(_lines_table(records))


class TableReporter(StepsReporter):
    """For a terminal: shows a live table."""

    def __init__(self) -> None:
        super().__init__()
        self._records: Sequence[ComponentRecord] = ()
        self._out = Console(highlight=False, markup=False)
        self._live = Live(
            console=self._out, get_renderable=self._render, refresh_per_second=4, vertical_overflow="visible"
        )
        self._log = self._out  # a live table and text on another stream would overwrite each other

    @override
    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    @override
    def started(self, records: Sequence[ComponentRecord]) -> None:
        self._records = records
        self._live.start()

    @override
    def finished(self, records: Sequence[ComponentRecord]) -> None:
        self._live.stop()

    def _render(self) -> Table:
        return _screen_table(self._records)


def _lines_table(records: Sequence[ComponentRecord]) -> Table:
    """Build a table with one line for each component, however long."""
    table = Table(box=None, pad_edge=False)
    for heading in ("component", "volume", "SecretProviderClass", "file", "certificate", "expires"):
        table.add_column(heading, no_wrap=True)
    for heading in ("generation", "rotations", "last call", "swap to call", "calls", "failed"):
        table.add_column(heading, no_wrap=True, justify="right")
    for record in records:
        table.add_row(
            record.component,
            record.volume,
            record.secret_provider_class,
            record.file,
            *_certificate(record),
            _generation(record),
            str(record.rotations),
            *_calls(record),
        )
    return table


def _screen_table(records: Sequence[ComponentRecord]) -> Table:
    """Build a table with two lines for each component, to fit a terminal; longer names are cut."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("component\nfile", overflow="ellipsis")
    table.add_column("volume\nSecretProviderClass", overflow="ellipsis")
    table.add_column("certificate\nexpires", no_wrap=True, min_width=16)
    table.add_column("generation", justify="right", no_wrap=True, min_width=10)
    table.add_column("last call\nswap to call", justify="right", no_wrap=True, min_width=12)
    table.add_column("calls\nfailed", justify="right", no_wrap=True, min_width=6)
    for record in records:
        last, waited, calls, failed = _calls(record)
        table.add_row(
            f"{record.component}\n{record.file}",
            f"{record.volume}\n{record.secret_provider_class}",
            "\n".join(_certificate(record)),
            _generation(record),
            f"{last}\n{waited}",
            f"{calls}\n{failed}",
            style="red" if record.ended or record.failed_calls else None,
        )
    return table


def _certificate(record: ComponentRecord) -> tuple[str, str]:
    current = record.current
    if current is None:
        return "-", "-"
    return current.thumbprint[:_THUMBPRINT_LETTERS], f"{current.expires:%Y-%m-%d %H:%M}"


def _generation(record: ComponentRecord) -> str:
    return "-" if record.current is None else str(record.current.generation)


def _calls(record: ComponentRecord) -> tuple[str, str, str, str]:
    """Render the last call, the time from the newest swap to the call after it, and the counts of calls."""
    current = record.current
    waited = None if current is None else record.first_call_milliseconds(current)
    if record.ended is not None:
        last = "ended"
    elif record.last_call_at is None:
        last = "-"
    else:
        last = f"{time.time() - record.last_call_at:.1f} s ago"
    return last, "-" if waited is None else f"{waited:.0f} ms", str(record.calls), str(record.failed_calls)
