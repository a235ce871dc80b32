"""Finds mistakes in manifests before they are applied. docs/checks explains every code."""

from collections.abc import Iterable, Mapping
from typing import Any

from hcpcreds.kubernetes.documents import Document, read_documents
from hcpcreds.manifests.check.cloud_configs import check_cloud_configs
from hcpcreds.manifests.check.cluster_identities import check_cluster_identities
from hcpcreds.manifests.check.cluster_wide import check_cluster_wide
from hcpcreds.manifests.check.documents import check_documents
from hcpcreds.manifests.check.environment import check_environment
from hcpcreds.manifests.check.keyless import check_keyless
from hcpcreds.manifests.check.rules import RULES, Finding, Rule, Severity, read_page
from hcpcreds.manifests.check.secret_provider_classes import check_secret_provider_classes
from hcpcreds.manifests.check.shapes import check_shapes
from hcpcreds.manifests.check.sorting import count_subjects, sort_documents
from hcpcreds.manifests.check.volumes import check_volumes
from hcpcreds.manifests.check.workloads import check_workloads

__all__ = [
    "RULES",
    "Document",
    "Finding",
    "Rule",
    "Severity",
    "check",
    "count_subjects",
    "read_documents",
    "read_page",
]


def check(documents: Iterable[Document | Mapping[str, Any]]) -> list[Finding]:
    """Find the mistakes in a set of documents.

    An object counts as missing only if the documents show that it should be among them: a SecretProviderClass
    if there are others of its kind, a component's credential if there is the HostedCluster or the
    SecretProviderClass that it belongs to. Nothing is missing if another manifest of the same workload
    supplies it. Placeholders are not checked.

    Args:
        documents: Objects in the Kubernetes API's JSON shape, as they are or (with file and line) as
            `read_documents` gives them: workloads, SecretProviderClasses, Secrets and ConfigMaps with a cloud
            config, HostedClusters, AzureClusterIdentities, CSIDrivers, Lists of them; and cloud configs, Helm
            values and AKS clusters. Anything else is ignored.

    Returns:
        The findings without duplicates, sorted by file name and line.
    """
    subjects = sort_documents(
        document if isinstance(document, Document) else Document(document) for document in documents
    )
    findings: set[Finding] = set()
    for find in (
        check_documents,
        check_volumes,
        check_workloads,
        check_shapes,
        check_environment,
        check_keyless,
        check_secret_provider_classes,
        check_cloud_configs,
        check_cluster_wide,
        check_cluster_identities,
    ):
        findings.update(find(subjects))
    return sorted(findings)
