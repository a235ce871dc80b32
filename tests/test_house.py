"""What holds for the code as a whole: its layout, the size of its parts, the style of its comments."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for room in ("src", "benchmarks") for path in (ROOT / room).rglob("*.py"))
EVERYTHING = [*SOURCES, *sorted((ROOT / "tests").rglob("*.py"))]
LONGEST_MODULE = 400
LONGEST_CLASS = 250

# Put together, so that this file does not hold what it looks for.
NOQA = re.compile("# no" + r"qa(?!: [A-Z]+\d+(, [A-Z]+\d+)* \([^()]+(\([^()]*\))?[^()]*\)$).*", re.MULTILINE)
DOUBLE_BACKTICKS = re.compile("(?<!`)`" + r"`(?!`)[^`\n]+`" + "`(?!`)")


def show(path: Path) -> str:
    return str(path.relative_to(ROOT))


def find(pattern: re.Pattern[str]) -> dict[str, list[str]]:
    found = {show(path): [match[0] for match in pattern.finditer(path.read_text())] for path in EVERYTHING}
    return {path: matches for path, matches in found.items() if matches}


@pytest.mark.unmeasured
def test_modules_and_classes_fit_their_limits():
    texts = {show(path): path.read_text() for path in SOURCES}
    lengths = {path: len(text.splitlines()) for path, text in texts.items()}
    class_lengths = {
        f"{path}: {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path, text in texts.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ClassDef)
    }

    assert {path: length for path, length in lengths.items() if length > LONGEST_MODULE} == {}
    assert {name: length for name, length in class_lengths.items() if length > LONGEST_CLASS} == {}


def test_suppressed_warnings_have_a_reason_in_parentheses():
    assert find(NOQA) == {}


def test_code_in_comments_stands_in_single_backticks():
    assert find(DOUBLE_BACKTICKS) == {}


def test_contributing_describes_every_package():
    described = re.findall(r"`(\w+)/`", (ROOT / "CONTRIBUTING.md").read_text())
    packages = [path.parent.name for path in (ROOT / "src/hcpcreds").glob("*/__init__.py")]

    assert sorted(set(packages) - set(described)) == []
