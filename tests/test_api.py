"""docs/api.md is the line between what is promised and what is internal."""

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/api.md").read_text()
SECTIONS = {section.split("`", 2)[1]: section for section in PAGE.split("\n## ")[1:]}
MODULES = {
    module: set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) for module, section in SECTIONS.items()
}


@pytest.mark.parametrize("module", MODULES)
def test_page_promises_what_the_module_offers(module):
    assert MODULES[module] == set(import_module(module).__all__)


def test_page_describes_each_name():
    assert re.findall(r"^\| `\w+` \| +\|", PAGE, re.MULTILINE) == []


def read_first_sentence(found):
    """Read the first sentence of a docstring."""
    paragraph = " ".join((found.__doc__ or "").split("\n\n", 1)[0].split())
    return re.split(r"(?<=\.) ", paragraph, maxsplit=1)[0]


@pytest.mark.parametrize("module", MODULES)
def test_page_describes_names_as_their_docstrings_do(module):
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", SECTIONS[module], re.MULTILINE))
    promised = {name: getattr(import_module(module), name) for name in rows}
    documented = {
        name: read_first_sentence(found)
        for name, found in promised.items()
        if inspect.isclass(found) or inspect.isfunction(found)
    }
    assert {name: rows[name] for name in documented} == documented


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
