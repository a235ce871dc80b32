"""A proxy's exception for the token endpoint: some SDKs would ask the proxy for 127.0.0.1."""

from collections.abc import Mapping
from typing import Final

from hcpcreds.kubernetes.objects import Path
from hcpcreds.manifests.inject.changes import Change, Entry, ListDiff, render_path

WITH_PROXY: Final = frozenset({"HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"})
"""Variables that lead requests over plain HTTP to a proxy."""
NO_PROXY: Final = ("NO_PROXY", "no_proxy")
HOSTS: Final = ("127.0.0.1", "localhost")


def diff_no_proxy(env: object, path: Path) -> tuple[ListDiff, list[Entry]]:
    """Compare a container's variables with the exceptions that its proxy needs.

    Args:
        env: The list of variables.
        path: Its path.

    Returns:
        The changes of variables that are there, and those to add. Without a proxy there are none.
    """
    entries = list(enumerate(env if isinstance(env, list) else ()))
    named = [(index, entry) for index, entry in entries if isinstance(entry, Mapping)]
    if not any(entry.get("name") in WITH_PROXY for _, entry in named):
        return ListDiff(), []
    found = [(index, entry) for index, entry in named if entry.get("name") in NO_PROXY]
    changes, problems = [], []
    for index, entry in found:
        value = entry.get("value", "")
        if not isinstance(value, str) or entry.get("valueFrom") is not None:
            place = render_path((*path, index))
            problems.append(f"{place}: {entry['name']} has to name {' and '.join(HOSTS)}; write it out")
            continue
        hosts = [host.strip() for host in value.split(",") if host.strip()]
        missing = [host for host in HOSTS if host not in hosts and "*" not in hosts]
        if missing:
            changes.append(
                Change(path, {"name": entry["name"], "value": ",".join([*hosts, *missing])}, index)
            )
    added: list[Entry] = [] if found else [{"name": NO_PROXY[0], "value": ",".join(HOSTS)}]
    return ListDiff(tuple(changes), problems=tuple(problems)), added
