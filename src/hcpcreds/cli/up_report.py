"""How `hcpcreds up` tells what happens: a live table, plain lines, or only the steps beside a JSON document."""

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

from hcpcreds.chain.record import ComponentRecord
from hcpcreds.chain.run import Reporter

_PLAIN_WIDTH: Final = 280
"""Wide enough that no column of a table on a pipe or file is ever cut."""
_THUMBPRINT_LETTERS: Final = 12


class StepsReporter(Reporter):
    """Steps and problems on standard error, and nothing else: the command prints one document at the end."""

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
        self._log.print(text)

    @override
    def problem(self, text: str) -> None:
        self._log.print(f"problem: {text}")


class LinesReporter(StepsReporter):
    """For a pipe or a file: a line for each thing that happens, and the table at the end."""

    def __init__(self) -> None:
        super().__init__()
        self._out = Console(width=_PLAIN_WIDTH, highlight=False, markup=False, soft_wrap=True)

    @override
    def happened(self, record: ComponentRecord, text: str) -> None:
        self._out.print(f"{datetime.now(UTC):%H:%M:%S} {record.component}: {text}")

    @override
    def finished(self, records: Sequence[ComponentRecord]) -> None:
        self._out.print(_table(records, wide=True))


class TableReporter(StepsReporter):
    """For a terminal: the table, live."""

    def __init__(self) -> None:
        super().__init__()
        self._records: Sequence[ComponentRecord] = ()
        self._out = Console(highlight=False, markup=False)
        self._live = Live(
            console=self._out, get_renderable=self._render, refresh_per_second=4, vertical_overflow="visible"
        )
        self._log = self._out  # a live table and text on two streams would overwrite each other

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
        return _table(self._records, wide=False)


def _table(records: Sequence[ComponentRecord], *, wide: bool) -> Table:
    """The table of all components; not `wide` fits a terminal and leaves out what can be looked up."""
    table = Table(box=None if wide else box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("component", no_wrap=True)
    table.add_column("volume", no_wrap=True)
    table.add_column("SecretProviderClass", no_wrap=True)
    table.add_column("file", no_wrap=wide, overflow="fold")
    table.add_column("certificate", no_wrap=True)
    table.add_column("expires", no_wrap=True)
    table.add_column("generation", justify="right")
    table.add_column("rotations", justify="right")
    table.add_column("last call", no_wrap=True)
    table.add_column("swap to call", justify="right", no_wrap=True)
    table.add_column("calls", justify="right")
    table.add_column("failed", justify="right")
    for record in records:
        table.add_row(*_row(record), style="red" if record.ended or record.failed_calls else None)
    return table


def _row(record: ComponentRecord) -> list[str]:
    current = record.current
    waited = None if current is None else record.first_call_milliseconds(current)
    return [
        record.component,
        record.volume,
        record.secret_provider_class,
        record.file,
        "-" if current is None else current.thumbprint[:_THUMBPRINT_LETTERS],
        "-" if current is None else f"{current.expires:%Y-%m-%d %H:%M}",
        "-" if current is None else str(current.generation),
        str(record.rotations),
        _last_call(record),
        "-" if waited is None else f"{waited:.0f} ms",
        str(record.calls),
        str(record.failed_calls),
    ]


def _last_call(record: ComponentRecord) -> str:
    if record.ended is not None:
        return record.ended.splitlines()[0]
    if record.last_call_at is None:
        return "-"
    return f"{time.time() - record.last_call_at:.1f} s ago"
