"""A pod as the links see it: its component, its cluster, its credentials, and what `check` finds of them."""

from collections.abc import Iterator
from typing import Final

import msgspec

from hcpcreds.cluster.facts import Facts, Subject, name_of
from hcpcreds.components import COMPONENTS, WORKLOADS, Component, find_workload
from hcpcreds.components import Pod as Row
from hcpcreds.errors import InputError
from hcpcreds.hosted_cluster import HostedCluster, parse_hosted_cluster
from hcpcreds.kubernetes.documents import Document
from hcpcreds.kubernetes.nodes import Node
from hcpcreds.manifests.check import Finding, check
from hcpcreds.manifests.check.reading import read_pod
from hcpcreds.manifests.check.subjects import Named, Pod, class_of, path_of
from hcpcreds.manifests.inject.identify import find_row
from hcpcreds.manifests.inject.options import InjectOptions
from hcpcreds.manifests.inject.workloads import Workload
from hcpcreds.manifests.policies.selection import COMPONENT_LABEL, HYPERSHIFT_LABEL, SECRET_PROVIDER_CLASS

_TEMPLATE: Final = ("spec", "template")
_WORKLOAD, _CLUSTER = "workload", "cluster"
_CLASS: Final = frozenset({"HC101", "HC102", "HC108", "HC117"})
_SIDECAR: Final = frozenset({"HC123", "HC124", "HC125", "HC126", "HC127"})
_IDENTITY: Final = frozenset({"HC304", "HC305", "HC325", "HC326"})
_VAULT: Final = frozenset({"HC302", "HC303", *(f"HC{number}" for number in range(306, 319)), "HC324"})
_SECRETS: Final = frozenset({"HC321", "HC322", "HC323"})
"""Of Secrets that the driver makes beside the mount."""
_BY_CODE: Final = {
    code: link
    for link, codes in (
        ("class", _CLASS),
        ("sidecar", _SIDECAR),
        ("identity", _IDENTITY),
        ("vault", _VAULT),
        ("", _SECRETS),
    )
    for code in codes
}


class Part(msgspec.Struct, frozen=True):
    """What a pod is to hcpcreds."""

    name: str
    """Of the component; empty if it is not known."""
    how: str
    """Where that is said."""
    row: str = ""
    """Its name in the table of workloads; empty for a custom component."""
    problem: str = ""
    """What is wrong with what is said."""

    @property
    def rows(self) -> tuple[tuple[Component, Row], ...]:
        """The rows of the table."""
        return WORKLOADS.get(self.row, ())


class Mounted(msgspec.Struct, frozen=True):
    """A credential volume of the pod, and where its containers mount it."""

    volume: str
    class_name: str
    places: tuple[str, ...]


class Case(msgspec.Struct, frozen=True):
    """A pod, with what the namespace says about it."""

    facts: Facts
    subject: Subject
    part: Part
    pod: Pod
    """As the checks read it."""
    cluster: HostedCluster | None
    """None unless there is exactly one HostedControlPlane that can be used."""
    cluster_problem: str
    volumes: tuple[Mounted, ...]
    findings: tuple[Finding, ...]

    @property
    def component(self) -> Component | None:
        """The component of the table whose credential the pod mounts itself."""
        return next((component for component, row in self.part.rows if row.mount is not None), None)

    def find(self, link: str, class_name: str = "") -> list[Finding]:
        """Find what `check` says of a link."""
        file = f"class {class_name}"
        return [
            finding
            for finding in self.findings
            if (
                finding.file == file
                if finding.file.startswith("class ")
                else not class_name or link == "class"
            )
            and _find_link(finding) == link
        ]


def make_case(subject: Subject, facts: Facts, part: Part) -> Case:
    """Put together what is known about a pod."""
    cluster, problem = _read_cluster(facts)
    manifest = subject.manifest
    manifest["metadata"]["name"] = part.row or subject.owner
    node = Node(Document(manifest), (), manifest)
    pod = read_pod(Named(node, "Deployment", part.row or subject.owner, subject.namespace), _TEMPLATE)
    volumes = tuple(_find_volumes(pod))
    documents = [Document(manifest, _WORKLOAD)]
    if cluster is not None:
        documents += [Document(item, _CLUSTER) for item in facts.control_planes.items]
    names = {volume.class_name for volume in volumes}
    documents += [
        Document(each.value, f"class {name}") for each in facts.classes if (name := name_of(each)) in names
    ]
    return Case(facts, subject, part, pod, cluster, problem, volumes, tuple(check(documents)))


def identify(subject: Subject) -> Part | None:
    """Find out what a pod is to hcpcreds; None if nothing says that it needs a credential."""
    label = subject.get_label(COMPONENT_LABEL) or subject.get_annotation(COMPONENT_LABEL)
    if subject.get_annotation(SECRET_PROVIDER_CLASS):
        return Part(label or subject.owner, f"the annotation {SECRET_PROVIDER_CLASS}")
    theirs = find_workload(subject.get_label(HYPERSHIFT_LABEL))
    if label:
        how = f"the label {COMPONENT_LABEL}"
    else:
        how = f"the label {HYPERSHIFT_LABEL}" if theirs else f"the name of the workload, {subject.owner}"
    try:
        row = find_row(Workload((), subject.manifest, _TEMPLATE), InjectOptions())
    except InputError as error:
        return Part(label, how, problem="; ".join(error.problems))
    row = row if label else theirs or row
    if row is not None and any(each.needs_credential for _, each in WORKLOADS[row]):
        return Part(WORKLOADS[row][0][0].name, how, row)
    pod = read_pod(Named(subject.template, "Pod", subject.owner, subject.namespace), ())
    names = [name for volume in pod.credential_volumes if (name := class_of(volume).text)]
    if not names:
        return None
    known = next((each.name for each in COMPONENTS if each.secret_provider_class in names), "")
    return Part(known or subject.owner, f"its volume of the SecretProviderClass {names[0]}")


def describe_notes(findings: list[Finding]) -> str:
    """Describe the warnings among findings, to be added to a link that holds."""
    notes = [f"{finding.code}: {finding.reason}" for finding in findings if finding.severity == "warning"]
    return "".join(f"; note {note}" for note in notes)


def find_error(findings: list[Finding]) -> Finding | None:
    """Find the first error among findings."""
    return next((finding for finding in findings if finding.severity == "error"), None)


def _find_link(finding: Finding) -> str:
    if finding.file == _CLUSTER:
        return "hosted control plane"
    return _BY_CODE.get(finding.code, "mount" if finding.file == _WORKLOAD else "class")


def _read_cluster(facts: Facts) -> tuple[HostedCluster | None, str]:
    if len(facts.control_planes.items) != 1:
        return None, ""
    try:
        return parse_hosted_cluster(facts.control_planes.items[0]), ""
    except InputError as error:
        return None, "; ".join(error.problems)


def _find_volumes(pod: Pod) -> Iterator[Mounted]:
    for volume in pod.credential_volumes:
        name = volume["name"].text
        places = tuple(
            f"{path_of(mount)} in {container.name}"
            for container in pod.containers
            for mount in container.mounts
            if mount["name"].text == name
        )
        yield Mounted(name, class_of(volume).text, places)
