"""Reads objects of a cluster: one way for every command, and one error when the API server refuses.

Objects are as the API server sends them, plain dictionaries. Nothing is written.

Source: the API concepts of Kubernetes (chunks of a list, 410 Gone).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from lightkube import Client
from lightkube.generic_resource import GenericGlobalResource, GenericNamespacedResource, create_api_info

from hcpcreds.errors import KubernetesError, KubernetesRefusedError, KubernetesUnavailableError
from hcpcreds.kubernetes.client import find_response, open_sync_client, read_message
from hcpcreds.text import make_safe

_CHUNK: Final = 500
"""Objects in an answer, as kubectl asks for."""
_ALL: Final = "*"
_REFUSALS: Final = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
)

Object = dict[str, Any]
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Kind:
    """A kind of objects.

    Attributes:
        group: Its API group; empty for the core.
        version: Of the group.
        plural: Its name in paths, and in RBAC.
        name: Its name in objects.
        namespaced: Whether its objects are in namespaces.
    """

    group: str
    version: str
    plural: str
    name: str
    namespaced: bool = True

    @property
    def resource(self) -> str:
        """Its name in messages, for instance `leases.coordination.k8s.io`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


NAMESPACES: Final = Kind("", "v1", "namespaces", "Namespace", namespaced=False)
PODS: Final = Kind("", "v1", "pods", "Pod")
EVENTS: Final = Kind("", "v1", "events", "Event")
DEPLOYMENTS: Final = Kind("apps", "v1", "deployments", "Deployment")
STATEFUL_SETS: Final = Kind("apps", "v1", "statefulsets", "StatefulSet")
MUTATING_ADMISSION_POLICIES: Final = Kind(
    "admissionregistration.k8s.io",
    "v1",
    "mutatingadmissionpolicies",
    "MutatingAdmissionPolicy",
    namespaced=False,
)
MUTATING_ADMISSION_POLICY_BINDINGS: Final = Kind(
    "admissionregistration.k8s.io",
    "v1",
    "mutatingadmissionpolicybindings",
    "MutatingAdmissionPolicyBinding",
    namespaced=False,
)
HOSTED_CONTROL_PLANES: Final = Kind(
    "hypershift.openshift.io", "v1beta1", "hostedcontrolplanes", "HostedControlPlane"
)
SECRET_PROVIDER_CLASSES: Final = Kind(
    "secrets-store.csi.x-k8s.io", "v1", "secretproviderclasses", "SecretProviderClass"
)
SECRET_PROVIDER_CLASS_POD_STATUSES: Final = Kind(
    "secrets-store.csi.x-k8s.io", "v1", "secretproviderclasspodstatuses", "SecretProviderClassPodStatus"
)


class Cluster:
    """The objects of a cluster, to be read; a context manager.

    Args:
        client: Of the API server; is closed at the end.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    @classmethod
    def open(cls, *, context: str | None = None) -> Self:
        """Open it as the environment says: in a cluster as the pod's service account, else by KUBECONFIG.

        Args:
            context: The kubeconfig's context to use; None means the current one.

        Raises:
            InputError: There is no way to a cluster.
        """
        return cls(open_sync_client(context=context))

    @property
    def namespace(self) -> str:
        """That of the kubeconfig's context, or of the pod."""
        return str(self._client.namespace)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def get(self, kind: Kind, name: str, *, namespace: str | None = None) -> Object | None:
        """Get an object; None when there is none of that name, or the cluster does not know the kind.

        Args:
            kind: Its kind.
            name: Its name.
            namespace: Where it is; None for a kind without namespaces.

        Raises:
            KubernetesRefusedError: The API server refuses; the hint says which verb is missing.
            KubernetesUnavailableError: It cannot be reached, or its answer is not usable.
        """
        try:
            return self._ask(
                "get",
                kind,
                namespace,
                lambda: dict(self._client.get(_make_resource(kind), name, namespace=namespace)),
            )
        except KubernetesRefusedError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def list(
        self,
        kind: Kind,
        *,
        namespace: str | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> list[Object]:
        """List the objects of a kind, however many answers that takes.

        Args:
            kind: The kind.
            namespace: Where; None means everywhere.
            fields: Fields that have these values; the API server knows only some of each kind.

        Raises:
            KubernetesRefusedError: The API server refuses; the hint says which verb is missing. Status 404:
                it does not know the kind.
            KubernetesUnavailableError: It cannot be reached, or its answer is not usable.
        """

        def list_in_chunks(size: int | None) -> list[Object]:
            where = (namespace or _ALL) if kind.namespaced else None
            found = self._client.list(
                _make_resource(kind),
                namespace=where,
                chunk_size=size,
                fields=dict(fields or {}),
            )
            return [dict(each) for each in found]

        try:
            return self._ask("list", kind, namespace, lambda: list_in_chunks(_CHUNK))
        except KubernetesRefusedError as error:
            if error.status != HTTPStatus.GONE:
                raise
        # The objects changed too much between two chunks: all of them in one answer.
        return self._ask("list", kind, namespace, lambda: list_in_chunks(None))

    def _ask(self, verb: str, kind: Kind, namespace: str | None, call: Callable[[], _Answer]) -> _Answer:
        where = kind.resource if namespace is None else f"{kind.resource} in {make_safe(namespace)}"
        problem: KubernetesError
        try:
            return call()
        except Exception as error:  # noqa: BLE001 (of the HTTP library's many kinds)
            response = find_response(error)
            if response is None:
                problem = KubernetesUnavailableError(
                    f"{where}: the API server could not be asked: {type(error).__name__}",
                    hint="Is it running, and does the kubeconfig name its address and its authority?",
                )
            else:
                problem = _explain(response, verb, kind, where)
        raise problem


def _explain(response: Any, verb: str, kind: Kind, where: str) -> KubernetesError:  # noqa: ANN401 (foreign)
    status: int = response.status_code
    message = f"{where}: the API server answered {status} to {verb}: {read_message(response)}"
    hint: str | None = None
    match status:
        case HTTPStatus.UNAUTHORIZED:
            hint = "It does not accept the token of the service account, or of the kubeconfig's user."
        case HTTPStatus.FORBIDDEN:
            group = f" in {kind.group}" if kind.group else ""
            hint = f"It takes the verb {verb} on {kind.plural}{group}."
        case HTTPStatus.NOT_FOUND if verb == "list":
            hint = f"Is the CustomResourceDefinition of {kind.name} installed?"
    if status in _REFUSALS or status == HTTPStatus.GONE:
        return KubernetesRefusedError(message, hint=hint, status=status)
    return KubernetesUnavailableError(message, hint=hint)


@cache
def _make_resource(kind: Kind) -> Any:  # noqa: ANN401 (lightkube's own classes differ by scope)
    """Make lightkube's class of a kind, which keeps objects as they are, unlike its typed ones."""
    base = GenericNamespacedResource if kind.namespaced else GenericGlobalResource
    return type(
        kind.name, (base,), {"_api_info": create_api_info(kind.group, kind.version, kind.name, kind.plural)}
    )
