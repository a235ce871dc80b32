"""`hcpcreds render`: every object that a hosted cluster needs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import CompletionItem

from hcpcreds.cli.source import open_file_or_stdin
from hcpcreds.constants import ARO_HCP_KEY_VAULT_MANAGED_IDENTITY_CLIENT_ID, MANAGED_SERVICE
from hcpcreds.errors import HcpCredsError, InputError
from hcpcreds.text import make_printable

if TYPE_CHECKING:
    from hcpcreds.hosted_cluster import HostedCluster
    from hcpcreds.manifests.secret_provider_class import VaultAccess

_VAULT_ACCESS_MODES: Final = ("vm-identity", "workload-identity", "identity-binding")
_TO_FILES: Final = "dir="


def _parse_output(_context: click.Context, _parameter: click.Parameter, output: str) -> str:
    if output in ("yaml", "json") or output.removeprefix(_TO_FILES) not in ("", output):
        return output
    raise click.BadParameter(f"{output!r} is not one of yaml, json, dir=PATH")


def _complete_output(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    return [CompletionItem(form) for form in ("yaml", "json", _TO_FILES) if form.startswith(incomplete)]


def _complete_component(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    from hcpcreds.manifests.render import COMPONENT_CHOICES

    return [CompletionItem(name) for name in COMPONENT_CHOICES if name.startswith(incomplete)]


def _complete_kind(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    from hcpcreds.manifests.render import KINDS

    return [CompletionItem(kind) for kind in KINDS if kind.startswith(incomplete)]


@click.command(
    "render",
    epilog="""\b
Examples:
  export ARO_HCP_KEY_VAULT_USER_CLIENT_ID=7d9f5b0a-4c1e-4b53-9a67-2e8c1f3d6a05
  hcpcreds render hosted-cluster.yaml | kubectl diff -f -
  hcpcreds render hosted-cluster.yaml --output dir=manifests
  hcpcreds render - --component ingress-operator --output json < hosted-cluster.yaml
  hcpcreds render --guest hosted-cluster.yaml | kubectl --kubeconfig guest.kubeconfig apply -f -
  hcpcreds render --roles hosted-cluster.yaml
  hcpcreds render --admission-policy --image registry.example/hcpcreds:1 | kubectl apply -f -
  hcpcreds render --admission-policy --without-hypershift --kubernetes-version 1.33
""",
)
@click.argument("file", required=False, type=click.Path(allow_dash=True), metavar="FILE|-")
@click.option(
    "--key-vault-user-client-id",
    envvar=ARO_HCP_KEY_VAULT_MANAGED_IDENTITY_CLIENT_ID,
    default="",
    metavar="UUID",
    help="Client id of the management cluster's identity that reads the vault."
    f" Also taken from the environment: {ARO_HCP_KEY_VAULT_MANAGED_IDENTITY_CLIENT_ID}.",
)
@click.option(
    "--component",
    "components",
    multiple=True,
    metavar="NAME",
    shell_complete=_complete_component,
    help="Print only the objects of this component, for instance ingress-operator; or of every component of"
    " a workload, for instance cluster-storage-operator. May be repeated.",
)
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    metavar="KIND",
    shell_complete=_complete_kind,
    help="Print only this kind: SecretProviderClass, Secret, ConfigMap or AzureClusterIdentity. May be"
    " repeated.",
)
@click.option("--namespace", metavar="NAME", help="Namespace of the objects, instead of the control plane's.")
@click.option(
    "--vault-access",
    type=click.Choice(_VAULT_ACCESS_MODES),
    default="vm-identity",
    show_default=True,
    help="How the CSI driver logs in to the vault: with an identity of the node, as in HyperShift; with a"
    " workload identity that trusts the service account of each pod; or through an identity binding of AKS.",
)
@click.option(
    "--keyless",
    is_flag=True,
    help="For pods whose sidecar alone has the key (hcpcreds inject --keyless): objects that name the key say"
    " workload identity instead. Standard error tells what else a component needs, or why it keeps its key.",
)
@click.option(
    "--guest",
    is_flag=True,
    help="Print instead the Secrets of the guest cluster that name the identities in it.",
)
@click.option(
    "--rbac",
    is_flag=True,
    help="Print instead the Role and RoleBinding with which the control-plane-operator manages"
    " SecretProviderClasses.",
)
@click.option(
    "--roles",
    is_flag=True,
    help="Print instead the Azure role assignments that the identities need: a JSON array, whose keys are the"
    " options of az role assignment create.",
)
@click.option(
    "--dns-zone-resource-group",
    metavar="NAME",
    help="With --roles: resource group of the public DNS zone.  [default: that of spec.dns.publicZoneID]",
)
@click.option(
    "--admission-policy",
    is_flag=True,
    help="Print instead the policies with which an API server adds to labelled pods what hcpcreds inject"
    " adds, and the guard that names what a pod lacks. They apply to every hosted cluster: give no FILE.",
)
@click.option(
    "--image",
    envvar="HCPCREDS_IMAGE",
    metavar="IMAGE",
    help="With --admission-policy: the sidecar's, which contains hcpcreds. Without it, no pod is keyless.",
)
@click.option(
    "--managed-service",
    envvar=MANAGED_SERVICE,
    metavar="NAME",
    help="With --admission-policy: the value of MANAGED_SERVICE that pods pass on. Also taken from the"
    " environment.",
)
@click.option(
    "--without-hypershift",
    is_flag=True,
    help="With --admission-policy: for clusters without HyperShift, whose pods name their class in"
    " annotations.",
)
@click.option(
    "--kubernetes-version",
    metavar="VERSION",
    help="With --admission-policy: the cluster's. Before 1.36, there is only the guard.  [default: 1.36]",
)
@click.option(
    "--guard",
    type=click.Choice(["deny", "warn", "audit"]),
    help="With --admission-policy: what the guard does in namespaces that do not say.  [default: deny]",
)
@click.option(
    "--output",
    default="yaml",
    show_default=True,
    metavar="yaml|json|dir=PATH",
    callback=_parse_output,
    shell_complete=_complete_output,
    help="yaml is a stream of documents; json is one List; dir=PATH writes a YAML file for each object,"
    " prints the names of the files, and deletes no file.",
)
def command(  # noqa: PLR0913 (one parameter for each option)
    *,
    file: str | None,
    key_vault_user_client_id: str,
    components: tuple[str, ...],
    kinds: tuple[str, ...],
    namespace: str | None,
    vault_access: "VaultAccess",
    keyless: bool,
    guest: bool,
    rbac: bool,
    roles: bool,
    dns_zone_resource_group: str | None,
    admission_policy: bool,
    image: str | None,
    managed_service: str | None,
    without_hypershift: bool,
    kubernetes_version: str | None,
    guard: str | None,
    output: str,
) -> None:
    """Print every object that the hosted cluster in FILE needs for its credentials, ready to be applied.

    FILE is a HostedCluster or HostedControlPlane with managed or workload identities, as YAML or JSON;
    - is standard input. With --admission-policy, give no FILE. The same input always gives the same bytes.
    The Secrets among the objects name identities and credential files, and contain nothing secret:
    credentials stay in the vault until the CSI driver mounts them.
    """
    from hcpcreds.hosted_cluster import parse_hosted_cluster
    from hcpcreds.manifests.rbac import build_rbac
    from hcpcreds.manifests.render import describe_keyless, render, render_guest

    _check_combination(
        {"guest": guest, "rbac": rbac, "roles": roles, "admission-policy": admission_policy},
        {
            "component": bool(components) and not guest,
            "kind": bool(kinds),
            "namespace": namespace is not None and not rbac,
            "output": output != "yaml" and roles,
            "keyless": keyless,
            "vault-access": vault_access != "vm-identity",
        },
        dns_zone_resource_group,
    )
    if admission_policy:
        if file is not None:
            raise click.UsageError(
                "--admission-policy takes no FILE: the policies are for every hosted cluster."
            )
        objects = _build_policies(
            kubernetes_version,
            key_vault_user_client_id=key_vault_user_client_id,
            managed_service=managed_service,
            image=image,
            hypershift=not without_hypershift,
            action=(guard or "deny").capitalize(),
        )
        _print(objects, output)
        return
    if without_hypershift or kubernetes_version is not None or guard is not None:
        raise click.UsageError(
            "--without-hypershift, --kubernetes-version and --guard need --admission-policy."
        )
    if file is None:
        raise click.UsageError("Missing argument 'FILE|-': a HostedCluster, or - for standard input.")
    with open_file_or_stdin(file) as (source, where):
        cluster = parse_hosted_cluster(source, where=where)
    if roles:
        click.echo(_render_roles(cluster, dns_zone_resource_group))
        return
    if guest:
        objects = render_guest(cluster, components=components)
    elif rbac:
        objects = build_rbac(cluster, namespace=namespace)
    else:
        objects = render(
            cluster,
            key_vault_user_client_id=key_vault_user_client_id,
            namespace=namespace,
            components=components,
            kinds=kinds,
            vault_access=vault_access,
            keyless=keyless,
        )
    for text in describe_keyless(cluster, components=components) if keyless else ():
        click.echo(text, err=True)
    _print(objects, output)


def _print(objects: Sequence[Mapping[str, Any]], output: str) -> None:
    """Print objects, or write each to its file and print the names."""
    from hcpcreds.kubernetes.writing import render_json, render_yaml

    if output.startswith(_TO_FILES):
        for path in _write_files(objects, Path(output.removeprefix(_TO_FILES)).expanduser()):
            click.echo(make_printable(path))
    else:
        text = render_json(objects) if output == "json" else render_yaml(objects)
        click.echo(text.encode(), nl=False)


def _build_policies(kubernetes_version: str | None, **arguments: Any) -> list[dict[str, Any]]:
    """Build the policies; report on standard error what they are without."""
    from hcpcreds.manifests.policies.build import KUBERNETES_VERSION, build_policies

    kubernetes_version = kubernetes_version or KUBERNETES_VERSION
    objects = build_policies(kubernetes_version=kubernetes_version, **arguments)
    if not any(item["kind"] == "MutatingAdmissionPolicy" for item in objects):
        click.echo(
            f"Kubernetes {make_printable(kubernetes_version)} has no MutatingAdmissionPolicies: these are the"
            " guard alone. Inject with hcpcreds inject before manifests are applied.",
            err=True,
        )
    elif arguments["image"] is None:
        click.echo("without --image, pods that ask to be keyless stay as they are", err=True)
    return objects


def _check_combination(
    instead: Mapping[str, bool], given: Mapping[str, bool], dns_zone_resource_group: str | None
) -> None:
    """Check that no options exclude each other: those that print something else, and those that filter."""
    chosen = [name for name, is_chosen in instead.items() if is_chosen]
    if len(chosen) > 1:
        raise click.UsageError(f"{' and '.join(f'--{name}' for name in chosen)} are mutually exclusive.")
    unfit = [f"--{name}" for name, is_given in given.items() if is_given]
    if chosen and unfit:
        raise click.UsageError(f"--{chosen[0]} cannot be combined with {', '.join(unfit)}.")
    if dns_zone_resource_group is not None and chosen != ["roles"]:
        raise click.UsageError("--dns-zone-resource-group needs --roles.")


def _render_roles(cluster: "HostedCluster", dns_zone_resource_group: str | None) -> str:
    """Render the role assignments as JSON; report on standard error what the cluster lacks."""
    import msgspec

    from hcpcreds.roles import list_role_assignments, needs_dns_zone

    group = dns_zone_resource_group or cluster.dns_zone_resource_group
    assignments = list_role_assignments(cluster, dns_zone_resource_group=group)
    for name in dict.fromkeys(item.component for item in assignments if item.assignee is None):
        click.echo(f"{name}: its identity has no clientID; set the assignee yourself", err=True)
    if group is None and needs_dns_zone(cluster):
        note = "its role on the resource group of the DNS zone is missing; add --dns-zone-resource-group"
        click.echo(f"ingress-operator: {note}", err=True)
    return msgspec.json.format(msgspec.json.encode(assignments), indent=2).decode()


def _write_files(objects: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Write each object to its own file: all of them to a temporary directory first, then each into place.

    Raises:
        InputError: The folder is not a directory, or a file in it is one. Nothing was written.
        HcpCredsError: The disk is full, or the folder is not writable. Each file is complete, or unchanged.
    """
    from hcpcreds.kubernetes.writing import render_yaml

    texts = {
        f"{item['kind'].lower()}-{item['metadata']['name']}.yaml": render_yaml([item]) for item in objects
    }
    problems = [f"{name} is a directory" for name in texts if (folder / name).is_dir()]
    if folder.exists() and not folder.is_dir():
        problems.append("not a directory")
    if problems:
        raise InputError(str(folder), problems)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=".hcpcreds-") as beside:
            for name, text in texts.items():
                Path(beside, name).write_text(text, encoding="utf-8")
            for name in texts:
                Path(beside, name).replace(folder / name)
    except OSError as error:
        raise HcpCredsError(f"{folder}: cannot be written: {error.strerror}") from None
    return [folder / name for name in texts]
