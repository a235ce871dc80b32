"""The table of `benchmarks.beside`: on the terminal, in docs/performance.md, and its main lines in the README."""

import os
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from benchmarks.measure import format_seconds, show_reached

ROOT: Final = Path(__file__).parents[1]
GO: Final = Path(__file__).parent / "go"
MARK: Final = '<!-- measured by make bench ARGS="--write credential" -->'
TABLE: Final = re.compile(rf"^.*{MARK}\n\n((?:\|.*\n)+)", re.MULTILINE)
"""What a page has of it: a line that ends with the mark, and the table."""
_COLUMNS: Final = 6
"""Of the table on a page: all but what is to be reached."""


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    what: str
    figures: Mapping[str, float | str]
    """By the name of the subject: a figure, or why there is none."""
    show: Callable[[float], str] = format_seconds
    reach: str = ""
    reached: bool | None = None
    quoted: bool = False
    """Whether the README has it."""


def describe_machine() -> str:
    """Say on what it was measured, with which versions, and what else ran meanwhile."""
    text = (GO / "go.mod").read_text()
    matches = [re.search(rf"/({name}) (v\S+)", text) for name in ("msi-dataplane", "azidentity")]
    names = [f"azure-identity {version('azure-identity')}", f"Python {platform.python_version()}"]
    names += [f"{match[1]} {match[2]}" for match in matches if match]
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    model = f" ({found[1]})" if found else ""
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores{model}, load average {load:.1f}; {', '.join(names)}"


def write(lines: Sequence[Line], missing: str) -> None:
    """Put the table into docs/performance.md, and its main lines into the README, with the date and the machine."""
    measured = f"{datetime.now(UTC):%-d %B %Y}, {describe_machine()}"
    for page, beginning, quote in (
        ("docs/performance.md", "", False),
        ("README.md", "[Beside the libraries that one would use without it](docs/performance.md), ", True),
    ):
        cells = [line[:_COLUMNS] for line in render(lines, missing, quote=quote)]
        cells.insert(1, ["---"] * _COLUMNS)
        table = "\n".join(f"| {' | '.join(line)} |" for line in cells)
        path = ROOT / page
        written = f"{beginning}{measured}: {MARK}\n\n{table}\n"
        text = path.read_text()
        found = TABLE.search(text)
        assert found is not None, page
        path.write_text(text[: found.start()] + written + text[found.end() :])


def render(lines: Sequence[Line], missing: str, *, quote: bool = False) -> list[list[str]]:
    """Render the head and the lines, or those that the README quotes; `missing` says why Go has no figures."""
    cells = [["", "ours", "azure-identity", "times ours", "Go", "times ours", "to reach", ""]]
    for line in lines:
        if quote and not line.quoted:
            continue
        ours = line.figures["ours"]
        cell = [line.what, _show(line, ours)]
        for name in ("azure-identity", "go"):
            found = line.figures.get(name, f"not measured: {missing}")
            cell += [_show(line, found), _compare(ours, found)]
        cells.append([*cell, line.reach or "-", show_reached(line.reached)])
    return cells


def _show(line: Line, found: float | str) -> str:
    return found if isinstance(found, str) else line.show(found)


def _compare(ours: float | str, theirs: float | str) -> str:
    if isinstance(ours, str) or isinstance(theirs, str) or not ours:
        return "-"
    ratio = theirs / ours
    if ratio > 1_000:
        return "> 1,000x"
    return f"{ratio:.1f}x" if ratio < 100 else f"{ratio:.0f}x"
