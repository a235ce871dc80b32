"""HC7xx: documents that cannot be read, or still contain placeholders.

Sources: k8s.io/apimachinery, pkg/util/yaml/decoder.go; sigs.k8s.io/yaml; go.yaml.in/yaml/v2.
"""

from collections.abc import Iterator

from hcpcreds.kubernetes.documents import TEMPLATE
from hcpcreds.kubernetes.nodes import Node
from hcpcreds.manifests.check.rules import Finding, report
from hcpcreds.manifests.check.subjects import Subjects


def check_documents(subjects: Subjects) -> Iterator[Finding]:
    """Report the documents that could not be read."""
    templates = list(subjects.templates)
    for document in subjects.unreadable:
        node = Node(document, (), None)
        if document.problem == TEMPLATE:
            templates.append(node)
        else:
            yield report("HC701", node, document.problem, "Write it as YAML or JSON that kubectl reads.")
    for node in templates:
        yield report("HC702", node, TEMPLATE, "Render it with its values, and check the result.")
