"""`hcpcreds check`: finds mistakes in manifests."""

import os
import sys
from collections.abc import Sequence

import click
from click.shell_completion import CompletionItem


def _complete_code(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    from hcpcreds.manifests.check import RULES

    return [
        CompletionItem(code, help=rule.title) for code, rule in RULES.items() if code.startswith(incomplete)
    ]


@click.command(
    "check",
    epilog="""\b
Examples:
  hcpcreds check deploy/ hosted-cluster.yaml
  hcpcreds render hosted-cluster.yaml | hcpcreds check - deploy/
  hcpcreds check --kustomize overlays/
  hcpcreds check --select HC4 --output sarif deploy/ > check.sarif
  kubectl get deployments,secretproviderclasses -n clusters-otter -o yaml | hcpcreds check -
""",
)
@click.argument("files", nargs=-1, type=click.Path(allow_dash=True), metavar="FILE...|-")
@click.option(
    "--output",
    type=click.Choice(["text", "json", "sarif", "github"]),
    default="text",
    show_default=True,
    help="json is a list of findings; sarif is SARIF 2.1.0; github marks the lines of a pull request.",
)
@click.option(
    "--select",
    multiple=True,
    metavar="CODE,...",
    shell_complete=_complete_code,
    help="Report only these; HC1 means all of HC1xx. Repeatable.",
)
@click.option(
    "--ignore",
    multiple=True,
    metavar="CODE,...",
    shell_complete=_complete_code,
    help="Do not report these. Repeatable.",
)
@click.option(
    "--kustomize",
    is_flag=True,
    help="Build the kustomizations below a directory with kubectl or kustomize, and check the result."
    " Without it, patches and the objects that they patch are not checked.",
)
@click.option("-v", "--verbose", is_flag=True, help="List the files that hold nothing to check.")
@click.option("--list", "list_codes", is_flag=True, help="List every code with its severity and title.")
@click.option(
    "--explain",
    metavar="CODE",
    shell_complete=_complete_code,
    help="Print the page of a code: why, and the fix.",
)
def command(  # noqa: PLR0913 (one parameter for each option)
    files: tuple[str, ...],
    output: str,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    *,
    kustomize: bool,
    verbose: bool,
    list_codes: bool,
    explain: str | None,
) -> None:
    """Find mistakes in manifests, each with the reason and the fix, before they are applied.

    All files are looked at together: workloads, SecretProviderClasses, Secrets and ConfigMaps with a cloud
    config, HostedClusters, AzureClusterIdentities, bare cloud configs, and the CSI driver's manifests, Helm
    values or AKS add-on. A directory means every YAML and JSON file and every cloud.conf below it, - means
    standard input. A file or document that cannot be read does not stop the others. Files in a directory that
    are not for Kubernetes are passed over.

    The exit status is 0 without errors and warnings, 1 with some, and 2 when an argument cannot be used or
    there is nothing to check. --explain prints the page of a code.
    """
    from hcpcreds.cli.check_files import Reading
    from hcpcreds.cli.check_report import render_codes, render_findings, render_summary
    from hcpcreds.cli.source import make_error
    from hcpcreds.errors import InputError
    from hcpcreds.manifests.check import check

    selected, ignored = _parse_codes("--select", select), _parse_codes("--ignore", ignore)
    if list_codes:
        click.echo(render_codes())
        return
    if explain is not None:
        click.echo(_read_page(explain), nl=False)
        return
    if not files:
        raise click.UsageError("Missing argument 'FILE...|-'.")
    reading = Reading(files, builds=kustomize)
    found = {finding for documents in reading.read() for finding in check(documents)}
    findings = [
        finding
        for finding in sorted(found)
        if finding.code.startswith(selected or ("HC",)) and not (ignored and finding.code.startswith(ignored))
    ]
    text = render_findings(findings, output)
    if text:
        click.echo(text, color=False if os.environ.get("NO_COLOR") else None)
    if reading.subjects or findings or verbose:
        click.echo(render_summary(findings, reading, is_verbose=verbose), err=True)
    if not reading.subjects and not reading.problems:
        hint = "Render templates first, and name files that kubectl can apply."
        raise InputError(", ".join(files), ["there is nothing to check"], hint=hint)
    if reading.problems:
        raise make_error(reading.problems)
    sys.exit(1 if any(finding.severity != "note" for finding in findings) else 0)


def _parse_codes(option: str, values: Sequence[str]) -> tuple[str, ...]:
    from hcpcreds.manifests.check import RULES

    codes = tuple(code.strip().upper() for value in values for code in value.split(","))
    for code in codes:
        if not code or not any(known.startswith(code) for known in RULES):
            raise click.BadParameter(
                f"no code begins with {code!r}; --list shows them all", param_hint=option
            )
    return codes


def _read_page(code: str) -> str:
    from hcpcreds.manifests.check import RULES, read_page

    if code.upper() not in RULES:
        raise click.BadParameter(f"there is no code {code!r}; --list shows them all", param_hint="--explain")
    return read_page(code.upper())
