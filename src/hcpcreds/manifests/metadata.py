"""The part that all objects share."""

from typing import TypedDict


class ObjectMeta(TypedDict):
    """An object's name (meta/v1)."""

    name: str
    namespace: str
