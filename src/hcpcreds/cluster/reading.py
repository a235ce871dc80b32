"""Reads what explains the pods of a namespace. Every question is a list or a get; nothing is written.

What it asks for is what the ClusterRole in deploy/explain allows, and no more.
"""

import re
from datetime import datetime
from http import HTTPStatus
from typing import Final

import msgspec

from hcpcreds.cluster.facts import Facts, Listing
from hcpcreds.errors import InputError, KubernetesRefusedError
from hcpcreds.kubernetes.fields import describe
from hcpcreds.kubernetes.reading import (
    DEPLOYMENTS,
    EVENTS,
    HOSTED_CONTROL_PLANES,
    MUTATING_ADMISSION_POLICIES,
    MUTATING_ADMISSION_POLICY_BINDINGS,
    NAMESPACES,
    PODS,
    SECRET_PROVIDER_CLASS_POD_STATUSES,
    SECRET_PROVIDER_CLASSES,
    STATEFUL_SETS,
    Cluster,
    Kind,
)

KINDS: Final = {
    "pod": ("pod", "pods", "po"),
    "deployment": ("deployment", "deployments", "deploy", "deployment.apps", "deployments.apps"),
    "statefulset": ("statefulset", "statefulsets", "sts", "statefulset.apps", "statefulsets.apps"),
    "hostedcontrolplane": ("hostedcontrolplane", "hostedcontrolplanes", "hcp"),
}
"""What can be named, with kubectl's other names for it."""
_NAME: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


class Target(msgspec.Struct, frozen=True):
    """What is to be explained."""

    kind: str
    """A key of `KINDS`."""
    name: str


def parse_target(text: str) -> Target:
    """Read `pod/NAME` and the like.

    Raises:
        InputError: It is not of this form.
    """
    kind, slash, name = text.partition("/")
    found = next((known for known, names in KINDS.items() if kind.lower() in names), None)
    if found is None or not slash or not _NAME.fullmatch(name):
        expected = ", ".join(f"{known}/NAME" for known in KINDS)
        raise InputError("target", [f"got {describe(text)}, expected one of {expected}"])
    return Target(found, name)


def read_facts(cluster: Cluster, namespace: str, target: Target | None, *, now: datetime) -> Facts:
    """Read what explains the pods of a namespace.

    Args:
        cluster: Where.
        namespace: Which.
        target: The only thing that is to be explained; None means everything.
        now: The current time.

    Raises:
        KubernetesRefusedError: The API server does not accept the user, or refuses to list the pods. What
            else it refuses is noted in the facts.
        KubernetesUnavailableError: It cannot be reached, or its answer is not usable.
    """
    pod = target.name if target is not None and target.kind == "pod" else None

    def read(kind: Kind, **fields: str) -> Listing:
        return _read(cluster, kind, namespace if kind.namespaced else None, fields)

    return Facts(
        now=now,
        namespace=namespace,
        pods=Listing(
            PODS,
            tuple(cluster.list(PODS, namespace=namespace, fields={"metadata.name": pod} if pod else None)),
        ),
        namespaces=_read_namespace(cluster, namespace),
        deployments=Listing(DEPLOYMENTS) if pod else read(DEPLOYMENTS),
        stateful_sets=Listing(STATEFUL_SETS) if pod else read(STATEFUL_SETS),
        control_planes=read(HOSTED_CONTROL_PLANES),
        classes=read(SECRET_PROVIDER_CLASSES),
        statuses=read(SECRET_PROVIDER_CLASS_POD_STATUSES),
        events=read(EVENTS, **({"involvedObject.name": pod} if pod else {})),
        policies=read(MUTATING_ADMISSION_POLICIES),
        bindings=read(MUTATING_ADMISSION_POLICY_BINDINGS),
    )


def _read(cluster: Cluster, kind: Kind, namespace: str | None, fields: dict[str, str]) -> Listing:
    try:
        return Listing(kind, tuple(cluster.list(kind, namespace=namespace, fields=fields)))
    except KubernetesRefusedError as error:
        return _note_refusal(kind, error)


def _read_namespace(cluster: Cluster, name: str) -> Listing:
    try:
        found = cluster.get(NAMESPACES, name)
    except KubernetesRefusedError as error:
        return _note_refusal(NAMESPACES, error)
    return Listing(NAMESPACES, () if found is None else (found,))


def _note_refusal(kind: Kind, error: KubernetesRefusedError) -> Listing:
    if error.status == HTTPStatus.NOT_FOUND:
        return Listing(kind, is_served=False)
    if error.status == HTTPStatus.FORBIDDEN:
        return Listing(kind, problem=error.message, fix=error.hint or "")
    raise error
