"""The small node: mounts through the real Azure SDK, against the local Azure."""

import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.local.node_cluster import NODE_IDENTITY, VAULT, build_class, build_pod, build_secret_client

from hcpcreds.errors import InputError
from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.local.node.node import Node, NodeEvent


class Cluster:
    """A node with a vault behind it, and what the node said."""

    def __init__(self, azure: LocalAzure, root: Path) -> None:
        self.azure = azure
        self.root = root
        self.events: list[NodeEvent] = []
        self.nodes: list[Node] = []
        self.secrets = build_secret_client(azure)

    def start(self, *classes: dict[str, Any]) -> Node:
        node = Node(
            self.root,
            secret_provider_classes=classes,
            vault_urls={VAULT: self.azure.vault_url()},
            ca_file=self.azure.ca_file,
            on_event=self.events.append,
        )
        self.nodes.append(node)
        return node

    def store(self, value: str) -> tuple[str, str]:
        """Store a new secret; answer its name and version."""
        name = f"s-{uuid.uuid4()}"
        return name, self.store_again(name, value)

    def store_again(self, name: str, value: str) -> str:
        return str(self.secrets.set_secret(name, value).properties.version)

    def take_events(self) -> list[tuple[str, str, str]]:
        taken: list[tuple[str, str, str]] = [
            (event.event, event.file, event.version) for event in self.events
        ]
        self.events.clear()
        return taken

    def take_failure(self) -> str:
        """Take the one event, a failure; answer its reason."""
        (failed,) = self.events
        self.events.clear()
        assert (failed.event, failed.pod, failed.volume) == ("failed", "pod", "cert")
        assert failed.at > 0
        return failed.reason

    def read(self, path: str, pod: str = "pod") -> bytes:
        return (self.root / "pods" / f"hcp_{pod}" / "rootfs" / path).read_bytes()

    def read_status(self, class_name: str = "class", pod: str = "pod") -> Any:
        name = f"{pod}-hcp-{class_name}.json"
        return json.loads((self.root / "secretproviderclasspodstatuses" / "hcp" / name).read_bytes())


@pytest.fixture
def cluster(local_azure: LocalAzure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", local_azure.instance_metadata)
    local_azure.assign_to_node(NODE_IDENTITY)
    cluster = Cluster(local_azure, tmp_path)
    yield cluster
    for node in cluster.nodes:
        node.close()
    cluster.secrets.close()


def test_mount_makes_the_secret_readable_where_each_container_mounts_it(cluster: Cluster):
    name, version = cluster.store("value")
    node = cluster.start(build_class("class", {"objectName": name}))
    node.mount(build_pod("pod", "class", "/mnt/certs", "/mnt/certs", "/var/run/secrets/azure"))
    assert cluster.read(f"mnt/certs/{name}") == b"value"
    assert cluster.read(f"var/run/secrets/azure/{name}") == b"value"
    assert cluster.take_events() == [("mounted", name, version)]
    volume = cluster.root / "pods" / "hcp_pod" / "volumes" / "cert"
    assert (volume / name).readlink() == Path("..data") / name
    assert not (volume.parent / "other").exists()


def test_mount_is_readable_only_by_its_owner(cluster: Cluster):
    name, _ = cluster.store("value")
    cluster.root = cluster.root / "new" / "root"
    cluster.start(build_class("class", {"objectName": name})).mount(build_pod("pod", "class"))
    assert cluster.root.stat().st_mode & 0o777 == 0o700


def test_mount_keeps_a_pod_status_as_the_driver_does(cluster: Cluster):
    first, first_version = cluster.store("1")
    second, second_version = cluster.store("2")
    node = cluster.start(build_class("class", {"objectName": first}, {"objectName": second}))
    node.mount(build_pod("pod", "class"))
    status = cluster.read_status()
    assert status["apiVersion"] == "secrets-store.csi.x-k8s.io/v1"
    assert status["kind"] == "SecretProviderClassPodStatus"
    assert status["metadata"]["name"] == "pod-hcp-class"
    assert status["metadata"]["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "Pod", "name": "pod", "uid": "u-1"}
    ]
    objects = [
        {"id": f"secret/{n}", "version": v} for n, v in [(first, first_version), (second, second_version)]
    ]
    assert status["status"] == {
        "mounted": True,
        "podName": "pod",
        "secretProviderClassName": "class",
        "targetPath": str(cluster.root / "pods" / "hcp_pod" / "volumes" / "cert"),
        "objects": sorted(objects, key=lambda found: found["id"]),
    }


def test_poll_once_rotates_only_what_has_changed(cluster: Cluster):
    still, _ = cluster.store("still")
    name, _ = cluster.store("old")
    node = cluster.start(build_class("class", {"objectName": still}, {"objectName": name}))
    node.mount(build_pod("pod", "class"))
    cluster.take_events()

    node.poll_once()
    assert cluster.take_events() == []

    version = cluster.store_again(name, "new")
    node.poll_once()
    assert cluster.take_events() == [("rotated", name, version)]
    assert cluster.read(f"mnt/certs/{name}") == b"new"
    assert {"id": f"secret/{name}", "version": version} in cluster.read_status()["status"]["objects"]


def test_poll_once_writes_nothing_when_a_new_version_has_the_old_content(cluster: Cluster):
    name, _ = cluster.store("same")
    node = cluster.start(build_class("class", {"objectName": name}))
    node.mount(build_pod("pod", "class"))
    cluster.take_events()
    data = cluster.root / "pods" / "hcp_pod" / "volumes" / "cert" / "..data"
    before = data.readlink()

    version = cluster.store_again(name, "same")
    node.poll_once()

    assert data.readlink() == before
    assert cluster.take_events() == []
    assert cluster.read_status()["status"]["objects"] == [{"id": f"secret/{name}", "version": version}]


@pytest.mark.parametrize(
    ("value", "entry", "content"),
    [
        ("6f6e65", {"objectEncoding": "hex"}, b"one"),
        ("b25l", {"objectEncoding": "base64"}, b"one"),
        ("bär", {"objectEncoding": "utf-8"}, "bär".encode()),
        ("bär", {}, "bär".encode()),
    ],
)
def test_mount_decodes_the_encoding_of_the_object(
    cluster: Cluster, value: str, entry: dict[str, str], content: bytes
):
    name, _ = cluster.store(value)
    node = cluster.start(build_class("class", {"objectName": name, "objectAlias": "alias", **entry}))
    node.mount(build_pod("pod", "class"))
    assert cluster.read("mnt/certs/alias") == content


def test_mount_takes_the_version_and_the_mode_that_the_object_says(cluster: Cluster):
    name, version = cluster.store("old")
    cluster.store_again(name, "new")
    entry = {"objectName": name, "objectVersion": version, "filePermission": '"0400"', "objectAlias": "d/f"}
    node = cluster.start(build_class("class", entry))
    node.mount(build_pod("pod", "class"))
    assert cluster.read("mnt/certs/d/f") == b"old"
    file = cluster.root / "pods" / "hcp_pod" / "volumes" / "cert" / "d" / "f"
    assert file.stat().st_mode & 0o777 == 0o400


def test_poll_once_mounts_a_failed_volume_when_its_secret_appears(cluster: Cluster):
    name = f"s-{uuid.uuid4()}"
    node = cluster.start(build_class("class", {"objectName": name}))
    node.mount(build_pod("pod", "class"))
    assert f"secret/{name} in https://127" in (reason := cluster.take_failure())
    assert "SecretNotFound" in reason
    assert "\n" not in reason
    assert not (cluster.root / "pods" / "hcp_pod" / "rootfs").exists()

    version = cluster.store_again(name, "value")
    node.poll_once()
    assert cluster.take_events() == [("mounted", name, version)]


FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("vault", {"status": 500}),
    ("vault", {"status": 403}),
    ("vault", {"status": 429}),
    ("vault", {"drop": True}),
    ("vault", {"body": b"sentinel"}),
    ("vault", {"body": b'["sentinel"]', "headers": {"Content-Type": "application/json"}}),
    ("vault", {"body": b"", "headers": {"Content-Type": "application/json"}}),
]


@pytest.mark.parametrize(("service", "fault"), FAULTS)
def test_poll_once_keeps_the_content_and_the_other_mounts_when_one_fails(
    cluster: Cluster, service: str, fault: dict[str, Any]
):
    bad, _ = cluster.store("old")
    good, _ = cluster.store("old")
    node = cluster.start(build_class("bad", {"objectName": bad}), build_class("good", {"objectName": good}))
    node.mount(build_pod("pod", "bad"), build_pod("good", "good"))
    cluster.take_events()
    cluster.store_again(bad, "new")
    good_version = cluster.store_again(good, "new")
    status = cluster.read_status("bad")

    cluster.azure.faults.add(service, match=bad, **fault)
    node.poll_once()

    events = sorted((event.pod, event.event, event.version) for event in cluster.events)
    assert events == [("good", "rotated", good_version), ("pod", "failed", "")]
    assert all("sentinel" not in event.reason for event in cluster.events)
    assert cluster.read(f"mnt/certs/{bad}") == b"old"
    assert cluster.read(f"mnt/certs/{good}", "good") == b"new"
    assert cluster.read_status("bad") == status

    cluster.azure.faults.clear()
    node.poll_once()
    assert cluster.read(f"mnt/certs/{bad}") == b"new"


def test_poll_once_keeps_the_content_when_a_new_value_is_in_another_encoding(cluster: Cluster):
    name, _ = cluster.store("6f6e65")
    node = cluster.start(build_class("class", {"objectName": name, "objectEncoding": "hex"}))
    node.mount(build_pod("pod", "class"))
    cluster.take_events()
    cluster.store_again(name, "sentinel")
    node.poll_once()
    reason = cluster.take_failure()
    assert f"secret/{name}" in reason
    assert "not hex" in reason
    assert "objectEncoding" in reason
    assert "sentinel" not in reason
    assert cluster.read(f"mnt/certs/{name}") == b"one"


def test_mount_names_the_identity_when_the_node_does_not_have_it(cluster: Cluster):
    name, _ = cluster.store("value")
    other = "eeeeeeee-0000-0000-0000-000000000000"
    node = cluster.start(build_class("class", {"objectName": name}, userAssignedIdentityID=other))
    node.mount(build_pod("pod", "class"))
    assert "Identity not found" in cluster.take_failure()


@pytest.mark.parametrize(
    ("pod", "reason"),
    [
        (build_pod("pod", "absent"), "SecretProviderClass hcp/absent: not found"),
        (build_pod("pod", "gcp"), "provider 'gcp' is not azure"),
        (build_pod("pod", "broken"), "objectType: 'key'"),
        (build_pod("pod", "class", volumeAttributes={}), "secretProviderClass is not set"),
        (build_pod("pod", "class", readOnly=False), "readOnly: true"),
        (build_pod("pod", "class", "mnt/certs"), "'mnt/certs' must be an absolute path"),
        (build_pod("pod", "class", "/../outside"), "'/../outside' must be an absolute path"),
        (build_pod("pod", "class", "/"), "'/' must be an absolute path"),
    ],
)
def test_mount_says_why_a_volume_cannot_be_mounted(cluster: Cluster, pod: dict[str, Any], reason: str):
    name, _ = cluster.store("value")
    gcp = build_class("gcp", {"objectName": name})
    gcp["spec"]["provider"] = "gcp"
    broken = build_class("broken", {"objectName": name, "objectType": "key"})
    node = cluster.start(build_class("class", {"objectName": name}), gcp, broken)
    node.mount(pod)
    assert reason in cluster.take_failure()


def test_mount_refuses_sub_path_and_a_path_that_another_volume_has(cluster: Cluster):
    name, _ = cluster.store("value")
    pod = build_pod("pod", "class")
    pod["spec"]["containers"][0]["volumeMounts"][0]["subPath"] = name
    node = cluster.start(build_class("class", {"objectName": name}))
    node.mount(pod)
    assert "subPath" in cluster.take_failure()

    pod = build_pod("two", "class")
    volume = pod["spec"]["volumes"][1]
    pod["spec"]["volumes"].append({**volume, "name": "second"})
    pod["spec"]["containers"].append({"volumeMounts": [{"name": "second", "mountPath": "/mnt/certs"}]})
    node.mount(pod)
    (failed,) = [event for event in cluster.events if event.event == "failed"]
    assert "/mnt/certs is taken" in failed.reason


def test_mount_names_the_path_when_volumes_reach_for_it_at_once(cluster: Cluster):
    path = "/mnt/" + "deep/" * 300 + "certs"  # it takes a while to make, and all of them come meanwhile
    name, _ = cluster.store("value")
    node = cluster.start(build_class("class", {"objectName": name}))
    pod = build_pod("pod", "class", path)
    volume = pod["spec"]["volumes"][1]
    for number in range(7):
        pod["spec"]["volumes"].append({**volume, "name": f"cert{number}"})
        pod["spec"]["containers"].append({"volumeMounts": [{"name": f"cert{number}", "mountPath": path}]})
    node.mount(pod)
    failed = [event.reason for event in cluster.events if event.event == "failed"]
    assert len(failed) == 7
    assert all(re.fullmatch(rf"{path} is taken: cert\d? is mounted there", reason) for reason in failed)


def test_mount_refuses_a_path_below_which_another_volume_is(cluster: Cluster):
    name, _ = cluster.store("value")
    node = cluster.start(build_class("class", {"objectName": name}))
    node.mount(build_pod("pod", "class", "/mnt/certs/inner", "/mnt/certs"))
    assert "/mnt/certs is taken: another volume is mounted below it" in cluster.take_failure()


def test_mount_refuses_a_pod_that_is_mounted_already(cluster: Cluster):
    name, _ = cluster.store("value")
    node = cluster.start(build_class("class", {"objectName": name}))
    node.mount(build_pod("pod", "class"))
    with pytest.raises(InputError, match="hcp/pod/cert would be mounted twice"):
        node.mount(build_pod("pod", "class"))


@pytest.mark.parametrize("name", ["../pod", "", "a/b", "Upper", ".", "..", 5])
def test_mount_is_refused_when_a_name_is_not_a_directory_name(cluster: Cluster, name: Any):
    node = cluster.start()
    with pytest.raises(InputError, match=r"Pod: \[1\]: .*\$\.metadata\.name"):
        node.mount(build_pod("pod", "class"), build_pod(name, "class"))
    assert cluster.events == []


def test_node_names_every_class_that_has_not_the_apis_shape(cluster: Cluster):
    with pytest.raises(InputError) as caught:
        cluster.start({}, build_class("class"), {"metadata": {"name": "x"}, "spec": {"parameters": {"a": 1}}})
    assert caught.value.problems == (
        "[0]: Object missing required field `metadata`",
        "[2]: Expected `str`, got `int` - at `$.spec.parameters[...]`",
    )


def test_node_continues_with_the_mounts_of_an_earlier_one(cluster: Cluster):
    name, _ = cluster.store("old")
    classes = build_class("class", {"objectName": name})
    cluster.start(classes).mount(build_pod("pod", "class"))
    version = cluster.store_again(name, "new")
    cluster.take_events()
    cluster.start(classes).mount(build_pod("pod", "class"))
    assert cluster.take_events() == [("mounted", name, version)]
    assert cluster.read(f"mnt/certs/{name}") == b"new"


def test_node_uses_one_connection_and_token_for_all_mounts_of_a_vault(cluster: Cluster):
    names = [cluster.store("value")[0] for _ in range(10)]
    node = cluster.start(*(build_class(name, {"objectName": name}) for name in names))
    node.mount(*(build_pod(name, name) for name in names))
    cluster.azure.requests.clear()
    node.poll_once()
    assert cluster.azure.requests.count("vault") == 10
    assert cluster.azure.requests.count("instance_metadata") == 0
