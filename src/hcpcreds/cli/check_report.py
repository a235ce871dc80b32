"""Findings, rendered for people and for programs."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click
import msgspec

from hcpcreds._version import __version__
from hcpcreds.manifests.check import RULES, Finding
from hcpcreds.text import make_printable

_COLORS: Final = {"error": "red", "warning": "yellow", "note": "cyan"}
_GITHUB_COMMANDS: Final = {"error": "error", "warning": "warning", "note": "notice"}


def render_findings(findings: Sequence[Finding], output: str) -> str:
    """Render findings; empty when there is nothing to say.

    Args:
        findings: In the order in which they are to stand.
        output: ``text``, ``json``, ``sarif`` or ``github``.
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


def _render_text(findings: Sequence[Finding]) -> str:
    return "\n".join(
        f"{make_printable(finding.file)}:{finding.line}: {_style(finding)}: {finding.reason}\n"
        f"    {finding.path}\n"
        f"    {finding.fix}"
        for finding in findings
    )


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
