"""The part of the guard that looks at a pod by itself."""

from typing import Final

from hcpcreds.constants import (
    ARO_HCP_CLIENT_CREDENTIALS_PATH,
    MANAGED_AZURE_CERTIFICATE_MOUNT_PATH,
    MANAGED_AZURE_CREDENTIALS_FILE_PATH,
    MANAGED_AZURE_SECRET_PROVIDER_CLASS,
    MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER,
)
from hcpcreds.manifests.policies import selection
from hcpcreds.manifests.policies.cel import Expression, fill
from hcpcreds.manifests.policies.requirements import (
    CLASS,
    HAS_TOKEN,
    KEY,
    NAMES,
    TOKEN,
    VOLUMES,
    Validation,
    build_custom_requirements,
    build_requirements,
    find_keeping_labels,
    find_keyless_workloads,
    find_missing,
    find_passing_labels,
    is_missing,
)
from hcpcreds.manifests.policies.selection import (
    COMPONENT_LABEL,
    CREDENTIAL_LABEL,
    ENDPOINT,
    KEYLESS,
    get_annotation,
    get_label,
)
from hcpcreds.manifests.policies.tables import LABELS
from hcpcreds.manifests.sidecar import ASSERTION_VOLUME, SIDECAR

_PATHS: Final = [MANAGED_AZURE_CREDENTIALS_FILE_PATH, ARO_HCP_CLIENT_CREDENTIALS_PATH]
"""Variables with the path of a key, which programs prefer to an assertion."""
_OWN: Final = fill(
    """
    $hypershift in object.metadata.?labels.orValue({}) ||
      ($control_plane in object.metadata.?labels.orValue({}) && $app in $operands) ? string($own) : ''
    """,
    hypershift=selection.HYPERSHIFT_LABEL,
    control_plane=selection.CONTROL_PLANE_LABEL,
    app=get_label(selection.APP_LABEL),
    operands=selection.OPERANDS,
    own=selection.OWN_COMPONENT,
)
"""The workload's name of a pod of HyperShift's own; empty for other pods."""

_IS_OVERRIDE: Final = fill(
    "v.?csi.driver.orValue('') == $driver && !v.csi.?volumeAttributes.orValue({}).all(k, k == $key)",
    driver=MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER,
    key=MANAGED_AZURE_SECRET_PROVIDER_CLASS,
)
"""Whether a volume `v` says more than the name of its class."""


def build_condition() -> Expression:
    """Build the match condition: whether a pod needs a closer look.

    Nearly all pods are right, and this tells of them at a fraction of the cost of variables and messages. It
    sees no variables, and not the namespace.
    """
    return fill(
        """
        $overrides || $own in $workloads ||
        ($component in object.metadata.?labels.orValue({}) &&
          ($credential in object.metadata.labels || !($label in $passing ||
            [object.spec.containers.map(c, c.name)].all(names,
              $requirements[?$label].orValue([$none]).all(e, !$is_missing)))))
        """,
        overrides=_overrides(),
        own=fill("($own)", own=_OWN),
        workloads=find_keyless_workloads(),
        component=COMPONENT_LABEL,
        credential=CREDENTIAL_LABEL,
        label=get_label(COMPONENT_LABEL),
        passing=find_passing_labels(),
        requirements={
            label.removesuffix(f" {KEY}"): entries for label, entries in build_requirements(KEY).items()
        },
        none=["class", "", "", "", ""],
        is_missing=is_missing("names"),
    )


def build_variables() -> dict[str, Expression]:
    """Build the variables of the validations, in their order."""
    return {
        "own": fill(
            """
            !($key in object.metadata.?labels.orValue({})) &&
            namespaceObject.metadata.?labels[?$opted_in].orValue('') == $keyless ? ($own) : ''
            """,
            key=COMPONENT_LABEL,
            opted_in=selection.NAMESPACE_LABEL,
            keyless=KEYLESS,
            own=_OWN,
        ),
        "label": fill(
            """
            !($is_linux && $is_ordinary) ? '' :
              variables.own in $workloads ? variables.own : string($label)
            """,
            is_linux=selection.IS_LINUX,
            is_ordinary=selection.IS_ORDINARY,
            workloads=find_keyless_workloads(),
            label=get_label(COMPONENT_LABEL),
        ),
        "credential": fill(
            "variables.own != '' ? $keyless : string($credential)",
            keyless=KEYLESS,
            credential=get_label(CREDENTIAL_LABEL),
        ),
        **NAMES,
        "itsClass": fill("string($annotation)", annotation=get_annotation(selection.SECRET_PROVIDER_CLASS)),
        "way": fill(
            """
            $has_token && !$has_sidecar ? $token :
              variables.credential in $labels ? variables.credential :
              !$has_sidecar ? $key :
              $volumes.exists(v, v.name == $assertion) ? $keyless : $endpoint
            """,
            has_token=HAS_TOKEN,
            has_sidecar=fill(
                "object.spec.?initContainers.orValue([]).exists(c, c.name == $name)", name=SIDECAR
            ),
            token=TOKEN,
            labels=[KEYLESS, ENDPOINT],
            key=KEY,
            volumes=VOLUMES,
            assertion=ASSERTION_VOLUME,
            keyless=KEYLESS,
            endpoint=ENDPOINT,
        ),
        "ownEntries": _build_own_entries(),
        "entries": fill(
            """
            !(variables.label in $labels) ? variables.ownEntries :
              variables.label in $passing ? [] :
              $requirements[?(variables.label + ' ' + variables.way)].orValue([])
            """,
            labels=sorted(LABELS),
            passing=find_passing_labels(),
            requirements=build_requirements(KEY, TOKEN, KEYLESS),
        ),
        "missing": find_missing(Expression("variables.entries")),
        "keys": fill(
            """
            $volumes.filter(v, variables.entries.exists(e,
              e[0].startsWith('class') && $its_class == e[3])).map(v, v.name)
            """,
            volumes=VOLUMES,
            its_class=CLASS,
        ),
        "mounting": fill(
            """
            (object.spec.containers + object.spec.?initContainers.orValue([]).filter(c, c.name != $sidecar))
              .filter(c, c.?volumeMounts.orValue([]).exists(m, m.name in variables.keys)).map(c, c.name)
            """,
            sidecar=SIDECAR,
        ),
        "problem": _build_problem(),
    }


def _build_own_entries() -> Expression:
    """Build the entries of a custom component, from the pod's annotations."""
    return fill(
        """
        $requirements[?variables.way].orValue([])
          .filter(e, e[2] != $path_variable || $secret != '')
          .map(e, e.map(t, t
            .replace('{container}', $container != '' ? string($container) :
              variables.containerNames.size() == 1 ? variables.containerNames[0] : $unnamed)
            .replace('{volume}', string($volume))
            .replace('{class}', variables.itsClass)
            .replace('{path}', string($path))))
        """,
        requirements=build_custom_requirements(),
        path_variable=MANAGED_AZURE_CREDENTIALS_FILE_PATH,
        secret=get_annotation(selection.SECRET_NAME),
        container=get_annotation(selection.CONTAINER),
        unnamed=f"that the annotation {selection.CONTAINER} has to name",
        volume=get_annotation(selection.VOLUME_NAME, selection.DEFAULT_VOLUME_NAME),
        path=get_annotation(selection.MOUNT_PATH, MANAGED_AZURE_CERTIFICATE_MOUNT_PATH),
    )


def build_validations() -> list[Validation]:
    """Build what has to be true of a pod."""
    return [_refuse_override(), (Expression("variables.problem == ''"), Expression("variables.problem"))]


def _build_problem() -> Expression:
    """Return the first problem of a labelled pod; the empty text if there is none.

    One text instead of a validation for each: the API server evaluates every message, even if all is well.
    """
    return fill(
        """
        variables.label == '' ? '' :
        !(variables.label in $labels) && variables.itsClass == '' ?
          $named + ', which is not a component of HyperShift: correct it, or for a component of your own ' +
          'name its class in the annotation ' + $annotation :
        variables.credential != '' && variables.credential != $keyless &&
        (variables.credential != $endpoint || variables.label in $labels) ?
          $named + ' and ' + $key + '=' + variables.credential + ': expected ' + $keyless +
          ', or, for a component of your own, ' + $endpoint :
        variables.missing.size() > 0 ?
          $named + ', but lacks: ' + variables.missing.join('; ') +
          '. Complete its manifest with hcpcreds inject; where a policy does that, find out why it did ' +
          'not: kubectl get mutatingadmissionpolicybindings.' :
        !(variables.credential in [$keyless, $endpoint]) || variables.label in $keeping ? '' :
        variables.mounting.size() > 0 ?
          'the pod ' + variables.label + ' is keyless, but mounts the key all the same in ' +
          variables.mounting.join(', ') + ': only the sidecar ' + $sidecar + ' needs it; remove the mount' :
        object.spec.containers.exists(c, c.?env.orValue([]).exists(v, v.name in $paths &&
          (v.?value.orValue('') != '' || has(v.valueFrom)))) ?
          'the pod ' + variables.label + ' is keyless, but names a key in ' + $paths.join(' or ') +
          ', which its program prefers to the assertion: set it to the empty text' :
        ''
        """,
        labels=sorted(LABELS),
        named=fill("'the pod is labelled ' + $key + '=' + variables.label", key=COMPONENT_LABEL),
        annotation=selection.SECRET_PROVIDER_CLASS,
        key=CREDENTIAL_LABEL,
        keyless=KEYLESS,
        endpoint=ENDPOINT,
        keeping=find_keeping_labels(),
        sidecar=SIDECAR,
        paths=_PATHS,
    )


def _refuse_override() -> Validation:
    """Refuse attributes of a volume that the provider takes instead of those of the class."""
    return (
        fill("!$overrides", overrides=_overrides()),
        fill(
            "'volumeAttributes of the volume ' + $volumes.filter(v, $is_override)[0].name + "
            "' override its SecretProviderClass, and so could read any secret of any vault that the node may "
            "read: leave only ' + $key",
            volumes=VOLUMES,
            is_override=_IS_OVERRIDE,
            key=MANAGED_AZURE_SECRET_PROVIDER_CLASS,
        ),
    )


def _overrides() -> Expression:
    return fill("$volumes.exists(v, $is_override)", volumes=VOLUMES, is_override=_IS_OVERRIDE)
