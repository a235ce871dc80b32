"""The kinds that the API server knows, and what it checks of them. For development and tests only."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

_MICRO_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)")
_LEASE_FIELDS: Final = {
    "holderIdentity": str,
    "leaseDurationSeconds": int,
    "leaseTransitions": int,
    "acquireTime": str,
    "renewTime": str,
}


def _accept(_: dict[str, Any]) -> Iterator[str]:
    yield from ()


def _find_lease_problems(lease: dict[str, Any]) -> Iterator[str]:
    spec = lease.get("spec") or {}
    for name, value in spec.items():
        kind = _LEASE_FIELDS.get(name)
        if kind is None:
            yield f"spec.{name}: unknown field"
        elif type(value) is not kind:
            yield f"spec.{name}: not a {kind.__name__}"
        elif isinstance(value, int) and abs(value) >= 2**31:
            yield f"spec.{name}: not an int32"
    for name in ("acquireTime", "renewTime"):
        if name in spec and not _MICRO_TIME.fullmatch(str(spec[name])):
            yield f"spec.{name}: not a MicroTime"
    if "leaseDurationSeconds" in spec and spec["leaseDurationSeconds"] <= 0:
        yield "spec.leaseDurationSeconds: must be greater than 0"
    if spec.get("leaseTransitions", 0) < 0:
        yield "spec.leaseTransitions: must be greater than or equal to 0"


@dataclass(frozen=True)
class Kind:
    """A kind of objects.

    Attributes:
        group: Its API group; empty for the core.
        version: Of the group.
        plural: Its name in paths.
        name: Its name in objects.
        namespaced: Whether its objects are in namespaces.
        custom: Whether a CustomResourceDefinition defines it: then the items of its lists name their kind.
        fields: What a field selector may name, beside `metadata.name` and `metadata.namespace`.
        find_problems: What is wrong with an object of it.
    """

    group: str
    version: str
    plural: str
    name: str
    namespaced: bool = True
    custom: bool = False
    fields: frozenset[str] = frozenset()
    find_problems: Callable[[dict[str, Any]], Iterator[str]] = _accept

    @property
    def resource(self) -> str:
        """Its name in messages, for instance `leases.coordination.k8s.io`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def unconditional(self) -> bool:
        """Whether an update needs no resourceVersion."""
        return not (self.custom or self.plural == "leases")

    @property
    def api_version(self) -> str:
        """What its objects have as `apiVersion`."""
        return f"{self.group}/{self.version}" if self.group else self.version


_POD_FIELDS: Final = frozenset(
    {"spec.nodeName", "spec.restartPolicy", "spec.serviceAccountName", "status.phase", "status.podIP"}
)
_EVENT_FIELDS: Final = frozenset(
    {f"involvedObject.{each}" for each in ("kind", "namespace", "name", "uid", "apiVersion")}
    | {"reason", "type", "source"}
)
_ADMISSION: Final = "admissionregistration.k8s.io"

KINDS: Final = (
    Kind("", "v1", "namespaces", "Namespace", namespaced=False, fields=frozenset({"status.phase"})),
    Kind("", "v1", "nodes", "Node", namespaced=False),
    Kind("", "v1", "pods", "Pod", fields=_POD_FIELDS),
    Kind("", "v1", "events", "Event", fields=_EVENT_FIELDS),
    Kind("", "v1", "configmaps", "ConfigMap"),
    Kind("", "v1", "secrets", "Secret", fields=frozenset({"type"})),
    Kind("", "v1", "serviceaccounts", "ServiceAccount"),
    Kind("apps", "v1", "deployments", "Deployment"),
    Kind("apps", "v1", "replicasets", "ReplicaSet"),
    Kind("apps", "v1", "statefulsets", "StatefulSet"),
    Kind("apps", "v1", "daemonsets", "DaemonSet"),
    Kind("batch", "v1", "jobs", "Job"),
    Kind("batch", "v1", "cronjobs", "CronJob"),
    Kind("coordination.k8s.io", "v1", "leases", "Lease", find_problems=_find_lease_problems),
    Kind("hypershift.openshift.io", "v1beta1", "hostedclusters", "HostedCluster", custom=True),
    Kind("hypershift.openshift.io", "v1beta1", "hostedcontrolplanes", "HostedControlPlane", custom=True),
    Kind("secrets-store.csi.x-k8s.io", "v1", "secretproviderclasses", "SecretProviderClass", custom=True),
    Kind(
        "secrets-store.csi.x-k8s.io",
        "v1",
        "secretproviderclasspodstatuses",
        "SecretProviderClassPodStatus",
        custom=True,
    ),
    *(
        Kind(_ADMISSION, "v1", plural, name, namespaced=False)
        for plural, name in (
            ("mutatingwebhookconfigurations", "MutatingWebhookConfiguration"),
            ("validatingwebhookconfigurations", "ValidatingWebhookConfiguration"),
            ("mutatingadmissionpolicies", "MutatingAdmissionPolicy"),
            ("mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding"),
            ("validatingadmissionpolicies", "ValidatingAdmissionPolicy"),
            ("validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding"),
        )
    ),
)
