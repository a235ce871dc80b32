"""What holds for the code as a whole: how comments are written."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
EVERYTHING = [path for room in ("src", "benchmarks", "tests") for path in sorted((ROOT / room).rglob("*.py"))]

# Put together, so that this file does not hold what it looks for.
NOQA = re.compile("# no" + r"qa(?!: [A-Z]+\d+(, [A-Z]+\d+)* \([^()]+(\([^()]*\))?[^()]*\)$).*", re.MULTILINE)
DOUBLE_BACKTICKS = re.compile("(?<!`)`" + r"`(?!`)[^`\n]+`" + "`(?!`)")


def show(path: Path) -> str:
    return str(path.relative_to(ROOT))


def find(pattern: re.Pattern[str]) -> dict[str, list[str]]:
    found = {show(path): [match[0] for match in pattern.finditer(path.read_text())] for path in EVERYTHING}
    return {path: matches for path, matches in found.items() if matches}


def test_suppressed_warnings_have_a_reason_in_parentheses():
    assert find(NOQA) == {}


def test_code_in_comments_stands_in_single_backticks():
    assert find(DOUBLE_BACKTICKS) == {}
