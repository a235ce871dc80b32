"""The table of findings: code, severity and title. docs/checks has a page for each."""

from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec

from hcpcreds.kubernetes.nodes import Node
from hcpcreds.text import make_printable, make_safe

Severity = Literal["error", "warning", "note"]


class Rule(NamedTuple):
    """The meaning of a code."""

    severity: Severity
    """`error`: it will not work. `warning`: it works until something happens. `note`: unusual."""
    title: str


RULES: Final = {
    # 1xx: volumes and mounts
    "HC101": Rule("error", "Volume names an unknown SecretProviderClass"),
    "HC102": Rule("error", "SecretProviderClass is in another namespace"),
    "HC103": Rule("error", "Credential volume that no container mounts"),
    "HC104": Rule("error", "Mount of a credential volume that the pod does not have"),
    "HC105": Rule("error", "Credential volume is not read-only"),
    "HC106": Rule("note", "Credential mount is not read-only"),
    "HC107": Rule("error", "Credential volume has another CSI driver"),
    "HC108": Rule("error", "Credential volume names no SecretProviderClass"),
    "HC109": Rule("error", "Credential mounted with subPath never rotates"),
    "HC110": Rule("error", "Two mounts at one path"),
    "HC111": Rule("error", "Two volumes with one name"),
    "HC112": Rule("error", "Volume mounts another identity than the component's"),
    "HC113": Rule("error", "Credential mounted where its program does not look"),
    "HC114": Rule("error", "Component without its credential"),
    "HC115": Rule("note", "Credential volume has another name than HyperShift's"),
    "HC116": Rule("error", "Value of the wrong type in a pod"),
    "HC117": Rule("warning", "Volume attribute overrides a parameter of the SecretProviderClass"),
    "HC118": Rule("error", "KMS container without --managed-hsm"),
    "HC119": Rule("error", "kube-apiserver without a host alias for its private vault"),
    "HC120": Rule("error", "etcd backup names a credential that no mount provides"),
    "HC121": Rule("note", "etcd backup reads a copy of a credential"),
    "HC122": Rule("error", "Workload identity without its token"),
    "HC123": Rule("warning", "Keyless program still mounts the key"),
    "HC124": Rule("error", "Assertion mounted with subPath is never renewed"),
    "HC125": Rule("warning", "Sidecar without a probe"),
    "HC126": Rule("error", "Sidecar that does not run beside the other containers"),
    "HC127": Rule("warning", "Sidecar whose key others see through its processes"),
    "HC128": Rule("warning", "Token endpoint on the network of the node"),
    # 2xx: environment
    "HC201": Rule("error", "Variable names a path that no mount provides"),
    "HC202": Rule("error", "Variable names a file that the SecretProviderClass does not mount"),
    "HC203": Rule("error", "Variable names a directory"),
    "HC204": Rule("error", "Variable holds a bare name where a full path is needed"),
    "HC205": Rule("error", "Variable holds a path where the bare secret name is needed"),
    "HC206": Rule("error", "Component without a variable that it needs"),
    "HC207": Rule("error", "Variable names another SecretProviderClass"),
    "HC208": Rule("warning", "Variable set twice"),
    "HC209": Rule("error", "MANAGED_SERVICE is not exactly ARO-HCP"),
    "HC210": Rule("error", "Client id of the vault's reader is not a UUID"),
    "HC211": Rule("error", "Path with a line break or blanks at an end"),
    "HC212": Rule("error", "Variable is empty"),
    "HC213": Rule("error", "Variable differs from the hosted cluster's workload identity"),
    "HC214": Rule("error", "Two ways to log in"),
    # 3xx: SecretProviderClass
    "HC301": Rule("error", "SecretProviderClass of another provider"),
    "HC302": Rule("error", "Invalid vault name"),
    "HC303": Rule("error", "tenantId missing"),
    "HC304": Rule("error", "Not exactly one identity to read the vault with"),
    "HC305": Rule("warning", "userAssignedIdentityID empty"),
    "HC306": Rule("error", "objects cannot be read"),
    "HC307": Rule("error", "Unknown object encoding"),
    "HC308": Rule("error", "Unknown or unfit object type"),
    "HC309": Rule("error", "Invalid object name"),
    "HC310": Rule("error", "Alias gives the credential file another name"),
    "HC311": Rule("error", "Invalid file name"),
    "HC312": Rule("warning", "Object version pinned"),
    "HC313": Rule("error", "Two objects in one file"),
    "HC314": Rule("error", "Parameter is not text"),
    "HC315": Rule("error", "Secret name differs from the hosted cluster's"),
    "HC316": Rule("error", "Encoding differs from the hosted cluster's"),
    "HC317": Rule("error", "Vault differs from the hosted cluster's"),
    "HC318": Rule("error", "Invalid object format or file permission"),
    "HC319": Rule("error", "Unknown cloudName"),
    "HC320": Rule("error", "Misspelt key"),
    "HC321": Rule("error", "Secret that the driver cannot make"),
    "HC322": Rule("error", "Secret of a file that is not mounted"),
    "HC323": Rule("warning", "Secret that is never made, because no pod mounts the SecretProviderClass"),
    "HC324": Rule("error", "Credential becomes a directory of versions"),
    "HC325": Rule("error", "Client id is not a UUID"),
    "HC326": Rule("warning", "Parameter that the chosen identity does not use"),
    # 4xx: cloud config
    "HC401": Rule("error", "Cloud config cannot be read"),
    "HC402": Rule("error", "Cloud config names a path that no mount provides"),
    "HC403": Rule("error", "Setting shadows aadMSIDataPlaneIdentityPath"),
    "HC404": Rule("error", "Unknown cloud"),
    "HC405": Rule("error", "Cloud config names no file"),
    "HC406": Rule("error", "Cloud config names a file that the SecretProviderClass does not mount"),
    "HC407": Rule("error", "Cloud config without a credential"),
    "HC408": Rule("error", "Setting of the wrong type"),
    "HC409": Rule("error", "Misspelt key in a cloud config"),
    # 5xx: hosted cluster, cluster-wide objects, driver
    "HC501": Rule("error", "Two different objects with one name"),
    "HC502": Rule("error", "Rotation is not enabled"),
    "HC503": Rule("error", "Rotation poll interval is not a duration"),
    "HC504": Rule("note", "Rotation polls less than once in an hour"),
    "HC505": Rule("error", "CSIDriver without podInfoOnMount"),
    "HC506": Rule("note", "CSIDriver without requiresRepublish"),
    "HC507": Rule("error", "Hosted cluster cannot be used"),
    "HC509": Rule("error", "CSIDriver without the token for a workload identity"),
    "HC510": Rule("error", "Two identities with one secret"),
    # 6xx: AzureClusterIdentity
    "HC601": Rule("error", "AzureClusterIdentity names a path that no mount provides"),
    "HC602": Rule("error", "AzureClusterIdentity names a file that the SecretProviderClass does not mount"),
    "HC603": Rule("error", "AzureClusterIdentity with another cloud"),
    "HC604": Rule("error", "AzureClusterIdentity of another type"),
    "HC605": Rule("error", "AzureClusterIdentity that the API server refuses"),
    "HC606": Rule("error", "AzureClusterIdentity names no file"),
    "HC607": Rule("error", "AzureClusterIdentity that no cluster may use"),
    # 7xx: documents
    "HC701": Rule("error", "Document that cannot be read"),
    "HC702": Rule("note", "Template that is not rendered"),
}


def read_page(code: str) -> str:
    """Read the page of a code, in Markdown.

    Raises:
        KeyError: There is no such code.
        FileNotFoundError: This installation does not contain the pages.
    """
    RULES[code]
    shipped, checkout = Path(__file__).with_name("pages"), Path(__file__).parents[4] / "docs" / "checks"
    return (shipped if shipped.is_dir() else checkout).joinpath(f"{code}.md").read_text("utf-8")


class Finding(msgspec.Struct, frozen=True, order=True, kw_only=True):
    """A mistake in a manifest. Findings sort by their place.

    No finding repeats a value that could be a secret.
    """

    file: str
    line: int
    """From 1."""
    path: str
    """JSON path in the document, such as `$.spec.volumes[0].csi`."""
    code: str
    """Stable, such as `HC101`; a key of `RULES`."""
    severity: Severity
    reason: str
    """The problem."""
    fix: str
    """The fix."""


_LONGEST_TEXT: Final = 1000
"""Longest text of a finding that is shown, in characters."""


def report(code: str, node: Node, reason: str, fix: str, *, file: str = "") -> Finding:
    """Build a finding about a node.

    Args:
        code: A key of `RULES`.
        node: The node with the problem.
        reason: The problem. Parts that look like a secret are masked.
        fix: The fix.
        file: The name of another file that the reason contains; it is not masked.
    """
    parts = reason.split(file) if file else [reason]
    return Finding(
        file=make_printable(node.document.file),
        line=node.line,
        path=make_safe(node.json_path, limit=_LONGEST_TEXT),
        code=code,
        severity=RULES[code].severity,
        reason=make_printable(file).join(_make_safe(part) for part in parts),
        fix=make_safe(fix, limit=_LONGEST_TEXT),
    )


def _make_safe(part: str) -> str:
    """Make a part of a text safe, but keep the blanks at its ends."""
    start, end = part[: len(part) - len(part.lstrip())], part[len(part.rstrip()) :]
    return start + make_safe(part, limit=_LONGEST_TEXT) + end if part.strip() else part
