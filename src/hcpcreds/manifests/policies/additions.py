"""What a pod gets, as expressions: the part of the mutation that does not ask where its identity comes from.

A policy says first, in variables of its own,
- `mounts`: a list of maps of texts: container, volume, class, path, readOnly, medium;
- `env`: a list of maps of texts: container, name, value;
- `key`: a map of texts about the key that only the sidecar mounts: volume, path, keep, endpoint, credential,
  file, client_id, tenant_id, cloud, authority; without a key, `volume` is empty.
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

_VOLUMES: Final = Expression("object.spec.?volumes.orValue([])")
_INIT_CONTAINERS: Final = Expression("object.spec.?initContainers.orValue([])")
_IS_GONE: Final = fill(
    """
    variables.keyless && (
      (m.name == variables.key.volume && variables.key.keep == '') ||
      (m.name == $assertion_volume && variables.key.endpoint != '')
    )
    """,
    assertion_volume=ASSERTION_VOLUME,
)
"""Whether a keyless pod's container loses the mount `m`."""
_SAME_PATH: Final = Expression(
    "m.mountPath.split('/').filter(s, s != '' && s != '.') == "
    "w.mountPath.split('/').filter(s, s != '' && s != '.')"
)


def build_variables(image: str) -> dict[str, Expression]:
    """Build the variables that make of the policy's own ones what `MUTATION` needs, in their order.

    Args:
        image: The sidecar's.
    """
    volume = build_assertion_volume()
    return {
        "keyless": Expression("variables.key.volume != ''"),
        "placed": Expression("variables.mounts.map(m, m.container) + variables.env.map(e, e.container)"),
        "volumes": fill(
            """
            variables.mounts
              .map(m, {'name': m.volume, 'class': m['class'], 'medium': m.medium, 'size': ''}).distinct() +
            (variables.keyless && variables.key.endpoint == '' ? [$assertion] : [])
            """,
            assertion={"name": volume["name"], "class": "", **_ASSERTION_SOURCE},
        ),
        "targets": _TARGETS,
        "mountLists": _MOUNT_LISTS,
        "envLists": _build_env_lists(),
        "newMountLists": _NEW_MOUNT_LISTS,
        "newEnvLists": _build_new_env_lists(),
        "conflict": Expression(" ||\n".join(_CONFLICTS)),
        "proxies": _PROXY_ENV,
        "sidecar": fill(
            "variables.key.endpoint == '' ?\n$assertions :\n$tokens",
            assertions=_build_sidecar(image, endpoint=False),
            tokens=_build_sidecar(image, endpoint=True),
        ),
    }


_ASSERTION_SOURCE: Final = {"medium": "Memory", "size": "1Mi"}

_TARGETS: Final = fill(
    """
    (object.spec.containers
        .transformList(i, c, {'path': dyn('/spec/containers/' + string(i)), 'it': dyn(c)}) +
      (variables.keyless ? $init_containers : [])
        .transformList(i, c, {'path': dyn('/spec/initContainers/' + string(i)), 'it': dyn(c)})
    ).filter(t, t.it.name in variables.placed || (
      variables.keyless && t.it.name != $sidecar &&
      t.it.?volumeMounts.orValue([]).exists(m, m.name == variables.key.volume)
    ))
    """,
    init_containers=_INIT_CONTAINERS,
    sidecar=SIDECAR,
)
"""The containers that get something."""

_MOUNT_LISTS: Final = fill(
    """
    variables.targets.map(t, {
      'path': dyn(t.path),
      'before': dyn(t.it.?volumeMounts.orValue([])),
      'wanted':
        dyn(variables.mounts
          .filter(m, m.container == t.it.name)
          .filter(m, m.volume != variables.key.volume || variables.key.keep != '')
          .map(m, m.readOnly != '' ?
            {'name': dyn(m.volume), 'mountPath': dyn(m.path), 'readOnly': dyn(true)} :
            {'name': dyn(m.volume), 'mountPath': dyn(m.path)})) +
        dyn(variables.keyless && variables.key.endpoint == '' ? [$assertion] : [])
    })
    """,
    assertion=build_assertion_mount(),
)

_NEW_MOUNT_LISTS: Final = fill(
    """
    variables.mountLists.map(t, {
      'path': t.path,
      'before': t.before,
      'after': dyn(t.before.filter(m, !($is_gone))) +
        dyn(t.wanted.filter(w, !t.before.exists(m, $same_path)))
    })
    """,
    is_gone=_IS_GONE,
    same_path=_SAME_PATH,
)


def _build_env_lists() -> Expression:
    client_id = Expression("variables.key.client_id")
    return fill(
        """
        variables.targets.map(t, {
          'path': dyn(t.path),
          'name': dyn(t.it.name),
          'before': dyn(t.it.?env.orValue([])),
          'wanted':
            dyn(variables.env
              .filter(e, e.container == t.it.name && !(variables.keyless && e.name in $other_ways))
              .map(e, {'name': e.name, 'value': e.value})) +
            dyn(!variables.keyless ? dyn([]) : variables.key.endpoint == '' ?
              dyn($client) :
              dyn($endpoint) + dyn(variables.key.client_id == '' ? [] : $client_id) +
              dyn(t.it.?env.orValue([]).exists(e, e.name in $with_proxy) &&
                !t.it.?env.orValue([]).exists(e, e.name in $no_proxy) ? [$exceptions] : []))
        })
        """,
        other_ways=sorted(OTHER_WAYS),
        client=build_client_env(
            client_id=client_id,
            tenant_id=Expression("variables.key.tenant_id"),
            token_file=fill("$directory + variables.key.file", directory=f"{ASSERTION_DIRECTORY}/"),
            authority=Expression("variables.key.authority"),
        ),
        endpoint=build_endpoint_env(None),
        client_id=[{"name": "AZURE_CLIENT_ID", "value": client_id}],
        with_proxy=sorted(WITH_PROXY),
        no_proxy=NO_PROXY,
        exceptions={"name": NO_PROXY[0], "value": ",".join(HOSTS)},
    )


def _build_new_env_lists() -> Expression:
    return fill(
        """
        variables.envLists.map(t, {
          'path': t.path,
          'name': t.name,
          'before': t.before,
          'after':
            dyn(t.before
              .filter(e, !(variables.keyless && e.name in $others && !t.wanted.exists(w, w.name == e.name)))
              .map(e,
                variables.keyless && e.name in $paths ? dyn({'name': e.name}) :
                variables.keyless && variables.key.endpoint != '' && e.name in $no_proxy &&
                    t.before.exists(p, p.name in $with_proxy) &&
                    !('*' in $found) && !$hosts.all(h, h in $found) ?
                  dyn({'name': e.name, 'value': dyn(($found + $hosts.filter(h, !(h in $found))).join(','))}) :
                dyn(e))) +
            dyn(t.wanted.filter(w, !t.before.exists(e, e.name == w.name)))
        })
        """,
        others=sorted(OTHER_WAYS - set(_PATHS)),
        paths=_PATHS,
        with_proxy=sorted(WITH_PROXY),
        no_proxy=NO_PROXY,
        hosts=HOSTS,
        found=Expression("e.?value.orValue('').split(',').map(h, h.trim()).filter(h, h != '')"),
    )


_VOLUME_CONFLICT: Final = fill(
    """
    $volumes.exists(v, variables.volumes.exists(w, v.name == w.name && !(
      w['class'] != '' ?
        v.?csi.?driver.orValue('') == $driver && v.csi.?readOnly.orValue(false) &&
        v.csi.?volumeAttributes[?$attribute].orValue('') == w['class'] :
      w.size != '' ?
        v.?emptyDir.?medium.orValue('') == w.medium && v.?emptyDir.?sizeLimit.orValue('') == w.size :
      has(v.emptyDir) || has(v.projected)
    )))
    """,
    volumes=_VOLUMES,
    driver=MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER,
    attribute=MANAGED_AZURE_SECRET_PROVIDER_CLASS,
)

_MOUNT_CONFLICT: Final = fill(
    """
    variables.mountLists.exists(t, t.before.exists(m, !($is_gone) && t.wanted.exists(w, $same_path && !(
      m.name == w.name && m.?subPath.orValue('') == '' && m.?subPathExpr.orValue('') == '' &&
      (!w.?readOnly.orValue(false) || m.?readOnly.orValue(false))
    ))))
    """,
    is_gone=_IS_GONE,
    same_path=_SAME_PATH,
)

_SIDECAR_CONFLICT: Final = fill(
    """
    (variables.keyless ?
      !object.spec.containers.exists(c, c.name in variables.placed) ||
      object.spec.containers.exists(c, c.name == $sidecar) ||
      $init_containers.exists(c, c.name == $sidecar && !(
        c.?restartPolicy.orValue('') == 'Always' &&
        c.?volumeMounts.orValue([]).exists(m, m.name == variables.key.volume) &&
        c.?env.orValue([]).exists(e,
          e.name == 'HCPCREDS_CREDENTIAL' && e.?value.orValue('') == variables.key.credential)
      )) ||
      $init_containers.exists(i, c, c.name == $sidecar && $init_containers.exists(j, d,
        j < i && d.?volumeMounts.orValue([]).exists(m, m.name == variables.key.volume))) :
      $init_containers.exists(c, c.name == $sidecar && c.?volumeMounts.orValue([]).exists(m,
        variables.mounts.exists(w, w.volume == m.name))))
    """,
    init_containers=_INIT_CONTAINERS,
    sidecar=SIDECAR,
)
"""Another container has the sidecar's name, or it starts too late, or a pod would get a key back."""

_NO_PROXY_CONFLICT: Final = fill(
    """
    (variables.keyless && variables.key.endpoint != '' && variables.envLists.exists(t,
      t.before.exists(p, p.name in $with_proxy) &&
      t.before.exists(e, e.name in $no_proxy && has(e.valueFrom))))
    """,
    with_proxy=sorted(WITH_PROXY),
    no_proxy=NO_PROXY,
)
"""A proxy's exceptions have to name the endpoint, but are not written out."""

_CONFLICTS: Final = (_VOLUME_CONFLICT, _MOUNT_CONFLICT, _SIDECAR_CONFLICT, _NO_PROXY_CONFLICT)

_PROXY_ENV: Final = fill(
    """
    variables.newEnvLists.filter(t, t.name in variables.placed)
      .map(t, t.after.filter(e, e.name.upperAscii() in $proxies))
      .filter(env, !env.exists(e, e.?value.orValue('').matches($loopback)))[?0].orValue([])
    """,
    proxies=sorted(PROXIES),
    loopback=_LOOPBACK,
)
"""The proxy of the first container that gets something, which the sidecar needs too."""


def _build_sidecar(image: str, *, endpoint: bool) -> dict[str, object]:
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
    return {**sidecar, "env": fill("dyn($env) + variables.proxies", env=sidecar["env"])}


def _build_mutation() -> Expression:
    name = Expression("w.name")
    attributes = {MANAGED_AZURE_SECRET_PROVIDER_CLASS: Expression("w['class']")}
    csi = {"driver": MANAGED_AZURE_SECRETS_STORE_CSI_DRIVER, "readOnly": True, "volumeAttributes": attributes}
    return fill(
        """
        variables.refused || variables.conflict ? [] :
        (has(object.spec.volumes) || variables.volumes.size() == 0 ? [] :
          [JSONPatch{op: 'add', path: '/spec/volumes', value: []}]) +
        variables.volumes.filter(w, !$volumes.exists(v, v.name == w.name)).map(w,
          JSONPatch{op: 'add', path: '/spec/volumes/-', value:
            w['class'] != '' ? dyn($csi) :
            w.size != '' ? dyn($assertion) :
            w.medium != '' ? dyn($memory) : dyn($disk)}) +
        variables.newMountLists.filter(t, t.after != t.before).map(t,
          JSONPatch{op: 'add', path: t.path + '/volumeMounts', value: t.after}) +
        variables.newEnvLists.filter(t, t.after != t.before).map(t,
          JSONPatch{op: 'add', path: t.path + '/env', value: t.after}) +
        (!variables.keyless || $init_containers.exists(c, c.name == $sidecar) ? [] :
          has(object.spec.initContainers) ?
            [JSONPatch{op: 'add', path: '/spec/initContainers/0', value: variables.sidecar}] :
            [JSONPatch{op: 'add', path: '/spec/initContainers', value: [variables.sidecar]}])
        """,
        volumes=_VOLUMES,
        csi={"name": name, "csi": csi},
        assertion=build_assertion_volume(),
        memory={"name": name, "emptyDir": {"medium": Expression("w.medium")}},
        disk={"name": name, "emptyDir": Expression("{}")},
        init_containers=_INIT_CONTAINERS,
        sidecar=SIDECAR,
    )


MUTATION: Final = _build_mutation()
"""A JSONPatch, because merging can neither set the lists of a sidecar nor take a mount away.

Its lists are written whole; the sidecar comes last, since it moves the other init containers.
"""
