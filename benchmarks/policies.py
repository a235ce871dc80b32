"""What the admission policies cost an API server: pods created by four clients, with and without them."""

import asyncio
import itertools
import json
import ssl
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tests.cluster.api_server import ApiServer, find_assets, run_api_server
from tests.cluster.crds import install
from tests.manifests.policies.policy_examples import POLICIES, make_control_plane, make_pod

from benchmarks.http_load import Connection
from benchmarks.measure import Row, format_seconds, percentile, print_rows
from hcpcreds.components import WORKLOADS

CLIENTS: Final = 4
PODS: Final = 1_000
ROUNDS: Final = 5


def run() -> None:
    """Measure the policies on a real API server, if there is one."""
    assets = find_assets()
    if not isinstance(assets, Path):
        print(f"\nAdmission policies\n  not measured: {assets}")
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        run_api_server(assets, Path(folder)) as server,
    ):
        install(server)
        _measure(server)


def _measure(server: ApiServer) -> None:
    control_plane = make_control_plane()
    labels = {"hypershift.openshift.io/hosted-control-plane": "true"}  # the guard looks there too
    namespace = {"name": control_plane["metadata"]["namespace"], "labels": labels}
    server.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": namespace}, control_plane)
    requests = [_build_request(server, make_pod(name)) for name in WORKLOADS]
    found: dict[str, list[tuple[float, list[float]]]] = {"with": [], "without": []}
    asyncio.run(_create(server, requests))  # the first ones pay for connections and caches
    for _ in range(ROUNDS):
        for name in ("without", "with"):
            (server.apply if name == "with" else server.delete)(*POLICIES)
            _wait(server, injected=name == "with")
            found[name].append(asyncio.run(_create(server, requests)))
    rates = {name: max(rate for rate, _ in rounds) for name, rounds in found.items()}
    taken = {
        name: min((times for _, times in rounds), key=statistics.median) for name, rounds in found.items()
    }
    middle = {name: statistics.median(times) for name, times in taken.items()}
    more = middle["with"] - middle["without"]
    print_rows(
        "Admission policies",
        f"a real API server and etcd; {PODS:,} pods of the table's {len(WORKLOADS)} workloads, created as a dry run by "
        f"{CLIENTS} clients; ours: with all policies; peer: without any; the best of {ROUNDS} rounds in turn",
        [
            Row(
                "pods a second",
                f"{rates['with']:,.0f}",
                f"{rates['without']:,.0f}",
                f"{rates['with'] / rates['without']:.2f} times as many",
                "half",
                rates["with"] >= rates["without"] / 2,
            ),
            Row(
                "p50",
                format_seconds(middle["with"]),
                format_seconds(middle["without"]),
                f"{format_seconds(more)} more",
                "2 ms more",
                more < 2e-3,
            ),
            Row(
                "p99",
                format_seconds(percentile(taken["with"], 99)),
                format_seconds(percentile(taken["without"], 99)),
            ),
        ],
    )


def _build_request(server: ApiServer, pod: dict[str, Any]) -> bytes:
    """Build the whole request that creates a pod as a dry run."""
    body = json.dumps(pod).encode()
    parts = urlsplit(server.find_path(pod))
    with server.open_session() as session:
        authorization = session.headers["Authorization"]
    lines = [
        f"POST {parts.path}?dryRun=All HTTP/1.1",
        f"Host: {parts.netloc}",
        f"Authorization: {authorization}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _wait(server: ApiServer, *, injected: bool) -> None:
    """Wait until the server honours the policies, or no longer does."""
    pod = make_pod("ingress-operator")
    while True:
        answer = server.create(pod, dry_run=True)  # refused while only the guard is there
        if answer.ok and ("volumes" in answer.json()["spec"]) == injected:
            return
        time.sleep(0.05)


async def _create(server: ApiServer, requests: Sequence[bytes]) -> tuple[float, list[float]]:
    """Create all pods; returns how many a second, and the seconds of each."""
    with server.open_session() as session:
        tls = ssl.create_default_context(cafile=str(session.verify))
    taken: list[float] = []
    left = itertools.islice(itertools.cycle(requests), PODS)

    async def ask(connection: Connection) -> None:
        for request in left:
            began = time.perf_counter()
            status, body = await connection.ask(request)
            if status != 201:
                raise RuntimeError(body.decode(errors="replace"))
            taken.append(time.perf_counter() - began)

    connections = [await Connection.open(urlsplit(server.url).netloc, tls) for _ in range(CLIENTS)]
    began = time.perf_counter()
    await asyncio.gather(*map(ask, connections))
    rate = PODS / (time.perf_counter() - began)
    for connection in connections:
        connection.close()
    return rate, taken
