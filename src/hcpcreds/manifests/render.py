"""Renders all objects that the credentials of a hosted cluster need."""

from collections.abc import Collection
from typing import Any, Final

import msgspec

from hcpcreds.components import COMPONENTS, WORKLOADS, Component, Content, ExtraObject
from hcpcreds.errors import InputError
from hcpcreds.hosted_cluster import HostedCluster, ManagedIdentity, WorkloadIdentity
from hcpcreds.kubernetes.objects import AzureClusterIdentity, ConfigMap, Secret
from hcpcreds.manifests.cloud_config import CLOUD_CONFIG_KEY, render_cloud_config
from hcpcreds.manifests.cluster_identity import build_azure_cluster_identity
from hcpcreds.manifests.credentials import build_credentials, build_guest_secrets
from hcpcreds.manifests.metadata import build_metadata, check_namespace
from hcpcreds.manifests.secret_provider_class import (
    VAULT_ACCESS_MODES,
    VaultAccess,
    build_secret_provider_class,
    check_key_vault_user,
)

_COMPONENT_NAMES: Final = tuple(component.name for component in COMPONENTS)

KINDS: Final = ("SecretProviderClass", "Secret", "ConfigMap", "AzureClusterIdentity")
"""The kinds of the rendered objects, in their order."""
COMPONENT_CHOICES: Final = tuple(
    dict.fromkeys(
        [
            *_COMPONENT_NAMES,
            *(name for name, rows in WORKLOADS.items() if any(pod.needs_credential for _, pod in rows)),
        ]
    )
)
"""Names that select objects: of components, and of workloads for everything that their pods get."""


def render(  # noqa: PLR0913 (each by its name)
    cluster: HostedCluster,
    *,
    key_vault_user_client_id: str,
    namespace: str | None = None,
    components: Collection[str] = (),
    kinds: Collection[str] = (),
    vault_access: VaultAccess = "vm-identity",
    keyless: bool = False,
) -> list[dict[str, Any]]:
    """Build the objects that a hosted cluster needs, in an order that can be applied.

    Args:
        cluster: The hosted cluster.
        key_vault_user_client_id: Client id (a UUID) of the identity that reads the vault; needed if there
            are SecretProviderClasses among the objects.
        namespace: Where to put the objects instead of the control plane's namespace.
        components: Only the objects that these `COMPONENT_CHOICES` need: a component, or a workload for
            every component whose credential its pods get. A name of both means the component.
        kinds: Only objects of these `KINDS`.
        vault_access: How the CSI driver's provider logs in to the vault.
        keyless: For pods whose sidecar alone has the key. Objects that would lead a program to the key give
            it its client id instead; the AzureClusterIdentity, whose type cannot be changed, has another name
            than HyperShift's.

    Raises:
        InputError: A component, kind or access is unknown, the cluster has no identity for the component,
            nothing is left to render, or a builder cannot express the cluster; see each of them.
    """
    wanted, problems = _find_components(cluster, components)
    with_classes = not kinds or "SecretProviderClass" in kinds
    if not problems:
        with_classes = with_classes and any(
            component.get_identity(cluster) is not None
            for component in COMPONENTS
            if component.name in wanted
        )
    problems += [
        f"kind: unknown {kind!r}; expected one of {', '.join(KINDS)}" for kind in kinds if kind not in KINDS
    ]
    if vault_access not in VAULT_ACCESS_MODES:
        expected = ", ".join(VAULT_ACCESS_MODES)
        problems.append(f"vault access: unknown {vault_access!r}; expected one of {expected}")
    if keyless:
        problems += _find_keyless_problems(cluster, wanted)
    _check(
        problems,
        namespace=namespace,
        key_vault_user_client_id=key_vault_user_client_id if with_classes else None,
    )
    objects: list[Any] = []
    if with_classes:
        objects += [
            build_secret_provider_class(
                cluster,
                component,
                key_vault_user_client_id=key_vault_user_client_id,
                namespace=namespace,
                vault_access=vault_access,
            )
            for component in COMPONENTS
            if component.name in wanted and component.get_identity(cluster)
        ]
    extra = [
        build_object(cluster, component, item, namespace=namespace, keyless=keyless)
        for component in COMPONENTS
        if component.name in wanted
        for item in component.objects
        if (not kinds or item.kind in kinds) and (cluster.is_self_managed or not item.only_self_managed)
    ]
    objects += [item for kind in KINDS for item in extra if item["kind"] == kind]
    if not objects:
        subject = ", ".join(components) or f"hosted cluster {cluster.name}"
        raise InputError("options", [f"{subject}: no object of kind {' or '.join(kinds)}"])
    return objects


def render_guest(cluster: HostedCluster, *, components: Collection[str] = ()) -> list[dict[str, Any]]:
    """Build the Secrets in the guest cluster that name the identities its operators and drivers use.

    HyperShift's hosted-cluster-config-operator writes them. They contain no secret value.

    Args:
        cluster: The hosted cluster.
        components: Only the Secrets of these, of `COMPONENT_CHOICES`.

    Raises:
        InputError: A component is unknown, or none of them has a Secret there.
    """
    wanted, problems = _find_components(cluster, components)
    if problems:
        raise InputError("options", problems)
    secrets = build_guest_secrets(cluster)
    objects: list[Any] = [secret for name, secret in secrets.items() if not components or name in wanted]
    if not objects:
        raise InputError("options", [f"{', '.join(components)}: no Secret in the guest cluster"])
    return objects


def describe_keyless(cluster: HostedCluster, *, components: Collection[str] = ()) -> list[str]:
    """Describe what keyless components need that `render` and `inject` cannot do, or why one keeps its key.

    Args:
        cluster: The hosted cluster.
        components: Only these, of `COMPONENT_CHOICES`.
    """
    wanted, _ = _find_components(cluster, components)
    texts = []
    for component in COMPONENTS:
        row = component.consumer.keyless
        if component.name not in wanted or row is None:
            continue
        if row.refused:
            texts.append(f"{component.name}: keeps its key: {row.refused}")
        elif row.keeps_mount:
            text = "keeps the mount: it logs in without the key for some calls, and reads it for others"
            texts.append(f"{component.name}: {text}")
        elif row.beside:
            text = (
                f"it needs {row.beside}, and HyperShift writes one with the key; override that by admission"
            )
            texts.append(f"{component.name}: {text}")
    return texts


def build_object(
    cluster: HostedCluster,
    component: Component,
    item: ExtraObject,
    *,
    namespace: str | None = None,
    keyless: bool = False,
) -> Secret | ConfigMap | AzureClusterIdentity:
    """Build an object that a component needs in addition to its SecretProviderClass.

    Args:
        cluster: The hosted cluster.
        component: The component; the cluster must have an identity for it.
        item: One of the component's `objects`.
        namespace: Where to put it instead of the control plane's namespace.
        keyless: As in `render`.

    Raises:
        InputError: The cluster has no identity for the component, or its cloud cannot be expressed.
    """
    identity = component.get_identity(cluster) or component.get_workload_identity(cluster)
    name = item.name or cluster.name
    if identity is None:
        raise InputError(name, [f"the hosted cluster {cluster.name} has no identity for {component.name}"])
    row = component.consumer.keyless
    if keyless and row is not None and row.beside and isinstance(identity, ManagedIdentity):
        name = item.name or f"{cluster.name}-keyless"
        identity = WorkloadIdentity(client_id=identity.client_id or "")
    metadata = build_metadata(name, cluster, component=component.name, namespace=namespace)
    if item.content is Content.CLUSTER_IDENTITY:
        return build_azure_cluster_identity(cluster, identity, metadata)
    if item.content is Content.CREDENTIALS:
        data = build_credentials(cluster, identity)
        return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}
    text = render_cloud_config(cluster, item.content, identity)
    if item.kind == "ConfigMap":
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {CLOUD_CONFIG_KEY: text},
        }
    encoded: str = msgspec.to_builtins(text.encode())  # bytes become base64
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {CLOUD_CONFIG_KEY: encoded}}


def _find_components(cluster: HostedCluster, names: Collection[str]) -> tuple[set[str], list[str]]:
    """Find components by their names, or the names of workloads.

    Returns:
        Their names, those of all the cluster's components when none is given; and the problems found.
    """
    there = {component.name for component in COMPONENTS if component.is_in(cluster)}
    if not names:
        return there, []
    wanted: set[str] = set()
    problems = []
    for name in names:
        if name in there:
            wanted.add(name)
        elif name in _COMPONENT_NAMES:
            problems.append(f"component: the hosted cluster {cluster.name} has no identity for {name}")
        elif name in COMPONENT_CHOICES:
            wanted.update(component.name for component, _ in WORKLOADS[name])
        else:
            problems.append(f"component: unknown {name!r}; expected one of {', '.join(COMPONENT_CHOICES)}")
    return wanted & there if not problems else wanted, problems


def _find_keyless_problems(cluster: HostedCluster, wanted: Collection[str]) -> list[str]:
    if cluster.is_self_managed:
        return [f"keyless: the hosted cluster {cluster.name} has workload identities, and so no keys"]
    return [
        f"keyless: the identity of {component.name} has no clientID in the hosted cluster {cluster.name}"
        for component in COMPONENTS
        if component.name in wanted
        and (row := component.consumer.keyless) is not None
        and row.beside
        and (identity := component.get_identity(cluster)) is not None
        and not identity.client_id
    ]


def _check(problems: list[str], *, namespace: str | None, key_vault_user_client_id: str | None) -> None:
    """Raise every problem at once: those found so far, and those of the two names."""
    hint: str | None = None
    options: tuple[str, ...] = ()
    try:
        if namespace is not None:
            check_namespace(namespace)
    except InputError as error:
        problems.append(error.message)
    try:
        if key_vault_user_client_id is not None:
            check_key_vault_user(key_vault_user_client_id)
    except InputError as error:
        problems.append(error.message)
        hint, options = error.hint, error.options
    if problems:
        raise InputError("options", problems, hint=hint, options=options)
