"""Compares a sync API with its asyncio twin."""

import inspect
from types import ModuleType
from typing import Any


def list_pairs(sync: ModuleType, aio: ModuleType, *names: str) -> list[tuple[Any, Any]]:
    """Pair functions, or classes and their public methods, by their names."""
    pairs: list[tuple[Any, Any]] = []
    for name in names:
        one, twin = getattr(sync, name), getattr(aio, name)
        pairs.append((one, twin))
        if isinstance(one, type):
            assert _list_methods(one) == _list_methods(twin)
            pairs += [(getattr(one, method), getattr(twin, method)) for method in _list_methods(one)]
    return pairs


def describe(function: Any) -> dict[str, Any]:
    """Describe all that twins have in common."""
    signature = inspect.signature(function)
    return {
        "parameters": [(each.name, each.kind, each.default) for each in signature.parameters.values()],
        "returns": str(signature.return_annotation).replace("Async", ""),
        "documentation": inspect.getdoc(function),
    }


def _list_methods(kind: type) -> list[str]:
    return sorted(name for name in vars(kind) if not name.startswith("_"))
