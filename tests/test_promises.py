"""What SECURITY.md, the threat model and the table of faults promise: each names a test that there is."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FAULTS = ("docs/faults.md", "docs/faults-services.md")
PAGES = ("SECURITY.md", "docs/threat-model.md", *FAULTS)
_NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")
_LINK = re.compile(r"\]\((?!https:)([^)#]+)")
_FEWEST_FAULTS = 80


def read_rows(page: str) -> list[list[str]]:
    """The cells of every row of a page's tables, without their heads."""
    lines = [line for line in (ROOT / page).read_text().splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in rows if row[-1] != "test" and not row[0].startswith("---")]


def find_tests(file: Path) -> Iterator[str]:
    """Every test of a module; a state machine's `TestCase` too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node.name
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id


@pytest.mark.unmeasured
@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_a_page_names_is_there(page: str):
    named = _NAMED.findall((ROOT / page).read_text())
    missing = []
    for name, test in named:
        file = ROOT / "tests" / name
        if not file.exists() or test not in set(find_tests(file)):
            missing.append(f"{name}::{test}")
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_leads_somewhere(page: str):
    place = (ROOT / page).parent
    assert [link for link in _LINK.findall((ROOT / page).read_text()) if not (place / link).exists()] == []


@pytest.mark.parametrize("page", ["docs/threat-model.md", *FAULTS])
def test_every_row_names_its_test(page: str):
    rows = read_rows(page)
    assert rows
    assert [row for row in rows if not _NAMED.search(row[-1])] == []
    assert len({len(row) for row in rows}) == 1, "a row has lost a cell"


def test_table_of_faults_is_whole():
    rows = [row for page in FAULTS for row in read_rows(page)]
    assert len(rows) >= _FEWEST_FAULTS
    assert len({row[0] for row in rows}) == len(rows), "a fault stands there twice"
