"""The MutatingAdmissionPolicy for the components of a HostedControlPlane."""

from typing import Any, Final

from hcpcreds.clouds import DEFAULT_CLOUD
from hcpcreds.hosted_cluster.forms import API_VERSION
from hcpcreds.manifests.policies import selection
from hcpcreds.manifests.policies.additions import build_variables
from hcpcreds.manifests.policies.cel import Expression, fill
from hcpcreds.manifests.policies.objects import build_mutating_binding, build_mutating_policy
from hcpcreds.manifests.policies.selection import get_annotation, get_label
from hcpcreds.manifests.policies.tables import (
    ALIASES,
    AUTHORITIES,
    CLOUD_NAMES,
    build_entries,
    build_keys,
)

HOSTED: Final = "hcpcreds-components"
"""Name of the policy, and of its binding for pods with a label of ours."""
HYPERSHIFT: Final = "hcpcreds-hypershift"
"""Name of its binding for HyperShift's own pods."""


def build_hosted_mutation(
    *, key_vault_user_client_id: str, managed_service: str | None, image: str | None
) -> list[dict[str, Any]]:
    """Build the policy for the components of a HostedControlPlane, and its two bindings.

    The HostedControlPlane of the pod's own namespace is its parameter.

    Raises:
        InputError: A component needs the client id, and there is none.
    """
    entries = build_entries(
        key_vault_user_client_id=key_vault_user_client_id, managed_service=managed_service or ""
    )
    variables = {
        **_build_identity(),
        "entries": fill(
            """
            variables.workloads.map(w, $entries[?w].orValue([])).flatten().filter(e,
              e.container in variables.containerNames && e.identity in variables.identities[e.source] &&
              !(e.capability in params.spec.?capabilities.?disabled.orValue([])))
            """,
            entries=entries,
        ),
        "mounts": Expression("variables.entries.filter(e, 'volume' in e)"),
        "env": Expression(
            "variables.entries.filter(e, 'variable' in e).map(e, {\n"
            "  'container': e.container,\n"
            "  'name': e.variable,\n"
            "  'value': e.value\n"
            "    .replace('{secret}', string(variables.identities[e.source][e.identity]"
            ".?credentialsSecretName.orValue('')))\n"
            "    .replace('{client_id}', string(variables.identities[e.source][e.identity]"
            ".?clientID.orValue('')))\n"
            "    .replace('{tenant_id}', variables.tenant)\n"
            "})"
        ),
        "key": _build_key(),
        **build_variables(image or ""),
        "refused": _build_refusal(image),
    }
    policy = build_mutating_policy(HOSTED, variables)
    policy["spec"]["paramKind"] = {"apiVersion": API_VERSION, "kind": "HostedControlPlane"}
    own = {
        "namespaceSelector": {"matchLabels": {selection.NAMESPACE_LABEL: selection.KEYLESS}},
        **selection.has_label(selection.HYPERSHIFT_LABEL),
    }
    # With Deny, no pod at all could start in a namespace while there is no HostedControlPlane.
    params = {"selector": {}, "parameterNotFoundAction": "Allow"}
    return [
        policy,
        build_mutating_binding(HOSTED, HOSTED, selection.has_label(selection.COMPONENT_LABEL), params),
        build_mutating_binding(HYPERSHIFT, HOSTED, own, params),
    ]


def _build_identity() -> dict[str, Expression]:
    return {
        # A pod of HyperShift's own is made keyless; one with a label of ours, as it says.
        "own": fill("!($label in object.metadata.?labels.orValue({}))", label=selection.COMPONENT_LABEL),
        "mode": fill(
            "variables.own ? $keyless : $label",
            keyless=selection.KEYLESS,
            label=get_label(selection.CREDENTIAL_LABEL),
        ),
        "component": fill(
            "variables.own ? $theirs : $ours",
            theirs=get_label(selection.HYPERSHIFT_LABEL),
            ours=get_label(selection.COMPONENT_LABEL),
        ),
        "workloads": fill(
            "$aliases[?variables.component].orValue([variables.component])",
            aliases=ALIASES,
        ),
        "azure": Expression("params.spec.?platform.?azure.orValue({})"),
        "identities": Expression(
            "{\n"
            "  'managed': dyn(variables.azure.?azureAuthenticationConfig.?managedIdentities.?controlPlane"
            ".orValue({})),\n"
            "  'workload': dyn(variables.azure.?azureAuthenticationConfig.?workloadIdentities.orValue({})),\n"
            "  'kms': dyn(params.spec.?secretEncryption.?kms.?azure.orValue({}))\n"
            "}"
        ),
        "tenant": Expression("string(variables.azure.?tenantID.orValue(''))"),
        "cloud": fill("string(variables.azure.?cloud.orValue($default))", default=DEFAULT_CLOUD),
        "containerNames": Expression("object.spec.containers.map(c, c.name)"),
    }


def _build_key() -> Expression:
    return fill(
        """
        (variables.mode == $keyless ? variables.workloads.map(w, $keys[?w]) : [])
          .filter(k, k.hasValue()).map(k, k.value())
          .filter(k, variables.mounts.exists(m, m.volume == k.volume))
          .map(k, {
            'volume': k.volume,
            'path': k.path,
            'keep': k.keep,
            'alone': k.alone,
            'endpoint': '',
            'file': string(variables.identities[k.source][k.identity].credentialsSecretName),
            'credential':
              k.path + '/' + string(variables.identities[k.source][k.identity].credentialsSecretName),
            'client_id': string(variables.identities[k.source][k.identity].?clientID.orValue('')),
            'tenant_id': variables.tenant,
            'cloud': $clouds[?variables.cloud].orValue(''),
            'authority': $authorities[?variables.cloud].orValue('')
          })[?0].orValue({'volume': ''})
        """,
        keyless=selection.KEYLESS,
        keys=build_keys(),
        clouds=CLOUD_NAMES,
        authorities=AUTHORITIES,
    )


def _build_refusal(image: str | None) -> Expression:
    """Whether the pod stays as it is; the guard tells why."""
    return fill(
        """
        !($is_linux && $is_ordinary) ||
        $custom != '' ||
        !(variables.mode in $modes) ||
        (variables.mode == $endpoint && variables.mounts.exists(m, m['class'] != '')) ||
        (variables.key.volume != '' &&
          ($has_no_image || variables.key.client_id == '' || variables.key.authority == '')) ||
        (variables.own && (
          variables.key.volume == '' || variables.key.alone == '' ||
          variables.envLists.exists(t, t.before.exists(e, t.wanted.exists(w, w.name == e.name && w != e)))
        ))
        """,
        is_linux=selection.IS_LINUX,
        is_ordinary=selection.IS_ORDINARY,
        custom=get_annotation(selection.SECRET_PROVIDER_CLASS),
        modes=["", selection.KEYLESS, selection.ENDPOINT],
        endpoint=selection.ENDPOINT,
        has_no_image=not image,
    )
