"""Pods of a hosted control plane as a cluster shows them, with all that belongs to them."""

import copy
from collections.abc import Iterator
from typing import Any, Final

from tests.manifests.examples import KEY_VAULT_USER, WITH_CLIENT_IDS, make_manifest

from hcpcreds.components import COMPONENTS
from hcpcreds.hosted_cluster import parse_hosted_cluster
from hcpcreds.manifests import InjectOptions, Sidecar, build_secret_provider_class, inject
from hcpcreds.manifests.policies import build_policies

Object = dict[str, Any]

MADE: Final = "2026-11-25T10:00:00Z"
STARTED: Final = "2026-11-25T10:00:20Z"
IMAGE: Final = "registry.example/hcpcreds:1"
VERSION: Final = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
INGRESS: Final = next(each for each in COMPONENTS if each.name == "ingress-operator")


def make_control_plane(namespace: str, name: str = "otter", changes: Object | None = None) -> Object:
    """A HostedControlPlane, unless it is changed one whose identities have client ids."""
    manifest = make_manifest(WITH_CLIENT_IDS if changes is None else changes)
    manifest["kind"] = "HostedControlPlane"
    manifest["metadata"] = {"name": name, "namespace": namespace}
    return manifest


def make_class(namespace: str, component: str = "ingress-operator") -> Object:
    """The SecretProviderClass of a component."""
    row = next(each for each in COMPONENTS if each.name == component)
    cluster = parse_hosted_cluster(make_control_plane(namespace))
    return copy.deepcopy(
        dict(build_secret_provider_class(cluster, row, key_vault_user_client_id=KEY_VAULT_USER))
    )


def make_deployment(
    namespace: str, name: str = "ingress-operator", *, sidecar: bool = False, labels: Object | None = None
) -> Object:
    """The Deployment of a component with everything that it needs."""
    labels = {"app": name, **(labels or {})}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": name, "image": "registry.example/operator:1"}]},
            },
        },
    }
    options = InjectOptions(
        cluster=parse_hosted_cluster(make_control_plane(namespace)),
        key_vault_user_client_id=KEY_VAULT_USER,
        sidecar=Sidecar(image=IMAGE) if sidecar else None,
    )
    return inject(deployment, options)


def make_pod(deployment: Object, *, suffix: str = "x7k2p") -> Object:
    """A pod of a Deployment, running."""
    name, namespace = deployment["metadata"]["name"], deployment["metadata"]["namespace"]
    template = copy.deepcopy(deployment["spec"]["template"])
    metadata = template.get("metadata", {})
    owner = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": f"{name}-5d8f9c",
        "uid": "11111111-0000-4000-8000-000000000001",
        "controller": True,
    }
    spec = template["spec"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **metadata,
            "name": f"{name}-5d8f9c-{suffix}",
            "namespace": namespace,
            "labels": {**metadata.get("labels", {}), "pod-template-hash": "5d8f9c"},
            "ownerReferences": [owner],
            "creationTimestamp": MADE,
        },
        "spec": {**spec, "nodeName": "node-1"},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "PodScheduled", "status": "True"}],
            "initContainerStatuses": [_run(each["name"]) for each in spec.get("initContainers", [])],
            "containerStatuses": [_run(each["name"]) for each in spec["containers"]],
        },
    }


def _run(name: str) -> Object:
    running = {"running": {"startedAt": STARTED}}
    return {
        "name": name,
        "ready": True,
        "started": True,
        "restartCount": 0,
        "state": running,
        "lastState": {},
        "image": "registry.example/any:1",
        "imageID": "",
    }


def make_status(pod: Object, class_name: str, secret: str, version: str = VERSION) -> Object:
    """What the driver records of a mount."""
    metadata = pod["metadata"]
    return {
        "apiVersion": "secrets-store.csi.x-k8s.io/v1",
        "kind": "SecretProviderClassPodStatus",
        "metadata": {
            "name": f"{metadata['name']}-{metadata['namespace']}-{class_name}",
            "namespace": metadata["namespace"],
        },
        "status": {
            "podName": metadata["name"],
            "secretProviderClassName": class_name,
            "mounted": True,
            "targetPath": "/var/lib/kubelet/pods/1/volumes/kubernetes.io~csi/cert/mount",
            "objects": [{"id": f"secret/{secret}", "version": version}],
        },
    }


def make_event(
    pod: Object, message: str, *, reason: str = "FailedMount", at: str = STARTED, name: str = "first"
) -> Object:
    """An event of the kubelet's or the driver's about a pod."""
    metadata = pod["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{name}", "namespace": metadata["namespace"]},
        "involvedObject": {"kind": "Pod", "name": metadata["name"], "namespace": metadata["namespace"]},
        "type": "Normal" if reason.endswith("Complete") else "Warning",
        "reason": reason,
        "message": message,
        "lastTimestamp": at,
        "source": {"component": "kubelet"},
    }


def make_pending(pod: Object) -> Object:
    """The same pod before its volumes are mounted."""
    pod = copy.deepcopy(pod)
    pod["status"]["phase"] = "Pending"
    for key, reason in (
        ("initContainerStatuses", "PodInitializing"),
        ("containerStatuses", "ContainerCreating"),
    ):
        for status in pod["status"][key]:
            status.update(ready=False, started=False, state={"waiting": {"reason": reason}})
    return pod


def list_policies() -> Iterator[Object]:
    """The mutating admission policies and their bindings."""
    for each in build_policies(key_vault_user_client_id=KEY_VAULT_USER, image=IMAGE):
        if each["kind"].startswith("Mutating"):
            yield each


class Scene:
    """An ingress-operator of a hosted control plane and all that belongs to it; nothing is wrong with it."""

    def __init__(self, namespace: str, *, sidecar: bool = False, labels: Object | None = None) -> None:
        self.namespace = namespace
        self.deployment = make_deployment(namespace, sidecar=sidecar, labels=labels)
        self.pod = make_pod(self.deployment)
        self.control_planes = [make_control_plane(namespace)]
        self.classes = [make_class(namespace)]
        self.statuses = [make_status(self.pod, INGRESS.secret_provider_class, "otter-ingress")]
        self.policies = list(list_policies())
        self.events: list[Object] = []
        self.others: list[Object] = []

    @property
    def objects(self) -> list[Object]:
        """All of them."""
        pods = [self.pod] if self.pod else []
        deployments = [self.deployment] if self.deployment else []
        return [
            *(*self.control_planes, *self.classes, *deployments, *pods, *self.statuses),
            *(*self.events, *self.others),
        ]

    @property
    def spec(self) -> Object:
        """Of the pod."""
        spec: Object = self.pod["spec"]
        return spec

    @property
    def container(self) -> Object:
        """The pod's program."""
        container: Object = self.spec["containers"][0]
        return container

    @property
    def parameters(self) -> Object:
        """Of the SecretProviderClass."""
        parameters: Object = self.classes[0]["spec"]["parameters"]
        return parameters

    def label(self, **labels: str) -> None:
        """Label the pod with keys of ours."""
        self.pod["metadata"]["labels"] |= {f"hcpcreds.io/{key}": value for key, value in labels.items()}

    def drop_volume(self) -> None:
        """Take the credential out of the pod, as if nobody had injected it."""
        self.spec.pop("volumes")
        self.container.pop("volumeMounts")
        self.container.pop("env")
        self.statuses.clear()

    def fail(self, message: str) -> None:
        """Let the driver fail to mount."""
        self.pod = make_pending(self.pod)
        self.statuses.clear()
        self.events.append(make_event(self.pod, message))

    def set_state(self, container: str, **state: Any) -> None:
        """Change the state of a container."""
        for key in ("initContainerStatuses", "containerStatuses"):
            for status in self.pod["status"][key]:
                if status["name"] == container:
                    status.update(state)
