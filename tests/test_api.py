"""docs/api.md is the line between what is promised and what is internal."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/api.md").read_text()
MODULES = {
    section.split("`", 2)[1]: set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    for section in PAGE.split("\n## ")[1:]
}


@pytest.mark.parametrize("module", MODULES)
def test_page_promises_what_the_module_offers(module):
    assert MODULES[module] == set(import_module(module).__all__)


def test_page_describes_each_name():
    assert re.findall(r"^\| `\w+` \| +\|", PAGE, re.MULTILINE) == []


def read_imports(page):
    """Read the imports in a page's Python examples."""
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "hcpcreds":
                yield from ((node.module, name.name) for name in node.names)


@pytest.mark.parametrize(
    "page", ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
)
def test_examples_use_promised_names_only(page):
    for module, name in read_imports((ROOT / page).read_text()):
        assert name in MODULES.get(module, ()) or f"{module}.{name}" in MODULES
