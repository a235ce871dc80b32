"""How people and policies select pods: labels, annotations, and the conditions that all policies share."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from hcpcreds.manifests.inject.options import COMPONENT_KEY, CREDENTIALS_SECRET_NAME_KEY
from hcpcreds.manifests.policies.cel import Expression, fill
from hcpcreds.manifests.policies.tables import LABELS

COMPONENT_LABEL: Final = COMPONENT_KEY
"""Label of a pod: a component or workload of the table, or any name for a custom component."""
CREDENTIAL_LABEL: Final = "hcpcreds.io/credential"
"""Label of such a pod without a key: `keyless` for assertions, `endpoint` for a token endpoint."""
COMPONENTS: Final = tuple(LABELS)
"""Values of that label which are in the table."""
KEYLESS: Final = "keyless"
ENDPOINT: Final = "endpoint"

SECRET_PROVIDER_CLASS: Final = "hcpcreds.io/secret-provider-class"  # noqa: S105 (a key, not a password)
"""Annotation of a custom component's pod: its class. The next ones are of the same pods."""
SECRET_NAME: Final = CREDENTIALS_SECRET_NAME_KEY
VOLUME_NAME: Final = "hcpcreds.io/volume-name"
DEFAULT_VOLUME_NAME: Final = "hcpcreds-credential"
MOUNT_PATH: Final = "hcpcreds.io/mount-path"
CONTAINER: Final = "hcpcreds.io/container"
"""The container that gets the credential; needed if there are several."""
CLIENT_ID: Final = "hcpcreds.io/client-id"
TENANT_ID: Final = "hcpcreds.io/tenant-id"
CLOUD: Final = "hcpcreds.io/cloud"
SERVICE_PRINCIPAL: Final = "hcpcreds.io/service-principal"
"""`true` if the file is the certificate of a service principal."""

HYPERSHIFT_LABEL: Final = "hypershift.openshift.io/control-plane-component"
"""Label of HyperShift's own pods: the name of the workload."""
APP_LABEL: Final = "app"
"""The same in pods that an operator of HyperShift's deploys; these have the next one too.

Source: openshift/csi-operator, assets/overlays, and openshift/cluster-network-operator, bindata.
"""
CONTROL_PLANE_LABEL: Final = "hypershift.openshift.io/hosted-control-plane"
OPERANDS: Final = (
    "azure-disk-csi-driver-controller",
    "azure-file-csi-driver-controller",
    "cloud-network-config-controller",
)
"""Values of `APP_LABEL`."""
NAMESPACE_LABEL: Final = "hcpcreds.io/hypershift"
"""Label of a control plane's namespace: `keyless` if HyperShift's own pods in it are to be keyless."""
GUARD_LABEL: Final = "hcpcreds.io/guard"
"""Label of a namespace: what the guard does there."""

WITH_KEY_POLICY: Final = "hcpcreds-components"
"""Name of the policy, and of its binding, for components of the table that mount their key."""
KEYLESS_POLICY: Final = "hcpcreds-keyless-components"
"""For those with a sidecar."""
HYPERSHIFT_POLICY: Final = "hcpcreds-hypershift"
"""For HyperShift's own pods, in namespaces with the label for it."""
OPERANDS_BINDING: Final = "hcpcreds-hypershift-operands"
"""Its second binding, for the pods that HyperShift's operators deploy."""
CUSTOM_POLICY: Final = "hcpcreds-custom-components"
"""For custom components."""

_MIRROR: Final = "kubernetes.io/config.mirror"
RULES: Final[list[dict[str, Any]]] = [
    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
]
"""Later, nearly nothing in a pod can be changed."""
IS_LINUX: Final = fill(
    """
    object.spec.?os.?name.orValue('linux') != 'windows' &&
    object.spec.?nodeSelector[?'kubernetes.io/os'].orValue('linux') != 'windows'
    """
)
IS_ORDINARY: Final = fill("!($mirror in object.metadata.?annotations.orValue({}))", mirror=_MIRROR)
"""Whether it is not a mirror of a file on a node: the kubelet refuses those if somebody has changed them."""


def get_label(key: str) -> Expression:
    """The CEL expression of a pod's label; the empty text if there is none."""
    return fill("object.metadata.?labels[?$key].orValue('')", key=key)


OWN_COMPONENT: Final = fill(
    "object.metadata.?labels[?$ours].orValue(object.metadata.?labels[?$app].orValue(''))",
    ours=HYPERSHIFT_LABEL,
    app=APP_LABEL,
)
"""The CEL expression of the workload's name of a pod of HyperShift's own."""


def get_annotation(key: str, default: str = "") -> Expression:
    """The CEL expression of a pod's annotation, or of a default."""
    return fill("object.metadata.?annotations[?$key].orValue($default)", key=key, default=default)


def select(*requirements: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a policy or binding that selects pods by their labels."""
    return {"objectSelector": {"matchExpressions": list(requirements)}}


def exists(label: str) -> dict[str, Any]:
    """Require a label."""
    return {"key": label, "operator": "Exists"}


def is_missing(label: str) -> dict[str, Any]:
    """Require that there is no such label."""
    return {"key": label, "operator": "DoesNotExist"}


def is_in(label: str, values: Sequence[str]) -> dict[str, Any]:
    """Require a label with one of these values."""
    return {"key": label, "operator": "In", "values": list(values)}


def is_not_in(label: str, values: Sequence[str]) -> dict[str, Any]:
    """Require that a label, if there is one, has none of these values."""
    return {"key": label, "operator": "NotIn", "values": list(values)}


def name_policy(component: str, credential: str) -> str:
    """Name the policy for a pod.

    Args:
        component: The value of `COMPONENT_LABEL`; empty for a pod of HyperShift's own.
        credential: That of `CREDENTIAL_LABEL`; empty if there is no such label.
    """
    if not component:
        return HYPERSHIFT_POLICY
    if component not in COMPONENTS:
        return CUSTOM_POLICY
    return KEYLESS_POLICY if credential else WITH_KEY_POLICY
