"""`hcpcreds explain` against the local API server, and where there is one against a real one."""

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from tests.cluster.pods import (
    Object,
    Scene,
    make_class,
    make_control_plane,
    make_deployment,
    make_event,
    make_pending,
    make_pod,
    make_status,
)
from tests.manifests.examples import SELF_MANAGED

from hcpcreds.cli.root import hcpcreds
from hcpcreds.local.kubernetes.api import KubernetesApi
from hcpcreds.manifests import CustomComponent, InjectOptions, inject

ROLES = Path(__file__).parents[2] / "deploy/explain/cluster-role.yaml"
MOUNT_FAILED = (
    'MountVolume.SetUp failed for volume "ingress-cert" : rpc error: code = Unknown desc = failed to mount '
    "secrets store objects for pod ns/pod, err: rpc error: code = Unknown desc = "
)
NOT_FOUND = (
    "failed to get objectType:secret: GET https://v.vault.azure.net RESPONSE 404 ERROR CODE: SecretNotFound"
)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesApi]:
    with KubernetesApi(tmp_path_factory.mktemp("kubernetes")) as server:
        server.rules = [rule for role in yaml.safe_load_all(ROLES.read_text()) for rule in role["rules"]]
        yield server


@pytest.fixture
def namespace() -> str:
    return f"clusters-{uuid.uuid4().hex[:12]}"


Explain = Callable[..., Result]
Row = tuple[Callable[[Scene], Any], str, str, str]
"""What breaks a scene, the link that is then named, and pieces of what is said and of the fix."""


@pytest.fixture
def explain(api: KubernetesApi, namespace: str) -> Iterator[Explain]:
    """Put a scene into the cluster, and explain something of its namespace."""
    rules = api.rules

    def run(scene: Scene | None, *arguments: str, output: str = "json") -> Result:
        if scene is not None:
            api.put(*scene.objects, *scene.policies)
        environment = {"KUBECONFIG": str(api.kubeconfig), "KUBERNETES_SERVICE_HOST": None}
        arguments = (*arguments, "--namespace", namespace, "--output", output)
        result = CliRunner(env=environment).invoke(hcpcreds, ["explain", *arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        return result

    yield run
    api.rules = rules
    for plural in ("mutatingadmissionpolicies", "mutatingadmissionpolicybindings"):
        api.find_all(plural).clear()


def read(result: Result) -> dict[str, Any]:
    """The only pod that is explained, its links by name."""
    [found] = json.loads(result.stdout)
    return {**found, "links": {link["name"]: link for link in found["links"]}}


def unschedule(scene: Scene) -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    scene.pod["status"] = {"phase": "Pending", "conditions": [condition]}
    scene.spec.pop("nodeName")
    scene.statuses.clear()


def refuse_pods(scene: Scene) -> None:
    message = 'pods "x" is forbidden: denied: no volume ingress-cert'
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
    scene.deployment["status"] = {"conditions": [failure]}
    scene.pod = {}
    scene.statuses.clear()


def add_control_plane(scene: Scene) -> None:
    scene.control_planes.append(make_control_plane(scene.namespace, "badger"))


def change_azure(scene: Scene, **fields: Any) -> None:
    scene.control_planes[0]["spec"]["platform"]["azure"].update(fields)


def leave_out_ingress(scene: Scene) -> None:
    scene.control_planes[0]["spec"]["capabilities"] = {"disabled": ["Ingress", "Console"]}


def lose_control_plane(scene: Scene) -> None:
    scene.control_planes.clear()
    labels = {"hypershift.openshift.io/hosted-control-plane": "true"}
    scene.others.append(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": scene.namespace, "labels": labels}}
    )


def lose_policies(scene: Scene) -> None:
    scene.label(component="ingress-operator")
    scene.drop_volume()
    scene.policies.clear()


def unbind_policies(scene: Scene) -> None:
    scene.label(component="ingress-operator")
    scene.policies = [each for each in scene.policies if each["kind"] == "MutatingAdmissionPolicy"]


def come_before_policies(scene: Scene) -> None:
    scene.label(component="ingress-operator")
    scene.drop_volume()


def run_again_and_again(scene: Scene) -> None:
    ended = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}}
    scene.set_state("ingress-operator", state=waiting, lastState=ended, restartCount=7, ready=False)


def stop_before_sidecar(scene: Scene) -> None:
    for key in ("restartPolicy", "startupProbe", "readinessProbe", "livenessProbe"):
        scene.spec["initContainers"][0].pop(key)


def be_silent(scene: Scene) -> None:
    scene.fail("")
    scene.events.clear()


WAITING: dict[str, Any] = {"ready": False, "started": False}
PULL = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": 'image "x" not found'}}, **WAITING}

BROKEN: dict[str, Row] = {
    "no node takes it": (unschedule, "pod", "Unschedulable: 0/3 nodes", "scheduler"),
    "the guard refuses it": (refuse_pods, "pod", "denied: no volume ingress-cert", "tries again"),
    "unknown component": (
        lambda scene: scene.label(component="ingres"),
        "component",
        "got 'ingres', expected one of",
        "hcpcreds.io/component",
    ),
    "two hosted control planes": (
        add_control_plane,
        "hosted control plane",
        "2 Hosted",
        "Leave only the one",
    ),
    "unusable cluster": (
        lambda scene: change_azure(scene, tenantID="x y"),
        "hosted control plane",
        "tenantID: got 'x y'",
        "Correct it in the HostedCluster",
    ),
    "no identity": (leave_out_ingress, "hosted control plane", "no identity for ingress", "Add it"),
    "no hosted control plane": (
        lose_control_plane,
        "hosted control plane",
        "no HostedControlPlane",
        "operator",
    ),
    "no policy": (lose_policies, "policy", "the pod has no credential volume", "render --admission-policy"),
    "policy without binding": (unbind_policies, "policy", "is not bound", "Bindings too"),
    "older than the policy": (come_before_policies, "policy", "made before the policy", "Delete the pod"),
    "not injected": (Scene.drop_volume, "mount", "the pod has no credential volume", "hcpcreds inject"),
    "variable missing": (
        lambda scene: scene.container.pop("env"),
        "mount",
        "HC206",
        "as hcpcreds inject does",
    ),
    "another's volume": (
        lambda scene: scene.spec["volumes"][0]["csi"]["volumeAttributes"].update(
            secretProviderClass="managed-azure-cpo"
        ),
        "mount",
        "HC112",
        "Set secretProviderClass: managed-azure-ingress",
    ),
    "no class": (
        lambda scene: scene.classes.clear(),
        "class",
        "there is no SecretProviderClass managed-azure-ingress",
        "hcpcreds render",
    ),
    "another provider": (
        lambda scene: scene.classes[0]["spec"].update(provider="gcp"),
        "class",
        "HC301",
        "azure",
    ),
    "another secret": (
        lambda scene: scene.parameters.update(
            objects=scene.parameters["objects"].replace("otter-ingress", "badger-ingress")
        ),
        "vault",
        "HC315",
        "otter-ingress",
    ),
    "no such secret": (
        lambda scene: scene.fail(MOUNT_FAILED + NOT_FOUND),
        "vault",
        "secret otter-ingress of the vault otter-vault: the vault has no secret of that name: failed to get",
        "Store the credential",
    ),
    "no such vault": (
        lambda scene: scene.fail(MOUNT_FAILED + "dial tcp: lookup v.vault.azure.net: no such host"),
        "vault",
        "there is no vault of that name",
        "keyvaultName",
    ),
    "secret disabled": (
        lambda scene: scene.events.append(
            make_event(
                scene.pod, "Operation get is not allowed on a disabled secret", reason="MountRotationFailed"
            )
        ),
        "vault",
        "newest version is disabled",
        "Enable it",
    ),
    "two ways into the vault": (
        lambda scene: scene.parameters.update(usePodIdentity="true"),
        "identity",
        "HC304",
        "false",
    ),
    "no role": (
        lambda scene: scene.fail(MOUNT_FAILED + 'RESPONSE 403 ERROR CODE: Forbidden "ForbiddenByRbac"'),
        "identity",
        "0a1b2c3d-0000-4000-8000-00000000abcd: the identity that reads the vault may not read",
        "Key Vault Secrets User",
    ),
    "identity not on the node": (
        lambda scene: scene.fail(MOUNT_FAILED + "ManagedIdentityCredential: Identity not found"),
        "identity",
        "the node does not have the identity",
        "scale set",
    ),
    "no driver": (
        lambda scene: scene.fail(
            "MountVolume.SetUp failed: driver name secrets-store.csi.k8s.io not found in the list of "
            "registered CSI drivers"
        ),
        "driver",
        "does not run on the pod's node",
        "kubectl get pods -A",
    ),
    "unknown words": (
        lambda scene: scene.fail(MOUNT_FAILED + "the moon is full"),
        "driver",
        "it cannot mount the credential: the moon is full",
        "log",
    ),
    "no record": (lambda scene: scene.statuses.clear(), "version", "recorded no mount", "node-1"),
    "an old secret": (
        lambda scene: scene.statuses[0]["status"]["objects"][0].update(id="secret/otter-old"),
        "version",
        "mounted is secret/otter-old, and the SecretProviderClass now names secret/otter-ingress",
        "next rotation",
    ),
    "silence": (
        be_silent,
        "version",
        "nothing is mounted, and the pod is",
        "the driver run on the node node-1",
    ),
    "label without a sidecar": (
        lambda scene: scene.label(credential="keyless"),
        "sidecar",
        "the label hcpcreds.io/credential is keyless",
        "inject --keyless",
    ),
    "program": (run_again_and_again, "program", "OOMKilled, exit code 137; 7 restarts", "--previous"),
    "program's configuration": (
        lambda scene: scene.set_state(
            "ingress-operator", state={"waiting": {"reason": "CreateContainerConfigError"}}, **WAITING
        ),
        "program",
        "it does not start: CreateContainerConfigError",
        "kubectl describe pod",
    ),
}
BROKEN_SIDECAR: dict[str, Row] = {
    "image": (lambda scene: scene.set_state("hcpcreds", **PULL), "sidecar", "cannot be pulled", "the image"),
    "not ready": (
        lambda scene: scene.set_state("hcpcreds", ready=False, restartCount=3),
        "sidecar",
        "(registry.example/hcpcreds:1) runs, and is not ready: it has nothing to log in with; 3 restarts",
        "kubectl logs",
    ),
    "no sidecar but a first step": (stop_before_sidecar, "sidecar", "HC126", "restartPolicy: Always"),
    "no assertion": (
        lambda scene: scene.container.pop("volumeMounts"),
        "mount",
        "HC201",
        "Mount the directory",
    ),
}


def check_broken(explain: Explain, scene: Scene, row: Row) -> None:
    break_it, link, what, fix = row
    break_it(scene)
    target = f"pod/{scene.pod['metadata']['name']}" if scene.pod else "deployment/ingress-operator"
    result = explain(scene, target)
    found = read(result)
    assert found["broken"] == link, result.output
    assert what in found["links"][link]["what"]
    assert fix in found["links"][link]["fix"]
    assert result.exit_code == 1


@pytest.mark.parametrize("row", BROKEN.values(), ids=BROKEN)
def test_explain_names_the_link_that_is_broken(explain: Explain, namespace: str, row: Row):
    check_broken(explain, Scene(namespace), row)


@pytest.mark.parametrize("row", BROKEN_SIDECAR.values(), ids=BROKEN_SIDECAR)
def test_explain_names_the_link_that_is_broken_when_the_pod_is_keyless(
    explain: Explain, namespace: str, row: Row
):
    labels = {"hcpcreds.io/component": "ingress-operator", "hcpcreds.io/credential": "keyless"}
    check_broken(explain, Scene(namespace, sidecar=True, labels=labels), row)


def test_explain_shows_every_link_of_a_pod_that_lacks_nothing(explain: Explain, namespace: str):
    scene = Scene(namespace, labels={"hcpcreds.io/component": "ingress-operator"})
    result = explain(scene, f"pod/{scene.pod['metadata']['name']}")
    found = read(result)
    assert result.exit_code == 0
    assert found["broken"] is None
    assert {name: link["state"] for name, link in found["links"].items()} == {
        "pod": "ok",
        "component": "ok",
        "hosted control plane": "ok",
        "policy": "ok",
        "mount": "ok",
        "class": "ok",
        "vault": "ok",
        "identity": "ok",
        "driver": "ok",
        "version": "ok",
        "sidecar": "absent",
        "program": "ok",
    }
    assert found["component"] == "ingress-operator"
    assert "secret/otter-ingress at version 0a1b2c3d" in found["links"]["version"]["what"]
    assert (
        "needs the role 0336e1d3-7a87-462b-b6db-342b63f7802c on otter-rg"
        in found["links"]["identity"]["what"]
    )


def test_explain_looks_at_the_sidecar_when_the_pod_is_keyless(explain: Explain, namespace: str):
    scene = Scene(namespace, sidecar=True, labels={"hcpcreds.io/credential": "keyless"})
    found = read(explain(scene, "deployment/ingress-operator"))
    assert found["broken"] is None
    assert found["links"]["sidecar"]["what"].startswith(
        "hcpcreds (registry.example/hcpcreds:1): ready; 0 rest"
    )
    assert "ingress-operator runs since" in found["links"]["program"]["what"]
    assert "ingress-cert at /mnt/certs in hcpcreds" in found["links"]["mount"]["what"]


def explain_all(result: Result) -> dict[str, str | None]:
    """What is explained, and where each is broken."""
    return {f"{each['kind']}/{each['name']}": each["broken"] for each in json.loads(result.stdout)}


LISTS = {
    "events": "driver",
    "hostedcontrolplanes": "hosted control plane",
    "secretproviderclasses": "class",
    "secretproviderclasspodstatuses": "version",
    "mutatingadmissionpolicies": "policy",
    "mutatingadmissionpolicybindings": "policy",
}


@pytest.mark.parametrize("resource", LISTS)
def test_explain_says_which_link_it_may_not_see_and_looks_at_the_others(
    api: KubernetesApi, explain: Explain, namespace: str, resource: str
):
    assert api.rules is not None
    api.rules = [
        {**rule, "resources": [each for each in rule["resources"] if each != resource]} for rule in api.rules
    ]
    scene = Scene(namespace, labels={"hcpcreds.io/component": "ingress-operator"})
    found = read(explain(scene, "deployment/ingress-operator"))
    link = found["links"][LISTS[resource]]
    assert link["state"] == "unknown"
    assert f"answered 403 to list: {resource}" in link["what"]
    assert f"It takes the verb list on {resource}" in link["fix"]
    assert found["broken"] is None
    states = {name: each["state"] for name, each in found["links"].items() if name != LISTS[resource]}
    behind = {"vault", "identity"} if resource.startswith("secretprovider") else set()
    assert {name for name, state in states.items() if state == "unknown"} <= behind


def test_explain_fails_with_the_verb_that_is_missing_when_it_may_not_see_pods(
    api: KubernetesApi, explain: Explain, namespace: str
):
    api.rules = []
    result = explain(Scene(namespace), output="text")
    assert result.exit_code == 1
    assert "It takes the verb list on pods." in result.stderr


def test_cluster_role_has_nothing_but_lists_and_the_namespace_itself():
    rules = [rule for role in yaml.safe_load_all(ROLES.read_text()) for rule in role["rules"]]
    allowed = {(verb, resource) for rule in rules for verb in rule["verbs"] for resource in rule["resources"]}
    assert {verb for verb, _ in allowed} == {"list", "get"}
    assert {resource for verb, resource in allowed if verb == "get"} == {"namespaces"}
    assert not {resource for _, resource in allowed} & {"secrets", "configmaps", "*"}


def test_explain_says_what_is_missing_when_the_cluster_has_neither_driver_nor_policies(
    tmp_path: Path, namespace: str
):
    with KubernetesApi(tmp_path) as api:
        scene = Scene(namespace, labels={"hcpcreds.io/component": "ingress-operator"})
        api.put(scene.deployment, scene.pod)
        for kind in (
            *("secretproviderclasses", "secretproviderclasspodstatuses", "hostedcontrolplanes"),
            *("mutatingadmissionpolicies", "mutatingadmissionpolicybindings"),
        ):
            api.unregister(kind)
        arguments = ["explain", "--namespace", namespace, "--output", "json"]
        result = CliRunner(env={"KUBECONFIG": str(api.kubeconfig)}).invoke(hcpcreds, arguments)
    found = read(result)
    assert found["broken"] == "class"
    assert "azure-keyvault-secrets-provider" in found["links"]["class"]["fix"]
    assert "Kubernetes 1.36" in found["links"]["policy"]["what"]
    assert found["links"]["hosted control plane"]["state"] == "absent"


def test_explain_names_the_workload_that_has_no_pods(explain: Explain, namespace: str):
    scene = Scene(namespace)
    scene.pod = {}
    scene.statuses.clear()
    found = read(explain(scene))
    assert (found["kind"], found["broken"]) == ("Deployment", "pod")
    assert found["links"]["mount"]["state"] == "ok"
    scene.deployment["spec"]["replicas"] = 0
    found = read(explain(scene, "deployment/ingress-operator"))
    assert found["broken"] is None
    assert found["links"]["pod"]["what"] == "the workload is scaled to zero"


def test_explain_follows_each_credential_of_a_pod_that_has_two(explain: Explain, namespace: str):
    scene = Scene(namespace)
    scene.deployment = make_deployment(namespace, "control-plane-operator")
    scene.pod = make_pending(make_pod(scene.deployment))
    scene.classes = [make_class(namespace, name) for name in ("control-plane-operator", "kube-apiserver")]
    scene.statuses.clear()
    scene.events = [make_event(scene.pod, MOUNT_FAILED.replace("ingress-cert", "kms-cert") + NOT_FOUND)]
    [found] = json.loads(explain(scene).stdout)
    vaults = [link for link in found["links"] if link["name"] == "vault"]
    assert [link["state"] for link in vaults] == ["ok", "broken"]
    assert "secret otter-kms of the vault otter-vault: the vault has no secret" in vaults[1]["what"]


def test_explain_takes_a_failure_as_over_once_the_pod_has_started_or_rotated(
    explain: Explain, namespace: str
):
    scene = Scene(namespace)
    disabled = "Operation get is not allowed on a disabled secret"
    scene.events = [
        make_event(scene.pod, MOUNT_FAILED + NOT_FOUND, name="start"),
        make_event(
            scene.pod, disabled, reason="MountRotationFailed", at="2026-11-25T11:00:00Z", name="failed"
        ),
        make_event(scene.pod, "", reason="MountRotationComplete", at="2026-11-25T11:02:00Z", name="done"),
    ]
    found = read(explain(scene, f"pod/{scene.pod['metadata']['name']}"))
    assert found["broken"] is None
    assert found["links"]["driver"]["state"] == "ok"


def test_explain_takes_the_last_time_of_an_event_that_recurs(explain: Explain, namespace: str):
    scene = Scene(namespace)
    failing = make_event(scene.pod, "disabled secret", reason="MountRotationFailed", name="failed")
    failing["series"] = {"count": 9, "lastObservedTime": "2026-11-25T12:00:00.000000Z"}
    done = make_event(scene.pod, "", reason="MountRotationComplete", at="2026-11-25T11:00:00Z", name="done")
    scene.events = [failing, done]
    assert read(explain(scene))["broken"] == "vault"


def test_explain_is_told_why_when_the_newest_event_says_nothing(explain: Explain, namespace: str):
    scene = Scene(namespace)
    scene.fail(MOUNT_FAILED + NOT_FOUND)
    vague = "Unable to attach or mount volumes: [ingress-cert]: timed out waiting for the condition"
    scene.events.append(make_event(scene.pod, vague, at="2026-11-25T10:05:00Z", name="later"))
    assert read(explain(scene))["broken"] == "vault"


def test_explain_waits_for_the_driver_when_the_class_has_just_been_made(explain: Explain, namespace: str):
    scene = Scene(namespace)
    missing = 'SecretProviderClass.secrets-store.csi.x-k8s.io "managed-azure-ingress" not found'
    scene.fail(MOUNT_FAILED + missing)
    found = read(explain(scene))
    assert found["broken"] is None
    assert "it tries again in two minutes" in found["links"]["driver"]["what"]


def test_explain_shows_other_versions_and_programs_that_are_older(explain: Explain, namespace: str):
    scene = Scene(namespace)
    twin = make_pod(scene.deployment, suffix="z9y8x")
    scene.statuses[0]["metadata"]["managedFields"] = [{"time": "2026-11-25T12:00:00Z", "operation": "Update"}]
    scene.others = [twin, make_status(twin, "managed-azure-ingress", "otter-ingress", "ffff")]
    found = read(explain(scene, f"pod/{scene.pod['metadata']['name']}"))
    assert found["links"]["version"]["what"].endswith(
        "since 2026-11-25T12:00:00Z; other pods of the namespace have ffff"
    )
    assert "older than the mounted version" in found["links"]["program"]["what"]
    assert explain_all(explain(None)) == {
        "Pod/ingress-operator-5d8f9c-x7k2p": None,
        "Pod/ingress-operator-5d8f9c-z9y8x": None,
    }


def test_explain_does_not_blame_the_version_when_several_are_mounted(explain: Explain, namespace: str):
    scene = Scene(namespace)
    found = scene.statuses[0]["status"]["objects"]
    found[:] = [{"id": f"{found[0]['id']}/{index}", "version": f"v{index}"} for index in range(2)]
    link = read(explain(scene))["links"]["version"]
    assert (link["state"], "secret/otter-ingress/1 at version v1" in link["what"]) == ("ok", True)


def test_explain_judges_a_workload_of_another_name_by_its_label(explain: Explain, namespace: str):
    scene = Scene(namespace, labels={"hcpcreds.io/component": "ingress-operator"})
    scene.deployment["metadata"]["name"] = "router"
    scene.pod = make_pod(scene.deployment)
    scene.container.pop("env")
    found = read(explain(scene, "deployment/router"))
    assert (found["component"], found["broken"]) == ("ingress-operator", "mount")
    assert "HC206" in found["links"]["mount"]["what"]


def test_explain_knows_the_operator_that_only_passes_names_on(explain: Explain, namespace: str):
    scene = Scene(namespace)
    scene.deployment = make_deployment(
        namespace, "cluster-network-operator", labels={"hcpcreds.io/component": "cluster-network-operator"}
    )
    scene.pod = make_pod(scene.deployment)
    scene.statuses.clear()
    found = read(explain(scene))
    assert found["broken"] is None
    assert found["links"]["mount"] == {
        "name": "mount",
        "state": "absent",
        "what": "it mounts no credential itself",
        "fix": "",
    }
    assert found["links"]["class"]["state"] == "absent"
    assert "cluster-network-operator runs since" in found["links"]["program"]["what"]


def test_explain_knows_that_a_workload_identity_has_no_file(explain: Explain, namespace: str):
    scene = Scene(namespace)
    scene.control_planes[0] = make_control_plane(namespace, changes=SELF_MANAGED)
    scene.drop_volume()
    token = {"name": "cloud-token", "mountPath": "/var/run/secrets/openshift/serviceaccount"}
    scene.container["volumeMounts"] = [token]
    scene.spec["volumes"] = [{"name": "cloud-token", "emptyDir": {"medium": "Memory"}}]
    found = read(explain(scene, f"pod/{scene.pod['metadata']['name']}"))
    assert found["broken"] is None, found
    assert "a workload identity, without a file" in found["links"]["hosted control plane"]["what"]
    assert found["links"]["vault"]["state"] == "absent"
    scene.container["volumeMounts"] = []
    found = read(explain(scene, f"pod/{scene.pod['metadata']['name']}"))
    assert "HC122" in found["links"]["mount"]["what"]


def make_custom(namespace: str, **annotations: str) -> Object:
    """A Deployment of plain AKS, with a class of its own."""
    deployment = make_deployment(namespace, "billing")
    custom = CustomComponent(
        secret_provider_class="billing", volume_name="cert", credentials_secret_name="bill"
    )
    deployment = inject(deployment, InjectOptions(custom=custom))
    deployment["spec"]["template"]["metadata"]["annotations"] = {
        f"hcpcreds.io/{key.replace('_', '-')}": value for key, value in annotations.items()
    }
    if annotations:
        deployment["spec"]["template"]["metadata"]["labels"]["hcpcreds.io/component"] = "billing"
    return deployment


def make_custom_class(namespace: str) -> Object:
    """A custom class, with a credential and a certificate authority."""
    item = make_class(namespace)
    item["metadata"] = {"name": "billing", "namespace": namespace}
    parameters = item["spec"]["parameters"]
    parameters["objects"] = (
        parameters["objects"].replace("otter-ingress", "bill")
        + "  - |\n    objectName: ca\n    objectType: cert\n    objectAlias: ca.pem\n"
    )
    return item


@pytest.mark.parametrize(
    "annotations", [{}, {"secret_provider_class": "billing"}], ids=["volume", "annotation"]
)
def test_explain_follows_a_component_of_ones_own_in_plain_aks(
    explain: Explain, namespace: str, annotations: dict[str, str]
):
    scene = Scene(namespace)
    scene.control_planes.clear()
    scene.deployment = make_custom(namespace, **annotations)
    scene.pod = make_pod(scene.deployment)
    scene.classes = [make_custom_class(namespace)]
    scene.statuses = [make_status(scene.pod, "billing", "bill")]
    scene.statuses[0]["status"]["objects"].append({"id": "cert/ca", "version": "9"})
    found = read(explain(scene))
    assert found["broken"] is None, found
    assert found["component"] == "billing"
    assert found["links"]["hosted control plane"]["state"] == "absent"
    assert found["links"]["policy"]["state"] == ("ok" if annotations else "absent")
    assert "secret bill, cert ca (file ca.pem) of the vault otter-vault" in found["links"]["vault"]["what"]
    assert ", cert/ca at version 9" in found["links"]["version"]["what"]


def test_explain_misses_the_volume_of_the_class_that_is_annotated(explain: Explain, namespace: str):
    scene = Scene(namespace)
    scene.policies.clear()
    scene.pod["metadata"]["labels"]["hcpcreds.io/component"] = "billing"
    scene.pod["metadata"]["annotations"] = {"hcpcreds.io/secret-provider-class": "billing"}
    found = read(explain(scene))
    assert found["broken"] == "policy"
    assert "no volume of the SecretProviderClass billing" in found["links"]["policy"]["what"]
    assert "no volume of the SecretProviderClass billing" in found["links"]["mount"]["what"]


def test_explain_says_that_nothing_asks_for_a_credential(explain: Explain, namespace: str):
    scene = Scene(namespace)
    scene.deployment["metadata"]["name"] = "web"
    scene.deployment["spec"]["template"]["spec"] = {"containers": [{"name": "web", "image": "web"}]}
    scene.pod = make_pod(scene.deployment)
    scene.statuses.clear()
    found = read(explain(scene, f"pod/{scene.pod['metadata']['name']}"))
    assert found["broken"] == "component"
    assert "hcpcreds.io/component in the workload's pod template" in found["links"]["component"]["fix"]
    result = explain(None)
    assert result.exit_code == 2
    assert "nothing in this namespace needs a credential" in result.stderr


@pytest.mark.parametrize(
    ("target", "what"),
    [
        ("pod/absent", "there is no pod absent in the namespace"),
        ("deploy/absent", "there is no deployment absent"),
        ("sts/absent", "there is no statefulset absent"),
    ],
)
def test_explain_says_that_there_is_no_such_thing(explain: Explain, namespace: str, target: str, what: str):
    result = explain(Scene(namespace), target)
    found = read(result)
    assert (found["broken"], result.exit_code) == ("pod", 1)
    assert what in found["links"]["pod"]["what"]
    assert list(found["links"]) == ["pod"], "nothing else is known of it"


def test_explain_tells_a_pod_that_starts_from_one_that_runs(explain: Explain, namespace: str):
    scene = Scene(namespace)
    scene.pod = make_pending(scene.pod)
    scene.pod["metadata"].pop("creationTimestamp")
    scene.statuses.clear()
    result = explain(scene, output="text")
    assert result.exit_code == 0
    assert ": nothing broken, but its program does not run\n" in result.stdout


def test_explain_fails_when_the_api_server_cannot_be_asked(
    api: KubernetesApi, explain: Explain, namespace: str
):
    api.put(*Scene(namespace).objects)
    api.faults.add("kubernetes", match="/events", status=503)
    try:
        result = explain(None)
    finally:
        api.faults.clear()
    assert (result.exit_code, result.stdout) == (1, "")
    assert "the API server answered 503 to list" in result.stderr


@pytest.mark.parametrize("target", ["pod", "pod/", "service/a", "pod/A_b", "/a", "po/a/b"])
def test_explain_refuses_what_it_cannot_explain(explain: Explain, target: str):
    result = explain(None, target)
    assert result.exit_code == 2
    assert "expected one of pod/NAME, deployment/NAME" in result.stderr


def test_explain_shows_what_a_hosted_control_plane_should_have_and_has_not(explain: Explain, namespace: str):
    scene = Scene(namespace)
    leave_out = {"disabled": ["ImageRegistry"]}
    scene.control_planes[0]["spec"]["capabilities"] = leave_out
    found = explain_all(explain(scene, "hcp/otter"))
    assert found.pop("Pod/ingress-operator-5d8f9c-x7k2p") is None
    assert found == {
        f"Deployment/{name}": "pod"
        for name in (
            "control-plane-operator",
            "capi-provider",
            "azure-cloud-controller-manager",
            "cloud-network-config-controller",
            "azure-disk-csi-driver-controller",
            "azure-file-csi-driver-controller",
            "kube-apiserver",
        )
    }
    result = explain(None, "hcp/badger", output="text")
    assert result.exit_code == 2
    assert "there is: otter" in result.stderr


def test_explain_takes_hypershifts_own_label_for_the_component(explain: Explain, namespace: str):
    scene = Scene(namespace)
    scene.drop_volume()
    labels = scene.pod["metadata"]["labels"]
    labels["hypershift.openshift.io/control-plane-component"] = "ingress-operator"
    found = read(explain(scene, f"pod/{scene.pod['metadata']['name']}"))
    assert "by the label hypershift" in found["links"]["component"]["what"]
    assert "no label hcpcreds.io/hypershift: keyless" in found["links"]["policy"]["what"]
    assert found["broken"] == "mount"
    assert "control-plane-operator" in found["links"]["mount"]["fix"]


def test_explain_as_text_shows_the_broken_link_of_each_pod_with_its_fix(explain: Explain, namespace: str):
    scene = Scene(namespace)
    twin = make_pod(scene.deployment, suffix="z9y8x")
    scene.others.append(twin)
    result = explain(scene, output="text")
    assert result.exit_code == 1
    assert result.stdout == (
        "pod/ingress-operator-5d8f9c-x7k2p: ok\n\n"
        "pod/ingress-operator-5d8f9c-z9y8x: broken at version, 1 not known\n"
        "  broken  version: its containers run, and the driver has recorded no mount\n"
        "          fix: Is the volume really mounted? kubectl get secretproviderclasspodstatuses; the "
        "driver's log on the node node-1 says why.\n"
    )
    assert result.stderr == "2 pods and workloads looked at; 1 broken at version\n"
    assert "  ok      class: managed-azure-ingress" in explain(None, "--verbose", output="text").stdout


def test_explain_works_as_kubectls_plugin_and_in_another_context(
    api: KubernetesApi, namespace: str, tmp_path: Path
):
    scene = Scene(namespace)
    api.put(*scene.objects)
    config = json.loads(api.kubeconfig.read_text())
    config["contexts"][0]["context"]["namespace"] = namespace
    config["contexts"][0]["name"] = "mine"
    config["current-context"] = "absent"
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    environment = {"KUBECONFIG": str(tmp_path / "kubeconfig")}
    result = CliRunner(env=environment).invoke(hcpcreds, ["explain", "--context", "mine"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("pod/ingress-operator-5d8f9c-x7k2p: ok\n")
    result = CliRunner(env=environment).invoke(hcpcreds, ["explain"])
    assert result.exit_code == 2
    assert "Context 'absent' not found" in result.stderr
