"""What a labelled pod has to have: entries for each label, and the expressions that go through them.

An entry is a list of texts: kind, container, name, value, and what a message calls it. Kinds:
- `class`: the volume of this name, of the SecretProviderClass in the value;
- `memory`: the volume of this name, an emptyDir;
- `sidecar`: the one that mounts the volume of this name;
- `mount`: of the volume of this name, read-only, at the path in the value; `mount, writable` may be writable;
- `variable`: of this name, with whatever value.
If a pod does not have the container, any other will do; with `?` after its kind, the entry is left out then.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from hcpcreds.components import TOKEN_MOUNT_PATH, WORKLOADS, Component, Pod, Variable
from hcpcreds.constants import (
    MANAGED_AZURE_CREDENTIALS_FILE_PATH,
    MANAGED_AZURE_SECRET_PROVIDER_CLASS,
    MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER,
)
from hcpcreds.manifests.policies.cel import Expression, fill
from hcpcreds.manifests.policies.selection import ENDPOINT, KEYLESS
from hcpcreds.manifests.policies.tables import LABELS
from hcpcreds.manifests.sidecar import ASSERTION_DIRECTORY, ASSERTION_VOLUME, SIDECAR

Entry = list[str]
Validation = tuple[Expression, Expression]
"""What has to be true, and the message if it is not."""

KEY: Final = "key"
"""A way to log in: with the key that is mounted. The others are those of the label, and the next one."""
TOKEN: Final = "token"  # noqa: S105 (a way to log in, not a password)
"""With a token of the guest cluster, in clusters with workload identities."""

NAMES: Final = {"containerNames": Expression("object.spec.containers.map(c, c.name)")}
"""The variable that `find_missing` uses."""
VOLUMES: Final = Expression("object.spec.?volumes.orValue([])")
CLASS: Final = fill("v.?csi.volumeAttributes[?$key].orValue('')", key=MANAGED_AZURE_SECRET_PROVIDER_CLASS)
"""The SecretProviderClass of a volume `v`."""
_TOKEN_VOLUMES: Final = sorted(
    {pod.token.volume_name for rows in WORKLOADS.values() for _, pod in rows if pod.token is not None}
)
HAS_TOKEN: Final = fill(
    "$volumes.exists(v, v.name in $names && (has(v.emptyDir) || has(v.projected)))",
    volumes=VOLUMES,
    names=_TOKEN_VOLUMES,
)
"""Whether a pod has the volume of a token of the guest cluster."""


_IS_THERE: Final = Expression(
    "(m.mountPath == e[3] ||\n"
    "  m.mountPath.split('/').filter(s, s != '' && s != '.') ==\n"
    "    e[3].split('/').filter(s, s != '' && s != '.'))"
)
"""Whether a mount `m` is at the path of an entry `e`, however it is spelt."""


def find_missing(entries: Expression) -> Expression:
    """Return the expression of the texts of those entries that a pod lacks."""
    return fill(
        """
        $entries.filter(e, $is_missing).map(e,
          (e[0].startsWith('class') || e[0].startsWith('memory')) && $volumes.exists(v, v.name == e[2]) ?
            e[4] + ', because it has another volume of this name (rename that one)' :
          e[0].startsWith('sidecar') && (object.spec.containers + object.spec.?initContainers.orValue([]))
            .exists(c, c.name == $sidecar) ?
            e[4] + ', because it has another container of this name (rename that one)' :
          !e[0].startsWith('mount') || !object.spec.containers.exists(c, $is_its &&
            c.?volumeMounts.orValue([]).exists(m, $is_there)) ? e[4] :
          object.spec.containers.exists(c, $is_its &&
            c.?volumeMounts.orValue([]).exists(m, $is_there && m.name != e[2])) ?
            e[4] + ', because something else is mounted there (mount that elsewhere)' :
            e[4] + ', because only a part of it is mounted there, or not read-only (correct that mount)')
        """,
        entries=entries,
        is_missing=is_missing(),
        volumes=VOLUMES,
        sidecar=SIDECAR,
        is_its=_is_its("variables.containerNames"),
        is_there=_IS_THERE,
    )


def is_missing(names: str = "variables.containerNames") -> Expression:
    """Return the expression of whether a pod lacks an entry `e`.

    Args:
        names: The expression of the names of the pod's containers.
    """
    return fill(
        """
        !(e[0].endsWith('?') && !(e[1] in $names) ? true :
          e[0].startsWith('class') ? $volumes.exists(v, v.name == e[2] &&
            v.?csi.driver.orValue('') == $driver && $its_class == e[3] && v.csi.?readOnly.orValue(false)) :
          e[0].startsWith('memory') ? $volumes.exists(v, v.name == e[2] &&
            (has(v.emptyDir) || has(v.projected))) :
          e[0].startsWith('sidecar') ? object.spec.?initContainers.orValue([]).exists(c, c.name == $sidecar &&
            c.?restartPolicy.orValue('') == 'Always' &&
            c.?volumeMounts.orValue([]).exists(m, m.name == e[2])) :
          e[0].startsWith('mount') ? object.spec.containers.exists(c, $is_its &&
            c.?volumeMounts.orValue([]).exists(m, m.name == e[2] && $is_there &&
              !has(m.subPath) && !has(m.subPathExpr) &&
              (e[0].startsWith('mount, writable') || m.?readOnly.orValue(false)))) :
          object.spec.containers.exists(c, $is_its && c.?env.orValue([]).exists(v, v.name == e[2] &&
            (v.?value.orValue('') != '' || has(v.valueFrom)))))
        """,
        names=Expression(names),
        driver=MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER,
        its_class=CLASS,
        sidecar=SIDECAR,
        volumes=VOLUMES,
        is_its=_is_its(names),
        is_there=_IS_THERE,
    )


def _is_its(names: str) -> Expression:
    """Return the expression of whether a container `c` is that of an entry `e`."""
    return Expression(f"(c.name == e[1] || !(e[1] in {names}))")


def build_requirements(*ways: str) -> dict[str, list[Entry]]:
    """Build the entries for each label and way, with a blank between them."""
    return {
        f"{label} {way}": entries
        for label, workloads in LABELS.items()
        for way in ways
        if (entries := list(_require_all(workloads, way)))
    }


def build_custom_requirements() -> dict[str, list[Entry]]:
    """Build the entries of a custom component for each way, with names in braces to be replaced."""
    container, volume = "{container}", "{volume}"
    its_class = require_class(container, volume, "{class}")
    sidecar = _require_sidecar(container, volume)
    return {
        KEY: [
            its_class,
            require_mount(container, volume, "{path}"),
            _require_variable(container, MANAGED_AZURE_CREDENTIALS_FILE_PATH),
        ],
        KEYLESS: [
            its_class,
            sidecar,
            _require_memory(container, ASSERTION_VOLUME),
            *_require_assertion(container),
        ],
        ENDPOINT: [its_class, sidecar, _require_variable(container, "IDENTITY_ENDPOINT")],
    }


def find_passing_labels() -> list[str]:
    """Find the labels of operators that mount no credential, and only pass names on.

    What they need depends on the cluster: with workload identities, nothing.
    """
    return [
        label
        for label, workloads in LABELS.items()
        if all(pod.mount is None for workload in workloads for _, pod in WORKLOADS[workload])
    ]


def find_keyless_workloads() -> list[str]:
    """Find the workloads that can be keyless without a change elsewhere."""
    return [
        workload
        for workload, ((_, pod), *_) in WORKLOADS.items()
        if pod.keyless is not None and not keeps_mount(workload) and not pod.keyless.beside
    ]


def find_keeping_labels() -> list[str]:
    """Find the labels of workloads whose containers mount the key although they are keyless."""
    return [label for label, workloads in LABELS.items() if any(map(keeps_mount, workloads))]


def keeps_mount(workload: str) -> bool:
    """Whether a workload's containers mount the key although they are keyless."""
    keyless = WORKLOADS[workload][0][1].keyless
    return keyless is None or bool(keyless.refused) or keyless.keeps_mount


def get_own_rows(workload: str) -> tuple[tuple[Component, Pod], ...]:
    """Return the rows of a workload without its second credential, which only some clusters have."""
    own, *others = WORKLOADS[workload]
    return (own, *(row for row in others if row[1].mount is None))


def _require_all(workloads: Sequence[str], way: str) -> Iterator[Entry]:
    """Require the entries of workloads; if there are several, a pod's containers tell which it is."""
    for workload in workloads:
        for component, pod in get_own_rows(workload):
            is_certain = len(workloads) == len(pod.containers) == 1
            for kind, *rest in _require(component, pod, way):
                yield [kind if is_certain else f"{kind}?", *rest]


def _require(component: Component, pod: Pod, way: str) -> Iterator[Entry]:
    first = pod.containers[0]
    if way == TOKEN:
        if pod.token is not None:
            yield _require_memory(first, pod.token.volume_name)
            for container in pod.containers:
                kind, *rest = require_mount(container, pod.token.volume_name, TOKEN_MOUNT_PATH)
                yield [kind if pod.token.read_only else f"{kind}, writable", *rest]
                yield from _require_variables(container, pod.token.env)
        return
    is_keyless = way == KEYLESS and pod.keyless is not None and not pod.keyless.refused
    if pod.mount is not None:
        yield require_class(first, pod.mount.volume_name, component.secret_provider_class)
        if is_keyless:
            yield _require_sidecar(first, pod.mount.volume_name)
            yield _require_memory(first, ASSERTION_VOLUME)
    left_out = pod.path_variables if is_keyless else ()
    for container in pod.containers:
        if pod.mount is not None and (not is_keyless or keeps_mount(pod.workload)):
            yield require_mount(container, pod.mount.volume_name, pod.mount.path)
        if is_keyless:
            yield from _require_assertion(container)
        yield from _require_variables(container, [each for each in pod.env if each.name not in left_out])


def require_class(container: str, volume: str, secret_provider_class: str) -> Entry:
    """Require a credential's volume."""
    text = f"the volume {volume} (of the SecretProviderClass {secret_provider_class})"
    return ["class", container, volume, secret_provider_class, text]


def require_mount(container: str, volume: str, path: str) -> Entry:
    """Require the mount of a volume in a container."""
    text = f"the mount of the volume {volume} at {path} in the container {container}"
    return ["mount", container, volume, path, text]


def _require_memory(container: str, volume: str) -> Entry:
    return ["memory", container, volume, "", f"the volume {volume} (an emptyDir)"]


def _require_sidecar(container: str, volume: str) -> Entry:
    text = f"the sidecar {SIDECAR} (an init container with restartPolicy: Always, with the volume {volume})"
    return ["sidecar", container, volume, "", text]


def _require_assertion(container: str) -> Iterator[Entry]:
    yield require_mount(container, ASSERTION_VOLUME, ASSERTION_DIRECTORY)
    for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE"):
        yield _require_variable(container, name)


def _require_variables(container: str, variables: Sequence[Variable]) -> Iterator[Entry]:
    for variable in variables:
        if not variable.optional:
            yield _require_variable(container, variable.name)


def _require_variable(container: str, name: str) -> Entry:
    return ["variable", container, name, "", f"the variable {name} in the container {container}"]
