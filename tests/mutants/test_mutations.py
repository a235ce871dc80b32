"""The sampler itself: it finds what it should, and what it lists as equivalent is still there."""

import pytest
from tests.mutants.mutations import find_mutations
from tests.mutants.rooms import ROOMS, ROOT, describe, read_equivalent

SOURCE = b'''"""A module."""
import logging
_log = logging.getLogger("x")
__all__ = ["f"]


def f(a: int, b: "str") -> str | None:
    """Do it."""
    if a < 3 and not b:
        raise ValueError("what")
    _log.info("nobody sees %s", a)
    return g(a + 1, flag=True,
             other=b)
'''
EXPECTED = {
    "if a <= 3 and not b:",
    "if a < 4 and not b:",
    "if a < 3 or not b:",
    "if a < 3 and b:",
    "if not (a < 3 and not b):",
    "pass",
    'raise ValueError("")',
    "return g(a - 1, flag=True,",
    "return g(a + 2, flag=True,",
    "return g(a + 1, flag=False,",
    "return g(a + 1,",
    ")",
    "return None",
}


def test_mutations_are_one_of_each_kind_when_the_source_has_them():
    found = find_mutations("f.py", SOURCE)
    assert {mutation.show(SOURCE)[1] for mutation in found} == EXPECTED
    assert {mutation.within for mutation in found} == {"f"}


@pytest.mark.unmeasured
def test_mutated_source_is_python_and_not_what_it_was():
    for room in ROOMS.values():
        for file in room.list_files():
            source = (ROOT / file).read_bytes()
            assert all(mutation.is_one(source) for mutation in find_mutations(file, source)[::100])


def test_every_file_of_the_package_is_in_a_room():
    files = {str(file.relative_to(ROOT)) for file in (ROOT / "src/hcpcreds").rglob("*.py")}
    rooms = [file for room in ROOMS.values() for file in room.list_files()]
    assert files - set(rooms) == {"src/hcpcreds/__init__.py", "src/hcpcreds/__main__.py"}
    assert len(rooms) == len(set(rooms))


def test_what_is_listed_as_equivalent_is_still_there():
    listed = read_equivalent()
    sources = {file: (ROOT / file).read_bytes() for file, *_ in listed}
    there = {
        describe(mutation, source)
        for file, source in sources.items()
        for mutation in find_mutations(file, source)
    }
    assert set(listed) - there == set()
    assert all(listed.values()), "each has a reason"
