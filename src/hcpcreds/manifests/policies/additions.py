"""What a pod gets, as expressions: the part of the mutation that does not ask where its identity comes from.

A policy says first, in variables of its own,
- `mounts`: a list of maps of texts: container, volume, class, path, readOnly, medium;
- `env`: a list of maps of texts: container, name, value;
- for pods without a key, `key`: a map of texts about the key that only the sidecar mounts: volume, path,
  keep, endpoint, credential, file, client_id, tenant_id, cloud, authority; `volume` is empty if the pod keeps
  it.

Each variable of a policy costs the API server some microseconds a pod, so there are few.
"""

from typing import Final

from hcpcreds.constants import (
    ARO_HCP_CLIENT_CREDENTIALS_PATH,
    MANAGED_AZURE_CREDENTIALS_FILE_PATH,
    MANAGED_AZURE_SECRET_PROVIDER_CLASS,
    MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER,
)
from hcpcreds.manifests.inject.keyless import OTHER_WAYS, PROXIES
from hcpcreds.manifests.inject.no_proxy import HOSTS, NO_PROXY, WITH_PROXY
from hcpcreds.manifests.policies.cel import Expression, fill
from hcpcreds.manifests.policies.selection import IS_LINUX, IS_ORDINARY
from hcpcreds.manifests.sidecar import (
    ASSERTION_DIRECTORY,
    ASSERTION_VOLUME,
    SIDECAR,
    build_assertion_mount,
    build_assertion_volume,
    build_client_env,
    build_endpoint_env,
    build_sidecar,
)

_PATHS: Final = (MANAGED_AZURE_CREDENTIALS_FILE_PATH, ARO_HCP_CLIENT_CREDENTIALS_PATH)
"""Variables that a keyless pod keeps, but empty: everybody sees there that it has no key."""
_LOOPBACK: Final = (
    r"^[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*@)?(localhost|127\.0\.0\.1|\[::1\])(:[0-9]*)?([/?#].*)?$"
)
"""A proxy on the pod's own address is a container that starts after the sidecar."""

_IS_KEYLESS: Final = Expression("variables.key.volume != ''")
_HAS_ASSERTION: Final = Expression("variables.key.volume != '' && variables.key.endpoint == ''")
_INIT_CONTAINERS: Final = Expression("object.spec.?initContainers.orValue([])")
_SAME_PATH: Final = Expression(
    "m.mountPath.split('/').filter(s, s != '' && s != '.') == "
    "w.mountPath.split('/').filter(s, s != '' && s != '.')"
)
_GETS_SOMETHING: Final = Expression(
    "variables.mounts.exists(m, m.container == c.name) || variables.env.exists(e, e.container == c.name)"
)
_MOUNTS_KEY: Final = Expression("c.?volumeMounts.orValue([]).exists(m, m.name == variables.key.volume)")
_IS_GONE: Final = fill(
    """
    ($is_keyless && (
      (m.name == variables.key.volume && variables.key.keep == '') ||
      (m.name == $assertion_volume && variables.key.endpoint != '')
    ))
    """,
    is_keyless=_IS_KEYLESS,
    assertion_volume=ASSERTION_VOLUME,
)
"""Whether a keyless pod's container loses the mount `m`."""

CLIENT_ENV: Final = build_client_env(
    client_id=Expression("variables.key.client_id"),
    tenant_id=Expression("variables.key.tenant_id"),
    token_file=fill("$directory + variables.key.file", directory=f"{ASSERTION_DIRECTORY}/"),
    authority=Expression("variables.key.authority"),
)
"""The variables of a program that sends assertions."""


def build_variables(*, keyless: bool, image: str = "") -> dict[str, Expression]:
    """Build the variables that `build_mutation` needs, in their order.

    Args:
        keyless: Whether pods may be without a key.
        image: The sidecar's.
    """
    variables = {"targets": _build_targets(keyless=keyless)}
    if keyless:
        variables["sidecar"] = _build_sidecar(image)
    return variables


def _build_targets(*, keyless: bool) -> Expression:
    """The containers that get something, with their mounts, those wanted, and their future variables."""
    if not keyless:
        return fill(
            "object.spec.containers.transformList(i, c, $gets_something, $target)",
            gets_something=_GETS_SOMETHING,
            target=_build_target("/spec/containers/", keyless=False),
        )
    return fill(
        """
        object.spec.containers.transformList(i, c, $gets_something || $mounts_key, $target) +
        (!$is_keyless ? [] :
          $init_containers.transformList(i, c, c.name != $sidecar && $mounts_key, $init_target))
        """,
        gets_something=_GETS_SOMETHING,
        mounts_key=fill("($is_keyless && $mounts_key)", is_keyless=_IS_KEYLESS, mounts_key=_MOUNTS_KEY),
        target=_build_target("/spec/containers/", keyless=True),
        is_keyless=Expression(f"({_IS_KEYLESS})"),
        init_containers=_INIT_CONTAINERS,
        sidecar=SIDECAR,
        init_target=_build_target("/spec/initContainers/", keyless=True),
    )


def _build_target(path: str, *, keyless: bool) -> Expression:
    return fill(
        """
        {
          'path': dyn($path + string(i)),
          'name': dyn(c.name),
          'mounts': dyn(c.?volumeMounts.orValue([])),
          'wantedMounts': dyn($mounts),
          'env': dyn($env)
        }
        """,
        path=path,
        mounts=_build_wanted_mounts(keyless=keyless),
        env=_build_env(keyless=keyless),
    )


def _build_wanted_mounts(*, keyless: bool) -> Expression:
    plain = """
      .map(m, m.readOnly != '' ?
        {'name': dyn(m.volume), 'mountPath': dyn(m.path), 'readOnly': dyn(true)} :
        {'name': dyn(m.volume), 'mountPath': dyn(m.path)})"""
    if not keyless:
        return Expression(f"variables.mounts.filter(m, m.container == c.name){plain}")
    return fill(
        f"""
        dyn(variables.mounts
          .filter(m, m.container == c.name && (m.volume != variables.key.volume || variables.key.keep != ''))
          {plain}) +
        dyn($has_assertion ? [$assertion] : [])
        """,
        has_assertion=_HAS_ASSERTION,
        assertion=build_assertion_mount(),
    )


def _build_env(*, keyless: bool) -> Expression:
    """The variables that a container will have: its own, kept as they are, and the missing ones."""
    if not keyless:
        return Expression(
            "c.?env.orValue([]) + variables.env\n"
            "  .filter(w, w.container == c.name && !c.?env.orValue([]).exists(e, e.name == w.name))\n"
            "  .map(w, {'name': w.name, 'value': w.value})"
        )
    client_id = {"name": "AZURE_CLIENT_ID", "value": Expression("variables.key.client_id")}
    return fill(
        """
        dyn(c.?env.orValue([])
          .filter(e, !($is_keyless && e.name in (variables.key.endpoint == '' ? $others : $endpoint_others)))
          .map(e,
            $is_keyless && e.name in $paths ? dyn({'name': e.name}) :
            $is_keyless && variables.key.endpoint != '' && e.name in $no_proxy && $has_proxy &&
                !('*' in $found) && !$hosts.all(h, h in $found) ?
              dyn({'name': e.name, 'value': dyn(($found + $hosts.filter(h, !(h in $found))).join(','))}) :
            dyn(e))) +
        dyn((
          dyn(variables.env
            .filter(e, e.container == c.name && !($is_keyless && e.name in $other_ways))
            .map(e, {'name': e.name, 'value': e.value})) +
          dyn(!($is_keyless) ? dyn([]) : variables.key.endpoint == '' ? dyn($client) :
            dyn($endpoint) + dyn(variables.key.client_id == '' ? [] : [$client_id]) +
            dyn($has_proxy && !c.?env.orValue([]).exists(e, e.name in $no_proxy) ? [$exceptions] : []))
        ).filter(w, !c.?env.orValue([]).exists(e, e.name == w.name)))
        """,
        is_keyless=_IS_KEYLESS,
        others=sorted(OTHER_WAYS - set(_PATHS) - {entry["name"] for entry in CLIENT_ENV}),
        endpoint_others=sorted(
            OTHER_WAYS - set(_PATHS) - {entry["name"] for entry in build_endpoint_env(None)}
        ),
        other_ways=sorted(OTHER_WAYS),
        paths=_PATHS,
        no_proxy=NO_PROXY,
        has_proxy=fill("c.?env.orValue([]).exists(p, p.name in $names)", names=sorted(WITH_PROXY)),
        hosts=HOSTS,
        found=Expression("e.?value.orValue('').split(',').map(h, h.trim()).filter(h, h != '')"),
        client=CLIENT_ENV,
        endpoint=build_endpoint_env(None),
        client_id=client_id,
        exceptions={"name": NO_PROXY[0], "value": ",".join(HOSTS)},
    )


def _build_sidecar(image: str) -> Expression:
    def build(*, endpoint: bool) -> dict[str, object]:
        sidecar = build_sidecar(
            image,
            Expression("variables.key.credential"),
            {
                "name": Expression("variables.key.volume"),
                "mountPath": Expression("variables.key.path"),
                "readOnly": True,
            },
            cloud=Expression("variables.key.cloud"),
            endpoint=endpoint,
        )
        return {**sidecar, "env": fill("dyn($env) + $proxies", env=sidecar["env"], proxies=proxies)}

    # The proxy of the first container that gets something, which the sidecar needs too.
    proxies = fill(
        """
        variables.targets
          .filter(t, variables.mounts.exists(m, m.container == t.name) ||
            variables.env.exists(e, e.container == t.name))
          .map(t, t.env.filter(e, e.name.upperAscii() in $proxies))
          .filter(env, !env.exists(e, e.?value.orValue('').matches($loopback)))[?0].orValue([])
        """,
        proxies=sorted(PROXIES),
        loopback=_LOOPBACK,
    )
    return fill(
        "variables.key.endpoint == '' ?\n$assertions :\n$tokens",
        assertions=build(endpoint=False),
        tokens=build(endpoint=True),
    )


_VOLUME_CONFLICT: Final = fill(
    """
    object.spec.?volumes.orValue([]).exists(v, variables.mounts.exists(w, v.name == w.volume && !(
      w['class'] != '' ?
        v.?csi.?driver.orValue('') == $driver && v.csi.?readOnly.orValue(false) &&
        v.csi.?volumeAttributes[?$attribute].orValue('') == w['class'] :
      has(v.emptyDir) || has(v.projected)
    )))
    """,
    driver=MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER,
    attribute=MANAGED_AZURE_SECRET_PROVIDER_CLASS,
)


def _build_mount_conflict(*, keyless: bool) -> Expression:
    return fill(
        """
        variables.targets.exists(t, t.mounts.exists(m, $is_kept t.wantedMounts.exists(w, $same_path && !(
          m.name == w.name && m.?subPath.orValue('') == '' && m.?subPathExpr.orValue('') == '' &&
          (!w.?readOnly.orValue(false) || m.?readOnly.orValue(false))
        ))))
        """,
        is_kept=Expression(f"!{_IS_GONE} &&") if keyless else Expression(""),
        same_path=_SAME_PATH,
    )


_SIDECAR_HAS_KEY: Final = fill(
    """
    object.spec.?initContainers.orValue([]).exists(c, c.name == $sidecar &&
      c.?volumeMounts.orValue([]).exists(m, variables.mounts.exists(w, w.volume == m.name)))
    """,
    sidecar=SIDECAR,
)
"""The programs would get back a key that only the sidecar has."""

_KEYLESS_CONFLICT: Final = fill(
    """
    ($is_keyless ?
      !object.spec.containers.exists(c, $gets_something) ||
      object.spec.containers.exists(c, c.name == $sidecar) ||
      $init_containers.exists(c, c.name == $sidecar && !(
        c.?restartPolicy.orValue('') == 'Always' && $mounts_key &&
        c.?env.orValue([]).exists(e,
          e.name == 'HCPCREDS_CREDENTIAL' && e.?value.orValue('') == variables.key.credential)
      )) ||
      $init_containers.exists(i, s, s.name == $sidecar &&
        $init_containers.exists(j, c, j < i && $mounts_key)) ||
      object.spec.?volumes.orValue([]).exists(v, v.name == $assertion_volume && !(
        v.?emptyDir.?medium.orValue('') == $medium && v.?emptyDir.?sizeLimit.orValue('') == $size)) ||
      (variables.key.endpoint != '' && object.spec.containers.exists(c, ($gets_something || $mounts_key) &&
        c.?env.orValue([]).exists(p, p.name in $with_proxy) &&
        c.?env.orValue([]).exists(e, e.name in $no_proxy && has(e.valueFrom)))) :
      $sidecar_has_key)
    """,
    is_keyless=_IS_KEYLESS,
    gets_something=_GETS_SOMETHING,
    init_containers=_INIT_CONTAINERS,
    sidecar=SIDECAR,
    mounts_key=_MOUNTS_KEY,
    assertion_volume=ASSERTION_VOLUME,
    medium=build_assertion_volume()["emptyDir"]["medium"],
    size=build_assertion_volume()["emptyDir"]["sizeLimit"],
    with_proxy=sorted(WITH_PROXY),
    no_proxy=NO_PROXY,
    sidecar_has_key=_SIDECAR_HAS_KEY,
)
"""A container or volume has a name of ours, the sidecar starts too late, or a proxy's exceptions have to name
the endpoint, but are not written out."""


def build_mutation(refused: Expression, *, keyless: bool) -> Expression:
    """Build the mutation.

    It is a JSONPatch, because merging can neither set the lists of a sidecar nor take a mount away. Its lists
    are written whole; the sidecar comes last, since it moves the other init containers.

    Args:
        refused: The policy's own reasons why a pod stays as it is, as an expression.
        keyless: Whether pods may be without a key.
    """
    name = Expression("w.volume")
    attributes = {MANAGED_AZURE_SECRET_PROVIDER_CLASS: Expression("w['class']")}
    csi = {"driver": MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER, "readOnly": True, "volumeAttributes": attributes}
    mutation = fill(
        """
        !($is_linux && $is_ordinary) ||
        $refused ||
        $volume_conflict ||
        $mount_conflict ||
        $other_conflict ? [] :
        (has(object.spec.volumes) || variables.mounts.size() == 0 ? [] :
          [JSONPatch{op: 'add', path: '/spec/volumes', value: []}]) +
        variables.mounts.transformList(i, w,
          !object.spec.?volumes.orValue([]).exists(v, v.name == w.volume) &&
            !variables.mounts.exists(j, m, j < i && m.volume == w.volume),
          JSONPatch{op: 'add', path: '/spec/volumes/-', value:
            w['class'] != '' ? dyn($csi) :
            w.medium != '' ? dyn($memory) : dyn($disk)}) +
        variables.targets.map(t, JSONPatch{op: 'add', path: t.path + '/env', value: t.env}) +
        variables.targets.map(t, JSONPatch{op: 'add', path: t.path + '/volumeMounts', value:
          dyn($kept_mounts) + t.wantedMounts.filter(w, !t.mounts.exists(m, $same_path))})
        """,
        is_linux=IS_LINUX,
        is_ordinary=IS_ORDINARY,
        refused=refused,
        volume_conflict=_VOLUME_CONFLICT,
        mount_conflict=_build_mount_conflict(keyless=keyless),
        other_conflict=_KEYLESS_CONFLICT if keyless else _SIDECAR_HAS_KEY,
        csi={"name": name, "csi": csi},
        memory={"name": name, "emptyDir": {"medium": Expression("w.medium")}},
        disk={"name": name, "emptyDir": Expression("{}")},
        kept_mounts=Expression(f"t.mounts.filter(m, !{_IS_GONE})" if keyless else "t.mounts"),
        same_path=_SAME_PATH,
    )
    return mutation if not keyless else Expression(f"{mutation} +\n{_SIDECAR_PATCHES}")


_SIDECAR_PATCHES: Final = fill(
    """
    (!($has_assertion) || object.spec.?volumes.orValue([]).exists(v, v.name == $assertion_volume) ? [] :
      [JSONPatch{op: 'add', path: '/spec/volumes/-', value: $assertion}]) +
    (!($is_keyless) || $init_containers.exists(c, c.name == $sidecar) ? [] :
      has(object.spec.initContainers) ?
        [JSONPatch{op: 'add', path: '/spec/initContainers/0', value: variables.sidecar}] :
        [JSONPatch{op: 'add', path: '/spec/initContainers', value: [variables.sidecar]}])
    """,
    has_assertion=_HAS_ASSERTION,
    assertion_volume=ASSERTION_VOLUME,
    assertion=build_assertion_volume(),
    is_keyless=_IS_KEYLESS,
    init_containers=_INIT_CONTAINERS,
    sidecar=SIDECAR,
)
