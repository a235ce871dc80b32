"""Findings, rendered for people and for programs."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click
import msgspec

from hcpcreds._version import __version__
from hcpcreds.cli.check_files import Reading
from hcpcreds.manifests.check import RULES, Finding
from hcpcreds.text import make_printable

_COLORS: Final = {"error": "red", "warning": "yellow", "note": "cyan"}
_GITHUB_COMMANDS: Final = {"error": "error", "warning": "warning", "note": "notice"}


def render_findings(findings: Sequence[Finding], output: str) -> str:
    """Render findings; empty when there are none.

    Args:
        findings: In the order of the report.
        output: `text`, `json`, `sarif` or `github`.
    """
    render: dict[str, Callable[[Sequence[Finding]], str]] = {
        "text": _render_text,
        "json": _render_json,
        "sarif": _render_sarif,
        "github": _render_github,
    }
    return render[output](findings)


def render_codes() -> str:
    """Render the table of codes."""
    return "\n".join(f"{code}  {rule.severity:7}  {rule.title}" for code, rule in RULES.items())


def render_summary(findings: Sequence[Finding], reading: Reading, *, is_verbose: bool) -> str:
    """Render the numbers of findings and objects in a line, and each file that was passed over in another."""
    severities = Counter[str](finding.severity for finding in findings)
    found = [_count(severities[severity], severity) for severity in _COLORS if severities[severity]]
    summary = f"{', '.join(found) or 'nothing'} found in {_count(reading.subjects, 'object')}"
    if reading.partial:
        summary += (
            f"; {_count(reading.partial, 'object')} not checked, which kustomize patches (see --kustomize)"
        )
    if not reading.passed_over:
        return summary
    summary += f"; {_count(len(reading.passed_over), 'file')} passed over"
    if not is_verbose:
        return f"{summary} (-v lists them)"
    lines = [make_printable(f"  {file}: {reason}") for file, reason in reading.passed_over]
    return "\n".join([f"{summary}:", *lines])


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def _render_text(findings: Sequence[Finding]) -> str:
    groups = []
    for file, found in groupby(findings, key=lambda finding: finding.file):
        lines = [click.style(make_printable(file), bold=True)]
        for finding in found:
            place = f"  {finding.line}: {_style(finding)}: "
            lines += [f"{place}{finding.reason}", f"      {finding.path}", f"      {finding.fix}"]
        groups.append("\n".join(lines))
    return "\n\n".join(groups)


def _style(finding: Finding) -> str:
    return click.style(f"{finding.code} {finding.severity}", fg=_COLORS[finding.severity])


def _render_json(findings: Sequence[Finding]) -> str:
    return json.dumps([msgspec.structs.asdict(finding) for finding in findings], indent=2)


def _render_sarif(findings: Sequence[Finding]) -> str:
    """SARIF 2.1.0, the OASIS standard that code scanning services read."""
    codes = list(RULES)
    rules = [
        {
            "id": code,
            "shortDescription": {"text": rule.title},
            "defaultConfiguration": {"level": rule.severity},
        }
        for code, rule in RULES.items()
    ]
    results = [
        {
            "ruleId": finding.code,
            "ruleIndex": codes.index(finding.code),
            "level": finding.severity,
            "message": {"text": f"{finding.reason}. {finding.fix}"},
            "locations": [_build_location(finding)],
        }
        for finding in findings
    ]
    run: dict[str, Any] = {
        "tool": {"driver": {"name": "hcpcreds", "semanticVersion": __version__, "rules": rules}},
        "results": results,
    }
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    return json.dumps({"$schema": schema, "version": "2.1.0", "runs": [run]}, indent=2)


def _build_location(finding: Finding) -> dict[str, Any]:
    path = Path(finding.file)
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": path.as_uri() if path.is_absolute() else quote(path.as_posix())},
            "region": {"startLine": finding.line},
        },
        "logicalLocations": [{"fullyQualifiedName": finding.path}],
    }


def _render_github(findings: Sequence[Finding]) -> str:
    """Workflow commands, which GitHub Actions turns into marks on the lines of a pull request."""
    return "\n".join(
        f"::{_GITHUB_COMMANDS[finding.severity]} file={_escape_property(make_printable(finding.file))},"
        f"line={finding.line},title={_escape_property(f'{finding.code}: {RULES[finding.code].title}')}"
        f"::{_escape(f'{finding.path}: {finding.reason}. {finding.fix}')}"
        for finding in findings
    )


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")
