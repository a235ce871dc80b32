"""`hcpcreds check`: finds what would not work in manifests."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from click.shell_completion import CompletionItem

from hcpcreds.cli.source import read_file_or_stdin

if TYPE_CHECKING:
    from hcpcreds.manifests.check import Document

_SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})


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
@click.option("--list", "list_codes", is_flag=True, help="List every code, how bad it is and what it means.")
def command(
    files: tuple[str, ...], output: str, select: tuple[str, ...], ignore: tuple[str, ...], *, list_codes: bool
) -> None:
    """Find what would not work, with the reason and the fix, before anything is applied.

    All files are looked at together: workloads, SecretProviderClasses, Secrets and ConfigMaps with a cloud
    config, HostedClusters, AzureClusterIdentities, bare cloud configs, and the CSI driver's manifests, Helm
    values or AKS add-on. A directory stands for every YAML and JSON file below it, - for standard input.

    The exit status is 0 when nothing was found, notes aside; 1 when something was; 2 when a file cannot be
    used. docs/checks explains each code.
    """
    from hcpcreds.cli.check_report import render_codes, render_findings
    from hcpcreds.manifests.check import check

    selected, ignored = _parse_codes("--select", select), _parse_codes("--ignore", ignore)
    if list_codes:
        click.echo(render_codes())
        return
    if not files:
        raise click.UsageError("Missing argument 'FILE...|-'.")
    documents = _read(files)
    findings = [
        finding
        for finding in check(documents)
        if finding.code.startswith(selected or ("HC",)) and not (ignored and finding.code.startswith(ignored))
    ]
    text = render_findings(findings, output)
    if text:
        click.echo(text)
    click.echo(f"{_count(findings, 'finding')} in {_count(documents, 'document')}", err=True)
    sys.exit(1 if any(finding.severity != "note" for finding in findings) else 0)


def _count(things: Sequence[object], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


def _parse_codes(option: str, values: Sequence[str]) -> tuple[str, ...]:
    from hcpcreds.manifests.check import RULES

    codes = tuple(code.strip().upper() for value in values for code in value.split(","))
    for code in codes:
        if not code or not any(known.startswith(code) for known in RULES):
            raise click.BadParameter(
                f"no code begins with {code!r}; --list shows them all", param_hint=option
            )
    return codes


def _read(files: Sequence[str]) -> "list[Document]":
    """Read every file; when some cannot be used, say so of each of them at once."""
    from hcpcreds.errors import InputError
    from hcpcreds.manifests.check import read_documents

    documents, problems = [], []
    for name in files:
        try:
            for file in _expand(name):
                documents += read_documents(read_file_or_stdin(file)[0], file=file)
        except InputError as error:
            problems += [f"{error.where}: {problem}" for problem in error.problems]
    if not documents and not problems:
        problems = [f"{', '.join(files)}: empty; expected YAML or JSON"]  # what a broken pipe leaves
    if problems:
        raise InputError("check", problems)
    return documents


def _expand(name: str) -> Iterator[str]:
    from hcpcreds.errors import InputError

    path = Path(name)
    if name == "-" or not path.is_dir():
        yield name
        return
    found = sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES and file.is_file())
    if not found:
        raise InputError(name, ["the directory holds no *.yaml, *.yml or *.json"])
    yield from map(str, found)
