"""What a pod gets, as expressions: the part of the mutation that does not ask where its identity comes from.

A policy says first, in variables of its own,
- `mounts`: a list of maps of texts: container, volume, class, path, readOnly, medium;
- `env`: a list of maps of texts: container, name, value;
- for pods without a key, `key`: a map of texts about the key that only the sidecar mounts: volume, path,
  keep, credential, file, client_id, tenant_id, cloud, authority, and endpoint if there may be one; `volume`
  is empty if the pod keeps its key.

Each variable of a policy costs the API server some microseconds a pod, so there are few.
"""

from typing import Final

from hcpcreds.constants import (
    MANAGED_AZURE_SECRET_PROVIDER_CLASS,
    MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER,
)
from hcpcreds.manifests.inject.keyless import PROXIES
from hcpcreds.manifests.inject.no_proxy import NO_PROXY
from hcpcreds.manifests.policies.cel import Expression, fill
from hcpcreds.manifests.policies.environment import HAS_PROXY, build_env, build_own_env
from hcpcreds.manifests.policies.selection import IS_LINUX, IS_ORDINARY
from hcpcreds.manifests.policies.ways import IS_KEYLESS, IS_TOKENS, IS_WITHOUT_ENDPOINT, Ways
from hcpcreds.manifests.sidecar import (
    ASSERTION_VOLUME,
    SIDECAR,
    build_assertion_mount,
    build_assertion_volume,
    build_sidecar,
)

_LOOPBACK: Final = (
    r"^[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*@)?(localhost|127\.0\.0\.1|\[::1\])(:[0-9]*)?([/?#].*)?$"
)
"""A proxy on the pod's own address is a container that starts after the sidecar."""


_INIT_CONTAINERS: Final = Expression("object.spec.?initContainers.orValue([])")
_SAME_PATH: Final = Expression(
    "m.mountPath.split('/').filter(s, s != '' && s != '.') ==\n"
    "    w.path.split('/').filter(s, s != '' && s != '.')"
)
_GETS_MOUNTS: Final = Expression("variables.mounts.exists(m, m.container == c.name)")
_GETS_ENV: Final = Expression("variables.env.exists(e, e.container == c.name)")
_GETS_SOMETHING: Final = Expression(f"{_GETS_MOUNTS} || {_GETS_ENV}")
_MOUNTS_KEY: Final = Expression("c.?volumeMounts.orValue([]).exists(m, m.name == variables.key.volume)")


def build_variables(image: str, ways: Ways) -> dict[str, Expression]:
    """Build the variables that the mutation of pods without a key needs.

    Args:
        image: The sidecar's.
        ways: How the pods may log in.
    """
    assertions = _build_sidecar(image, ways, endpoint=False)
    if not ways.endpoint:
        return {"sidecar": fill("$sidecar", sidecar=assertions)}
    tokens = _build_sidecar(image, ways, endpoint=True)
    sidecar = fill(
        "$is_without ?\n$assertions :\n$tokens",
        is_without=IS_WITHOUT_ENDPOINT,
        assertions=assertions,
        tokens=tokens,
    )
    return {"sidecar": sidecar}


def _build_wanted_mounts(ways: Ways) -> Expression:
    """The mounts that a container `c` has to have, as the policy writes them in `mounts`."""
    if not ways.keyless:
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
        has_assertion=ways.has_assertion,
        assertion={"container": "", **assertion},
    )


def _build_mounts(ways: Ways) -> Expression:
    """The mounts that a container `c` will have: its own as they are, and the missing ones."""
    return fill(
        """
        $kept + $wanted.filter(w, !c.?volumeMounts.orValue([]).exists(m, $same_path))
          .map(w, w.readOnly != '' ?
            {'name': dyn(w.volume), 'mountPath': dyn(w.path), 'readOnly': dyn(true)} :
            {'name': dyn(w.volume), 'mountPath': dyn(w.path)})
        """,
        kept=Expression(
            f"dyn(c.?volumeMounts.orValue([]).filter(m, !{ways.is_gone}))"
            if ways.keyless
            else "c.?volumeMounts.orValue([])"
        ),
        wanted=_build_wanted_mounts(ways),
        same_path=_SAME_PATH,
    )


def _build_sidecar(image: str, ways: Ways, *, endpoint: bool) -> dict[str, object]:
    # The proxy of the first container that gets something, which the sidecar needs too.
    proxies = fill(
        """
        object.spec.containers.filter(c, $gets_something)
          .map(c, ($own).filter(e, e.name.upperAscii() in $proxies))
          .filter(env, !env.exists(e, e.?value.orValue('').matches($loopback)))[?0].orValue([])
        """,
        gets_something=_GETS_SOMETHING,
        own=build_own_env(ways),
        proxies=sorted(PROXIES),
        loopback=_LOOPBACK,
    )
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


def _build_mount_conflict(kind: str, ways: Ways) -> Expression:
    return fill(
        """
        $containers.exists(c, $concerned && c.?volumeMounts.orValue([]).exists(m, $is_kept
          $wanted.exists(w, $is_its && $same_path && !(
            m.name == w.volume && m.?subPath.orValue('') == '' && m.?subPathExpr.orValue('') == '' &&
            (w.readOnly == '' || m.?readOnly.orValue(false))
          ))))
        """,
        containers=Expression(f"object.spec.?{kind}.orValue([])"),
        concerned=_choose_containers(kind) if ways.keyless else Expression("true"),
        is_kept=Expression(f"!{ways.is_gone} &&") if ways.keyless else Expression(""),
        wanted=_build_wanted_mounts(ways) if ways.keyless else Expression("variables.mounts"),
        is_its=Expression("true" if ways.keyless else "w.container == c.name"),
        same_path=_SAME_PATH,
    )


def _choose_containers(kind: str) -> Expression:
    """Whether a container `c` of a pod that may be without a key gets something, or loses the key."""
    if kind == "containers":
        return Expression(f"({_GETS_SOMETHING} || {_MOUNTS_KEY})")
    return fill("(c.name != $sidecar && $mounts_key)", sidecar=SIDECAR, mounts_key=_MOUNTS_KEY)


_SIDECAR_HAS_KEY: Final = fill(
    """
    object.spec.?initContainers.orValue([]).exists(c, c.name == $sidecar &&
      c.?volumeMounts.orValue([]).exists(m, variables.mounts.exists(w, w.volume == m.name)))
    """,
    sidecar=SIDECAR,
)
"""The programs would get back a key that only the sidecar has."""

_NO_PROXY_CONFLICT: Final = fill(
    """
    ($is_tokens && object.spec.containers.exists(c, ($gets_something || $mounts_key) && $has_proxy &&
      c.?env.orValue([]).exists(e, e.name in $no_proxy && has(e.valueFrom))))
    """,
    is_tokens=IS_TOKENS,
    gets_something=_GETS_SOMETHING,
    mounts_key=_MOUNTS_KEY,
    has_proxy=HAS_PROXY,
    no_proxy=NO_PROXY,
)
"""A proxy's exceptions have to name the token endpoint, but are not written out."""

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
        v.?emptyDir.?medium.orValue('') == $medium && v.?emptyDir.?sizeLimit.orValue('') == $size)) :
      $sidecar_has_key)
    """,
    is_keyless=IS_KEYLESS,
    gets_something=_GETS_SOMETHING,
    init_containers=_INIT_CONTAINERS,
    sidecar=SIDECAR,
    mounts_key=_MOUNTS_KEY,
    assertion_volume=ASSERTION_VOLUME,
    medium=build_assertion_volume()["emptyDir"]["medium"],
    size=build_assertion_volume()["emptyDir"]["sizeLimit"],
    sidecar_has_key=_SIDECAR_HAS_KEY,
)
"""A container or volume has a name of ours, or the sidecar starts too late."""


def build_mutation(refused: Expression, ways: Ways) -> Expression:
    """Build the mutation.

    It is a JSONPatch, because merging can neither set the lists of a sidecar nor take a mount away. Its lists
    are written whole; the sidecar comes last, since it moves the other init containers.

    Args:
        refused: The policy's own reasons why a pod stays as it is, as an expression.
        ways: How the pods may log in.
    """
    kinds = ("containers", "initContainers") if ways.keyless else ("containers",)
    conflicts = [
        _VOLUME_CONFLICT,
        *(_build_mount_conflict(kind, ways) for kind in kinds),
        _KEYLESS_CONFLICT if ways.keyless else _SIDECAR_HAS_KEY,
        *([_NO_PROXY_CONFLICT] if ways.endpoint else []),
    ]
    patches = [
        _VOLUME_PATCHES,
        *(_build_patches(kind, ways) for kind in kinds),
        *([_build_sidecar_patches(ways)] if ways.keyless else []),
    ]
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
        patches=Expression(" +\n".join(patches)),
    )


def _build_patches(kind: str, ways: Ways) -> Expression:
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
        gets_env=concerned if ways.keyless else _GETS_ENV,
        env=build_env(ways),
        gets_mounts=concerned if ways.keyless else _GETS_MOUNTS,
        mounts=_build_mounts(ways),
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


def _build_sidecar_patches(ways: Ways) -> Expression:
    return fill(
        """
        (!($has_assertion) || object.spec.?volumes.orValue([]).exists(v, v.name == $assertion_volume) ? [] :
          [JSONPatch{op: 'add', path: '/spec/volumes/-', value: $assertion}]) +
        (!($is_keyless) || $init_containers.exists(c, c.name == $sidecar) ? [] :
          has(object.spec.initContainers) ?
            [JSONPatch{op: 'add', path: '/spec/initContainers/0', value: variables.sidecar}] :
            [JSONPatch{op: 'add', path: '/spec/initContainers', value: [variables.sidecar]}])
        """,
        has_assertion=ways.has_assertion,
        assertion_volume=ASSERTION_VOLUME,
        assertion=build_assertion_volume(),
        is_keyless=IS_KEYLESS,
        init_containers=_INIT_CONTAINERS,
        sidecar=SIDECAR,
    )
