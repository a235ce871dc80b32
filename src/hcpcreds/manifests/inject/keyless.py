"""What makes a workload keyless: the sidecar alone mounts the key, and the programs get its assertions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlsplit

from hcpcreds.clouds import get_cloud
from hcpcreds.components import WORKLOADS
from hcpcreds.constants import ARO_HCP_CLIENT_CREDENTIALS_PATH, MANAGED_AZURE_CREDENTIALS_FILE_PATH
from hcpcreds.errors import InputError
from hcpcreds.kubernetes.objects import Path, VolumeMount, is_same
from hcpcreds.manifests.inject.changes import Entry, ListDiff, diff_list, is_true, render_path
from hcpcreds.manifests.inject.identify import find_row, find_secret_name
from hcpcreds.manifests.inject.no_proxy import diff_no_proxy
from hcpcreds.manifests.inject.options import InjectOptions, Sidecar
from hcpcreds.manifests.inject.workloads import Workload
from hcpcreds.manifests.sidecar import (
    ASSERTION_DIRECTORY,
    ASSERTION_VOLUME,
    KEEP_MOUNT,
    SIDECAR,
    build_assertion_mount,
    build_assertion_volume,
    build_client_env,
    build_endpoint_env,
    build_sidecar,
)
from hcpcreds.manifests.workload import ContainerAdditions, PodAdditions

OTHER_WAYS: Final = frozenset(
    {
        MANAGED_AZURE_CREDENTIALS_FILE_PATH,
        ARO_HCP_CLIENT_CREDENTIALS_PATH,
        "AZURE_CLIENT_CERTIFICATE_PATH",
        "AZURE_FEDERATED_TOKEN_FILE",
        "IDENTITY_ENDPOINT",
        "IDENTITY_HEADER",
        "IDENTITY_SERVER_THUMBPRINT",
        "IMDS_ENDPOINT",
        "MSI_ENDPOINT",
        "MSI_SECRET",
    }
)
"""Variables in which programs find a key, an assertion or an endpoint, and may prefer it to what they get."""
PROXIES: Final = frozenset({"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"})
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Key:
    """The credential that only the sidecar mounts."""

    mount: VolumeMount
    file: str
    """Its name below the mount; also that of the assertion."""
    client_id: str
    """Empty if a token endpoint needs none."""
    tenant_id: str
    cloud: str
    keep_mount: bool
    """Whether the programs' containers keep the mount too."""
    beside: str = ""
    """The object that has to say so too."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A credential that the programs keep, because they cannot do without its key."""

    reason: str


def find_key(workload: Workload, options: InjectOptions) -> Key | Kept | None:
    """Find the credential whose key a workload's programs give up.

    Returns:
        None if they have no key.

    Raises:
        InputError: What the programs need instead is not known.
    """
    settings, custom, cluster = options.sidecar, options.custom, options.cluster
    if settings is None:
        return None
    if custom is not None:
        mount: VolumeMount = {"name": custom.volume_name, "mountPath": custom.mount_path, "readOnly": True}
        return _make_key(workload, settings, mount, custom.credentials_secret_name, settings.client_id)
    row = find_row(workload, options)
    component, pod = WORKLOADS[row][0] if row else (None, None)
    if component is None or pod is None or pod.mount is None:
        return None
    identity = component.get_identity(cluster) if cluster is not None else None
    if cluster is not None and identity is None:
        return None
    if settings.endpoint:
        problem = "its program logs in with a key or an assertion, and asks no token endpoint"
        raise InputError(workload.title, [problem], options=["keyless"])
    if pod.keyless is None or pod.keyless.refused:
        return Kept(pod.keyless.refused if pod.keyless else "it is not known how its program does without")
    key = _make_key(
        workload,
        settings if cluster is None else replace(settings, tenant_id=cluster.tenant_id, cloud=cluster.cloud),
        {"name": pod.mount.volume_name, "mountPath": pod.mount.path, "readOnly": True},
        identity.credentials_secret_name if identity else find_secret_name(workload, options),
        (identity.client_id if identity else None) or settings.client_id,
    )
    keep_mount = key.keep_mount or pod.keyless.keeps_mount
    return replace(key, keep_mount=keep_mount, beside=pod.keyless.beside)


def _make_key(
    workload: Workload, settings: Sidecar, mount: VolumeMount, file: str | None, client_id: str | None
) -> Key:
    given = {"credentials_secret_name": file}
    if settings.service_principal or not settings.endpoint:
        given |= {"client_id": client_id, "tenant_id": settings.tenant_id}
    if missing := [name for name, value in given.items() if value is None]:
        names = ", ".join(name.replace("_", " ") for name in missing)
        raise InputError(workload.title, [f"without a key, its programs need: {names}"], options=missing)
    if any(character in mount["mountPath"] for character in " ,="):
        problem = f"mount path: got {mount['mountPath']!r}, expected one without blanks, ',' and '='"
        raise InputError(workload.title, [problem])
    return Key(
        mount,
        file=file or "",
        client_id=client_id or "",
        tenant_id=settings.tenant_id or "",
        cloud=get_cloud(settings.cloud).name,
        keep_mount=settings.keep_mount,
    )


def diff_keyless(
    workload: Workload,
    additions: PodAdditions,
    placed: Sequence[tuple[Path, ContainerAdditions]],
    key: Key,
    settings: Sidecar,
) -> list[ListDiff]:
    """Compare a workload with what makes it settings.

    Args:
        workload: The workload.
        additions: What it gets with a key.
        placed: The containers that get it, with their paths.
        key: The credential that only the sidecar is to mount.
        settings: The sidecar's.
    """
    name = key.mount["name"]
    given_mounts: list[VolumeMount] = []
    volumes = list(additions.volumes)
    given: Sequence[Entry]
    if settings.endpoint:
        given = build_endpoint_env(key.client_id)
    else:
        given = build_client_env(
            client_id=key.client_id,
            tenant_id=key.tenant_id,
            token_file=f"{ASSERTION_DIRECTORY}/{key.file}",
            authority=get_cloud(key.cloud).authority,
        )
        given_mounts.append(build_assertion_mount())
        volumes.append(build_assertion_volume())

    def is_key_mount(entry: Entry) -> bool:
        is_key = entry.get("name") == name and not key.keep_mount
        return is_key or (settings.endpoint and entry.get("name") == ASSERTION_VOLUME)

    def is_other_way(entry: Entry) -> bool:
        return entry.get("name") in OTHER_WAYS

    added = dict(placed)
    for path in _find_mounting(workload, name):
        added.setdefault(path, ContainerAdditions())
    spec = workload.pod_spec
    diffs = [_diff(workload, (*spec, "volumes"), volumes)]
    for path, plain in added.items():
        mounts = [mount for mount in plain.volume_mounts if not is_key_mount(mount)]
        variables: list[Entry] = [variable for variable in plain.env if not is_other_way(variable)]
        if settings.endpoint:
            no_proxy, added_no_proxy = diff_no_proxy(workload.get(path).get("env"), (*path, "env"))
            diffs.append(no_proxy)
            variables += added_no_proxy
        diffs += [
            diff_list(
                workload.get(path).get("volumeMounts"),
                (*path, "volumeMounts"),
                [*mounts, *given_mounts],
                is_key_mount,
            ),
            diff_list(workload.get(path).get("env"), (*path, "env"), [*variables, *given], is_other_way),
        ]
    credential = f"{key.mount['mountPath'].rstrip('/')}/{key.file}"
    if settings.service_principal:  # whose file does not name it
        credential += f",tenant_id={key.tenant_id},client_id={key.client_id}"
    sidecar = build_sidecar(
        settings.image,
        credential,
        key.mount,
        cloud=key.cloud,
        endpoint=settings.endpoint,
        env=[
            *([{"name": KEEP_MOUNT, "value": "true"}] if settings.keep_mount else []),
            *_find_proxies(workload, [path for path, _ in placed], endpoint=settings.endpoint),
        ],
    )
    diffs.append(_diff(workload, (*spec, "initContainers"), [sidecar]))
    problems = _find_problems(workload, list(added), endpoint=settings.endpoint)
    diffs.append(ListDiff(problems=tuple(problems)))
    return diffs


def _diff(workload: Workload, path: Path, wanted: Sequence[Any]) -> ListDiff:
    return diff_list(workload.get(path[:-1]).get(str(path[-1])), path, wanted)


def _find_mounting(workload: Workload, volume: str) -> Iterator[Path]:
    """Find the containers that mount a volume, except the sidecar."""
    for kind in ("containers", "initContainers"):
        for name, path in workload.get_containers(kind):
            mounts = workload.get(path).get("volumeMounts")
            names = [
                mount.get("name")
                for mount in (mounts if isinstance(mounts, list) else ())
                if isinstance(mount, Mapping)
            ]
            if volume in names and name != SIDECAR:
                yield path


def _find_proxies(workload: Workload, paths: Sequence[Path], *, endpoint: bool) -> Iterator[Entry]:
    """Find the proxy of the first container, which the sidecar needs to reach the authority too.

    One on the pod's own loopback address is a container that starts after the sidecar.
    """
    found = workload.get(paths[0]).get("env") if paths else None
    env = list(found) if isinstance(found, list) else []
    if endpoint:  # the exceptions as they will be, so that a second run finds the same
        no_proxy, added = diff_no_proxy(found, ())
        for change in no_proxy.changes:
            env[change.index or 0] = change.entry
        env += added
    variables = [
        {key: entry[key] for key in ("name", "value", "valueFrom") if key in entry}
        for entry in env
        if isinstance(entry, Mapping) and str(entry.get("name")).upper() in PROXIES
    ]
    if not any(_is_loopback(entry) for entry in variables):
        yield from variables


def _is_loopback(entry: Entry) -> bool:
    try:
        return urlsplit(str(entry.get("value"))).hostname in _LOOPBACK
    except ValueError:
        return False


def _find_problems(workload: Workload, users: Sequence[Path], *, endpoint: bool) -> Iterator[str]:
    """Find why the sidecar cannot be where it has to be, or as it has to be."""
    spec = workload.pod_spec
    if endpoint and is_true(workload.get(spec).get("hostNetwork")):
        found = render_path((*spec, "hostNetwork"))
        yield f"{found}: every process on the node could ask the token endpoint; use assertions"
    context = (*spec, "securityContext")
    if is_same(0, workload.get(context).get("runAsUser")):
        found = render_path((*context, "runAsUser"))
        yield f"{found}: the sidecar does not run as root; set it in the containers that have to"
    for name, path in workload.get_containers():
        if name == SIDECAR:
            yield f"{render_path(path)}: the container {name!r} has the name of the sidecar; rename it"
    names = workload.get_containers("initContainers")
    place = next((path for name, path in names if name == SIDECAR), None)
    if place is not None and any(path in users for name, path in names[: names.index((SIDECAR, place))]):
        yield (
            f"{render_path(place)}: the sidecar stands behind an init container that needs its assertion; "
            "put it first"
        )
