"""Text that something else fills in before Kubernetes sees it."""

import re
from typing import Final

_PLACEHOLDER: Final = re.compile(
    r"\$[({A-Za-z_]"  # shells, envsubst, Kubernetes' own variables, clusterctl, OpenShift's templates
    r"|\$\[|\{\{|\{%|<%"  # Azure Pipelines; Helm, Jinja; ERB
    r"|#\{|\(\("  # Azure DevOps and Octopus; Concourse
    r"|<[^<>\s][^<>]*>"  # filled in by a person
    r"|__[A-Za-z][\w.-]*__|@@?[A-Za-z_][\w.-]*@@?|%[A-Za-z_][\w.-]*%"
    r"|(?i:ENC)\[|ref\+[a-z]+://"  # sops; vals
    r"|\A(?i:Ag[A-D])[A-Za-z0-9+/]{200,}"  # a sealed value of kubeseal
)
_BREAKS_YAML: Final = re.compile(r"\{\{|\{%|<%|(?:^|[\s\[,])(?:@@?[A-Za-z_][\w.-]*@|%[A-Za-z_][\w.-]*%)")


def is_placeholder(text: str) -> bool:
    """Whether a text has a placeholder, and so cannot be checked."""
    return _PLACEHOLDER.search(text) is not None


def is_template_line(line: str) -> bool:
    """Whether a line holds a placeholder that is not YAML until it is filled in."""
    before, found, _ = line.partition("${")
    unquoted = before[max(map(before.rfind, "\"'#")) + 1 :]
    is_in_flow = bool(found) and ("{" in unquoted or "[" in unquoted)
    return is_in_flow or _BREAKS_YAML.search(line) is not None


def holds_placeholder(value: object) -> bool:
    """Whether there is a placeholder anywhere in a document: in a key, or in a text."""
    seen: set[int] = set()
    left = [value]
    while left:
        found = left.pop()
        if isinstance(found, str):
            if is_placeholder(found):
                return True
        elif id(found) not in seen:  # aliases share what they name
            seen.add(id(found))
            if isinstance(found, dict):
                left += [*found, *found.values()]
            elif isinstance(found, list):
                left += found
    return False
