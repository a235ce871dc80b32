"""`hcpcreds renew`: renews the credentials that are due in Key Vaults."""

import asyncio
import sys
from contextlib import AsyncExitStack, ExitStack
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import click

from hcpcreds.cli.options import (
    Address,
    Duration,
    ca_file_option,
    open_certificate,
    output_option,
    tls_options,
)
from hcpcreds.cli.process import run_until_stopped
from hcpcreds.cli.vault_options import cloud_option, parse_secret_names, parse_vault

if TYPE_CHECKING:
    from hcpcreds.cli.renew_report import RenewalReport
    from hcpcreds.renewal.service import Access
    from hcpcreds.renewal.walk import RenewalSettings
    from hcpcreds.serving import ListenAddress, ServingCertificate


@click.command(
    "renew",
    epilog="""\b
    Examples:
      hcpcreds renew --once --dry-run --vault harbour-identities --audience https://identity.azure.net
      hcpcreds renew --interval 1h --metrics-address :9090 --vault east --vault west --audience URL
      hcpcreds renew --once --before 10d --local
      hcpcreds renew --now ingress --vault harbour-identities --audience URL   # its certificate has leaked
    """,
)
@click.option(
    "--vault",
    "vaults",
    multiple=True,
    metavar="NAME|URL",
    help="Vault to renew in: its name or its https URL. Repeatable.",
)
@click.option(
    "--audience",
    envvar="HCPCREDS_DATA_PLANE_AUDIENCE",
    metavar="URL",
    show_envvar=True,
    help="Audience of tokens for the managed-identity data plane.",
)
@click.option(
    "--data-plane-host",
    "data_plane_hosts",
    multiple=True,
    metavar="HOST",
    help="Host that such a token may be sent to, including its subdomains. Repeatable.  "
    "[default: the host of the audience]",
)
@click.option(
    "--now",
    "secrets",
    multiple=True,
    metavar="SECRET",
    help="Renew this secret at once, whatever its dates (its certificate has leaked), then exit. Repeatable.",
)
@click.option("--once", is_flag=True, help="Walk over each vault once, then exit.")
@click.option(
    "--interval",
    type=Duration(allow_zero=False),
    metavar="DURATION",
    help="Walk over each vault repeatedly, pausing about this long between walks.",
)
@click.option(
    "--before",
    type=Duration(),
    metavar="DURATION",
    default="0s",
    help="Renew this long before renew_after; the data plane may not have a newer one yet.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(min=1, max=1000),
    default=32,
    show_default=True,
    metavar="N",
    help="Credentials of one vault to renew at the same time.",
)
@click.option(
    "--dry-run", is_flag=True, help="Walk over each vault once and report what is due; change nothing."
)
@click.option(
    "--credential-file",
    type=click.Path(),
    help="Credential file of the application that renews.  [default: DefaultAzureCredential]",
)
@cloud_option
@ca_file_option
@click.option(
    "--lease-namespace",
    metavar="NAMESPACE",
    help="Namespace of the Leases that share the vaults among replicas.  [default: in a cluster, the pod's]",
)
@click.option(
    "--metrics-address",
    type=Address(),
    metavar="HOST:PORT",
    help="Serve /metrics for Prometheus, /healthz and /readyz at this address.",
)
@tls_options
@click.option("--local", is_flag=True, help="Renew in the vault of the running `hcpcreds up`.")
@output_option("text prints a summary of each walk; json prints one line for each.")
def command(  # noqa: PLR0913 (click passes each option by its name)
    *,
    vaults: tuple[str, ...],
    audience: str | None,
    data_plane_hosts: tuple[str, ...],
    secrets: tuple[str, ...],
    once: bool,
    interval: timedelta | None,
    before: timedelta,
    concurrency: int,
    dry_run: bool,
    credential_file: str | None,
    cloud: str,
    ca_file: str | None,
    lease_namespace: str | None,
    metrics_address: "ListenAddress | None",
    tls_certificate: str | None,
    tls_key: str | None,
    local: bool,
    output: str,
) -> None:
    """Renew the credentials that are due in one or more Key Vaults: those past their renew_after.

    A renewed credential is checked before it is stored as a new version: the same identity, later dates, and
    a key that belongs to its certificate. A failed renewal is retried, leaves the stored secret unchanged and
    does not stop the others; it is reported with its reason and the time left. In a cluster, replicas share
    the vaults by Leases. With --now, only the named secrets are renewed, through the same checks and whoever
    holds the Lease. On SIGTERM or Ctrl-C, renewals in progress finish and no other begins.

    The exit status is 1 when a renewal failed or a walk is incomplete (with --now, also when the data plane
    has no newer certificate), and 2 when nothing was started.
    """
    if [once or dry_run, interval is not None, bool(secrets)].count(True) != 1:
        raise click.UsageError("Give either --once (or --dry-run), --interval or --now.")
    if metrics_address is None and (tls_certificate or tls_key):
        raise click.UsageError("--tls-certificate and --tls-key need --metrics-address.")
    from hcpcreds.cli.renew_report import make_report
    from hcpcreds.renewal.service import Access
    from hcpcreds.renewal.walk import RenewalSettings

    if local:
        from hcpcreds.up.running import find_running_chain

        given = (vaults, audience, data_plane_hosts, credential_file, ca_file)
        names = ("--vault", "--audience", "--data-plane-host", "--credential-file", "--ca-file")
        if conflicts := ", ".join(name for name, value in zip(names, given, strict=True) if value):
            raise click.UsageError(f"--local cannot be combined with {conflicts}.")
        chain = find_running_chain()
        access = Access(
            vault_urls=(chain.vault.vault_url,),
            audience=chain.vault.data_plane_audience,
            data_plane_hosts=(chain.vault.data_plane_host,),
            credential_file=chain.vault.credential_file,
            ca_file=chain.ca_file,
        )
    else:
        if not vaults or not audience:
            raise click.UsageError("Give at least one --vault and the --audience of the data plane.")
        access = Access(
            vault_urls=tuple(dict.fromkeys(parse_vault(text, cloud) for text in vaults)),
            audience=audience,
            data_plane_hosts=data_plane_hosts or None,
            credential_file=credential_file,
            cloud=cloud,
            ca_file=ca_file,
        )
    if secrets and len(access.vault_urls) > 1:
        raise click.UsageError("--now needs exactly one --vault: that of the secret.")
    settings = RenewalSettings(
        before=before, dry_run=dry_run, concurrency=concurrency, now=parse_secret_names(secrets, "--now")
    )
    with ExitStack() as stack:
        certificate = open_certificate(tls_certificate, tls_key)
        if certificate is not None:
            stack.callback(certificate.close)
        report = stack.enter_context(make_report(output))
        work = partial(
            _run,
            access=access,
            settings=settings,
            interval=None if interval is None else interval.total_seconds(),
            lease_namespace=lease_namespace,
            metrics_address=metrics_address,
            certificate=certificate,
            report=report,
        )
        status = run_until_stopped(work, on_stopping=report.stopping)
    sys.exit(status)


async def _run(  # noqa: PLR0913 (the options of the command)
    stop: asyncio.Event,
    *,
    access: "Access",
    settings: "RenewalSettings",
    interval: float | None,
    lease_namespace: str | None,
    metrics_address: "ListenAddress | None",
    certificate: "ServingCertificate | None",
    report: "RenewalReport",
) -> bool:
    """Renew until done or stopped; returns whether everything succeeded."""
    from hcpcreds.renewal.metrics import RenewalMetrics, serve_metrics
    from hcpcreds.renewal.outcomes import Result
    from hcpcreds.renewal.service import open_leases, open_renewers, renew_once, renew_until_stopped

    metrics = RenewalMetrics()
    async with AsyncExitStack() as stack:
        if metrics_address is not None:
            serving = serve_metrics(
                metrics_address, metrics, certificate=certificate, is_draining=stop.is_set
            )
            server = await stack.enter_async_context(serving)
            click.echo(f"metrics are served at {server.address}", err=True)
        # An incident does not wait for the replica that holds the Lease; writes are safe without one.
        leases = None if settings.now else await stack.enter_async_context(open_leases(lease_namespace))
        renewers = await stack.enter_async_context(
            open_renewers(access, settings, observers=(report, metrics))
        )
        if interval is not None:
            await renew_until_stopped(
                renewers, interval=interval, leases=leases, stop=stop, on_lost=metrics.forget
            )
            return True
        walks = await renew_once(renewers, leases=leases, stop=stop)
    for vault_url in {renewer.vault_url for renewer in renewers} - {walk.vault_url for walk in walks}:
        report.skipped(vault_url)
    if settings.now:
        (walk,) = walks
        replaced = walk.count(Result.RENEWED) + walk.count(Result.SUPERSEDED) == len(settings.now)
        if replaced:
            report.replaced(walk)
        return replaced
    return all(walk.complete and not walk.count(Result.FAILED) for walk in walks)
