"""`hcpcreds token`: gets a token as a component would."""

import base64
import binascii
import contextlib
import json
import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from hcpcreds.cli.options import Duration, ca_file_option, output_option
from hcpcreds.clouds import DEFAULT_CLOUD, get_cloud
from hcpcreds.errors import HcpCredsError, InputError, MountError, TokenUnavailableError

if TYPE_CHECKING:
    from azure.core.credentials import AccessTokenInfo

_TIME_CLAIMS: Final = {"exp", "iat", "nbf"}


@click.command(
    "token",
    epilog="""\b
    Examples:
      hcpcreds token /mnt/certs/ingress
      hcpcreds token --local ingress-operator
      hcpcreds token --client-id ID --tenant ID /mnt/certs/app.pem
      hcpcreds token --raw --scope https://vault.azure.net/.default /mnt/certs/kms
    """,
)
@click.argument("file")
@click.option("--scope", metavar="SCOPE", help="The scope of the token.  [default: the cloud's ARM]")
@click.option(
    "--tenant",
    metavar="ID",
    help="Tenant, instead of the identity's own; with --client-id, that of the service principal.",
)
@click.option(
    "--client-id",
    metavar="ID",
    help="FILE is the certificate of this service principal, and not a managed identity.",
)
@click.option(
    "--password-file", type=click.Path(dir_okay=False), help="File of the password of that certificate."
)
@click.option("--authority", metavar="URL", help="Token authority, instead of the file's own.")
@click.option("--cloud", metavar="NAME", help=f"Name of the Azure cloud.  [default: {DEFAULT_CLOUD}]")
@ca_file_option
@click.option(
    "--timeout",
    type=Duration(allow_zero=False),
    default="30s",
    show_default=True,
    metavar="DURATION",
    help="How long to wait for the token, retries included.",
)
@click.option("--local", is_flag=True, help="FILE is a component of the running `hcpcreds up`.")
@click.option("--raw", is_flag=True, help="Print the token and nothing else.")
@output_option()
def command(  # noqa: PLR0913 (click passes each option by its name)
    *,
    file: str,
    scope: str | None,
    tenant: str | None,
    client_id: str | None,
    password_file: str | None,
    authority: str | None,
    cloud: str | None,
    ca_file: str | None,
    timeout: timedelta,
    output: str,
    local: bool,
    raw: bool,
) -> None:
    """Get a token with the credential in FILE, as a component would, and show its claims.

    The claims are decoded but not verified. The output also names the certificate that the token was
    requested with, and the seconds that it took; the token itself is printed only with --raw. The exit status
    is 1 when no token was issued, and 2 when FILE cannot be used.
    """
    if client_id is not None and tenant is None:
        raise click.UsageError("--client-id needs --tenant.")
    if client_id is None and password_file is not None:
        raise click.UsageError("--password-file needs --client-id and --tenant.")
    if raw and output == "json":
        raise click.UsageError("--raw and --output json are mutually exclusive.")
    if local:
        from hcpcreds.up.running import find_running_chain

        chain = find_running_chain()
        file = chain.find_file(file)
        authority, cloud, ca_file = (
            authority or chain.authority,
            cloud or chain.cloud,
            ca_file or chain.ca_file,
        )
    cloud = cloud or DEFAULT_CLOUD
    scope = scope or get_cloud(cloud).resource_manager_scope
    _check_readable(file)
    # Failures are raised here, and need not be logged too.
    logging.getLogger("hcpcreds").addHandler(logging.NullHandler())
    from hcpcreds.credential import CertificateCredential, UserAssignedIdentityCredential

    options: dict[str, Any] = {
        "cloud": cloud,
        "authority": authority,
        "connection_verify": ca_file or True,
    }
    credential: CertificateCredential | UserAssignedIdentityCredential
    if client_id is None:
        credential = UserAssignedIdentityCredential(file, **options)
    else:
        principal: dict[str, Any] = {
            "tenant_id": tenant,
            "client_id": client_id,
            "password_file": password_file,
        }
        credential = CertificateCredential(file, **principal, **options)
    with credential:
        try:
            info, took = _get_token(
                lambda: credential.get_token_info(scope, options={"tenant_id": tenant} if tenant else {}),
                timeout=timeout.total_seconds(),
                scope=scope,
            )
        except HcpCredsError as error:
            if output == "json":
                document = {"ok": False, "scope": scope, "error": error.message, "hint": error.hint}
                click.echo(json.dumps(document, indent=2))
            raise
        status = credential.status()
    if raw:
        click.echo(info.token)
        return
    now = datetime.now(UTC)
    document = {
        "ok": True,
        "scope": scope,
        "token_type": info.token_type,
        "expires_at": _render_time(info.expires_on),
        "took_seconds": round(took, 3),
        "client_id": status.client_id,
        "tenant_id": tenant or status.tenant_id,
        "certificate": {
            "sha256": status.thumbprint,
            "generation": status.generation,
            "not_after": None if status.not_after is None else _render_time(status.not_after.timestamp()),
        },
        "claims": parse_claims(info.token),
        "claims_verified": False,
    }
    click.echo(json.dumps(document, indent=2) if output == "json" else _render_text(document, now))


def parse_claims(token: str) -> dict[str, Any] | None:
    """Read the claims of a token without verifying them; return None when they cannot be read."""
    parts = token.split(".")
    if len(parts) != 3:  # noqa: PLR2004 (header, claims, signature)
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return None
    return claims if isinstance(claims, dict) else None


def _check_readable(file: str) -> None:
    from hcpcreds.credential_file.file import read_credential_file

    try:
        read_credential_file(file)
    except MountError as error:
        raise InputError("FILE", [error.message], hint=error.hint) from None


def _get_token(
    ask: Callable[[], "AccessTokenInfo"], *, timeout: float, scope: str
) -> tuple["AccessTokenInfo", float]:
    """Get a token, and the seconds that it took."""
    # Loading the HTTP library does not count.
    import hcpcreds.credential.pipeline
    import hcpcreds.http.sync

    _ = hcpcreds.credential.pipeline, hcpcreds.http.sync
    outcome: list[AccessTokenInfo | Exception] = []

    def run() -> None:
        try:
            outcome.append(ask())
        except Exception as error:  # noqa: BLE001 (raised below)
            outcome.append(error)

    # The timeouts of the HTTP library do not cover retries, nor waits that the server requests.
    thread = threading.Thread(target=run, daemon=True)
    began = time.perf_counter()
    thread.start()
    thread.join(timeout)
    took = time.perf_counter() - began
    if not outcome:
        raise TokenUnavailableError(
            f"no token for {scope} within {timeout:g} s",
            hint="Check that this machine reaches the authority; it may also be throttling requests.",
        )
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0], took


def _render_text(document: dict[str, Any], now: datetime) -> str:
    from hcpcreds.cli.inspect_report import render_rows, render_time

    certificate = document["certificate"]
    lines = render_rows(
        [
            ("token", f"{document['token_type']} for {document['scope']}"),
            ("expires", render_time(datetime.fromisoformat(document["expires_at"]), now)),
            ("took", f"{document['took_seconds'] * 1000:.0f} ms"),
            ("identity", f"{document['client_id']} in tenant {document['tenant_id']}"),
            ("certificate", f"{certificate['sha256']} (SHA-256)"),
            ("", f"generation {certificate['generation']}, valid until {certificate['not_after']}"),
        ]
    )
    claims = document["claims"]
    if claims is None:
        return "\n".join([*lines, "", "the token is opaque: it has no claims to show"])
    rows = []
    for name, value in claims.items():
        text = json.dumps(value)
        if name in _TIME_CLAIMS:
            with contextlib.suppress(TypeError, ValueError, OverflowError, OSError):  # not a Unix time
                text = f"{text}  {render_time(datetime.fromtimestamp(value, UTC), now)}"
        rows.append((name, text))
    return "\n".join([*lines, "", "claims, decoded but not verified", *render_rows(rows)])


def _render_time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
