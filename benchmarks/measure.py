"""Timing, and the table of results."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

_ROUNDS: Final = 7


@dataclass(frozen=True)
class Row:
    """One line of the report."""

    what: str
    ours: str
    peer: str = "-"
    ratio: str = "-"
    reach: str = "-"
    reached: bool | None = None
    """None without a target."""


def seconds_per_call(call: Callable[[], object], *, calls: int) -> float:
    """Measure the mean time of one call, without the cost of the loop; the median over rounds."""
    rounds = []
    for _ in range(_ROUNDS):
        empty = _time(lambda: None, calls)
        rounds.append((_time(call, calls) - empty) / calls)
    return statistics.median(rounds)


def percentile(values: Sequence[float], percent: float) -> float:
    """Find the value that so many percent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def format_seconds(seconds: float) -> str:
    """Render a duration in the most readable unit."""
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.2f} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def compare(what: str, ours: float, peer: float, *, reach: str, reached: bool) -> Row:
    """Build a row of two durations."""
    return Row(
        what, format_seconds(ours), format_seconds(peer), f"{peer / ours:.1f} times faster", reach, reached
    )


def highest_resident_mib(process: int | Literal["self"] = "self") -> float:
    """Read VmHWM of a running process; ru_maxrss would include the memory of its parent."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def print_rows(title: str, method: str, rows: Sequence[Row]) -> None:
    """Print a section of the report."""
    cells: list[Sequence[str]] = [("", "ours", "peer", "ratio", "to reach", "")]
    cells += [
        (
            row.what,
            row.ours,
            row.peer,
            row.ratio,
            row.reach,
            show_reached(row.reached),
        )
        for row in rows
    ]
    print_table(title, method, cells)


def show_reached(reached: bool | None) -> str:  # noqa: FBT001 (the cell of a row)
    """Render whether a row reached its target, if it has one."""
    return {True: "reached", False: "MISSED", None: ""}[reached]


def print_table(title: str, method: str, cells: Sequence[Sequence[str]]) -> None:
    """Print a section of the report, with its head as the first of the lines."""
    print(f"\n{title}\n  method: {method}\n")
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    for line in cells:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _time(call: Callable[[], object], calls: int) -> float:
    loop = range(calls)
    started = time.perf_counter()
    for _ in loop:
        call()
    return time.perf_counter() - started
