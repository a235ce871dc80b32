"""What would not work in manifests, found before they are applied. docs/checks explains every code."""

from collections.abc import Iterable, Mapping
from typing import Any

from hcpcreds.kubernetes.documents import Document, read_documents
from hcpcreds.manifests.check.cloud_configs import check_cloud_configs
from hcpcreds.manifests.check.cluster_identities import check_cluster_identities
from hcpcreds.manifests.check.cluster_wide import check_cluster_wide
from hcpcreds.manifests.check.documents import check_documents
from hcpcreds.manifests.check.environment import check_environment
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
    """Find what would not work, in all documents together.

    What is not among the documents is not called missing, unless they show that it should be there: an
    unknown SecretProviderClass is found among others of its kind, a component without its credential beside
    the HostedCluster or the SecretProviderClass that it belongs to. What another manifest of the same
    workload supplies is not missing either. Placeholders are not checked.

    Args:
        documents: Objects in the Kubernetes API's JSON shape, as they are or (with file and line) as
            `read_documents` gives them: workloads, SecretProviderClasses, Secrets and ConfigMaps with a cloud
            config, HostedClusters, AzureClusterIdentities, CSIDrivers, Lists of them; and cloud configs, Helm
            values and AKS clusters. Anything else is passed over.

    Returns:
        The findings, in the order of files' names and lines; none twice.
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
        check_secret_provider_classes,
        check_cloud_configs,
        check_cluster_wide,
        check_cluster_identities,
    ):
        findings.update(find(subjects))
    return sorted(findings)
