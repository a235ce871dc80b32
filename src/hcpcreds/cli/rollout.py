"""`hcpcreds rollout`: who still uses which certificate."""

import asyncio
import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from hcpcreds.cli.options import Duration, ca_file_option, output_option
from hcpcreds.cli.process import run_until_stopped
from hcpcreds.cli.vault_options import cloud_option, parse_secret_names, parse_vault
from hcpcreds.clouds import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Collection

    from hcpcreds.cli.rollout_report import RolloutReport
    from hcpcreds.cluster.rollout.following import Report
    from hcpcreds.errors import HcpCredsError
    from hcpcreds.renewal.opening import VaultAccess


@click.command(
    "rollout",
    epilog="""\b
Examples:
  hcpcreds rollout --vault harbour-identities -n clusters-otter
  hcpcreds rollout --watch --timeout 30m --vault harbour-identities -A ingress
  kubectl hcpcreds rollout --vault harbour-identities -A --output json
""",
)
@click.argument("secrets", nargs=-1, metavar="[SECRET]...")
@click.option(
    "--vault",
    "vaults",
    multiple=True,
    required=True,
    metavar="NAME|URL",
    help="Vault of the secrets: its name or its https URL. Repeatable.",
)
@click.option("-n", "--namespace", help="Where pods are; by default that of the kubeconfig's context.")
@click.option("-A", "--all-namespaces", is_flag=True, help="Look at the pods of every namespace.")
@click.option("--context", help="The context of the kubeconfig to use instead of the current one.")
@click.option("--watch", is_flag=True, help="Go on until every pod uses the newest certificate.")
@click.option(
    "--timeout",
    type=Duration(),
    metavar="DURATION",
    help="With --watch: give up after this long.  [default: never]",
)
@click.option(
    "--interval",
    type=Duration(least=timedelta(seconds=1)),
    default="10s",
    show_default=True,
    metavar="DURATION",
    help="With --watch: pause between two looks.",
)
@click.option(
    "--credential-file",
    type=click.Path(),
    help="Credential file of an application that reads the vaults.  [default: DefaultAzureCredential]",
)
@cloud_option
@ca_file_option
@output_option("text prints a table; json prints one line for each look that shows something new.")
def command(  # noqa: PLR0913 (click passes each option by its name)
    *,
    secrets: tuple[str, ...],
    vaults: tuple[str, ...],
    namespace: str | None,
    all_namespaces: bool,
    context: str | None,
    watch: bool,
    timeout: timedelta | None,
    interval: timedelta,
    credential_file: str | None,
    cloud: str,
    ca_file: str | None,
    output: str,
) -> None:
    """Show who still uses which certificate: each pod that mounts a secret of these vaults.

    It compares the newest version in the vault, the version that the driver has mounted, and what programs
    show of themselves: `hcpcreds serve` and the library at /metrics, at a container's port named hcpcreds or
    metrics, or 9469. A program that shows nothing counts only if it has started after the newest version was
    mounted. What cannot be seen is "unknown", and never counts as done. The newest certificate also has to
    get a token.

    It only reads, and shows no secret. It needs to get and list the secrets of the vaults, and in the cluster
    what deploy/rollout allows.

    The exit status is 0 when every pod uses only the newest certificate, 1 when one does not, or may not, or
    none was found, also after --timeout or a signal, and 2 when an argument cannot be used.
    """
    if namespace and all_namespaces:
        raise click.UsageError("Give either --namespace or --all-namespaces.")
    if timeout is not None and not watch:
        raise click.UsageError("--timeout needs --watch.")
    from hcpcreds.cli.rollout_report import RolloutReport
    from hcpcreds.renewal.opening import VaultAccess

    names = parse_secret_names(secrets, "SECRET")
    access = VaultAccess(
        vault_urls=tuple(dict.fromkeys(parse_vault(text, cloud) for text in vaults)),
        credential_file=credential_file,
        cloud=cloud,
        ca_file=ca_file,
    )
    report = RolloutReport(output)
    work = partial(
        _run,
        access=access,
        context=context,
        namespace=namespace,
        all_namespaces=all_namespaces,
        secrets={name.lower() for name in names},
        interval=interval.total_seconds(),
        within=(timeout.total_seconds() if timeout is not None else None) if watch else 0.0,
        report=report,
    )
    sys.exit(run_until_stopped(work, on_stopping=report.stopping))


async def _run(  # noqa: PLR0913 (the options of the command)
    stop: asyncio.Event,
    *,
    access: "VaultAccess",
    context: str | None,
    namespace: str | None,
    all_namespaces: bool,
    secrets: "Collection[str]",
    interval: float,
    within: float | None,
    report: "RolloutReport",
) -> bool:
    """Read once or until done; returns whether it is done."""
    from hcpcreds.cluster.rollout.following import build_report, follow
    from hcpcreds.cluster.rollout.pages import open_pages
    from hcpcreds.cluster.rollout.pods import VaultNames
    from hcpcreds.cluster.rollout.reading import RolloutReader
    from hcpcreds.cluster.rollout.vault import VaultReader
    from hcpcreds.kubernetes.reading import Cluster
    from hcpcreds.renewal.opening import open_vaults

    async with AsyncExitStack() as stack:
        cluster = stack.enter_context(Cluster.open(context=context))
        read_page = await stack.enter_async_context(open_pages(context))
        opened = await stack.enter_async_context(open_vaults(access))
        urls = dict(zip(access.vault_urls, opened.vaults, strict=True))
        reader = RolloutReader(
            cluster=cluster,
            namespace=None if all_namespaces else namespace or cluster.namespace,
            vaults=VaultNames({_find_name(url): url for url in urls}),
            readers={url: VaultReader(vault, opened.prover) for url, vault in urls.items()},
            secrets=secrets,
            read_page=read_page,
        )

        async def read() -> "Report":
            return build_report(await reader.read(), secrets)

        return await follow(
            read,
            lambda found: report.show(found, datetime.now(UTC)),
            stop=stop,
            interval=interval,
            within=within,
            on_problem=report.show_problem if within != 0 else _fail,
        )


def _fail(error: "HcpCredsError") -> None:
    raise error


def _find_name(url: str) -> str:
    """Find the name that classes give a vault. One on this machine stands for every vault."""
    host = urlsplit(url).hostname or ""
    return "*" if host in LOOPBACK else host.partition(".")[0]
