"""The links that run: the pod itself, its sidecar, and the program that uses the credential."""

from collections.abc import Iterator
from typing import Final

from hcpcreds.cluster.case import Case, Part, describe_notes, find_error
from hcpcreds.cluster.events import is_started
from hcpcreds.cluster.facts import Subject
from hcpcreds.cluster.links import Link, absent, broken, ok, unknown
from hcpcreds.kubernetes.nodes import Node
from hcpcreds.manifests.check.subjects import Container
from hcpcreds.manifests.policies.selection import CREDENTIAL_LABEL, ENDPOINT, KEYLESS

POD, SIDECAR, PROGRAM = "pod", "sidecar", "program"
_STARTING: Final = frozenset({"ContainerCreating", "PodInitializing"})
_IMAGE: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})


def explain_missing(subject: Subject, part: Part | None) -> Link:
    """Say that there is no such pod or workload."""
    kind, where = subject.kind.lower(), subject.namespace
    fix = f"kubectl get {kind}s -n {where} shows what there is."
    if part is not None and subject.kind != "Pod":
        fix = f"HyperShift's control-plane-operator deploys it; its log says why it has not. {fix}"
    return broken(POD, f"there is no {kind} {subject.name} in the namespace {where}", fix)


def explain_pod(subject: Subject) -> Link:
    """Say how the pod is, or why the workload has none."""
    if subject.workload is not None:
        return _explain_no_pod(subject, subject.workload)
    if subject.pod is None:
        return explain_missing(subject, None)
    pod, status = subject.pod, subject.pod["status"]
    phase = status["phase"].text or "Unknown"
    scheduled = _find_condition(status, "PodScheduled")
    if pod.at("metadata", "deletionTimestamp").is_set:
        return ok(POD, f"{phase}, and being deleted")
    if phase == "Failed":
        return broken(
            POD, f"it has failed: {_join(status)}", "Its controller makes another; look at that one."
        )
    if scheduled is not None and scheduled["status"].text == "False":
        return broken(
            POD,
            f"no node takes it: {_join(scheduled)}",
            "That is the scheduler's; the credential is not mounted before.",
        )
    node = pod.at("spec", "nodeName").text
    return ok(POD, f"{phase}, on the node {node}" if node else phase)


def _explain_no_pod(subject: Subject, workload: Node) -> Link:
    failed = _find_condition(workload["status"], "ReplicaFailure")
    if failed is not None and failed["status"].text == "True":
        return broken(
            POD,
            f"the API server refuses its pods: {_join(failed)}",
            "Change what the message names; the controller tries again by itself.",
        )
    if workload.at("spec", "replicas").plain == "0":
        return absent(POD, "the workload is scaled to zero")
    return broken(
        POD, "the workload has no pod", f"kubectl describe {subject.kind.lower()} {subject.name} says why."
    )


def explain_sidecar(case: Case) -> Link:
    """Say how the sidecar is that has the key in the program's place."""
    kind = case.subject.get_label(CREDENTIAL_LABEL)
    sidecar = case.pod.sidecar
    if sidecar is None:
        if kind in (KEYLESS, ENDPOINT):
            return broken(
                SIDECAR,
                f"the label {CREDENTIAL_LABEL} is {kind}, and the pod has no sidecar that serves tokens",
                "Run the workload's manifest through hcpcreds inject --keyless, or apply the admission "
                "policy and delete the pod.",
            )
        return absent(SIDECAR, "the program reads the credential itself")
    if error := find_error(case.find(SIDECAR)):
        return broken(SIDECAR, f"{error.code}: {error.reason}", error.fix)
    return _explain_running(case, sidecar)


def _explain_running(case: Case, sidecar: Container) -> Link:
    image = sidecar.node["image"].text
    place = f"{sidecar.name} ({image})"
    state = _find_status(case, sidecar.name)
    if state is not None and (trouble := _find_trouble(case, state)):
        return broken(SIDECAR, f"{place}: {trouble[0]}", trouble[1])
    if state is None or not state.at("state", "running").is_set:
        return absent(SIDECAR, f"{place}: not started yet")
    restarts = _read_number(state["restartCount"])
    if not state["ready"].boolean:
        return broken(
            SIDECAR,
            f"{place} runs, and is not ready: it has nothing to log in with; {restarts} restarts",
            f"kubectl logs {case.subject.name} -c {sidecar.name} -n {case.subject.namespace}",
        )
    return ok(SIDECAR, f"{place}: ready; {restarts} restarts{describe_notes(case.find(SIDECAR))}")


def explain_program(case: Case) -> Link:
    """Say how the containers are that use the credential."""
    pod = case.subject.pod
    if pod is None:
        return absent(PROGRAM, "there is no pod")
    names = list(dict.fromkeys(_list_programs(case)))
    running = []
    for name in names:
        state = _find_status(case, name)
        if state is None:
            continue
        if trouble := _find_trouble(case, state):
            return broken(PROGRAM, f"{name}: {trouble[0]}", trouble[1])
        if since := state.at("state", "running", "startedAt").text:
            restarts = _read_number(state["restartCount"])
            ready = "" if state["ready"].boolean else ", not ready"
            running.append(f"{name} runs since {since}{ready}; {restarts} restarts{_note_age(case, since)}")
    if running:
        return ok(PROGRAM, "; ".join(running))
    if not names:
        return unknown(PROGRAM, "no container is known to use the credential")
    started = "not running" if is_started(pod) else "not started yet"
    return absent(PROGRAM, f"{', '.join(names)}: {started}")


def _list_programs(case: Case) -> Iterator[str]:
    """List the containers that the table names, or that have the credential in any way."""
    sidecar = case.pod.sidecar
    rows = {name for _, row in case.part.rows for name in row.containers}
    volumes = {volume.volume for volume in case.volumes}
    for container in case.pod.containers:
        if container is sidecar or container.is_init:
            continue
        mounts = {mount["name"].text for mount in container.mounts}
        is_served = sidecar is not None and container.get_variable("IDENTITY_ENDPOINT") is not None
        if container.name in rows or volumes & mounts or case.pod.is_keyless(container) or is_served:
            yield container.name


def _note_age(case: Case, since: str) -> str:
    """Note that a program was there before the version that is mounted: it has that only if it reloads."""
    written = [
        entry["time"].text
        for status in case.facts.statuses
        if status.at("status", "podName").text == case.subject.name
        for entry in status.at("metadata", "managedFields").items()
    ]
    is_older = any(time > since for time in written)
    return ", older than the mounted version, which it uses only if it reloads" if is_older else ""


def _find_trouble(case: Case, state: Node) -> tuple[str, str] | None:
    """Find why a container does not run, and the fix."""
    waiting, last = state.at("state", "waiting"), state.at("lastState", "terminated")
    reason = waiting["reason"].text
    name, where = state["name"].text, f"-n {case.subject.namespace}"
    ended = state.at("state", "terminated")
    if ended.is_set and ended["reason"].text not in ("", "Completed"):
        return (
            f"it has ended: {_join(ended)}",
            f"kubectl logs {case.subject.name} -c {name} {where}",
        )
    if not waiting.is_set or reason in _STARTING | {""}:
        return None
    if reason in _IMAGE:
        return f"its image cannot be pulled: {_join(waiting)}", "Correct the image, or the registry's access."
    if reason == "CrashLoopBackOff":
        told = f": last ended with {_join(last)}, exit code {last['exitCode'].plain}" if last.is_set else ""
        return (
            f"it ends again and again{told}; {_read_number(state['restartCount'])} restarts",
            f"kubectl logs {case.subject.name} -c {name} --previous {where}",
        )
    return f"it does not start: {_join(waiting)}", f"kubectl describe pod {case.subject.name} {where}"


def _find_status(case: Case, name: str) -> Node | None:
    pod = case.subject.pod
    if pod is None:
        return None
    statuses = [
        *pod.at("status", "initContainerStatuses").items(),
        *pod.at("status", "containerStatuses").items(),
    ]
    return next((status for status in statuses if status["name"].text == name), None)


def _find_condition(status: Node, kind: str) -> Node | None:
    return next((each for each in status["conditions"].items() if each["type"].text == kind), None)


def _join(state: Node) -> str:
    return ": ".join(filter(None, (state["reason"].text, state["message"].text))) or "it does not say why"


def _read_number(node: Node) -> int:
    return node.value if type(node.value) is int else 0
