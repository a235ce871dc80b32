"""Looks through all objects that the garbage collector knows, which are many, at the speed of C."""

import gc
import operator
from itertools import compress, repeat
from typing import TypeVar

T = TypeVar("T")


def find_objects(kind: type[T]) -> list[T]:
    """List every object of exactly this type that has been made since the first test."""
    objects = gc.get_objects()
    return list(compress(objects, map(operator.is_, map(type, objects), repeat(kind))))
