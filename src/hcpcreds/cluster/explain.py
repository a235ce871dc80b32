"""Explains which pods of a namespace have the credential that they should, and where the chain breaks.

It reads nothing: `reading` does, once, and what is said here follows from the facts alone.
"""

from collections.abc import Iterator
from typing import Final

from hcpcreds.cluster.case import Part, identify, make_case
from hcpcreds.cluster.facts import (
    Facts,
    Listing,
    Subject,
    find_owner,
    make_pod_subject,
    make_workload_subject,
    name_of,
    view,
)
from hcpcreds.cluster.injection import (
    explain_component,
    explain_control_plane,
    explain_mount,
    explain_policy,
)
from hcpcreds.cluster.links import Explanation, Link, broken
from hcpcreds.cluster.mounting import explain_mounting
from hcpcreds.cluster.reading import Target
from hcpcreds.cluster.running import explain_missing, explain_pod, explain_program, explain_sidecar
from hcpcreds.components import COMPONENTS, find_workload
from hcpcreds.errors import InputError
from hcpcreds.hosted_cluster import parse_hosted_cluster
from hcpcreds.kubernetes.objects import is_over
from hcpcreds.manifests.policies.selection import COMPONENT_LABEL, HYPERSHIFT_LABEL

_KINDS: Final = {"deployment": "Deployment", "statefulset": "StatefulSet"}


def explain(facts: Facts, target: Target | None) -> list[Explanation]:
    """Explain a pod, the pods of a workload or of a hosted control plane, or all that need a credential.

    Args:
        facts: What was read of the namespace.
        target: What to explain; None means every pod that needs a credential, and every workload that has
            none of its pods.

    Returns:
        In the order of their names; empty if nothing in the namespace needs a credential.
    """
    return [_explain(subject, facts) for subject in _find_subjects(facts, target)]


def _explain(subject: Subject, facts: Facts) -> Explanation:
    part = identify(subject)
    if subject.pod is None and subject.workload is None:
        return _make(subject, part, (explain_missing(subject, part),))
    if part is None:
        return _make(subject, part, (explain_pod(subject), _explain_no_component(subject)))
    case = make_case(subject, facts, part)
    return _make(
        subject,
        part,
        (
            explain_pod(subject),
            explain_component(case),
            explain_control_plane(case),
            explain_policy(case),
            explain_mount(case),
            *explain_mounting(case),
            explain_sidecar(case),
            explain_program(case),
        ),
    )


def _make(subject: Subject, part: Part | None, links: tuple[Link, ...]) -> Explanation:
    name = part.name if part is not None else ""
    return Explanation(subject.kind, subject.namespace, subject.name, name, links)


def _explain_no_component(subject: Subject) -> Link:
    return broken(
        "component",
        f"nothing says that {subject.name} needs a credential: it has no label {COMPONENT_LABEL}, no name of "
        "the table, and no volume with one",
        f"Set the label {COMPONENT_LABEL} in the workload's pod template; on the workload alone, pods do not "
        "have it.",
    )


def _find_subjects(facts: Facts, target: Target | None) -> list[Subject]:
    if target is None:
        return _list_relevant(facts)
    match target.kind:
        case "pod":
            found = [make_pod_subject(pod) for pod in facts.pods if name_of(pod) == target.name]
            return found or [_make_missing("Pod", target.name, facts)]
        case "hostedcontrolplane":
            return _list_hosted(facts, target.name)
    kind = _KINDS[target.kind]
    found = [make_pod_subject(pod) for pod in facts.pods if find_owner(pod) == (kind, target.name)]
    workload = _get_workloads(facts)[kind].find(target.name)
    if not found and workload is not None:
        return [make_workload_subject(workload, kind)]
    return found or [_make_missing(kind, target.name, facts)]


def _get_workloads(facts: Facts) -> dict[str, Listing]:
    return {"Deployment": facts.deployments, "StatefulSet": facts.stateful_sets}


def _make_missing(kind: str, name: str, facts: Facts) -> Subject:
    return Subject(kind, name, facts.namespace, name, view({}))


def _list_relevant(facts: Facts) -> list[Subject]:
    """List the pods that need a credential, and the workloads that do and have no pods."""
    pods = [pod for pod in facts.pods if not is_over({**pod.value, "kind": "Pod"})]
    owners = {find_owner(pod) for pod in pods}
    subjects = [make_pod_subject(pod) for pod in pods]
    subjects += [
        make_workload_subject(workload, kind)
        for kind, listing in _get_workloads(facts).items()
        for workload in listing
        if (kind, name_of(workload)) not in owners
    ]
    return sorted(filter(identify, subjects), key=lambda subject: (subject.owner, subject.name))


def _list_hosted(facts: Facts, name: str) -> list[Subject]:
    """List what belongs to a hosted control plane, also what it should have and does not.

    Raises:
        InputError: There is no such HostedControlPlane, or it cannot be read.
    """
    planes = facts.control_planes
    if planes.problem:
        raise InputError("hostedcontrolplane", [planes.problem], hint=planes.fix)
    found = planes.find(name)
    if found is None:
        there = ", ".join(map(name_of, planes)) or "none"
        problem = (
            f"there is no HostedControlPlane {name} in the namespace {facts.namespace}; there is: {there}"
        )
        raise InputError("hostedcontrolplane", [problem], hint="Name its namespace.", options=["namespace"])
    subjects = _list_relevant(facts)
    if facts.deployments.problem:
        return subjects
    there_are = {find_workload(subject.get_label(HYPERSHIFT_LABEL)) or subject.owner for subject in subjects}
    there_are |= {name_of(each) for each in facts.deployments}
    return [*subjects, *_find_missing(facts, found.value, there_are)]


def _find_missing(facts: Facts, manifest: dict[str, object], there_are: set[str]) -> Iterator[Subject]:
    try:
        cluster = parse_hosted_cluster(manifest)
    except InputError:
        return  # each pod says so
    for component in COMPONENTS:
        workload = component.consumer.workload
        names = {workload, *component.consumer.aliases}
        if component.get_identity(cluster) is not None and names.isdisjoint(there_are):
            yield _make_missing("Deployment", workload, facts)
