"""`hcpcreds serve`: assertion files and a token endpoint for programs that cannot import hcpcreds."""

import asyncio
import logging
import sys
import time
from contextlib import AsyncExitStack, ExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hcpcreds.cli.endpoint_options import (
    FileMode,
    Group,
    access_options,
    build_access,
    build_token_settings,
    token_options,
)
from hcpcreds.cli.logs import start_logging
from hcpcreds.cli.options import Address, Duration, environment_option, open_certificate, tls_options
from hcpcreds.cli.process import run_until_stopped

if TYPE_CHECKING:
    from hcpcreds.endpoint.assertion import AssertionSettings
    from hcpcreds.endpoint.assertion_file import FileSettings
    from hcpcreds.endpoint.service import Access, TokenSettings
    from hcpcreds.page import EventLog
    from hcpcreds.serving import ListenAddress, ServingCertificate

_log = logging.getLogger("hcpcreds.endpoint")


@click.command(
    "serve",
    epilog="""\b
    Examples:
      hcpcreds serve --credential /mnt/certs/ingress --assertion-directory /run/hcpcreds
      hcpcreds serve --credential cpo=/mnt/certs/cpo --credential kms=/mnt/kms/kms ...
      hcpcreds serve --credential /mnt/certs/ingress --app-service-address 127.0.0.1:8081 --secret-file FILE
    """,
)
@access_options
@environment_option(
    "--assertion-directory",
    type=click.Path(file_okay=False),
    help="Keep an assertion of each credential in this directory, in a file of the credential's name.",
)
@environment_option(
    "--assertion-life",
    type=Duration(least=timedelta(minutes=15)),
    metavar="DURATION",
    default="30m",
    show_default=True,
    help="How long an assertion can be used. Programs keep one for ten minutes.",
)
@environment_option(
    "--assertion-mode",
    type=FileMode(),
    metavar="MODE",
    default="0440",
    show_default=True,
    help="Permissions of the files.",
)
@environment_option(
    "--assertion-group",
    type=Group(),
    metavar="GROUP",
    help="Group of the files: a name or a number.  [default: the one that the directory gives]",
)
@environment_option(
    "--assertion-chain",
    type=click.Choice(["full", "leaf", "none"]),
    default="full",
    show_default=True,
    help="The certificates that an assertion carries (x5c). Some programs read no more than 4,095 bytes.",
)
@token_options
@environment_option(
    "--metrics-address",
    type=Address(),
    metavar="HOST:PORT",
    help="Serve a page to look at (/), /status.json, /metrics, /healthz and /readyz at this address.",
)
@tls_options
def command(  # noqa: PLR0913 (click passes each option by its name)
    *,
    credentials: tuple[str, ...],
    cloud: str | None,
    authority: str | None,
    ca_file: str | None,
    scope: str | None,
    local: bool,
    assertion_directory: str | None,
    assertion_life: timedelta,
    assertion_mode: int,
    assertion_group: int | None,
    assertion_chain: str,
    app_service_address: "ListenAddress | None",
    imds_address: "ListenAddress | None",
    secret: str | None,
    secret_file: str | None,
    allowed_resources: tuple[str, ...],
    allow_remote: bool,
    drain: timedelta,
    metrics_address: "ListenAddress | None",
    tls_certificate: str | None,
    tls_key: str | None,
) -> None:
    """Serve programs that cannot import hcpcreds, in any language, until stopped.

    With --assertion-directory, each credential's programs need no key: they are given the file by
    AZURE_FEDERATED_TOKEN_FILE, beside AZURE_CLIENT_ID and AZURE_TENANT_ID, and ask for tokens with it. It is
    written for the first time when the authority has taken its certificate, and rewritten every minute and at
    each rotation.

    With --app-service-address or --imds-address, programs ask this process for tokens, as they would ask
    Azure's own endpoints: by IDENTITY_ENDPOINT=http://HOST:PORT/msi/token and IDENTITY_HEADER, or by
    AZURE_POD_IDENTITY_AUTHORITY_HOST=http://HOST:PORT. Of several credentials they name one by its client id,
    resource id or object id.

    An option can also be given by the environment variable that its help names.
    """
    if assertion_directory is None and app_service_address is None and imds_address is None:
        raise click.UsageError("Give --assertion-directory, --app-service-address or --imds-address.")
    if metrics_address is None and (tls_certificate or tls_key):
        raise click.UsageError("--tls-certificate and --tls-key need --metrics-address.")
    from hcpcreds.endpoint.assertion import AssertionSettings, Chain
    from hcpcreds.endpoint.assertion_file import FileSettings
    from hcpcreds.page import EventLog, LogEvents

    access = build_access(
        credentials, cloud=cloud, authority=authority, ca_file=ca_file, scope=scope, local=local
    )
    files = None
    if assertion_directory is not None:
        files = FileSettings(directory=Path(assertion_directory), mode=assertion_mode, group=assertion_group)
    assertion = AssertionSettings(life=assertion_life, chain=Chain(assertion_chain))
    events = EventLog()
    start_logging(LogEvents(events))
    tokens = build_token_settings(
        app_service_address,
        imds_address,
        secret=secret,
        secret_file=secret_file,
        allowed_resources=allowed_resources,
        allow_remote=allow_remote,
    )
    with ExitStack() as stack:
        certificate = open_certificate(tls_certificate, tls_key)
        if certificate is not None:
            stack.callback(certificate.close)
        work = partial(
            _run,
            access=access,
            files=files,
            assertion=assertion,
            tokens=tokens,
            drain=drain,
            metrics_address=metrics_address,
            certificate=certificate,
            events=events,
        )
        status = run_until_stopped(work, on_stopping=lambda: _log.info("stopping"))
    sys.exit(status)


async def _run(  # noqa: PLR0913 (the options of the command)
    stop: asyncio.Event,
    *,
    access: "Access",
    files: "FileSettings | None",
    assertion: "AssertionSettings",
    tokens: "TokenSettings | None",
    drain: timedelta,
    metrics_address: "ListenAddress | None",
    certificate: "ServingCertificate | None",
    events: "EventLog",
) -> bool:
    """Serve until stopped."""
    from hcpcreds.endpoint.service import open_endpoint
    from hcpcreds.endpoint.status import describe_endpoint
    from hcpcreds.page import build_page_routes
    from hcpcreds.serving import Route, serve

    async with AsyncExitStack() as stack:
        opening = open_endpoint(
            access, files=files, assertion=assertion, tokens=tokens, is_draining=stop.is_set
        )
        endpoint = await stack.enter_async_context(opening)
        if endpoint.app_service is not None:
            _log.info("App Service's protocol is served at %s", endpoint.app_service)
        if endpoint.imds is not None:
            _log.info("the instance metadata service's protocol is served at %s", endpoint.imds)
        if metrics_address is not None:
            from hcpcreds.endpoint.metrics import build_registry
            from hcpcreds.serving.metrics import build_metrics_page

            page = build_page_routes(
                lambda: describe_endpoint(endpoint, now=time.time(), events=events.list_newest())
            )
            serving = serve(
                metrics_address,
                {**page, "/metrics": Route(build_metrics_page(build_registry(endpoint)))},
                certificate=certificate,
                is_draining=stop.is_set,
                find_unready=endpoint.find_unready,
            )
            server = await stack.enter_async_context(serving)
            _log.info("the page, /metrics, /healthz and /readyz are served at %s", server.address)
        await stop.wait()
        if tokens is not None:  # programs that end at the same time may still ask
            await asyncio.sleep(drain.total_seconds())
    return True
