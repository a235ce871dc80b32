"""The MutatingAdmissionPolicy for custom components, on any cluster, by annotations of the pod."""

from typing import Any, Final

from hcpcreds.clouds import DEFAULT_CLOUD
from hcpcreds.constants import MANAGED_AZURE_CERTIFICATE_MOUNT_PATH, MANAGED_AZURE_CREDENTIALS_FILE_PATH
from hcpcreds.hosted_cluster.forms import UUID
from hcpcreds.manifests.policies import selection
from hcpcreds.manifests.policies.additions import build_mutation, build_variables
from hcpcreds.manifests.policies.cel import Expression, fill
from hcpcreds.manifests.policies.objects import build_mutating_binding, build_mutating_policy
from hcpcreds.manifests.policies.selection import get_annotation, get_label
from hcpcreds.manifests.policies.tables import AUTHORITIES, CLOUD_NAMES
from hcpcreds.manifests.policies.ways import Ways

_WAYS: Final = Ways(keyless=True, endpoint=True)


def build_custom_mutation(*, image: str | None) -> list[dict[str, Any]]:
    """Build the policy for custom components, and its binding.

    Args:
        image: The sidecar's image; without one, no pod becomes keyless.
    """
    path = get_annotation(selection.MOUNT_PATH, MANAGED_AZURE_CERTIFICATE_MOUNT_PATH)
    variables = {
        "container": fill(
            "$container != '' ? string($container) :\n"
            "object.spec.containers.size() == 1 ? string(object.spec.containers[0].name) : ''",
            container=get_annotation(selection.CONTAINER),
        ),
        "file": fill("string($annotation)", annotation=get_annotation(selection.SECRET_NAME)),
        "filePath": fill("string($path) + ($path.endsWith('/') ? '' : '/') + variables.file", path=path),
        "mounts": fill(
            """
            [{
              'container': variables.container,
              'volume': string($volume),
              'class': string($class_name),
              'path': string($path),
              'readOnly': 'true',
              'medium': ''
            }]
            """,
            volume=get_annotation(selection.VOLUME_NAME, selection.DEFAULT_VOLUME_NAME),
            class_name=get_annotation(selection.SECRET_PROVIDER_CLASS),
            path=path,
        ),
        "env": fill(
            "variables.file == '' ? [] :\n"
            "[{'container': variables.container, 'name': $name, 'value': variables.filePath}]",
            name=MANAGED_AZURE_CREDENTIALS_FILE_PATH,
        ),
        "key": _build_key(),
        **build_variables(image or "", _WAYS),
    }
    pods = selection.select(
        selection.exists(selection.COMPONENT_LABEL),
        selection.is_not_in(selection.COMPONENT_LABEL, selection.COMPONENTS),
    )
    return [
        build_mutating_policy(
            selection.CUSTOM_POLICY, pods, variables, build_mutation(_build_refusal(image), _WAYS)
        ),
        build_mutating_binding(selection.CUSTOM_POLICY),
    ]


def _build_key() -> Expression:
    return fill(
        """
        !($mode in $modes) ? {'volume': ''} : {
          'volume': variables.mounts[0].volume,
          'path': variables.mounts[0].path,
          'keep': '',
          'endpoint': $mode == $endpoint ? 'true' : '',
          'file': variables.file,
          'credential': variables.filePath + ($is_service_principal ?
            ',tenant_id=' + string($tenant_id) + ',client_id=' + string($client_id) : ''),
          'client_id': string($client_id),
          'tenant_id': string($tenant_id),
          'cloud': $clouds[?$cloud].orValue(''),
          'authority': $authorities[?$cloud].orValue('')
        }
        """,
        mode=get_label(selection.CREDENTIAL_LABEL),
        modes=[selection.KEYLESS, selection.ENDPOINT],
        endpoint=selection.ENDPOINT,
        is_service_principal=_IS_SERVICE_PRINCIPAL,
        client_id=get_annotation(selection.CLIENT_ID),
        tenant_id=get_annotation(selection.TENANT_ID),
        cloud=get_annotation(selection.CLOUD, DEFAULT_CLOUD),
        clouds=CLOUD_NAMES,
        authorities=AUTHORITIES,
    )


_IS_SERVICE_PRINCIPAL: Final = fill(
    "$annotation == 'true'", annotation=get_annotation(selection.SERVICE_PRINCIPAL)
)


def _build_refusal(image: str | None) -> Expression:
    """Whether the pod stays as it is; the guard tells why."""
    return fill(
        """
        $class_name == '' ||
        !($mode in $modes) ||
        !object.spec.containers.exists(c, c.name == variables.container) ||
        !(variables.file == '' || variables.file.matches($file)) ||
        (variables.key.volume != '' && (
          $has_no_image || variables.file == '' || variables.key.authority == '' ||
          variables.key.path.matches('[ ,=]') ||
          (variables.key.endpoint == '' || $is_service_principal ?
            !(variables.key.client_id.matches($client_id) && variables.key.tenant_id.matches($tenant_id)) :
            !(variables.key.client_id == '' || variables.key.client_id.matches($client_id)))
        ))
        """,
        class_name=get_annotation(selection.SECRET_PROVIDER_CLASS),
        mode=get_label(selection.CREDENTIAL_LABEL),
        modes=["", selection.KEYLESS, selection.ENDPOINT],
        has_no_image=not image,
        file="^[a-zA-Z0-9-]{1,127}$",
        client_id=f"^{UUID.pattern.pattern}$",
        tenant_id="^[a-zA-Z0-9][a-zA-Z0-9.-]{0,254}$",
        is_service_principal=_IS_SERVICE_PRINCIPAL,
    )
