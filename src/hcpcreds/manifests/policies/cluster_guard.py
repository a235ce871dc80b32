"""The part of the guard that compares a pod with the HostedControlPlane of its namespace."""

from typing import Final

from hcpcreds.components import WORKLOADS
from hcpcreds.manifests.policies import selection
from hcpcreds.manifests.policies.cel import Expression, fill
from hcpcreds.manifests.policies.requirements import (
    HAS_TOKEN,
    KEY,
    NAMES,
    Entry,
    Validation,
    build_requirements,
    find_keeping_labels,
    find_missing,
    find_passing_labels,
    get_own_rows,
    require_class,
    require_mount,
)
from hcpcreds.manifests.policies.selection import KEYLESS, get_label
from hcpcreds.manifests.policies.tables import LABELS, find_identity
from hcpcreds.manifests.sidecar import ASSERTION_DIRECTORY

CLUSTER: Final = {
    "identities": Expression(
        "params.spec.?platform.azure.azureAuthenticationConfig.managedIdentities.controlPlane.orValue({})"
    ),
    "kms": Expression("params.spec.?secretEncryption.kms.azure.kms.orValue({})"),
}
"""Variables: the managed identities of a HostedControlPlane."""
WHO: Final = Expression("'the HostedControlPlane ' + params.metadata.name")

_CLUSTER_ANNOTATION: Final = "hypershift.openshift.io/cluster"
"""Namespace and name of the HostedCluster, with a slash between them.

Source: openshift/hypershift, support/k8sutil/constants.go.
"""
_EXPECTED: Final = Expression(
    "string((e[2] == 'kms' ? variables.kms : variables.identities[?e[2]].orValue({}))\n"
    "  [?(e[4] == 'client' ? 'clientID' : 'credentialsSecretName')].orValue(''))"
)
"""The value that an entry `e` of `_build_values` expects, without what stands before it."""
_BELONGS: Final = fill(
    """
    [params.metadata.?annotations[?$key].orValue('')].all(cluster, cluster.contains('/') ?
      cluster.endsWith('/' + params.metadata.name) &&
        cluster.replace('/', '-').replace('.', '-') == request.namespace :
      request.namespace.endsWith('-' + params.metadata.name.replace('.', '-')))
    """,
    key=_CLUSTER_ANNOTATION,
)
"""Whether it is the namespace's, which is named after the namespace and the name of the HostedCluster."""


def build_condition() -> Expression:
    """Build the match condition: whether a pod needs a closer look. It sees no variables."""
    closer = [*find_passing_labels(), *_build_kms_requirements()]
    return fill(
        """
        $credential in object.metadata.labels || $label in $closer || $has_token || !($belongs) ||
        [$identities].exists(identities, $values[?$label].orValue([]).exists(e, e[4] == '' && $is_wrong))
        """,
        credential=selection.CREDENTIAL_LABEL,
        label=get_label(selection.COMPONENT_LABEL),
        closer=closer,
        has_token=HAS_TOKEN,
        belongs=_BELONGS,
        identities=CLUSTER["identities"],
        values=_build_values(),
        is_wrong=_is_wrong(Expression("string(identities[?e[2]].?credentialsSecretName.orValue(''))")),
    )


def _is_wrong(expected: Expression) -> Expression:
    """Return the expression of whether a pod has another value than an entry `e` of `_build_values`."""
    return fill(
        """
        ($expected != '' && object.spec.containers.exists(c, c.name == e[0] &&
          c.?env.orValue([]).exists(v, v.name == e[1] && v.?value.orValue('') != '' &&
            v.value != e[3] + $expected)))
        """,
        expected=expected,
    )


def build_variables() -> dict[str, Expression]:
    """Build the variables of the validations, in their order."""
    return {
        "label": fill("string($label)", label=get_label(selection.COMPONENT_LABEL)),
        "credential": fill("string($credential)", credential=get_label(selection.CREDENTIAL_LABEL)),
        **NAMES,
        **CLUSTER,
        "key": fill("$identities[?variables.label].orValue('')", identities=_map_identities()),
        # Not an optional: `.?` would not look into one that is kept in a variable.
        "identity": Expression(
            "variables.key == 'kms' ? variables.kms : variables.identities[?variables.key].orValue({})"
        ),
        "missingKms": find_missing(
            fill(
                "(variables.kms.?credentialsSecretName.hasValue() ? $more[?variables.label].orValue([]) : "
                "[])",
                more=_build_kms_requirements(),
            )
        ),
        # By itself, such a pod is complete for a cluster with workload identities.
        "missing": find_missing(
            fill(
                """
                (variables.identity.size() > 0 && ($has_token || variables.label in $passing) ?
                  $requirements[?(variables.label + ' ' +
                    (variables.credential == $keyless ? $keyless : $key))].orValue([]) : [])
                """,
                has_token=HAS_TOKEN,
                passing=find_passing_labels(),
                requirements=build_requirements(KEY, KEYLESS),
                keyless=KEYLESS,
                key=KEY,
            )
        ),
        "wrong": fill(
            """
            $values[?variables.label].orValue([]).filter(e,
              (e[4] == '' || variables.credential == $keyless) && $is_wrong
            ).map(e, 'the variable ' + e[1] + ' in the container ' + e[0] +
              ' (expected ' + e[3] + $expected + ')')
            """,
            values=_build_values(),
            keyless=KEYLESS,
            is_wrong=_is_wrong(_EXPECTED),
            expected=_EXPECTED,
        ),
        "problem": _build_problem(),
    }


def build_validations() -> list[Validation]:
    """Build what has to be true of a labelled pod beside a HostedControlPlane."""
    return [(Expression("variables.problem == ''"), Expression("variables.problem"))]


def _build_problem() -> Expression:
    """Return the first problem of a pod; the empty text if there is none."""
    return fill(
        """
        variables.key == '' ? '' :
        !($belongs) ?
          $who + ' does not belong into the namespace ' + request.namespace + ', by its name and its ' +
          'HostedCluster: nobody can tell whose credentials the pod gets; delete the one that is not the ' +
          'namespace\\'s own' :
        variables.missingKms.size() > 0 ?
          $who + ' encrypts etcd with a key of Azure, and the pod lacks: ' + variables.missingKms.join('; ') +
          $fix :
        variables.missing.size() > 0 ?
          $who + ' has managed identities, and the pod lacks: ' + variables.missing.join('; ') + $fix :
        variables.wrong.size() > 0 ?
          $who + ' names other credentials: correct ' + variables.wrong.join('; ') :
        variables.credential == $keyless && !(variables.label in $keeping) &&
        variables.identity.size() > 0 && variables.identity.?clientID.orValue('') == '' &&
        !object.spec.containers.exists(c, c.?env.orValue([]).exists(v, v.name == 'AZURE_CLIENT_ID')) ?
          $who + ' does not name the client id that the keyless pod ' + variables.label + ' needs: set ' +
          (variables.key == 'kms' ? $kms_field : $field + variables.key) + '.clientID' :
        ''
        """,
        belongs=_BELONGS,
        who=WHO,
        fix=". Complete its manifest with hcpcreds inject --hosted-cluster.",
        keyless=KEYLESS,
        keeping=find_keeping_labels(),
        kms_field="spec.secretEncryption.kms.azure.kms",
        field="spec.platform.azure.azureAuthenticationConfig.managedIdentities.controlPlane.",
    )


def _map_identities() -> dict[str, str]:
    """Build the identity of each label."""
    return {
        label: find_identity(WORKLOADS[workloads[-1]][0][0], is_managed=True)["identity"]
        for label, workloads in LABELS.items()
    }


def _build_values() -> dict[str, list[Entry]]:
    """Build for each label the variables whose values come from the HostedControlPlane.

    Entries: container, variable, identity, what stands before the value, and whose value it is (`client`: the
    client id's, `file`: the secret's name, both in keyless pods only; empty: the secret's name).
    """
    found: dict[str, list[Entry]] = {}
    for label, workloads in LABELS.items():
        for component, pod in (row for workload in workloads for row in get_own_rows(workload)):
            identity = find_identity(component, is_managed=True)["identity"]
            entries = found.setdefault(label, [])
            for container in pod.containers:
                entries += [
                    [container, variable.name, identity, variable.value.removesuffix("{secret}"), ""]
                    for variable in pod.env
                    if variable.value.endswith("{secret}")
                ]
                if pod.keyless is not None and not pod.keyless.refused:
                    entries.append([container, "AZURE_CLIENT_ID", identity, "", "client"])
                    directory = f"{ASSERTION_DIRECTORY}/"
                    entries.append([container, "AZURE_FEDERATED_TOKEN_FILE", identity, directory, "file"])
    return {label: entries for label, entries in found.items() if entries}


def _build_kms_requirements() -> dict[str, list[Entry]]:
    """Build what pods need in addition if etcd is encrypted with a key of Azure."""
    found: dict[str, list[Entry]] = {}
    for workload, rows in WORKLOADS.items():
        for component, pod in rows:
            if pod.mount is not None and (component, pod) not in get_own_rows(workload):
                [container] = pod.containers
                found[workload] = [
                    require_class(container, pod.mount.volume_name, component.secret_provider_class),
                    require_mount(container, pod.mount.volume_name, pod.mount.path),
                ]
    return found
