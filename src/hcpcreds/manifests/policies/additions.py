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
    "m.mountPath.split('/').filter(s, s != '' && s != '.') ==\n"
    "    w.path.split('/').filter(s, s != '' && s != '.')"
)
_GETS_MOUNTS: Final = Expression("variables.mounts.exists(m, m.container == c.name)")
_GETS_ENV: Final = Expression("variables.env.exists(e, e.container == c.name)")
_GETS_SOMETHING: Final = Expression(f"{_GETS_MOUNTS} || {_GETS_ENV}")
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


def build_variables(image: str) -> dict[str, Expression]:
    """Build the variables that the mutation of pods without a key needs.

    Args:
        image: The sidecar's.
    """
    return {"sidecar": _build_sidecar(image)}


def _build_wanted_mounts(*, keyless: bool) -> Expression:
    """The mounts that a container `c` has to have, as the policy writes them in `mounts`."""
    if not keyless:
        return Expression("variables.mounts.filter(w, w.container == c.name)")
    mount = build_assertion_mount()
    assertion = {
        "volume": mount["name"],
        "class": "",
        "path": mount["mountPath"],
        "readOnly": "true",
        "medium": "",
    }
    return fill(
        """
        (variables.mounts.filter(w, w.container == c.name &&
            (w.volume != variables.key.volume || variables.key.keep != '')) +
          ($has_assertion ? [$assertion] : []))
        """,
        has_assertion=_HAS_ASSERTION,
        assertion={"container": "", **assertion},
    )


def _build_mounts(*, keyless: bool) -> Expression:
    """The mounts that a container `c` will have: its own as they are, and the missing ones."""
    return fill(
        """
        $kept + $wanted.filter(w, !c.?volumeMounts.orValue([]).exists(m, $same_path))
          .map(w, w.readOnly != '' ?
            {'name': dyn(w.volume), 'mountPath': dyn(w.path), 'readOnly': dyn(true)} :
            {'name': dyn(w.volume), 'mountPath': dyn(w.path)})
        """,
        kept=Expression(
            f"dyn(c.?volumeMounts.orValue([]).filter(m, !{_IS_GONE}))"
            if keyless
            else "c.?volumeMounts.orValue([])"
        ),
        wanted=_build_wanted_mounts(keyless=keyless),
        same_path=_SAME_PATH,
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
        object.spec.containers.filter(c, $gets_something)
          .map(c, ($env).filter(e, e.name.upperAscii() in $proxies))
          .filter(env, !env.exists(e, e.?value.orValue('').matches($loopback)))[?0].orValue([])
        """,
        gets_something=_GETS_SOMETHING,
        env=_build_env(keyless=True),
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


def _build_mount_conflict(kind: str, *, keyless: bool) -> Expression:
    return fill(
        """
        $containers.exists(c, $concerned && c.?volumeMounts.orValue([]).exists(m, $is_kept
          $wanted.exists(w, $is_its && $same_path && !(
            m.name == w.volume && m.?subPath.orValue('') == '' && m.?subPathExpr.orValue('') == '' &&
            (w.readOnly == '' || m.?readOnly.orValue(false))
          ))))
        """,
        containers=Expression(f"object.spec.?{kind}.orValue([])"),
        concerned=_choose_containers(kind) if keyless else Expression("true"),
        is_kept=Expression(f"!{_IS_GONE} &&") if keyless else Expression(""),
        wanted=_build_wanted_mounts(keyless=True) if keyless else Expression("variables.mounts"),
        is_its=Expression("true" if keyless else "w.container == c.name"),
        same_path=_SAME_PATH,
    )


def _choose_containers(kind: str) -> Expression:
    """Whether a container `c` of a pod that may be without a key gets something, or loses the key."""
    if kind == "containers":
        return Expression(f"({_GETS_SOMETHING} || ({_IS_KEYLESS} && {_MOUNTS_KEY}))")
    return fill(
        "($is_keyless && c.name != $sidecar && $mounts_key)",
        is_keyless=_IS_KEYLESS,
        sidecar=SIDECAR,
        mounts_key=_MOUNTS_KEY,
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
    kinds = ("containers", "initContainers") if keyless else ("containers",)
    conflicts = [
        _VOLUME_CONFLICT,
        *(_build_mount_conflict(kind, keyless=keyless) for kind in kinds),
        _KEYLESS_CONFLICT if keyless else _SIDECAR_HAS_KEY,
    ]
    patches = [_VOLUME_PATCHES, *(_build_patches(kind, keyless=keyless) for kind in kinds)]
    return fill(
        """
        !($is_linux && $is_ordinary) ||
        $refused ||
        $conflicts ? [] :
        $patches
        """,
        is_linux=IS_LINUX,
        is_ordinary=IS_ORDINARY,
        refused=refused,
        conflicts=Expression(" ||\n".join(conflicts)),
        patches=Expression(" +\n".join([*patches, _SIDECAR_PATCHES] if keyless else patches)),
    )


def _build_patches(kind: str, *, keyless: bool) -> Expression:
    concerned = _choose_containers(kind)
    return fill(
        """
        object.spec.?$kind.orValue([]).transformList(i, c, $gets_env,
          JSONPatch{op: 'add', path: $path + string(i) + '/env', value: $env}) +
        object.spec.?$kind.orValue([]).transformList(i, c, $gets_mounts,
          JSONPatch{op: 'add', path: $path + string(i) + '/volumeMounts', value: $mounts})
        """,
        kind=Expression(kind),
        path=f"/spec/{kind}/",
        gets_env=concerned if keyless else _GETS_ENV,
        env=_build_env(keyless=keyless),
        gets_mounts=concerned if keyless else _GETS_MOUNTS,
        mounts=_build_mounts(keyless=keyless),
    )


_CLASS_SOURCE: Final = {
    "driver": MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER,
    "readOnly": True,
    "volumeAttributes": {MANAGED_AZURE_SECRET_PROVIDER_CLASS: Expression("w['class']")},
}
_VOLUME_PATCHES: Final = fill(
    """
    (has(object.spec.volumes) || variables.mounts.size() == 0 ? [] :
      [JSONPatch{op: 'add', path: '/spec/volumes', value: []}]) +
    variables.mounts.transformList(i, w,
      !object.spec.?volumes.orValue([]).exists(v, v.name == w.volume) &&
        !variables.mounts.exists(j, m, j < i && m.volume == w.volume),
      JSONPatch{op: 'add', path: '/spec/volumes/-', value:
        w['class'] != '' ? dyn($csi) :
        w.medium != '' ? dyn($memory) : dyn($disk)})
    """,
    csi={"name": Expression("w.volume"), "csi": _CLASS_SOURCE},
    memory={"name": Expression("w.volume"), "emptyDir": {"medium": Expression("w.medium")}},
    disk={"name": Expression("w.volume"), "emptyDir": Expression("{}")},
)

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
