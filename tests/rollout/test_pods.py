"""Which pods mount which secret, and which of their containers read it."""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.local.node_cluster import build_class
from tests.rollout.fleet import NAMESPACE, Container, Fleet

from hcpcreds.cluster.rollout.facts import Program
from hcpcreds.cluster.rollout.pages import Page, Target
from hcpcreds.cluster.rollout.pods import FoundUse, VaultNames, read_uses
from hcpcreds.cluster.rollout.reading import RolloutReader
from hcpcreds.kubernetes.reading import Cluster

STARTED = "2026-11-25T12:00:00Z"
RUNNING = {"running": {"startedAt": STARTED}}
MOUNT = {"volumeMounts": [{"name": "cert", "mountPath": "/mnt/certs"}]}

Read = Callable[..., list[FoundUse]]


@pytest.fixture
def read(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Iterator[Read]:
    fleet.store("ingress", str(uuid.uuid4()))
    monkeypatch.setenv("KUBECONFIG", str(fleet.api.kubeconfig))
    with Cluster.open() as cluster:

        def run(
            *vaults: str, namespace: str | None = NAMESPACE, secrets: tuple[str, ...] = ()
        ) -> list[FoundUse]:
            names = VaultNames({name: f"https://{name}" for name in vaults or ["hcpcreds-local"]})
            return read_uses(cluster, namespace=namespace, vaults=names, secrets=secrets)

        yield run


def test_uses_are_those_of_the_vaults_and_secrets_that_were_asked_about(fleet: Fleet, read: Read):
    fleet.add("pod", "ingress")
    (found,) = read()
    assert (found.use.key, found.use.secret) == (("hcpcreds-local", "ingress"), "ingress")
    assert read(secrets=("ingress",)) == read(namespace=None) == [found]
    assert read("another") == read(secrets=("kms",)) == read(namespace="elsewhere") == []


def test_volume_that_names_another_vault_than_its_class_is_of_that(fleet: Fleet, read: Read):
    fleet.add("pod", "ingress")
    volume = fleet.api.find_all("pods", NAMESPACE)["pod"]["spec"]["volumes"][1]
    volume["csi"]["volumeAttributes"]["keyvaultName"] = "Another"
    assert read() == []
    (found,) = read("another")
    assert found.use.key == ("another", "ingress")


def test_version_is_not_known_when_the_class_names_a_secret_twice(fleet: Fleet, read: Read):
    fleet.add("pod", "ingress")
    pinned = {"objectName": "ingress", "objectAlias": "old", "objectVersion": "v0"}
    fleet.api.put(build_class("ingress", {"objectName": "ingress"}, pinned))
    (found,) = read()
    assert "names the secret more than once" in found.use.problem


@pytest.mark.parametrize(
    ("labels", "owners", "owner"),
    [
        ({}, [], ""),
        (
            {"pod-template-hash": "5d8f"},
            [{"kind": "ReplicaSet", "name": "ingress-5d8f"}],
            "deployment/ingress",
        ),
        ({}, [{"kind": "ReplicaSet", "name": "ingress-5d8f"}], "pod/pod"),
        ({}, [{"kind": "StatefulSet", "name": "etcd"}], "statefulset/etcd"),
        ({}, [{"kind": "DaemonSet", "name": "agent"}], "daemonset/agent"),
        ({}, [{"kind": "Job", "name": "backup"}], "pod/pod"),
    ],
)
def test_owner_is_what_to_restart(
    fleet: Fleet, read: Read, labels: dict[str, str], owners: list[dict[str, Any]], owner: str
):
    fleet.add("pod", "ingress")
    fleet.api.find_all("pods", NAMESPACE)["pod"]["metadata"] |= {
        "labels": labels,
        "ownerReferences": [{**each, "controller": True} for each in owners],
    }
    (found,) = read()
    assert found.use.owner == owner


def list_programs(found: FoundUse) -> dict[str, Program]:
    return {program.name: program for program in found.complete({}).programs}


def test_containers_of_every_kind_count_when_they_mount_it(fleet: Fleet, read: Read):
    fleet.add("pod", "ingress")
    pod = fleet.api.find_all("pods", NAMESPACE)["pod"]
    pod["spec"] = {
        "volumes": pod["spec"]["volumes"],
        "initContainers": [
            {"name": "sidecar", **MOUNT, "args": ["serve", "--assertion-directory=/run/a"]},
            {"name": "prober", **MOUNT},
        ],
        "containers": [{"name": "main", **MOUNT}, {"name": "other"}],
        "ephemeralContainers": [{"name": "debug", **MOUNT}],
    }
    pod["status"] = {
        "phase": "Running",
        "initContainerStatuses": [
            {"name": "sidecar", "state": RUNNING},
            {"name": "prober", "state": {"terminated": {"exitCode": 0, "startedAt": STARTED}}},
        ],
        "containerStatuses": [{"name": "main", "state": RUNNING}],
    }
    (found,) = read()
    programs = list_programs(found)
    started = datetime.fromisoformat(STARTED)
    assert {name: program.started_at for name, program in programs.items()} == {
        "sidecar": started,
        "prober": started,
        "main": started,
        "debug": datetime.min.replace(tzinfo=UTC),  # nothing is known of it
    }
    assert [name for name, program in programs.items() if program.keeps_assertions] == ["sidecar"]
    assert [name for name, program in programs.items() if program.has_ended] == ["prober"]


@pytest.mark.parametrize(
    ("port", "found"),
    [
        ({"name": "hcpcreds", "containerPort": 1}, 1),
        ({"name": "metrics", "containerPort": 2}, 2),
        ({"containerPort": 9469}, 9469),
        ({"name": "http", "containerPort": 8080}, None),
    ],
)
def test_metrics_are_looked_for_at_a_port_that_says_so(
    fleet: Fleet, read: Read, port: dict[str, Any], found: int | None
):
    fleet.add("pod", "ingress", Container(env={"HCPCREDS_ASSERTION_DIRECTORY": "/run/hcpcreds"}))
    pod = fleet.api.find_all("pods", NAMESPACE)["pod"]
    pod["spec"]["containers"][0]["ports"] = [{"name": "web", "containerPort": 8443}, port]
    (use,) = read()
    assert [target.port for target in use.list_targets()] == ([found] if found else [])
    (program,) = list_programs(use).values()
    assert program.keeps_assertions
    assert found or program.problem == "it declares no port hcpcreds or metrics for its metrics"
    pod["status"]["podIP"] = ""
    (use,) = read()
    assert list(use.list_targets()) == []
    assert not found or list_programs(use)["main"].problem == "the pod has no address"


def test_secrets_are_those_of_the_class_when_nothing_is_mounted_yet(fleet: Fleet, read: Read):
    pod = fleet.add("pod", "ingress")
    pod.write(Container(started=None), phase="Pending")
    statuses = fleet.api.find_all("secretproviderclasspodstatuses", NAMESPACE)
    status = statuses[pod.status_name]
    status["status"]["objects"] += [
        {"id": "cert/ingress", "version": "v"},
        {"id": "secret/kms/0", "version": "v0"},
        {"id": "secret/kms/1", "version": "v1"},
    ]
    assert [(each.use.secret, each.use.version) for each in read()][1:] == [("kms", "v0")]
    pod.write(Container())
    status["status"]["objects"] = []
    (found,) = read()
    assert (found.use.secret, bool(found.use.problem)) == ("ingress", True), "it tells no version"
    pod.write(Container(started=None), phase="Pending")
    del statuses[pod.status_name]
    (found,) = read()
    assert (found.use.secret, found.use.version, found.use.is_waiting) == ("ingress", None, True)


def test_vault_is_not_asked_when_it_is_not_known_which(fleet: Fleet, monkeypatch: pytest.MonkeyPatch):
    fleet.store("hidden", str(uuid.uuid4()))
    fleet.add("pod", "hidden")
    fleet.api.find_all("secretproviderclasses", NAMESPACE).clear()
    monkeypatch.setenv("KUBECONFIG", str(fleet.api.kubeconfig))

    async def read_page(_: Target) -> Page:
        raise AssertionError

    with Cluster.open() as cluster:
        reader = RolloutReader(
            cluster=cluster,
            namespace=NAMESPACE,
            vaults=VaultNames({"hcpcreds-local": "https://hcpcreds-local"}),
            readers={},
            read_page=read_page,
        )
        facts = asyncio.run(reader.read())
    assert facts.secrets == {}
    assert [(use.secret, "is absent" in use.problem) for use in facts.uses] == [("hidden", True)]
