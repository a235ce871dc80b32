"""Many hosted clusters, each read from its manifest and rendered to a JSON line: prints time and memory as JSON.

Run by `benchmarks.manifests` with a folder of manifests, a file to write to, and the number of this process and of
all processes. With a last argument, `peer`, it reads with PyYAML's safe_load or json, and writes with the kubernetes
client's serializer and json; the functions in between are the same.
"""

import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.measure import highest_resident_mib
from hcpcreds.hosted_cluster import parse_hosted_cluster, read_hosted_cluster
from hcpcreds.manifests import render

KEY_VAULT_USER: Final = "7d9f5b0a-4c1e-4b53-9a67-2e8c1f3d6a05"


def main() -> None:
    """Read, render, write, and print."""
    folder, output, part, parts, *peer = sys.argv[1:]
    files = sorted(Path(folder).iterdir())[int(part) :: int(parts)]
    lines = _render_as_peer(files) if peer else _render(files)
    started = time.perf_counter()
    with Path(output).open("wb") as out:
        out.writelines(line + b"\n" for line in lines)
    print(json.dumps({"seconds": time.perf_counter() - started, "mib": highest_resident_mib()}))


def _render(files: list[Path]) -> Iterable[bytes]:
    return (
        msgspec.json.encode(render(read_hosted_cluster(file), key_vault_user_client_id=KEY_VAULT_USER))
        for file in files
    )


def _render_as_peer(files: list[Path]) -> Iterable[bytes]:
    import yaml  # noqa: PLC0415 (only the peer needs it)
    from kubernetes.client import ApiClient  # noqa: PLC0415 (the same)

    client: Any = ApiClient()

    def render_one(file: Path) -> bytes:
        text = file.read_text()
        cluster = parse_hosted_cluster(json.loads(text) if file.suffix == ".json" else yaml.safe_load(text))
        objects = render(cluster, key_vault_user_client_id=KEY_VAULT_USER)
        return json.dumps(client.sanitize_for_serialization(objects)).encode()

    return map(render_one, files)


if __name__ == "__main__":
    main()
