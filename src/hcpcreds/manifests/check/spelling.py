"""Misspelled keys."""

import difflib
from collections.abc import Iterable, Iterator
from typing import Final

from hcpcreds.kubernetes.nodes import Node

_LIKENESS: Final = 0.85
_GREAT_LIKENESS: Final = 0.9
"""The same, if the other keys that the program reads are not known."""


def find_misspelt(mapping: Node, known: Iterable[str]) -> Iterator[tuple[str, Node, str]]:
    """Find misspelled keys: no program reads them, but they are similar to a key that a program reads.

    Yields:
        The misspelled key, its value, and the intended key, which is not in the mapping.
    """
    known = frozenset(known)
    left = {key.lower(): key for key in known if mapping[key].value is None}
    for key, node in mapping.fields():
        if key in known or not left:
            continue
        meant = difflib.get_close_matches(key.lower(), left, n=1, cutoff=_LIKENESS)
        if meant:
            yield key, node, left.pop(meant[0])


def describe_misspelt(keys: Iterable[str], meant: str) -> str:
    """Name the key that is probably a misspelling of a missing one; empty if none is similar.

    Args:
        keys: The existing keys, without those that a program is known to read.
        meant: The missing key.
    """
    unknown = {key.lower(): key for key in keys if key != meant}
    found = difflib.get_close_matches(meant.lower(), unknown, n=1, cutoff=_GREAT_LIKENESS)
    return f" ({unknown[found[0]]} is not read)" if found else ""
