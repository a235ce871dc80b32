"""Manifests: building, writing, many clusters, and the time of the command."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import msgspec
import yaml
from kubernetes.client import ApiClient

from benchmarks.many_clusters import KEY_VAULT_USER
from benchmarks.measure import (
    Row,
    compare,
    format_seconds,
    highest_resident_mib,
    print_rows,
    seconds_per_call,
)
from hcpcreds import azureutil
from hcpcreds.components import COMPONENTS, WORKLOADS
from hcpcreds.hosted_cluster import HostedCluster, read_hosted_cluster
from hcpcreds.kubernetes.writing import render_yaml
from hcpcreds.manifests import build_pod_additions, render
from hcpcreds.up.run import EXAMPLE

CLUSTERS: Final = 10_000
PEER_CLUSTERS: Final = 200
STARTS: Final = 11
STREAM_MB: Final = 100

_MOUNTS: Final = [
    (component.identity, component.consumer.mount.volume_name, component.secret_provider_class)
    for component in COMPONENTS
    if component.consumer.mount is not None
]
_STREAM_PART: Final = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web-NUMBER, namespace: shop-NUMBER, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: registry.example/web:1.2.3
        args: ["--listen=:8080", "--verbose", "--timeout=30s"]
        env:
        - name: LOG_LEVEL
          value: info
        - name: POD_NAME
          valueFrom: {fieldRef: {fieldPath: metadata.name}}
        ports:
        - {containerPort: 8080, name: http}
        resources: {requests: {cpu: 10m, memory: 64Mi}, limits: {memory: 256Mi}}
        volumeMounts:
        - {name: config, mountPath: /etc/web}
        - {name: tmp, mountPath: /tmp}
      volumes:
      - name: config
        configMap: {name: web}
      - name: tmp
        emptyDir: {}
---
apiVersion: v1
kind: Service
metadata: {name: web-NUMBER, namespace: shop-NUMBER}
spec:
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: http}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: web-NUMBER, namespace: shop-NUMBER}
data:
  config.yaml: |
    listen: 0.0.0.0:8080
    backends: [one.example, two.example]
    timeouts: {read: 30s, write: 30s}
---
"""


class _Taken(NamedTuple):
    seconds: float
    """Wall time, including the start of the processes."""
    inside: float
    """Wall time of the work alone, in the slowest process."""
    mib: float


def run() -> None:
    """Measure, and print."""
    cluster = read_hosted_cluster(EXAMPLE)
    _measure_one(cluster)
    _measure_many()
    _measure_starts()
    _measure_stream()


def build_all(cluster: HostedCluster) -> list[Any]:
    """Build every object, and each component's volume, mount and environment with `azureutil`."""
    objects: list[Any] = render(cluster, key_vault_user_client_id=KEY_VAULT_USER)
    for attribute, volume_name, provider_class in _MOUNTS:
        secret_name = getattr(cluster.identities, attribute).credentials_secret_name
        objects.append(
            {
                "volume": azureutil.create_volume_for_azure_secret_store_provider_class(
                    volume_name, provider_class
                ),
                "mount": azureutil.create_volume_mount_for_azure_secret_store_provider_class(volume_name),
                "env": azureutil.create_env_vars_for_azure_managed_identity(secret_name),
            }
        )
    return objects


def build_workloads(cluster: HostedCluster) -> list[Any]:
    """Build every object, and the additions to the pods of all twelve workloads."""
    objects: list[Any] = render(cluster, key_vault_user_client_id=KEY_VAULT_USER)
    objects += [
        build_pod_additions(cluster, workload, key_vault_user_client_id=KEY_VAULT_USER)
        for workload in WORKLOADS
    ]
    return objects


def _measure_one(cluster: HostedCluster) -> None:
    client: Any = ApiClient()
    json_takes = seconds_per_call(lambda: msgspec.json.encode(build_all(cluster)), calls=500)
    workloads_take = seconds_per_call(lambda: msgspec.json.encode(build_workloads(cluster)), calls=500)
    json_peer = seconds_per_call(
        lambda: json.dumps(client.sanitize_for_serialization(build_all(cluster))), calls=50
    )
    yaml_takes = seconds_per_call(lambda: render_yaml(build_all(cluster)), calls=50)
    yaml_peer = seconds_per_call(lambda: yaml.safe_dump_all(build_all(cluster)), calls=5)
    print_rows(
        "Building and writing every object of one hosted cluster",
        "nine SecretProviderClasses, six Secrets and ConfigMaps, an AzureClusterIdentity, and nine volumes, mounts and"
        " environments; medians of rounds. The peer builds the same with the same functions, and writes it with the"
        " kubernetes client's serializer and json, or with PyYAML's safe_dump_all. HyperShift's own Go functions"
        " took 131 µs and 1.9 ms for that work, measured elsewhere",
        [
            compare("as JSON", json_takes, json_peer, reach="60 µs", reached=json_takes <= 60e-6),
            Row("as JSON, with all of twelve workloads' pods", format_seconds(workloads_take)),
            compare("as YAML", yaml_takes, yaml_peer, reach="2 ms", reached=yaml_takes <= 2e-3),
        ],
    )


def _measure_many() -> None:
    rows = []
    cores = os.cpu_count() or 1
    with TemporaryDirectory() as place:
        for form, processes, promised in (("json", 1, True), ("yaml", 1, False), ("yaml", cores, True)):
            folder, few = Path(place, form), Path(place, f"{form}-few")
            _write_manifests(folder, CLUSTERS, form)
            _write_manifests(few, PEER_CLUSTERS, form)
            ours = _run_many(folder, Path(place), processes)
            peer = _run_many(few, Path(place), processes, "peer")
            peer_seconds = peer.inside * CLUSTERS / PEER_CLUSTERS
            rows += [
                Row(
                    f"from {form.upper()}, {processes} {'process' if processes == 1 else 'processes'}",
                    format_seconds(ours.seconds),
                    format_seconds(peer_seconds),
                    f"{peer_seconds / ours.seconds:.1f} times faster",
                    "4 s" if promised else "-",
                    ours.seconds < 4 if promised else None,
                ),
                Row(
                    "  memory",
                    f"{ours.mib:.0f} MiB",
                    f"{peer.mib:.0f} MiB",
                    reach="200 MiB",
                    reached=ours.mib < 200,
                ),
            ]
    print_rows(
        f"{CLUSTERS} hosted clusters to JSON lines",
        "each cluster in its own file, as kubectl get writes it; wall time from the start of the processes to"
        " the end of the last; memory is the sum of their highest resident sets. The peer reads with json or PyYAML's"
        " safe_load and writes with the kubernetes client's serializer and json, and uses the same functions in"
        f" between; measured with {PEER_CLUSTERS}, without its start, and scaled",
        rows,
    )


def _write_manifests(folder: Path, count: int, form: str) -> None:
    if folder.exists():
        return
    folder.mkdir()
    manifest = yaml.safe_load(EXAMPLE.read_text())
    text = json.dumps(manifest) if form == "json" else render_yaml([manifest]).removeprefix("---\n")
    for number in range(count):
        (folder / f"{number}.{form}").write_text(text.replace("lighthouse", f"lighthouse-{number}"))


def _run_many(folder: Path, place: Path, processes: int, *peer: str) -> _Taken:
    outputs = [place / f"{part}.lines" for part in range(processes)]
    started = time.perf_counter()
    running = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "benchmarks.many_clusters",
                folder,
                output,
                str(part),
                str(processes),
                *peer,
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        for part, output in enumerate(outputs)
    ]
    reports = [json.loads(process.communicate()[0]) for process in running]
    seconds = time.perf_counter() - started
    assert sum(map(_count_lines, outputs)) == len(list(folder.iterdir()))
    return _Taken(
        seconds,
        inside=max(report["seconds"] for report in reports),
        mib=sum(report["mib"] for report in reports),
    )


def _count_lines(path: Path) -> int:
    with path.open("rb") as lines:
        return sum(1 for _ in lines)


def _measure_starts() -> None:
    command = str(Path(sys.executable).with_name("hcpcreds"))
    user = ("--key-vault-user-client-id", KEY_VAULT_USER)
    nothing = _start(sys.executable, "-c", "pass")
    peer = _start(sys.executable, "-c", "import kubernetes, yaml")
    helping = _start(command, "--help")
    rendering = _start(command, "render", str(EXAMPLE), *user)
    print_rows(
        "The command",
        f"wall time of the process, medians of {STARTS}; an empty process takes {format_seconds(nothing)}."
        " The peer only imports the kubernetes client and PyYAML",
        [
            compare("hcpcreds --help", helping, peer, reach="150 ms", reached=helping < 0.150),
            compare(
                "hcpcreds render of one cluster", rendering, peer, reach="300 ms", reached=rendering < 0.3
            ),
        ],
    )


def _start(*command: str) -> float:
    return _median(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))


def _median(call: Callable[[], object]) -> float:
    taken = []
    for _ in range(STARTS):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def _measure_stream() -> None:
    kubectl = shutil.which("kubectl")
    with TemporaryDirectory() as place:
        stream, small = Path(place, "stream.yaml"), Path(place, "small.yaml")
        for file, size in ((stream, STREAM_MB), (small, 1)):
            with file.open("w") as written:
                for number in range(size * 1_000_000 // len(_STREAM_PART)):
                    written.write(_STREAM_PART.replace("NUMBER", str(number)))
        ours = _watch(sys.executable, "-m", "hcpcreds", "check", stream)
        little = _watch(sys.executable, "-m", "hcpcreds", "check", small)
        peer = (
            _watch(kubectl, "label", "--local", "--output=name", "measured=yes", "-f", stream)
            if kubectl
            else None
        )
    speed, peer_speed = STREAM_MB / ours.seconds, STREAM_MB / peer.seconds if peer else 0.0
    print_rows(
        f"{STREAM_MB} MB of manifests in one stream",
        "Deployments, Services and ConfigMaps of a cluster without hosted control planes, through hcpcreds check; wall"
        " time including the start of the process, and its highest resident set, read from /proc while it runs. The"
        " peer is kubectl label --local if there is a kubectl: it reads the same without an API server",
        [
            Row(
                "hcpcreds check",
                f"{speed:.1f} MB/s",
                f"{peer_speed:.1f} MB/s" if peer else "-",
                f"{peer_speed / speed:.1f} times slower" if peer else "-",
                "3 MB/s",
                speed > 3,
            ),
            Row(
                "  memory",
                f"{ours.mib:.0f} MiB",
                f"{peer.mib:.0f} MiB" if peer else "-",
                f"{little.mib:.0f} MiB for 1 MB",
                "100 MiB",
                ours.mib < 100,
            ),
        ],
    )


def _watch(*command: str | Path) -> _Taken:
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    mib = 0.0
    while process.poll() is None:
        with suppress(OSError):  # it has just ended
            mib = max(mib, highest_resident_mib(process.pid))
        time.sleep(0.01)
    assert process.returncode == 0
    seconds = time.perf_counter() - started
    return _Taken(seconds, inside=seconds, mib=mib)
