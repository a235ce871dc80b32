"""`make conform`: the scoreboard, which it writes into docs/conform.md."""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.conform.entries import ENTRIES, Entry
from benchmarks.conform.toolchains import MissingError
from hcpcreds.up.conform.faults import FAULTS

PAGE: Final = Path(__file__).parents[2] / "docs/conform.md"
HEADING: Final = "\n## Scoreboard\n"
_LONGEST_SECONDS: Final = 300
_LEGEND: Final = """\
A number is the seconds until the new certificate was in use, or until there was a token again after a fault of the authority.
**not used**: the new certificate was not in use within 10 s. With an assertion, it is the sidecar that uses the new certificate
at once; the program follows when its SDK reads the file again, after 5 to 10 minutes, and until then the old certificate serves.
"""
_RESTART: Final = """\
exec "$0" -m hcpcreds exec --authority "$AZURE_AUTHORITY_HOST" --ca-file "$SSL_CERT_FILE" --provide nothing \\
    --restart-on-rotation --credential "{credential}" -- "$@"
"""
_CREDENTIALS: Final = {
    "file": "$MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH",
    "pem": "$AZURE_CLIENT_CERTIFICATE_PATH,tenant_id=$AZURE_TENANT_ID,client_id=$AZURE_CLIENT_ID",
}
_BESIDE: Final = {"keyless": "`hcpcreds exec`, assertion", "endpoint": "`hcpcreds exec`, endpoint"}


def main() -> int:
    """Judge every program, and write the page; the exit status is 1 when one of ours has failed."""
    parser = argparse.ArgumentParser(prog="make conform", description=__doc__)
    parser.add_argument("--at-once", type=int, default=2, help="programs that run at once (default: 2)")
    parser.add_argument("--match", default="", help="only programs whose name contains this; writes nothing")
    options = parser.parse_args()
    entries = [entry for entry in ENTRIES if options.match in f"{entry.name} {entry.provision}"]
    with ThreadPoolExecutor(options.at_once) as executor:
        results = list(executor.map(judge, entries))
    failed = [
        entry.name
        for entry, result in zip(entries, results, strict=True)
        if isinstance(result, dict) and not result["passed"] and not entry.why
    ]
    text = render(entries, results)
    if options.match:
        print(text)
    else:
        before = PAGE.read_text().partition(HEADING)[0]
        PAGE.write_text(f"{before}{HEADING}\n{text}")
        print(f"written to {PAGE}")
    for name in failed:
        print(f"FAILED: {name}", file=sys.stderr)
    return 1 if failed else 0


def judge(entry: Entry) -> dict[str, Any] | str:
    """Judge one program; returns the report, or why there is none."""
    try:
        language = entry.find()
    except MissingError as error:
        return str(error)
    command = [
        sys.executable,
        "-m",
        "hcpcreds",
        "conform",
        "--with",
        entry.provision,
        "--output",
        "json",
        "--",
    ]
    if entry.restarted:
        command += ["sh", "-c", _RESTART.format(credential=_CREDENTIALS[entry.provision]), sys.executable]
    done = subprocess.run(
        [*command, *language.command, *entry.arguments],
        capture_output=True,
        text=True,
        timeout=_LONGEST_SECONDS,
        check=False,
    )
    if not done.stdout:
        return done.stderr.strip()
    report: dict[str, Any] = json.loads(done.stdout)
    print(f"{entry.provision:8}  {'passed' if report['passed'] else 'failed'}  {entry.name}", file=sys.stderr)
    return report


def describe_reader(entry: Entry) -> str:
    """Describe who reads the mounted key."""
    return (
        "the program, restarted by `hcpcreds exec`"
        if entry.restarted
        else _BESIDE.get(entry.provision, "the program")
    )


def render(entries: Iterable[Entry], results: Iterable[dict[str, Any] | str]) -> str:
    """Render the scoreboard as Markdown."""
    return "\n".join(_render_lines(list(zip(entries, results, strict=True))))


def _render_lines(judged: list[tuple[Entry, dict[str, Any] | str]]) -> Iterator[str]:
    yield (
        f"Written by `make conform` on {datetime.now(UTC):%d %B %Y}, on Linux {platform.release().partition('-')[0]} with "
        f"{os.cpu_count()} cores."
    )
    yield from _LEGEND.splitlines()
    yield ""
    names = [fault.name for fault in FAULTS]
    yield f"| program | reads the key | {' | '.join(names)} |"
    yield f"| --- | --- |{' --- |' * len(names)}"
    for entry, result in judged:
        if isinstance(result, str):
            yield f"| {entry.name} | not run: {result} |{'  |' * len(names)}"
            continue
        rows = {row["fault"]: row for row in result["rows"]}
        if rows["start"]["result"] == "failed":
            yield f"| {entry.name} | not started: {rows['start']['seen']} |{'  |' * len(names)}"
            continue
        cells = [_render_cell(rows.get(name)) for name in names]
        yield f"| {entry.name} | {describe_reader(entry)} | {' | '.join(cells)} |"
    yield ""
    yield "Versions:"
    yield ""
    for versions in dict.fromkeys(
        entry.find().versions for entry, result in judged if isinstance(result, dict)
    ):
        yield f"- {versions}"
    yield ""
    yield "Why a program fails, by its own source:"
    yield ""
    reasons: dict[str, list[str]] = {}
    for entry, result in judged:
        if isinstance(result, dict) and not result["passed"]:
            restarted = " that `hcpcreds exec` restarts" if entry.restarted else ""
            reasons.setdefault(entry.why, []).append(f"{entry.name}{restarted}")
    for why, failing in reasons.items():
        yield f"- {'; '.join(failing)}: {why}"
    yield ""


def _render_cell(row: dict[str, Any] | None) -> str:
    if row is None or row["result"] == "skipped":
        return "-"
    if row["result"] == "failed":
        gap = re.search(r"no token for [\d.]+ s", row["seen"])
        return f"**{gap[0] if gap else 'not used' if 'new certificate' in row['seen'] else 'no token'}**"
    return "passes" if row["seconds"] is None else f"{row['seconds']:.1f}"


if __name__ == "__main__":
    sys.exit(main())
