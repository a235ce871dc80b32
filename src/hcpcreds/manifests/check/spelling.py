"""Keys that are nearly the ones that a program reads."""

import difflib
from collections.abc import Iterable, Iterator
from typing import Final

from hcpcreds.kubernetes.nodes import Node

_LIKENESS: Final = 0.85
_GREAT_LIKENESS: Final = 0.9
"""Where it is not known which other keys a program reads."""


def find_misspelt(mapping: Node, known: Iterable[str]) -> Iterator[tuple[str, Node, str]]:
    """Find the keys that no program reads, but that nearly are ones that a program does.

    Yields:
        Such a key, its value, and the key that was meant: one that is not in the mapping.
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
    """Say which key was written where another one was meant; empty when none is like it.

    Args:
        keys: The keys that are there, without those that a program is known to read.
        meant: The key that is missing.
    """
    unknown = {key.lower(): key for key in keys if key != meant}
    found = difflib.get_close_matches(meant.lower(), unknown, n=1, cutoff=_GREAT_LIKENESS)
    return f" ({unknown[found[0]]} is not read)" if found else ""
