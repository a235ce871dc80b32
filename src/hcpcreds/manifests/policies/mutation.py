"""MutatingAdmissionPolicies for the components of a HostedControlPlane, which is their parameter."""

from typing import Any, Final

from hcpcreds.clouds import DEFAULT_CLOUD
from hcpcreds.hosted_cluster.forms import API_VERSION
from hcpcreds.manifests.policies import selection
from hcpcreds.manifests.policies.additions import build_mutation, build_variables
from hcpcreds.manifests.policies.cel import Expression, fill
from hcpcreds.manifests.policies.environment import CLIENT_ENV
from hcpcreds.manifests.policies.objects import build_mutating_binding, build_mutating_policy
from hcpcreds.manifests.policies.tables import (
    AUTHORITIES,
    CLOUD_NAMES,
    Entry,
    build_env,
    build_keys,
    build_mounts,
)
from hcpcreds.manifests.policies.ways import Ways

_AZURE: Final = Expression("params.spec.?platform.?azure")
_IDENTITIES: Final = Expression(
    "(e.source == 'managed' ? variables.managed :\n"
    "  e.source == 'workload' ? variables.workload : variables.kms)"
)
_IS_THERE: Final = fill(
    """
    e.identity in $identities && object.spec.containers.exists(c, c.name == e.container) &&
    (e.capability == '' || !(e.capability in params.spec.?capabilities.?disabled.orValue([])))
    """,
    identities=_IDENTITIES,
)
"""Whether the cluster has the component of the table's entry `e`, and the pod its container."""


def build_hosted_mutations(
    *, key_vault_user_client_id: str, managed_service: str | None, image: str | None
) -> list[dict[str, Any]]:
    """Build the policies for the components of a HostedControlPlane, and their bindings.

    Raises:
        InputError: A component needs the client id, and there is none.
    """
    env = build_env(key_vault_user_client_id=key_vault_user_client_id, managed_service=managed_service or "")
    # The API server parses selectors anew for each pod of the cluster, so they are short.
    is_ours = selection.exists(selection.COMPONENT_LABEL)
    our_component = fill("object.metadata.labels[$label]", label=selection.COMPONENT_LABEL)
    of_ours = _build_variables(our_component, env)
    sidecar = build_variables(image or "", Ways(keyless=True))
    with_key = build_mutating_policy(
        selection.WITH_KEY_POLICY,
        selection.select(is_ours, selection.is_missing(selection.CREDENTIAL_LABEL)),
        of_ours,
        build_mutation(Expression("false"), Ways()),
    )
    keyless = build_mutating_policy(
        selection.KEYLESS_POLICY,
        selection.select(is_ours, selection.exists(selection.CREDENTIAL_LABEL)),
        {**of_ours, "key": _build_key(our_component), **sidecar},
        build_mutation(_build_refusal(image), Ways(keyless=True)),
    )
    theirs = build_mutating_policy(
        selection.HYPERSHIFT_POLICY,
        {
            "namespaceSelector": {"matchLabels": {selection.NAMESPACE_LABEL: selection.KEYLESS}},
            **selection.select(selection.is_missing(selection.COMPONENT_LABEL)),
        },
        {
            **_build_variables(selection.OWN_COMPONENT, env),
            "key": _build_key(selection.OWN_COMPONENT),
            **sidecar,
        },
        build_mutation(_build_refusal_of_theirs(image), Ways(keyless=True)),
    )
    for policy in (with_key, keyless, theirs):
        policy["spec"]["paramKind"] = {"apiVersion": API_VERSION, "kind": "HostedControlPlane"}
    return [
        with_key,
        build_mutating_binding(selection.WITH_KEY_POLICY, params=True),
        keyless,
        build_mutating_binding(selection.KEYLESS_POLICY, params=True),
        theirs,
        build_mutating_binding(
            selection.HYPERSHIFT_POLICY,
            params=True,
            resources=selection.select(selection.is_in(selection.HYPERSHIFT_LABEL, selection.COMPONENTS)),
        ),
        build_mutating_binding(
            selection.HYPERSHIFT_POLICY,
            params=True,
            name=selection.OPERANDS_BINDING,
            resources=selection.select(
                selection.is_in(selection.APP_LABEL, selection.OPERANDS),
                selection.exists(selection.CONTROL_PLANE_LABEL),
                selection.is_missing(selection.HYPERSHIFT_LABEL),
            ),
        ),
    ]


def _build_variables(component: Expression, env: dict[str, list[Entry]]) -> dict[str, Expression]:
    return {
        "managed": fill(
            "$azure.?azureAuthenticationConfig.?managedIdentities.?controlPlane.orValue({})", azure=_AZURE
        ),
        "workload": fill("$azure.?azureAuthenticationConfig.?workloadIdentities.orValue({})", azure=_AZURE),
        "kms": Expression("params.spec.?secretEncryption.?kms.?azure.orValue({})"),
        "mounts": fill(
            "$mounts[?$component].orValue([]).filter(e,\n$is_there)",
            mounts=build_mounts(),
            component=component,
            is_there=_IS_THERE,
        ),
        "env": fill(
            """
            $env[?$component].orValue([]).filter(e,
              $is_there
            ).map(e, {
              'container': e.container,
              'name': e.name,
              'value': e.field == '' ? e.value : e.value + string(e.field == 'tenantID' ?
                $azure.?tenantID.orValue('') : $identities[e.identity][?e.field].orValue(''))
            })
            """,
            env=env,
            component=component,
            is_there=_IS_THERE,
            azure=_AZURE,
            identities=_IDENTITIES,
        ),
    }


def _build_key(component: Expression) -> Expression:
    return fill(
        """
        $keys[?$component].orValue([])
          .filter(e, variables.mounts.exists(m, m.volume == e.volume && m.container == e.container))
          .map(e, {
            'volume': e.volume,
            'path': e.path,
            'keep': e.keep,
            'alone': e.alone,
            'file': string($identities[e.identity].credentialsSecretName),
            'credential': e.path + '/' + string($identities[e.identity].credentialsSecretName),
            'client_id': string($identities[e.identity].?clientID.orValue('')),
            'tenant_id': string($azure.?tenantID.orValue('')),
            'cloud': $clouds[?string($cloud)].orValue(''),
            'authority': $authorities[?string($cloud)].orValue('')
          })[?0].orValue({'volume': ''})
        """,
        keys=build_keys(),
        component=component,
        identities=_IDENTITIES,
        azure=_AZURE,
        clouds=CLOUD_NAMES,
        authorities=AUTHORITIES,
        cloud=fill("$azure.?cloud.orValue($default)", azure=_AZURE, default=DEFAULT_CLOUD),
    )


def _build_refusal(image: str | None) -> Expression:
    """Whether the pod stays as it is; the guard tells why."""
    return fill(
        """
        !($mode in $modes) ||
        ($mode == $endpoint && variables.mounts.exists(m, m['class'] != '')) ||
        (variables.key.volume != '' &&
          ($has_no_image || variables.key.client_id == '' || variables.key.authority == ''))
        """,
        mode=fill("object.metadata.labels[$label]", label=selection.CREDENTIAL_LABEL),
        modes=[selection.KEYLESS, selection.ENDPOINT],
        endpoint=selection.ENDPOINT,
        has_no_image=not image,
    )


def _build_refusal_of_theirs(image: str | None) -> Expression:
    """Whether a pod of HyperShift's own keeps its key: nothing that works today may break."""
    return fill(
        """
        variables.key.volume == '' || variables.key.alone == '' ||
        $has_no_image || variables.key.client_id == '' || variables.key.authority == '' ||
        object.spec.containers.exists(c, c.?env.orValue([]).exists(e,
          $client.exists(w, w.name == e.name && w.value != e.?value.orValue(''))))
        """,
        client=CLIENT_ENV,
        has_no_image=not image,
    )
