"""`hcpcreds inject`: add a component's volume, mounts and environment to workloads."""

import json
import os
import sys
from collections.abc import Sequence
from difflib import unified_diff
from io import StringIO
from typing import TYPE_CHECKING, Final

import click

from hcpcreds.cli.source import read_file_or_stdin
from hcpcreds.constants import (
    ARO_HCP_KEY_VAULT_MANAGED_IDENTITY_CLIENT_ID,
    MANAGED_AZURE_CERTIFICATE_MOUNT_PATH,
    MANAGED_AZURE_CREDENTIALS_FILE_PATH,
    MANAGED_SERVICE,
)
from hcpcreds.errors import InputError
from hcpcreds.text import make_printable

if TYPE_CHECKING:
    from hcpcreds.manifests.inject import InjectOptions
    from hcpcreds.manifests.inject.plan import Plan
    from hcpcreds.manifests.inject.stream import InjectedStream

_COLORS: Final = {"+": "green", "-": "red", "@": "cyan"}


@click.command(
    "inject",
    epilog="""\b
Examples:
  hcpcreds inject --hosted-cluster hosted-cluster.yaml deployment.yaml --output diff
  kustomize build . | hcpcreds inject --hosted-cluster hosted-cluster.yaml - | kubectl apply -f -
  hcpcreds inject --secret-provider-class my-identity --volume-name my-cert \\
    --credentials-secret-name my-secret --container app deployment.yaml
""",
)
@click.argument("file", type=click.Path(allow_dash=True), metavar="FILE|-")
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
@click.option("--replace", is_flag=True, help="Replace what stands in the way. Without it, that is an error.")
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
    help="What the control-plane-operator hands on as MANAGED_SERVICE. Also taken from the environment.",
)
@click.option(
    "--output",
    type=click.Choice(["yaml", "patch", "jsonpatch", "diff"]),
    default="yaml",
    show_default=True,
    help="yaml is all of FILE (JSON stays JSON); patch is for kubectl patch and kustomize; jsonpatch is RFC"
    " 6902, for exactly this one workload; diff is for people.",
)
def command(  # noqa: PLR0913 - one parameter for each option
    *,
    file: str,
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
    output: str,
) -> None:
    """Add what a component's pods need for its credential to the workloads in FILE, and print the result.

    FILE is YAML (one or several documents) or JSON; - is standard input. No file is written. Deployments,
    StatefulSets, DaemonSets, ReplicaSets, Jobs, CronJobs and Pods are changed, also in a List; all else is
    passed through. Comments, order, quoting and line ends stay as they are, and what is there already is not
    added again. Something else in its place, such as a volume of the same name, is an error that names both.
    """
    from hcpcreds.hosted_cluster import read_hosted_cluster
    from hcpcreds.manifests.inject import CustomComponent, InjectOptions

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
        key_vault_user_client_id=key_vault_user_client_id,
        managed_service=managed_service,
    )
    click.echo(_render(file, options, output), nl=False)


def _render(file: str, options: "InjectOptions", output: str) -> bytes:
    """The output for a file.

    Raises:
        InputError: The file cannot be read; nothing in it is a component's; it holds several workloads, of
            which a JSON patch can speak of one; or as `inject_stream` says.
    """
    from hcpcreds.kubernetes.documents import parse_documents
    from hcpcreds.manifests.inject.plan import make_plans
    from hcpcreds.manifests.inject.stream import inject_stream

    source, where = read_file_or_stdin(file)
    if output in ("patch", "jsonpatch"):  # these need no text that can be edited
        planned = make_plans(parse_documents(source, where=where), options, where=where)
        plans = _report([plan for plans in planned for plan in plans], where)
        return _render_patch(plans, output, where).encode()
    stream = inject_stream(source, options, where=where)
    _report(stream.plans, where)
    return (stream.after if output == "yaml" else _render_diff(stream, file)).encode()


def _report(plans: Sequence["Plan"], where: str) -> list["Plan"]:
    """Say on standard error how many changes each workload gets, and which only look like a component's.

    Returns:
        The plans of workloads that are a component's.
    """
    for plan in plans:
        if plan.suspect is None:
            click.echo(f"{plan.workload.title}: {len(plan.changes) or 'nothing'} to change", err=True)
        else:
            reason = f"its name is not a component's, but that of its container {plan.suspect} is"
            click.echo(f"{plan.workload.title}: left alone; {reason}", err=True)
    known = [plan for plan in plans if plan.suspect is None]
    if not known:
        hint = "Name its component, or label the workload with hcpcreds.io/component."
        raise InputError(where, ["no workload in it is a component's"], hint=hint, options=["component"])
    return known


def _render_patch(plans: Sequence["Plan"], output: str, where: str) -> str:
    from hcpcreds.kubernetes.writing import render_yaml
    from hcpcreds.manifests.inject.patches import build_json_patch, build_strategic_merge_patch

    if output == "patch":
        return render_yaml(map(build_strategic_merge_patch, plans))
    if len(plans) > 1:
        names = ", ".join(plan.workload.title for plan in plans)
        raise InputError(
            where, [f"a JSON patch is for one workload; there are {names}"], options=["workload"]
        )
    return f"{json.dumps(build_json_patch(plans[0]), indent=2)}\n"


def _render_diff(stream: "InjectedStream", file: str) -> str:
    """A unified diff that `patch` takes; on a terminal coloured, and printable."""
    name = "stdin" if file == "-" else make_printable(file.lstrip("/"))
    before, after = (list(StringIO(text, newline="\n")) for text in (stream.before, stream.after))
    is_seen = sys.stdout.isatty()
    has_color = is_seen and not os.environ.get("NO_COLOR")
    rendered = ""
    for line in unified_diff(before, after, f"a/{name}", f"b/{name}"):
        color = _COLORS.get(line[0]) if has_color else None
        text = make_printable(line.rstrip("\r\n").expandtabs()) if is_seen else line.removesuffix("\n")
        rendered += f"{click.style(text, fg=color) if color else text}\n"
        if not line.endswith("\n"):
            rendered += "\\ No newline at end of file\n"
    return rendered
