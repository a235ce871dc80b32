import re

from benchmarks import beside_table, subject
from tests.docs.snippets import ROOT


def read_table(page: str) -> list[str]:
    [table] = beside_table.TABLE.findall((ROOT / page).read_text())
    return str(table).splitlines()


def test_readme_quotes_lines_that_the_page_has():
    page, quoted = read_table("docs/performance.md"), read_table("README.md")
    assert len(quoted) > 4
    assert [line for line in quoted if line not in page] == []


def test_programs_in_go_and_python_know_the_same_orders():
    go = re.findall(r'case "(\w+)":', (beside_table.GO / "main.go").read_text())
    python = [name.removeprefix("do_") for name in vars(subject.Subject) if name.startswith("do_")]
    assert sorted(go) == sorted(python)
