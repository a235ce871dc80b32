"""`hcpcreds inject`: add a component's volume, mounts and environment to workloads."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from hcpcreds.clouds import CLOUDS, DEFAULT_CLOUD
from hcpcreds.constants import (
    ARO_HCP_KEY_VAULT_MANAGED_IDENTITY_CLIENT_ID,
    MANAGED_AZURE_CERTIFICATE_MOUNT_PATH,
    MANAGED_AZURE_CREDENTIALS_FILE_PATH,
    MANAGED_SERVICE,
)
from hcpcreds.errors import InputError

if TYPE_CHECKING:
    from hcpcreds.manifests.inject.plan import Plan


@click.command(
    "inject",
    epilog="""\b
Examples:
  hcpcreds inject --hosted-cluster hosted-cluster.yaml deployment.yaml --output diff
  hcpcreds inject --hosted-cluster hosted-cluster.yaml --in-place deploy/
  kustomize build . | hcpcreds inject --hosted-cluster hosted-cluster.yaml - | kubectl apply -f -
  hcpcreds inject --secret-provider-class my-identity --volume-name my-cert \\
    --credentials-secret-name my-secret --container app deployment.yaml
  hcpcreds inject --keyless --image registry.example/hcpcreds:1 --client-id UUID --tenant-id UUID \\
    --secret-provider-class my-identity --volume-name my-cert --credentials-secret-name my-secret app.yaml
""",
)
@click.argument("files", nargs=-1, required=True, type=click.Path(allow_dash=True), metavar="FILE...|-")
@click.option(
    "--hosted-cluster",
    type=click.Path(),
    metavar="FILE",
    help="The HostedCluster or HostedControlPlane whose identities are used. Without it, the name of the"
    " identity's secret is taken from --credentials-secret-name, or from the workload's annotation"
    " hcpcreds.io/credentials-secret-name.",
)
@click.option(
    "--component",
    metavar="NAME",
    help="Which component the workload is, for instance ingress-operator. Without it, its label or annotation"
    " hcpcreds.io/component says so, or its name.",
)
@click.option("--workload", metavar="NAME", help="Change only the workload of this name.")
@click.option("--container", metavar="NAME", help="The container that gets the credential.")
@click.option("--init-containers", is_flag=True, help="Every init container gets it too.")
@click.option(
    "--replace", is_flag=True, help="Replace entries that conflict. Without it, a conflict is an error."
)
@click.option(
    "--secret-provider-class",
    metavar="NAME",
    help="For a component of your own: mount this SecretProviderClass. Needs --volume-name.",
)
@click.option("--volume-name", metavar="NAME", help="Of that component's volume.")
@click.option(
    "--mount-path",
    metavar="PATH",
    help=f"Where that component sees it.  [default: {MANAGED_AZURE_CERTIFICATE_MOUNT_PATH}]",
)
@click.option(
    "--credentials-secret-name",
    metavar="NAME",
    help=f"Name of the secret, and so of the file; {MANAGED_AZURE_CREDENTIALS_FILE_PATH} gets its path.",
)
@click.option(
    "--key-vault-user-client-id",
    envvar=ARO_HCP_KEY_VAULT_MANAGED_IDENTITY_CLIENT_ID,
    metavar="UUID",
    help="Client id of the identity that reads the vault, which some components hand on. Also taken from the"
    f" environment: {ARO_HCP_KEY_VAULT_MANAGED_IDENTITY_CLIENT_ID}.",
)
@click.option(
    "--managed-service",
    envvar=MANAGED_SERVICE,
    metavar="NAME",
    help="The value of MANAGED_SERVICE that the control-plane-operator passes on. Also taken from the"
    " environment.",
)
@click.option(
    "--keyless",
    is_flag=True,
    help="Let a native sidecar alone mount the credential (Kubernetes 1.29 or later). The containers lose the"
    " mount and the path of the file, and get what an unmodified WorkloadIdentityCredential of any Azure SDK"
    " needs. Needs --image.",
)
@click.option(
    "--endpoint",
    is_flag=True,
    help="As --keyless, for a component of your own, but with a token endpoint on loopback: for programs with"
    " a ManagedIdentityCredential.",
)
@click.option(
    "--image", envvar="HCPCREDS_IMAGE", metavar="IMAGE", help="The sidecar's, which contains hcpcreds."
)
@click.option("--client-id", metavar="UUID", help="Of the identity, if the hosted cluster does not name it.")
@click.option("--tenant-id", metavar="TENANT", help="Of the identity, without a hosted cluster.")
@click.option(
    "--cloud",
    type=click.Choice(list(CLOUDS)),
    metavar="NAME",
    help=f"Of the identity, without a hosted cluster.  [default: {DEFAULT_CLOUD}]",
)
@click.option(
    "--service-principal",
    is_flag=True,
    help="The file is the certificate of a service principal (PEM or PKCS#12), which has these ids.",
)
@click.option("--keep-mount", is_flag=True, help="Leave the credential's mount beside the sidecar's.")
@click.option(
    "--output",
    type=click.Choice(["yaml", "patch", "jsonpatch", "diff"]),
    default="yaml",
    show_default=True,
    help="yaml is all of FILE (JSON stays JSON); patch is for kubectl patch and kustomize; jsonpatch is RFC"
    " 6902, for exactly this one workload; diff is for people.",
)
@click.option("--in-place", is_flag=True, help="Write the changed files, and print no manifests.")
def command(  # noqa: PLR0913 (one parameter for each option)
    *,
    files: tuple[str, ...],
    hosted_cluster: str | None,
    component: str | None,
    workload: str | None,
    container: str | None,
    init_containers: bool,
    replace: bool,
    secret_provider_class: str | None,
    volume_name: str | None,
    mount_path: str | None,
    credentials_secret_name: str | None,
    key_vault_user_client_id: str | None,
    managed_service: str | None,
    keyless: bool,
    endpoint: bool,
    image: str | None,
    client_id: str | None,
    tenant_id: str | None,
    cloud: str | None,
    service_principal: bool,
    keep_mount: bool,
    output: str,
    in_place: bool,
) -> None:
    """Add a component's volume, mounts and environment to the workloads in FILE, and print the result.

    FILE is YAML (one or several documents) or JSON; a directory means every YAML and JSON file below it,
    - means standard input. No file is written without --in-place. Objects with a pod template are changed,
    also in a List; everything else is passed through. Comments, order, quoting and line ends stay as they
    are, and entries that exist are not added again. A conflicting entry, such as another volume of the same
    name, is an error that names both.
    """
    from hcpcreds.cli.inject_files import read_streams, render_diffs, render_yaml, report_plans, write_streams
    from hcpcreds.hosted_cluster import read_hosted_cluster
    from hcpcreds.manifests.inject import CustomComponent, InjectOptions, Sidecar

    if in_place and ("-" in files or output != "yaml"):
        raise click.UsageError("--in-place writes files: it goes with neither - nor --output.")
    if keyless and endpoint:
        raise click.UsageError("--keyless and --endpoint are two ways: choose one.")
    if (keyless or endpoint) and not image:
        raise click.UsageError("--keyless and --endpoint need --image: an image that contains hcpcreds.")
    if not (keyless or endpoint) and (client_id or tenant_id or cloud or service_principal or keep_mount):
        names = "--client-id, --tenant-id, --cloud, --service-principal and --keep-mount"
        raise click.UsageError(f"{names} need --keyless or --endpoint.")
    custom = None
    if secret_provider_class is not None and volume_name is not None:
        custom = CustomComponent(
            secret_provider_class=secret_provider_class,
            volume_name=volume_name,
            mount_path=mount_path or MANAGED_AZURE_CERTIFICATE_MOUNT_PATH,
            credentials_secret_name=credentials_secret_name,
        )
    elif secret_provider_class is not None or volume_name is not None or mount_path is not None:
        raise click.UsageError(
            "A component of your own needs --secret-provider-class and --volume-name; --mount-path goes with"
            " these only."
        )
    options = InjectOptions(
        cluster=read_hosted_cluster(hosted_cluster) if hosted_cluster is not None else None,
        component=component,
        custom=custom,
        credentials_secret_name=None if custom else credentials_secret_name,
        workload=workload,
        container=container,
        init_containers=init_containers,
        replace=replace,
        sidecar=Sidecar(
            image=image,
            client_id=client_id,
            tenant_id=tenant_id,
            cloud=cloud or DEFAULT_CLOUD,
            endpoint=endpoint,
            service_principal=service_principal,
            keep_mount=keep_mount,
        )
        if (keyless or endpoint) and image
        else None,
        key_vault_user_client_id=key_vault_user_client_id,
        managed_service=managed_service,
    )
    streams = read_streams(files, options, edit=output in ("yaml", "diff"))
    plans = report_plans(streams)
    if in_place:
        write_streams(streams)
    elif output in ("yaml", "diff"):
        click.echo(render_yaml(streams) if output == "yaml" else render_diffs(streams), nl=False)
    else:
        click.echo(_render_patch(plans, output), nl=False)


def _render_patch(plans: Sequence["Plan"], output: str) -> str:
    from hcpcreds.kubernetes.writing import render_yaml
    from hcpcreds.manifests.inject.patches import build_json_patch, build_strategic_merge_patch

    if output == "patch":
        return render_yaml(map(build_strategic_merge_patch, plans))
    if len(plans) > 1:
        names = ", ".join(plan.workload.title for plan in plans)
        raise InputError(
            "inject", [f"a JSON patch is for one workload; there are {names}"], options=["workload"]
        )
    return f"{json.dumps(build_json_patch(plans[0]), indent=2)}\n"
