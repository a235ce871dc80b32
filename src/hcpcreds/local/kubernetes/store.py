"""The objects of the API server, as etcd would keep them. For development and tests only.

Source: the API conventions (resourceVersion, uid, generation, Status), and the API concepts (chunks).
"""

import copy
import re
import threading
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from hcpcreds.local.kubernetes.kinds import Kind
from hcpcreds.local.service import Refusal

_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_OWN: Final = ("uid", "creationTimestamp", "namespace")

Object = dict[str, Any]


class Store:
    """Every object, by kind, namespace and name."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._objects: defaultdict[tuple[str, str], dict[str, Object]] = defaultdict(dict)
        self._version = 0
        self._pages: dict[str, list[Object]] = {}

    @property
    def version(self) -> str:
        """The current resourceVersion."""
        return str(self._version)

    def find_all(self, kind: Kind, namespace: str = "") -> dict[str, Object]:
        """Return the stored objects of a kind in a namespace by name, to be changed at will."""
        return self._objects[kind.resource, namespace]

    def list(self, kind: Kind, namespace: str | None) -> list[Object]:
        """List the objects of a kind in the order of their names, those of every namespace for None."""
        with self._lock:
            names = sorted(each for resource, each in self._objects if resource == kind.resource)
            return [
                self.find_all(kind, where)[name]
                for where in (names if namespace is None else [namespace])
                for name in sorted(self.find_all(kind, where))
            ]

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        """Return an object, or refuse as there is none."""
        found = self.find_all(kind, namespace).get(name)
        if found is None:
            raise refuse(404, "NotFound", f'{kind.resource} "{name}" not found')
        return found

    def create(self, kind: Kind, namespace: str, item: Object) -> Object:
        """Store a new object."""
        metadata = item["metadata"]
        if metadata.get("generateName") and not metadata.get("name"):
            metadata["name"] = metadata["generateName"] + uuid.uuid4().hex[:5]
        _check(kind, item)
        name = metadata["name"]
        with self._lock:
            if name in self.find_all(kind, namespace):
                raise refuse(409, "AlreadyExists", f'{kind.resource} "{name}" already exists')
            created = {
                "uid": str(uuid.uuid4()),
                "creationTimestamp": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            }
            if kind.namespaced:
                created["namespace"] = namespace
            item["metadata"] = metadata | created
            return self._write(kind, namespace, item)

    def update(self, kind: Kind, namespace: str, name: str, item: Object) -> Object:
        """Replace an object, unless it has changed since the caller read it."""
        _check(kind, item)
        with self._lock:
            stored = self.get(kind, namespace, name)
            seen = item["metadata"].get("resourceVersion")
            if seen is None and kind.unconditional:
                seen = stored["metadata"]["resourceVersion"]
            if seen is None:
                message = (
                    f'{kind.resource} "{name}" is invalid: metadata.resourceVersion: Invalid value: 0x0: '
                )
                raise refuse(422, "Invalid", message + "must be specified for an update")
            if seen != stored["metadata"]["resourceVersion"]:
                message = f'Operation cannot be fulfilled on {kind.resource} "{name}": '
                raise refuse(
                    409,
                    "Conflict",
                    message + "the object has been modified; please apply your changes to the latest version "
                    "and try again",
                )
            kept = {key: stored["metadata"][key] for key in _OWN if key in stored["metadata"]}
            item["metadata"] = item["metadata"] | kept | {"resourceVersion": seen}
            return stored if item == stored else self._write(kind, namespace, item)

    def delete(self, kind: Kind, namespace: str, name: str, preconditions: Mapping[str, Any]) -> Object:
        """Delete an object, if it is still the one that the caller means."""
        with self._lock:
            stored = self.get(kind, namespace, name)
            for key, wanted in preconditions.items():
                if wanted != stored["metadata"][key]:
                    message = f'Operation cannot be fulfilled on {kind.resource} "{name}": '
                    raise refuse(
                        409, "Conflict", f"{message}the {key} in the precondition ({wanted}) is not its own"
                    )
            self._version += 1
            return self.find_all(kind, namespace).pop(name)

    def start_page(self, rest: Sequence[Object]) -> str:
        """Keep the rest of a list for whoever comes with the token that this returns."""
        token = uuid.uuid4().hex
        with self._lock:
            self._pages[token] = list(rest)
        return token

    def take_page(self, token: str) -> Sequence[Object]:
        """Return the rest of a list, or refuse as it is too old."""
        with self._lock:
            rest = self._pages.get(token)
        if rest is None:
            message = "The provided continue parameter is too old to display a consistent list result."
            raise refuse(410, "Expired", message)
        return rest

    def expire_pages(self) -> None:
        """Forget the rest of every list, as an API server does after some minutes."""
        with self._lock:
            self._pages.clear()

    def _write(self, kind: Kind, namespace: str, item: Object) -> Object:
        self._version += 1
        stored = copy.deepcopy(item)
        stored["apiVersion"], stored["kind"] = kind.api_version, kind.name
        stored["metadata"]["resourceVersion"] = self.version
        self.find_all(kind, namespace)[item["metadata"]["name"]] = stored
        return stored


def refuse(code: int, reason: str, message: str) -> Refusal:
    """Build a refusal."""
    return Refusal(code, build_status(code, reason, message))


def build_status(code: int, reason: str, message: str, *, status: str = "Failure") -> Object:
    """Build a Status."""
    return {
        "apiVersion": "v1",
        "kind": "Status",
        "metadata": {},
        "status": status,
        "reason": reason,
        "message": message,
        "code": code,
    }


def _check(kind: Kind, item: Object) -> None:
    problems = list(kind.find_problems(item))
    if not _NAME.fullmatch(str(item["metadata"].get("name"))):
        problems.append("metadata.name: must be a lowercase RFC 1123 subdomain")
    if problems:
        raise refuse(422, "Invalid", f"{kind.name} is invalid: {', '.join(problems)}")
