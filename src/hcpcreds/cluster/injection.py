"""The links that decide what is in the pod: component, hosted control plane, policy, mount."""

from collections.abc import Iterator
from typing import Final

from hcpcreds.cluster.case import Case, describe_notes, find_error
from hcpcreds.cluster.facts import name_of, read_time
from hcpcreds.cluster.links import Link, absent, broken, ok, unknown
from hcpcreds.hosted_cluster import HostedCluster
from hcpcreds.kubernetes.nodes import Node
from hcpcreds.manifests.check import Finding
from hcpcreds.manifests.policies.objects import LABELS
from hcpcreds.manifests.policies.selection import (
    APP_LABEL,
    COMPONENT_LABEL,
    CREDENTIAL_LABEL,
    HYPERSHIFT_LABEL,
    KEYLESS,
    NAMESPACE_LABEL,
    OPERANDS,
    SECRET_PROVIDER_CLASS,
    name_policy,
)

CONTROL_PLANE, POLICY, MOUNT = "hosted control plane", "policy", "mount"
_OTHER_FILE: Final = "HC202"
"""A variable names another file than the SecretProviderClass mounts."""
_PART_OF: Final = "app.kubernetes.io/part-of"
_HOSTED_LABEL: Final = "hypershift.openshift.io/hosted-control-plane"
_INJECT: Final = (
    "Run the workload's manifest through hcpcreds inject, or apply what hcpcreds render --admission-policy "
    "prints and delete the pod: only a new one is injected."
)

_HYPERSHIFT: Final = (
    "HyperShift's control-plane-operator mounts it where the HostedCluster has managed identities; its log "
    "says why it has not."
)


def explain_component(case: Case) -> Link:
    """Say which component it is, and who says so."""
    part = case.part
    if part.problem:
        return broken(
            "component", part.problem, f"Correct the label {COMPONENT_LABEL} in the workload's pod template."
        )
    what = f"{part.name}, by {part.how}"
    return ok("component", what if part.row else f"{what}; not one of HyperShift's")


def explain_control_plane(case: Case) -> Link:
    """Say which hosted cluster gives the pod its identity."""
    planes = case.facts.control_planes
    if planes.problem:
        return unknown(CONTROL_PLANE, planes.problem, planes.fix)
    names = [name_of(node) for node in planes]
    if len(names) > 1:
        return broken(
            CONTROL_PLANE,
            f"{len(names)} HostedControlPlanes in the namespace: {', '.join(names)}; a pod could get the "
            "identity of either",
            "Leave only the one whose control plane this is.",
        )
    if not names:
        return _explain_no_control_plane(case)
    if case.cluster is None:
        return broken(
            CONTROL_PLANE, f"{names[0]}: {case.cluster_problem}", "Correct it in the HostedCluster."
        )
    return _explain_cluster(case, case.cluster)


def _explain_cluster(case: Case, cluster: HostedCluster) -> Link:
    component = case.component
    if found := find_error(case.find(CONTROL_PLANE)):
        return broken(CONTROL_PLANE, f"{cluster.name}: {found.code}: {found.reason}", found.fix)
    if component is None:
        return ok(CONTROL_PLANE, cluster.name)
    identity = component.get_identity(cluster)
    if identity is not None and cluster.key_vault is not None:
        where = f"the secret {identity.credentials_secret_name} of the vault {cluster.key_vault.name}"
        return ok(CONTROL_PLANE, f"{cluster.name} keeps the credential of {component.name} in {where}")
    if component.is_in(cluster):
        return ok(CONTROL_PLANE, f"{cluster.name} gives {component.name} a workload identity, without a file")
    return broken(
        CONTROL_PLANE,
        f"{cluster.name} has no identity for {component.name}",
        "Add it to the HostedCluster, or remove the workload.",
    )


def _explain_no_control_plane(case: Case) -> Link:
    namespace = next(iter(case.facts.namespaces), None)
    labels = namespace.at("metadata", "labels") if namespace is not None else None
    if labels is not None and labels[_HOSTED_LABEL].text == "true":
        return broken(
            CONTROL_PLANE,
            f"the namespace has the label {_HOSTED_LABEL} and no HostedControlPlane",
            "Does the hypershift-operator run? It makes the HostedControlPlane of each HostedCluster.",
        )
    return absent(CONTROL_PLANE, "the namespace has none, and is not a hosted control plane's")


def explain_policy(case: Case) -> Link:
    """Say whether the API server itself injects."""
    policies, bindings = case.facts.policies, case.facts.bindings
    for listing in (policies, bindings):
        if listing.problem:
            return unknown(POLICY, listing.problem, listing.fix)
    if not policies.is_served:
        return absent(POLICY, "the cluster has no MutatingAdmissionPolicies (Kubernetes 1.36)")
    if reason := _find_why_not(case):
        return absent(POLICY, reason)
    wanted = name_policy(case.subject.get_label(COMPONENT_LABEL), case.subject.get_label(CREDENTIAL_LABEL))
    ours = [
        name_of(node)
        for node in policies
        if node.at("metadata", "labels", _PART_OF).text == LABELS[_PART_OF] and name_of(node) == wanted
    ]
    missing = find_gap(case)
    if not ours:
        if missing:
            return broken(POLICY, f"no policy of hcpcreds is there to inject, and {missing}", _INJECT)
        return absent(POLICY, "the cluster has none of hcpcreds, and the pod needs none")
    return _explain_ours(case, ours, missing)


def _find_why_not(case: Case) -> str:
    """Find why no policy is for the pod; empty if one is."""
    subject = case.subject
    if subject.get_label(COMPONENT_LABEL):
        return ""
    if not subject.get_label(HYPERSHIFT_LABEL) and subject.get_label(APP_LABEL) not in OPERANDS:
        return f"the pod has no label {COMPONENT_LABEL}, and so no policy is for it"
    namespace = next(iter(case.facts.namespaces), None)
    if namespace is not None and namespace.at("metadata", "labels", NAMESPACE_LABEL).text == KEYLESS:
        return ""
    return (
        f"the namespace has no label {NAMESPACE_LABEL}: {KEYLESS}, so no policy is for HyperShift's own pods"
    )


def _explain_ours(case: Case, ours: list[str], missing: str) -> Link:
    bindings = case.facts.bindings
    bound = [node for node in bindings if node.at("spec", "policyName").text in ours]
    if not bound:
        return broken(
            POLICY,
            f"{', '.join(ours)} is not bound, so that it does nothing",
            "Apply the MutatingAdmissionPolicyBindings too, which hcpcreds render --admission-policy prints.",
        )
    if missing and (made := _find_older(case, bound)):
        return broken(
            POLICY,
            f"the pod was made before the policy was in force ({made}), and {missing}",
            "Delete the pod; the one that replaces it is injected.",
        )
    return ok(POLICY, f"{', '.join(ours)} is in force")


def _find_older(case: Case, bindings: list[Node]) -> str:
    """Find when the policies came into force, if that was after the pod was made; else empty."""
    pod = case.subject.pod
    made = read_time(pod.at("metadata", "creationTimestamp").text) if pod is not None else None
    times = [node.at("metadata", "creationTimestamp").text for node in bindings]
    bound = [time for time in map(read_time, times) if time is not None]
    return min(times) if made is not None and bound and made < min(bound) else ""


def find_gap(case: Case) -> str:
    """Find what the pod lacks of its injection, in a few words; empty if nothing."""
    if case.part.row and not _needs_file(case):
        return ""
    wanted = case.subject.get_annotation(SECRET_PROVIDER_CLASS)
    names = [volume.class_name for volume in case.volumes]
    if wanted and wanted not in names:
        return f"the pod has no volume of the SecretProviderClass {wanted}"
    return "" if names else "the pod has no credential volume"


def _needs_file(case: Case) -> bool:
    """Whether a pod of the table is to mount a file, as far as is known of its hosted cluster."""
    component, cluster = case.component, case.cluster
    return component is not None and (cluster is None or component.get_identity(cluster) is not None)


def explain_mount(case: Case) -> Link:
    """Say where the pod's containers have the credential, or what they have in its place."""
    if gap := find_gap(case):
        return broken(MOUNT, gap, _HYPERSHIFT if case.subject.get_label(HYPERSHIFT_LABEL) else _INJECT)
    findings = _find_own(case)
    if found := find_error(findings):
        return broken(MOUNT, f"{found.code}: {found.reason} ({found.path})", found.fix)
    if not case.volumes:
        return absent(MOUNT, "it mounts no credential itself" + describe_notes(findings))
    return ok(MOUNT, "; ".join(_describe_volumes(case)) + describe_notes(findings))


def _find_own(case: Case) -> list[Finding]:
    """Find what is wrong in the pod itself: a file that is missing is the class's fault if that has one."""
    findings = sorted(case.find(MOUNT), key=lambda finding: finding.code == _OTHER_FILE)
    if any(find_error(case.find("vault", volume.class_name)) for volume in case.volumes):
        return [finding for finding in findings if finding.code != _OTHER_FILE]
    return findings


def _describe_volumes(case: Case) -> Iterator[str]:
    for volume in case.volumes:
        yield f"{volume.volume} at {', '.join(volume.places) or 'no path'}"
