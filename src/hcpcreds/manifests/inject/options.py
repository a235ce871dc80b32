"""The options of `inject`, checked before any workload is read."""

import re
from dataclasses import dataclass
from typing import Final

from hcpcreds.clouds import DEFAULT_CLOUD, get_cloud
from hcpcreds.components import COMPONENTS, WORKLOADS
from hcpcreds.constants import MANAGED_AZURE_CERTIFICATE_MOUNT_PATH
from hcpcreds.errors import InputError
from hcpcreds.hosted_cluster import HostedCluster
from hcpcreds.hosted_cluster.forms import CREDENTIALS_SECRET_NAME, TENANT, UUID
from hcpcreds.kubernetes.fields import Form, describe
from hcpcreds.manifests.secret_provider_class import check_key_vault_user

COMPONENT_KEY: Final = "hcpcreds.io/component"
"""Label or annotation of a workload or its pod template: the name of its component."""
CREDENTIALS_SECRET_NAME_KEY: Final = "hcpcreds.io/credentials-secret-name"  # noqa: S105 (a key, not a password)
"""Annotation: name of the identity's secret, if no hosted cluster is given."""

_VOLUME_NAME: Final = Form(
    re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"),
    "1-63 lower-case letters, digits and '-', not at an end",
)
_CLASS_NAME: Final = Form(
    re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"),
    "lower-case letters, digits, '-' and '.', at most 253 characters",
)
_MOUNT_PATH: Final = Form(
    re.compile(r"/[^:\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]*"), "an absolute path without ':'"
)
IMAGE: Final = Form(re.compile(r"[A-Za-z0-9][-A-Za-z0-9._:/@]{0,511}"), "the name of a container image")
COMPONENT_WORKLOADS: Final = {
    **{component.name: tuple(pod.workload for pod in component.pods) for component in COMPONENTS},
    **{workload: (workload,) for workload in WORKLOADS},
}
"""Names that select a component, and the workloads that each may stand for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomComponent:
    """A component that is not in the table."""

    secret_provider_class: str
    volume_name: str
    mount_path: str = MANAGED_AZURE_CERTIFICATE_MOUNT_PATH
    credentials_secret_name: str | None = None
    """If set, `MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH` becomes the path of this file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """The sidecar that alone mounts the credential, and the identity that it gives to the programs."""

    image: str
    """An image that contains hcpcreds."""
    client_id: str | None = None
    """Needed for assertions if no hosted cluster is given, or if it does not name the identity's."""
    tenant_id: str | None = None
    """Needed for assertions if no hosted cluster is given."""
    cloud: str = DEFAULT_CLOUD
    """Name of the identity's cloud, if no hosted cluster is given."""
    endpoint: bool = False
    """Give the programs of a `CustomComponent` a token endpoint instead of assertions."""
    service_principal: bool = False
    """Whether the file is the certificate of a service principal, and not a managed identity's credential."""
    keep_mount: bool = False
    """Leave the credential's mount in the programs' containers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectOptions:
    """The component to inject, and options for it.

    The component is the first of: `custom`; `component`; the label or annotation `hcpcreds.io/component`; the
    component whose workload has the same name. Its identity comes from `cluster`, `credentials_secret_name`
    or the annotation `hcpcreds.io/credentials-secret-name`.
    """

    cluster: HostedCluster | None = None
    component: str | None = None
    """A component or a workload of one: `cluster-api-provider-azure` and `capi-provider` are the same."""
    custom: CustomComponent | None = None
    credentials_secret_name: str | None = None
    workload: str | None = None
    """Inject only into the workload of this name."""
    container: str | None = None
    """Inject into this container instead of the one in the table."""
    init_containers: bool = False
    """Also inject into every init container."""
    sidecar: Sidecar | None = None
    """Let a sidecar alone mount the credential, and give the programs its assertions."""
    replace: bool = False
    """Replace conflicting entries instead of refusing them."""
    key_vault_user_client_id: str | None = None
    managed_service: str | None = None
    """Values of `ARO_HCP_KEY_VAULT_USER_CLIENT_ID` and `MANAGED_SERVICE`; see `build_pod_additions`."""

    def __post_init__(self) -> None:
        """Check the options themselves.

        Raises:
            InputError: Options are mutually exclusive, or a value is outside its alphabet.
        """
        problems = []
        if self.component is not None and self.component not in COMPONENT_WORKLOADS:
            expected = ", ".join(COMPONENT_WORKLOADS)
            problems.append(f"component: got {describe(self.component)}, expected one of {expected}")
        forms: list[tuple[str, str | None, Form]] = [
            ("credentials secret name", self.credentials_secret_name, CREDENTIALS_SECRET_NAME)
        ]
        if self.custom is not None:
            forms += [
                ("credentials secret name", self.custom.credentials_secret_name, CREDENTIALS_SECRET_NAME),
                ("secret provider class", self.custom.secret_provider_class, _CLASS_NAME),
                ("volume name", self.custom.volume_name, _VOLUME_NAME),
                ("mount path", self.custom.mount_path, _MOUNT_PATH),
            ]
        if self.sidecar is not None:
            forms += [
                ("image", self.sidecar.image, IMAGE),
                ("client id", self.sidecar.client_id, UUID),
                ("tenant id", self.sidecar.tenant_id, TENANT),
            ]
            get_cloud(self.sidecar.cloud)
        for name, value, form in forms:
            if value is not None and not form.pattern.fullmatch(value):
                problems.append(f"{name}: got {describe(value)}, expected {form.expected}")
        if self.component is not None and self.custom is not None:
            problems.append("component and custom component are mutually exclusive")
        if self.credentials_secret_name is not None and self.cluster is not None:
            problems.append("credentials secret name and hosted cluster are mutually exclusive")
        if problems:
            raise InputError("inject", problems)
        if self.key_vault_user_client_id:
            check_key_vault_user(self.key_vault_user_client_id)
